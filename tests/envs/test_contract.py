"""Every registered environment keeps the contract; and the check that says so notices when one does not."""

import importlib.util

import gymnax
import jax
import jax.numpy as jnp
import pytest
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.probe import PROBES

from jaxrl import envs
from jaxrl.errors import UserError

NOT_HERE = {
    "MNISTBandit-bsuite": "downloads MNIST when it is made",
    "jumanji/Sokoban-v0": "downloads its levels when it is made",
}
# The limit is part of what these show: the observation holds the share of it that is over.
LIMIT_IN_OBS = {"DiscountingChain-bsuite"}
# Inventory networks have a test of their own, with little data; so have tabular ones, which are all of one class, and
# combinatorial ones, with few nodes.
APART = ("combinatorial/", "inventory/", "tabular/")
GYMNAX = [i for i in gymnax.registered_envs if i not in PROBES and not i.startswith(APART)]
JUMANJI = ["jumanji/Snake-v1", "jumanji/TSP-v1", "jumanji/Tetris-v0", "jumanji/Knapsack-v1"]
SLOW_TO_COMPILE = ("Freeway-MinAtar", "Seaquest-MinAtar")
BACKENDS = ("spring", "positional", "generalized", "mjx")


def others(prefix: str, done: list[str]) -> list[str]:
    return [i for i in envs.registered() if i.startswith(prefix) and i not in done]


def check(env_id: str, **settings) -> None:
    if env_id in NOT_HERE:
        pytest.skip(NOT_HERE[env_id])
    envs.check(envs.make(env_id, **settings), limit_in_obs=env_id in LIMIT_IN_OBS)


@pytest.mark.parametrize("env_id", [pytest.param(i, marks=[pytest.mark.slow] * (i in SLOW_TO_COMPILE)) for i in GYMNAX])
def test_gymnax(env_id):
    check(env_id)


@pytest.mark.parametrize("env_id", PROBES)
def test_probe(env_id):
    check(env_id)


@pytest.mark.parametrize("env_id", ["probe/constant-v0", "probe/discount-v0", "probe/truncates-v0", "probe/faulty-v0"])
def test_probe_with_continuous_actions(env_id):
    check(env_id, continuous=True)


@pytest.mark.parametrize("settings", [{"use_visual_obs": True}, {"resample_init_pos": True, "resample_goal_pos": True}])
def test_settings_keep_the_contract(settings):
    check("FourRooms-misc", **settings)


@pytest.mark.parametrize(
    "backend", [pytest.param(b, marks=[pytest.mark.slow] * (b in ("positional", "generalized"))) for b in BACKENDS]
)
def test_brax(backend):
    check("brax/inverted_pendulum", backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["spring", "mjx"])
@pytest.mark.parametrize("env_id", others("brax/", ["brax/inverted_pendulum", "brax/swimmer"]))
def test_brax_others(env_id, backend):
    check(env_id, backend=backend)


@pytest.mark.slow
def test_brax_swimmer():
    """The one environment that brax has for one backend only, and that needs the adapter's help on this jax."""
    check("brax/swimmer", backend="generalized")
    with pytest.raises(UserError, match="Unsupported backend"):
        envs.make("brax/swimmer", backend="spring")


@pytest.mark.parametrize("env_id", JUMANJI)
def test_jumanji(env_id):
    pytest.importorskip("jumanji")
    check(env_id)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", others("jumanji/", JUMANJI))
def test_jumanji_others(env_id):
    check(env_id)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mujoco_playground") is None, reason="playground is not installed")
@pytest.mark.parametrize("env_id", others("playground/", []) or ["playground"])
def test_playground(env_id):
    check(env_id)


@struct.dataclass
class Params(envs.EnvParams):
    max_steps_in_episode: int = 5
    broken: bool = True


class Good(envs.Environment):
    """Counts to nine; kept by the check. The classes below break one promise each."""

    default_params = Params()
    num_actions = 2

    def observe(self, key, state, action, params):
        return jnp.reshape(state.time, (1,)).astype(jnp.float32)

    def reset_env(self, key, params):
        state = envs.EnvState(time=jnp.int32(0))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state, action, params):
        state = envs.EnvState(time=state.time + 1)
        return self.observe(key, state, action, params), state, jnp.float32(1), state.time >= 9, {}

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0.0, 9.0, (1,), jnp.float32)


class FoldsTheLimitIntoTermination(Good):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, reward, terminated | self.is_truncated(state, params), info


class ResetsInsideTheStep(Good):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return jnp.where(state.time >= params.max_steps_in_episode, 0.0, obs), state, reward, terminated, info


class HasAWeakState(Good):
    def reset_env(self, key, params):
        return super().reset_env(key, params)[0], envs.EnvState(time=0)


class ChangesTheDtypeOfTheState(Good):
    def step_env(self, key, state, action, params):
        obs, state, *rest = super().step_env(key, state, action, params)
        return obs, envs.EnvState(time=state.time.astype(jnp.float32)), *rest


class HasAnIntegerReward(Good):
    def step_env(self, key, state, action, params):
        obs, state, _, terminated, info = super().step_env(key, state, action, params)
        return obs, state, jnp.int32(1), terminated, info


class HasAFloatFlag(Good):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, reward, terminated.astype(jnp.float32), info


class LeavesItsSpace(Good):
    def observation_space(self, params):
        return spaces.Box(0.0, 3.0, (1,), jnp.float32)


class HasAnotherShape(Good):
    def observation_space(self, params):
        return spaces.Box(0.0, 9.0, (2,), jnp.float32)


class IgnoresTheLimit(Good):
    def is_truncated(self, state, params):
        return state.time >= 7


class NeverSetsTheFlag(Good):
    def is_truncated(self, state, params):
        return jnp.bool_(False)


def test_check_accepts_a_good_environment():
    envs.check(Good())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (FoldsTheLimitIntoTermination, "the time limit changes terminated"),
        (ResetsInsideTheStep, "the time limit changes final"),
        (HasAWeakState, "weakly typed"),
        (ChangesTheDtypeOfTheState, r"time is int32\[\] from reset_env and float32\[\] from step_env"),
        (HasAnIntegerReward, "the reward is int32"),
        (HasAFloatFlag, "terminated is float32"),
        (LeavesItsSpace, "outside observation_space"),
        (HasAnotherShape, "in a space of"),
        (IgnoresTheLimit, "truncated"),
        (NeverSetsTheFlag, "truncated is False at step 5"),
    ],
)
def test_check_notices(broken, message):
    with pytest.raises(UserError, match=message):
        envs.check(broken())


def test_states_fit_a_scan_without_a_second_compilation():
    env = envs.make("UmbrellaChain-bsuite")
    traces = []

    @jax.jit
    def step(key, state):
        traces.append(None)
        return env.step_env(key, state, 0, env.default_params)[1]

    _, state = env.reset_env(jax.random.key(0), env.default_params)
    for _ in range(3):
        state = step(jax.random.key(1), state)
    assert len(traces) == 1
    assert state.time == 3

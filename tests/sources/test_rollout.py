"""The rollout against a step-by-step reference on environments whose steps are deterministic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs import make
from scipy import stats

from jaxrl import InvalidArgument
from jaxrl.core.types import Behaviour
from jaxrl.sources.rollout import POOL_WINDOW, rollout

KEY = jax.random.key(0)
STEPS, ENVS = 24, 3

# Each action is random and reports its noise, so that extras can be told apart as well.
RANDOM = Behaviour(
    jax.random.uniform, lambda obs, noise: ((noise > 0.5).astype(jnp.int32), {"noise": noise, "seen": obs[..., 0]})
)


def next_of(env_id, steps=STEPS, envs=ENVS, reset="pool", **settings):
    env = make(env_id, **settings)
    source = rollout(env, env.default_params, envs, steps, reset)
    return env, source, jax.jit(lambda state, key: source.next(state, RANDOM, key))


def batches_of(source, next_batch, count):
    """The initial state and some batches that follow each other, with metrics, as numpy."""
    first = state = source.init(jax.random.key(1))
    batches = []
    for index in range(count):
        state, batch, metrics = next_batch(state, jax.random.fold_in(KEY, index))
        batches.append(jax.tree.map(np.asarray, (batch, metrics, state)))
    return first, batches


CASES = [
    # limits shorter than, as long as and longer than the rollout; ends of both kinds
    ("CartPole-v1", {"max_steps_in_episode": 11}),
    ("CartPole-v1", {"max_steps_in_episode": 500}),
    ("probe/terminates-v0", {}),
    ("probe/truncates-v0", {}),
    ("probe/truncates-v0", {"max_steps_in_episode": 1}),
    ("probe/truncates-v0", {"max_steps_in_episode": 30}),
    ("probe/discount-v0", {}),
    ("Pendulum-v1", {"max_steps_in_episode": 7}),
]


@pytest.mark.parametrize(("env_id", "settings"), CASES, ids=[f"{name}-{s}" for name, s in CASES])
def test_against_stepping_by_hand(env_id, settings):
    """Successors, rewards, flags, episode statistics, and episodes that run on from one batch to the next."""
    env, source, next_batch = next_of(env_id, **settings)
    params = env.default_params
    step = jax.jit(lambda state, action: env.step_env(KEY, state, action, params))
    truncated = jax.jit(lambda state: env.is_truncated(state, params))
    first, batches = batches_of(source, next_batch, 3)
    assert source.steps == STEPS * ENVS
    ends, ended = {"terminated": 0, "truncated": 0}, {}
    for index in range(ENVS):
        env_state = jax.tree.map(lambda leaf: np.asarray(leaf)[index], first.env_state)  # noqa: B023
        obs, total, length = np.asarray(first.obs[index]), 0.0, 0
        for number, (batch, _, state) in enumerate(batches):
            finished = ended.setdefault(number, [])
            for t in range(STEPS):
                np.testing.assert_array_equal(batch.obs[t, index], obs)
                next_obs, env_state, reward, terminated, _ = step(env_state, batch.action[t, index])
                np.testing.assert_allclose(batch.next_obs[t, index], next_obs, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(batch.reward[t, index], reward, rtol=1e-5, atol=1e-6)
                limit = bool(truncated(env_state))
                assert batch.discount[t, index] == 1 - terminated
                assert batch.cut[t, index] == (terminated or limit)
                total, length = total + float(reward), length + 1
                if terminated or limit:
                    ends["terminated" if terminated else "truncated"] += 1
                    finished.append((total, length))
                    total, length = 0.0, 0
                    obs, env_state = start_of(env_id, batch, state, t, index)
                else:
                    obs = batch.next_obs[t, index]
            np.testing.assert_allclose(state.episode_return[index], total, rtol=1e-4, atol=1e-4)
            assert state.episode_length[index] == length
            np.testing.assert_array_equal(state.obs[index], obs)
    for number, (_, metrics, _) in enumerate(batches):
        returns, lengths = np.array(ended[number]).reshape(-1, 2).T
        assert metrics["episodes"] == len(returns)
        assert metrics["episode_return"].weight == metrics["episode_length"].weight == len(returns)
        np.testing.assert_allclose(metrics["episode_return"].total, returns.sum(), rtol=1e-4, atol=1e-4)
        assert metrics["episode_length"].total == lengths.sum()
    if "terminates" in env_id or "discount" in env_id:
        assert ends["terminated"] > 0
        assert ends["truncated"] == 0
    elif settings.get("max_steps_in_episode", 4) < STEPS:
        assert ends["truncated"] > 0


LIKE = {env_id: make(env_id).reset_env(KEY, make(env_id).default_params)[1] for env_id, _ in CASES}


def start_of(env_id, batch, state, t, index):
    """The observation and environment state from which the next episode goes on, read off the observation."""
    obs = batch.obs[t + 1, index] if t + 1 < STEPS else state.obs[index]
    like = LIKE[env_id]
    if env_id == "CartPole-v1":
        names = ("x", "x_dot", "theta", "theta_dot")
        like = like.replace(time=np.int32(0), **dict(zip(names, obs)))
        assert (np.abs(obs) <= 0.05).all(), "a reset"
    if env_id == "Pendulum-v1":
        like = like.replace(time=np.int32(0), theta=np.arctan2(obs[1], obs[0]), theta_dot=obs[2])
        assert abs(obs[2]) <= 1, "a reset"
    return obs, like


def test_extras_and_actions_are_those_of_the_behaviour():
    _, source, next_batch = next_of("CartPole-v1")
    _, batches = batches_of(source, next_batch, 2)
    for batch, _, _ in batches:
        np.testing.assert_array_equal(batch.action, batch.extras["noise"] > 0.5)
        np.testing.assert_array_equal(batch.extras["seen"], batch.obs[..., 0])
        assert len(np.unique(batch.extras["noise"])) == STEPS * ENVS, "every step and environment has its own noise"
    assert not np.array_equal(batches[0][0].action, batches[1][0].action)


# --- resets -------------------------------------------------------------------------------------------------------


def starts(batch, state):
    """``[T, N, ...]`` observations that follow each step, and where they are starts of an episode."""
    following = np.concatenate([batch.obs[1:], state.obs[None]])
    return following, batch.cut == 1


@pytest.mark.parametrize("limit", [POOL_WINDOW, POOL_WINDOW + 3])
def test_pooled_resets_are_never_the_same_twice_while_the_window_is_not_exhausted(limit):
    _, source, next_batch = next_of("CartPole-v1", steps=64, envs=4, max_steps_in_episode=limit)
    first, batches = batches_of(source, next_batch, 3)
    seen = [*np.asarray(first.obs)]
    for batch, _, state in batches:
        following, cut = starts(batch, state)
        assert cut.sum() >= 4 * (64 // limit - 1)
        seen += [*following[cut]]
    assert len(np.unique(np.stack(seen), axis=0)) == len(seen)


def test_pooled_resets_are_alike_only_within_a_window():
    _, source, next_batch = next_of("CartPole-v1", steps=32, envs=4, max_steps_in_episode=1)
    _, batches = batches_of(source, next_batch, 2)
    rollouts = []
    for batch, _, state in batches:
        following, cut = starts(batch, state)
        assert cut.all()
        windows = following.reshape(32 // POOL_WINDOW, POOL_WINDOW, 4, 4)
        assert (windows == windows[:, :1]).all()
        rollouts += [*windows[:, 0].reshape(-1, 4)]
    assert len(np.unique(np.stack(rollouts), axis=0)) == len(rollouts) == 2 * 4 * 4


def test_fresh_resets_are_all_different():
    _, source, next_batch = next_of("CartPole-v1", steps=32, envs=4, reset="fresh", max_steps_in_episode=1)
    _, batches = batches_of(source, next_batch, 2)
    seen = np.concatenate([starts(batch, state)[0].reshape(-1, 4) for batch, _, state in batches])
    assert len(np.unique(seen, axis=0)) == len(seen) == 2 * 32 * 4


def test_cached_resets_are_the_first_one_of_each_environment():
    _, source, next_batch = next_of("CartPole-v1", steps=32, envs=4, reset="cached", max_steps_in_episode=5)
    first, batches = batches_of(source, next_batch, 2)
    assert len(np.unique(first.obs, axis=0)) == 4
    for batch, _, state in batches:
        following, cut = starts(batch, state)
        expected = np.broadcast_to(first.obs, following.shape)
        np.testing.assert_array_equal(following[cut], expected[cut])
        assert cut.sum() > 4 * 5


@pytest.mark.parametrize("reset", ["pool", "fresh"])
def test_resets_have_the_environments_distribution(reset):
    _, source, next_batch = next_of("CartPole-v1", steps=64, envs=32, reset=reset, max_steps_in_episode=8)
    _, batches = batches_of(source, next_batch, 2)
    seen = np.concatenate([following[cut] for following, cut in (starts(b, s) for b, _, s in batches)])
    assert len(seen) >= 400
    for column in seen.T:
        assert stats.kstest(column, stats.uniform(-0.05, 0.1).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [("num_envs", (0, 4, "pool")), ("num_steps", (4, 0, "pool")), ("reset", (4, 4, "poool"))],
)
def test_bad_arguments_are_named(argument, arguments):
    env = make("probe/constant-v0")
    with pytest.raises(InvalidArgument) as error:
        rollout(env, env.default_params, *arguments)
    assert error.value.argument == argument

import subprocess
import sys

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jaxrl.envs import registry
from jaxrl.envs.probe import Constant

from jaxrl import envs
from jaxrl.errors import InvalidArgument, UserError


def test_registered_lists_what_make_accepts():
    ids = envs.registered()
    assert len(ids) == len(set(ids))
    assert {"CartPole-v1", "Breakout-MinAtar", "brax/hopper", "probe/constant-v0"} <= set(ids)
    assert "brax/fast" not in ids
    for env_id in ("CartPole-v1", "probe/mask-v0", "brax/reacher"):
        assert isinstance(envs.make(env_id), envs.Environment)


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("CartPole-v2", "CartPole-v1"),
        ("hopper", "brax/hopper"),
        ("brax/hoper", "brax/hopper"),
        ("constant", "probe/con"),
    ],
)
def test_an_unknown_id_names_the_nearest(env_id, nearest):
    with pytest.raises(InvalidArgument, match=f"env='{env_id}': unknown env; did you mean .*{nearest}"):
        envs.make(env_id)


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(InvalidArgument, match=r"CartPole-v1 setting='gravty': .*did you mean 'gravity'"):
        envs.make("CartPole-v1", gravty=9.0)
    with pytest.raises(InvalidArgument, match="did you mean 'ctrl_cost_weight'"):
        envs.make("brax/hopper", ctrl_cost=1.0)


def test_settings_go_to_the_constructor_or_to_the_parameters():
    env = envs.make("DeepSea-bsuite", size=5, unscaled_move_cost=0.5, max_steps_in_episode=4)
    params = env.default_params
    assert env.observation_space(params).shape == (5, 5)
    assert (params.unscaled_move_cost, params.max_steps_in_episode) == (0.5, 4)
    assert type(params) is type(gymnax.make("DeepSea-bsuite")[1])


def test_a_setting_changes_the_dynamics():
    light, heavy = (envs.make("CartPole-v1", gravity=g) for g in (1, 20.0))
    obs, state = light.reset_env(jax.random.key(3), light.default_params)
    after = [env.step_env(jax.random.key(0), state, 1, env.default_params)[0] for env in (light, heavy)]
    assert isinstance(light.default_params.gravity, float)
    assert not np.array_equal(after[0], after[1])
    assert obs.shape == (4,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps_in_episode": 0}, "max_steps_in_episode=0: must be at least 1"),
        ({"max_steps_in_episode": 2.5}, "must be an integer"),
        ({"max_steps_in_episode": True}, "must be an integer"),
        ({"gravity": "down"}, "gravity='down': must be a number"),
    ],
)
def test_a_value_that_does_not_fit(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        envs.make("CartPole-v1", **settings)


def test_values_for_flags_and_arrays():
    assert envs.make("FourRooms-misc", resample_goal_pos=True).default_params.resample_goal_pos is True
    with pytest.raises(InvalidArgument, match="must be True or False"):
        envs.make("FourRooms-misc", resample_goal_pos=1)
    torque = envs.make("Acrobot-v1", available_torque=[-2, 0, 2]).default_params.available_torque
    assert torque.dtype == jnp.float32
    assert torque.tolist() == [-2.0, 0.0, 2.0]
    with pytest.raises(InvalidArgument, match=r"must be an array of shape \(3,\)"):
        envs.make("Acrobot-v1", available_torque=[1.0])


def test_a_constructor_that_refuses():
    with pytest.raises(UserError, match=r"FrozenLake-misc with {'success_rate': 3}: success_rate must be between"):
        envs.make("FrozenLake-misc", success_rate=3)
    with pytest.raises(InvalidArgument, match="backend='warp': one of spring, positional, generalized, mjx"):
        envs.make("brax/ant", backend="warp")


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(registry._SUITES, "jumanji", "no_such_module")
    with pytest.raises(UserError, match=r"jumanji/Snake-v1 needs .* pip install 'jaxrl\[jumanji\]'"):
        envs.make("jumanji/Snake-v1")
    assert not [i for i in envs.registered() if i.startswith("jumanji/")]


def test_a_refused_environment_says_why():
    with pytest.raises(UserError, match="brax/fast is not supported: a test double"):
        envs.make("brax/fast")


@pytest.fixture
def new_id():
    env_id = "test/new-v0"
    yield env_id
    gymnax.registration._registry.pop(env_id, None)
    if env_id in gymnax.registered_envs:
        gymnax.registered_envs.remove(env_id)


def test_register(new_id):
    envs.register(new_id, Constant)
    assert new_id in envs.registered()
    assert envs.make(new_id, reward=2.0).default_params.reward == 2.0
    assert isinstance(gymnax.make(new_id)[0], Constant)
    with pytest.raises(InvalidArgument, match="already registered"):
        envs.register(new_id, Constant)


def test_register_transform(monkeypatch):
    monkeypatch.setattr(registry, "_TRANSFORMS", dict(registry._TRANSFORMS))

    class Doubled(envs.EnvironmentTransform):
        """Pays twice. And more."""

        def __init__(self, env, factor=2.0):
            super().__init__(env)
            self.factor = factor

        def step_env(self, key, state, action, params):
            obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
            return obs, state, self.factor * reward, terminated, info

    envs.register_transform("doubled", Doubled)
    assert envs.prefixes()["doubled/"] == envs.documentation("doubled/probe/constant-v0") == "Pays twice. And more."
    env = envs.make("doubled/doubled/probe/constant-v0", factor=3, reward=1.5, max_steps_in_episode=7)
    _, state = env.reset_env(jax.random.key(0), env.default_params)
    assert env.step_env(jax.random.key(0), state, 0, env.default_params)[2] == 1.5 * 3 * 2  # the outer one takes it
    assert env.default_params.max_steps_in_episode == 7
    with pytest.raises(InvalidArgument, match="did you mean 'factor'"):
        envs.make("doubled/probe/constant-v0", facter=1)
    with pytest.raises(InvalidArgument, match="did you mean 'CartPole-v1'"):
        envs.make("doubled/CartPol-v1")
    for prefix in ("doubled", "brax", "tabular", "a/b", ""):
        with pytest.raises(InvalidArgument, match="prefix="):
            envs.register_transform(prefix, Doubled)


@pytest.mark.parametrize("env_id", ["", "brax/mine", "stock/mine", "CartPole-v1"])
def test_register_refuses(env_id):
    with pytest.raises(InvalidArgument, match="env_id="):
        envs.register(env_id, Constant)


def test_a_registered_gymnax_class_is_adapted(new_id):
    envs.register(new_id, gymnax.environments.bsuite.umbrella_chain.UmbrellaChain)
    env = envs.make(new_id)
    _, state = env.reset_env(jax.random.key(0), env.default_params)
    assert env.step_env(jax.random.key(0), state, 0, env.default_params)[2].dtype == jnp.float32


def test_with_params_keeps_the_environment():
    env = envs.make("Pendulum-v1")
    faster = envs.with_params(env, dt=0.1)
    assert faster.default_params == env.default_params.replace(dt=0.1)
    assert env.default_params.dt == 0.05
    assert (faster.name, faster.num_actions, envs.unwrapped(faster)) == ("Pendulum-v1", 1, envs.unwrapped(env))
    assert faster.action_space().high == 2.0


def test_gradients_pass_a_transform():
    env = envs.make("Pendulum-v1", max_steps_in_episode=10)
    differentiable = env.with_transition_gradients()
    assert (env.transition_gradients_enabled, differentiable.transition_gradients_enabled) == (False, True)
    assert differentiable.default_params.max_steps_in_episode == 10
    _, state = env.reset_env(jax.random.key(0), env.default_params)

    def speed(torque, env):
        return env.step_env(jax.random.key(0), state, torque, env.default_params)[0][2]

    torque = jnp.zeros(1)
    assert jax.grad(speed)(torque, env).item() == 0.0
    # 3 / (m l^2) dt
    np.testing.assert_allclose(jax.grad(speed)(torque, differentiable), [3 * 0.05], rtol=1e-5)
    with pytest.raises(ValueError, match="does not support"):
        envs.make("CartPole-v1").with_transition_gradients()


def test_importing_the_registry_imports_no_suite():
    suites = ("brax", "mujoco", "jumanji", "mujoco_playground")
    code = f"import sys, jaxrl.envs; print([m for m in {suites} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_spaces():
    assert envs.is_discrete(envs.make("CartPole-v1").action_space())
    assert not envs.is_discrete(spaces.Box(0.0, 1.0, (1,)))

"""The probes' stated values against episodes played out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.probe import Mask

from jaxrl import envs

GAMMA = 0.9


def best_action(env, obs):
    """The optimal action of the probes in which it matters."""
    if env.name == "probe/joint-v0":
        return (obs[0] > 0).astype(jnp.int32)
    if env.name == "probe/mask-v0":
        return jnp.max(jnp.where(env.action_mask(obs), jnp.arange(4), -1))
    if env.name == "probe/target-v0":
        return jnp.full((1,), env.default_params.target)
    return jnp.zeros(1) if env.continuous else jnp.int32(1)


def episodes(env, params, policy, steps, num=64):
    """Observations before each step `[num, steps, ...]`, rewards, flags, whether it was running; the last one."""

    def one(key):
        obs, state = env.reset_env(key, params)

        def step(carry, key):
            obs, state, alive = carry
            next_obs, state, reward, terminated, _ = env.step_env(key, state, policy(env, obs), params)
            truncated = env.is_truncated(state, params)
            return (next_obs, state, alive & ~terminated & ~truncated), (obs, reward, terminated, truncated, alive)

        (last, _, _), out = jax.lax.scan(step, (obs, state, jnp.bool_(True)), jax.random.split(key, steps))
        return *out, last

    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), num)))


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        ("probe/constant-v0", {}),
        ("probe/constant-v0", {"continuous": True, "reward": 3.0}),
        ("probe/observation-v0", {"reward": 2.0}),
        ("probe/discount-v0", {"reward": 2.0}),
        ("probe/action-v0", {"reward": 2.0}),
        ("probe/joint-v0", {"reward": 2.0}),
        ("probe/terminates-v0", {"reward": 2.0}),
        ("probe/terminates-v0", {"period": 7}),
        ("probe/mask-v0", {"reward": 2.0}),
        ("probe/target-v0", {}),
    ],
)
def test_value_is_the_return_of_the_optimal_policy(env_id, settings):
    env = envs.make(env_id, **settings)
    params = env.default_params
    obs, reward, terminated, truncated, alive, _ = episodes(
        env, params, lambda _, o: best_action(envs.unwrapped(env), o), 10
    )
    assert (terminated & alive).sum(1).tolist() == [1] * 64  # every episode ends, by termination
    assert not (truncated & alive).any()
    returns = np.zeros(64)
    for t in reversed(range(10)):
        returns = np.where(alive[:, t], reward[:, t] + GAMMA * returns, returns * 0)
        value = jax.vmap(lambda o: envs.unwrapped(env).value(o, GAMMA, params))(obs[:, t])
        np.testing.assert_allclose(returns[alive[:, t]], value[alive[:, t]], rtol=1e-5, atol=1e-6)


def test_truncates_is_worth_the_infinite_sum():
    env = envs.make("probe/truncates-v0", reward=2.0, max_steps_in_episode=400)
    obs, reward, terminated, _, alive, _ = episodes(env, env.default_params, lambda e, o: jnp.int32(0), 400, num=1)
    assert alive.all()
    assert not terminated.any()
    total = (reward[0] * GAMMA ** np.arange(400)).sum()
    for o in obs[0, :8]:
        np.testing.assert_allclose(envs.unwrapped(env).value(o, GAMMA, env.default_params), total, rtol=1e-5)


def test_the_two_ends_differ_in_the_flag_only():
    ends = [envs.make(i) for i in ("probe/terminates-v0", "probe/truncates-v0")]
    first, second = (episodes(e, e.default_params, lambda e, o: jnp.int32(0), 4, num=2) for e in ends)
    for x, y in zip(first[:2] + first[4:], second[:2] + second[4:]):  # observations, rewards, alive, final observation
        np.testing.assert_array_equal(x, y)
    assert first[2][:, -1].all()
    assert not first[3].any()
    assert second[3][:, -1].all()
    assert not second[2].any()
    # The final observation is phase 0, so that it is one that a critic is trained on.
    np.testing.assert_array_equal(second[5], second[0][:, 0])
    values = [e.value(jnp.zeros(1), GAMMA, e.default_params) for e in ends]
    np.testing.assert_allclose(values, [(1 - GAMMA**4) / (1 - GAMMA), 1 / (1 - GAMMA)], rtol=1e-5)


@pytest.mark.parametrize(("env_id", "expected"), [("probe/action-v0", 0.0), ("probe/joint-v0", 0.0)])
def test_the_uniform_policy_is_worth_nothing(env_id, expected):
    env = envs.make(env_id)
    _, state = env.reset_env(jax.random.key(0), env.default_params)
    rewards = [env.step_env(jax.random.key(0), state, a, env.default_params)[2].item() for a in (0, 1)]
    assert sorted(rewards) == [-1.0, 1.0]
    assert np.mean(rewards) == expected


def test_observations_are_balanced():
    for env_id in ("probe/observation-v0", "probe/joint-v0"):
        env = envs.make(env_id)
        obs = jax.vmap(lambda k, e=env: e.reset_env(k, e.default_params)[0])(jax.random.split(jax.random.key(0), 1000))
        assert set(np.unique(obs)) == {-1.0, 1.0}
        assert abs(obs.mean()) < 4 / np.sqrt(1000)


def test_mask():
    env = Mask()
    params = env.default_params
    obs, state = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), 1200), params)
    mask = np.asarray(envs.action_mask(env, obs))
    assert mask.shape == (1200, 4)
    assert mask.dtype == bool
    masks, counts = np.unique(mask, axis=0, return_counts=True)
    assert len(masks) == 6
    assert (masks.sum(1) == 2).all()
    assert (np.abs(counts - 200) < 5 * np.sqrt(200)).all()
    step = jax.vmap(jax.vmap(env.step_env, (None, None, 0, None)), (None, 0, None, None))
    rewards = np.asarray(step(jax.random.key(0), state, jnp.arange(4), params)[2])
    np.testing.assert_allclose(rewards, np.where(mask, np.arange(4) / 3, -1.0), rtol=1e-6)
    value = np.asarray(jax.vmap(lambda o: env.value(o, GAMMA, params))(masks.astype(np.float32)))
    np.testing.assert_allclose(value.mean(), 7 / 9, rtol=1e-6)


def test_only_environments_with_masks_have_one():
    assert envs.action_mask(envs.make("CartPole-v1"), jnp.zeros(4)) is None
    assert envs.action_mask(envs.make("probe/mask-v0", penalty=-5.0), jnp.ones((3, 2, 4))).shape == (3, 2, 4)


def test_vector_rewards():
    env = envs.make("probe/vector-v0", reward=2.0)
    assert envs.reward_shape(env) == (2,)
    assert envs.reward_shape(envs.make("CartPole-v1", gravity=9.0)) == ()
    params = env.default_params
    _, state = env.reset_env(jax.random.key(0), params)
    rewards = np.stack([env.step_env(jax.random.key(0), state, a, params)[2] for a in range(3)])
    np.testing.assert_allclose(rewards, [[2.0, 0.0], [0.0, 2.0], [0.8, 0.8]], rtol=1e-6)
    policy = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(envs.unwrapped(env).value(None, GAMMA, params, policy), policy @ rewards, rtol=1e-6)
    weights = np.linspace(0, 1, 101)
    assert 2 not in {int(np.argmax(rewards @ [w, 1 - w])) for w in weights}  # no linear scalarisation
    assert np.argmax(-np.max(2.0 - rewards, axis=1)) == 2  # Chebyshev


def test_target_of_a_gaussian_policy():
    env = envs.make("probe/target-v0")
    params = env.default_params
    _, state = env.reset_env(jax.random.key(0), params)
    mean, std, n = 0.1, 0.3, 20_000
    actions = mean + std * jax.random.normal(jax.random.key(1), (n, 1))
    rewards = jax.vmap(lambda a: env.step_env(jax.random.key(0), state, a, params)[2])(actions)
    expected = -((mean - params.target) ** 2 + std**2)
    assert abs(rewards.mean() - expected) < 4 * rewards.std() / np.sqrt(n)


@pytest.mark.parametrize(("where", "value"), [("reward", np.nan), ("reward", np.inf), ("obs", np.nan)])
def test_faulty(where, value):
    env = envs.make("probe/faulty-v0")
    params = env.default_params.replace(
        fault_step=3, fault_value=value, fault_reward=where == "reward", fault_obs=where == "obs"
    )
    obs, reward, _, _, alive, _ = episodes(env, params, lambda e, o: jnp.int32(0), 6, num=2)
    bad = {"reward": ~np.isfinite(reward), "obs": ~np.isfinite(obs[..., 0])}
    assert alive.all()
    step = {"reward": 2, "obs": 3}[where]  # the observation of the third step is the one before the fourth
    for name in bad:
        expected = np.zeros((2, 6), bool)
        expected[:, step] = name == where
        np.testing.assert_array_equal(bad[name], expected)


def test_faulty_is_sound_unless_told_and_can_be_traced():
    env = envs.make("probe/faulty-v0")
    params = env.default_params

    @jax.jit
    def rewards(fault_step, probability):
        p = params.replace(fault_step=fault_step, fault_probability=probability)

        def one(key):
            _, state = env.reset_env(key, p)
            return jax.lax.scan(lambda s, k: env.step_env(k, s, 0, p)[1:3], state, jax.random.split(key, 5))[1]

        return jax.vmap(one)(jax.random.split(jax.random.key(0), 200))

    assert np.isfinite(rewards(-1, 1.0)).all()
    assert np.isnan(rewards(2, 1.0)).any(1).all()
    share = np.isnan(rewards(2, 0.25)).any(1).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 200)

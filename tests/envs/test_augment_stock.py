"""Stocks of past rewards in the state and in observations, and the prefix that puts them there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.transforms import AugmentStock, next_stock

from jaxrl import envs
from jaxrl.errors import InvalidArgument

COIN = "stock/tabular/two-coin-v0"


def episode(env, key, actions):
    """Observations, stocks and rewards of the first steps; ``[T + 1, ...]`` and ``[T]``."""
    params = env.default_params

    def step(carry, inputs):
        _, state = carry
        obs, state, reward, *_ = env.step_env(inputs[0], state, inputs[1], params)
        return (obs, state), (obs, state.stock, reward)

    obs, state = env.reset_env(key, params)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(actions))
    _, (later, stocks, rewards) = jax.lax.scan(step, (obs, state), (keys, actions))
    return jnp.concatenate([obs[None], later]), jnp.concatenate([state.stock[None], stocks]), rewards


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        (COIN, {"gamma": 1.0, "low": -3, "high": 2}),
        ("stock/SpaceInvaders-MinAtar", {"gamma": 0.99, "low": -5, "scale": 5, "clip": (-10, 1)}),
        pytest.param("stock/jumanji/Snake-v1", {"clip": (-20, 0)}, marks=pytest.mark.slow),
        ("stock/probe/constant-v0", {"gamma": 0.9, "clip": (-1, 1), "continuous": True}),
    ],
)
def test_contract(env_id, settings):
    envs.check(envs.make(env_id, **settings))


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_stock_and_rewards_are_one_number_at_all_times(gamma):
    """``c_0 + sum_{t<n} gamma^t r_t = gamma^n c_n`` for every n, in float64 to rounding."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        rewards, stock = rng.normal(size=50), rng.normal()
        now, earned = stock, 0.0
        for n, reward in enumerate(rewards):
            now, earned = next_stock(now, reward, gamma), earned + gamma**n * reward
            assert abs(stock + earned - gamma ** (n + 1) * now) < 1e-9


def test_an_episode_keeps_what_it_earned_and_is_otherwise_the_same():
    """The environment inside takes the same steps; the first stock is uniform; what is shown is the stock, clipped and
    scaled, and nothing else of it is clipped."""
    settings = {"layout": "S.F ... ..F", "rewards": {"F": 1.0, ".": -0.5}, "terminal": ""}
    inside = envs.make("tabular/gridworld-v0", **settings)
    env = envs.make("stock/tabular/gridworld-v0", gamma=0.8, low=-2, high=1, scale=2, clip=(-1, 0.5), **settings)
    actions = jax.random.randint(jax.random.key(5), (40,), 0, 4)
    obs, stocks, rewards = jax.vmap(lambda key: episode(env, key, actions))(jax.random.split(jax.random.key(0), 64))
    first = np.asarray(stocks[:, 0])
    assert (first >= -2).all() and (first <= 1).all() and first.min() < -1.8 and first.max() > 0.8  # noqa: PT018
    discounts = 0.8 ** np.arange(40)
    earned = first[:, None] + np.cumsum(discounts * np.asarray(rewards), axis=1)
    np.testing.assert_allclose(earned, 0.8 * discounts * np.asarray(stocks[:, 1:]), atol=1e-4)
    np.testing.assert_allclose(obs[..., -1], np.clip(stocks, -1, 0.5) / 2, rtol=1e-6)
    assert np.abs(stocks).max() > 100

    def places(key):
        _, state = inside.reset_env(jax.random.split(key)[1], inside.default_params)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(actions))
        step = lambda state, x: inside.step_env(x[0], state, x[1], inside.default_params)[:2][::-1]  # noqa: E731
        return jax.lax.scan(step, state, (keys, actions))[1]

    seen = jax.vmap(places)(jax.random.split(jax.random.key(0), 64))
    np.testing.assert_array_equal(obs[:, 1:, :-1], seen)


def test_reading_and_writing_observations():
    """Of vectors and images: what is written is read, clipped, and nothing else of the observation changes."""
    for env_id in (COIN, "stock/Breakout-MinAtar"):
        env = envs.make(env_id, gamma=0.99, clip=(-3, 2), scale=4, low=-1, high=-1)
        stock = envs.stock_of(env)
        assert (stock.gamma, stock.low, stock.high) == (0.99, -3, 2)
        obs, state = env.reset_env(jax.random.key(0), env.default_params)
        np.testing.assert_allclose([state.stock, stock.read(obs)], -1)
        np.testing.assert_array_equal(env.observe(jax.random.key(0), state, 0, env.default_params), obs)
        batch = jnp.stack([obs] * 3)
        written = stock.write(batch, jnp.array([[-5.0, 0.5, 1.0], [-1.0, 3.0, 0.0]]))
        assert written.shape == (2, *batch.shape)
        np.testing.assert_allclose(stock.read(written), [[-3, 0.5, 1], [-1, 2, 0]])
        np.testing.assert_array_equal(written[..., :-1], jnp.stack([batch[..., :-1]] * 2))
        np.testing.assert_array_equal(written[1, 0], obs)
    assert envs.stock_of(envs.make("CartPole-v1")) is None
    limited = envs.with_params(env, max_steps_in_episode=7)
    assert envs.stock_of(limited) is not None


def test_masks_and_parameters_are_those_inside():
    env = envs.make("stock/tabular/inventory-v0", clip=(-10, 10), capacity=4, max_order=2, max_steps_in_episode=9)
    obs, _ = env.reset_env(jax.random.key(0), env.default_params)
    inside = envs.make("tabular/inventory-v0", capacity=4, max_order=2)
    np.testing.assert_array_equal(envs.action_mask(env, obs), envs.action_mask(inside, obs[:-1]))
    params = env.default_params
    assert params.max_steps_in_episode == 9
    envs.check_params(env, params)
    wrong = params.replace(start=params.start * 0.5)
    for outer in (env, envs.with_params(env, max_steps_in_episode=3)):
        with pytest.raises(InvalidArgument, match="start"):
            envs.check_params(outer, wrong)


def test_the_limit_is_known_before_stocks_are_judged():
    """500 steps let a stock grow too much to be shown as it is, 50 do not."""
    with pytest.raises(InvalidArgument, match="clip=None: must be given: in 500 steps"):
        envs.make("stock/CartPole-v1", gamma=0.9)
    assert envs.make("stock/CartPole-v1", gamma=0.9, max_steps_in_episode=50).name == "stock/CartPole-v1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0}, "gamma=0.0: must be above 0"),
        ({"gamma": 1.1}, "gamma=1.1"),
        ({"scale": 0}, "scale=0"),
        ({"low": 1}, "low=1: must not be above high=0"),
        ({"low": float("-inf")}, "low=-inf"),
        ({"clip": 3}, "clip=3: must be a pair"),
        ({"clip": (1, 1)}, "a pair that increases"),
        ({"observation": "index"}, "must have observations in a Box"),
        ({"gama": 1}, "did you mean 'gamma'"),
        ({"wim": 1}, "did you mean 'win'"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        envs.make(COIN, **settings)


def test_several_rewards_are_refused():
    with pytest.raises(InvalidArgument, match="must have one reward"):
        AugmentStock(envs.make("tabular/homeostasis-v0"))

"""Quantile forecasts against numpy and known distributions, order-up-to policies and the oracle against what they must
achieve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.inventory import simulate
from jaxrl.envs.inventory.data import demand_series
from jaxrl.envs.inventory.settings import many_warehouses, one_store_lost, one_warehouse, real_store
from scipy import stats

from jaxrl.errors import InvalidArgument
from jaxrl.policies.newsvendor import (
    LEVELS,
    WithForesight,
    WithReturns,
    fit_forecaster,
    fixed_quantile,
    interpolate,
    just_in_time,
    lead_times,
    pinball_loss,
    quantile_newsvendor,
    returns_newsvendor,
    transformed_newsvendor,
)

KEY = jax.random.key(0)
MEAN, STD, LEADS = 10.0, 3.0, (1, 3)
SMALL_FIT = {"sizes": (8,), "batch_size": 8, "steps": 2, "checks": 1}


def normal_series(seed, products=256, periods=160):
    demand = np.random.default_rng(seed).normal(MEAN, STD, (products, 1, periods))
    return demand_series(np.maximum(demand, 0), np.arange(periods) % 7 == 0, history=8, warm_up=8)


SERIES = normal_series(0)


@pytest.fixture(scope="module")
def env():
    return real_store(SERIES, "test", lead_time=LEADS)


@pytest.fixture(scope="module")
def forecaster(env):
    leads = lead_times(env.default_params)
    return fit_forecaster(SERIES, leads, KEY, sizes=(32, 32), learning_rate=1e-2, batch_size=512, steps=1000, checks=5)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(1), 64)


# --- forecasts --------------------------------------------------------------------------------------------------


def test_pinball_loss_is_that_of_a_loop():
    generator = np.random.default_rng(0)
    target, quantiles = generator.normal(size=(4, 3)), generator.normal(size=(4, 3, 19))
    expected = np.zeros((4, 3))
    for level, quantile in zip(LEVELS, np.moveaxis(quantiles, -1, 0)):
        error = target - quantile
        expected += np.where(error > 0, level * error, (level - 1) * error) / 19
    np.testing.assert_allclose(pinball_loss(target, quantiles), expected, rtol=1e-5)


def test_pinball_loss_is_least_at_the_quantile():
    sample = np.random.default_rng(0).exponential(size=2001)
    losses = pinball_loss(sample[:, None], sample[None, :, None], np.array([0.8])).mean(axis=0)
    assert sample[losses.argmin()] == np.quantile(sample, 0.8)


def test_interpolation_by_hand():
    """Quantiles 0, 10, ..., 160, then 300 and 320: the last slope is 20 a twentieth, the first 10."""
    quantiles = jnp.array([*range(0, 170, 10), 300, 320], jnp.float32)
    tau = jnp.array([0.05, 0.5, 0.525, 0.85, 0.875, 0.9, 0.95, 0.975, 1.0])
    expected = [0, 90, 95, 160, 230, 300, 320, 330, 340]
    np.testing.assert_allclose(jax.vmap(interpolate, (None, 0))(quantiles, tau), expected, rtol=1e-5, atol=1e-4)
    assert interpolate(quantiles, jnp.float32(0.01)) == 0  # 8 below 0, where there is no demand
    np.testing.assert_allclose(interpolate(quantiles + 20, jnp.float32(0.01)), 12, rtol=1e-5)
    slope = jax.vmap(jax.grad(interpolate, argnums=1), (None, 0))(quantiles, jnp.array([0.51, 0.87, 0.99]))
    np.testing.assert_allclose(slope, [200, 2800, 400], rtol=1e-5)


def test_forecasts_are_calibrated_on_independent_demand(forecaster):
    """On series that were not seen: of all windows' demand, a share tau lies below the quantile."""
    sales = normal_series(1).sales[:, 0]
    quantiles_of = jax.jit(forecaster.quantiles)
    for lead in range(LEADS[0], LEADS[1] + 1):
        starts = np.arange(8, sales.shape[1] - LEADS[1], 4)
        past = np.stack([sales[:, t - 8 : t] for t in starts])
        target = np.stack([sales[:, t : t + lead + 1].sum(axis=1) for t in starts])
        calendar = np.broadcast_to(SERIES.calendar[starts, None], (*target.shape, 1))
        quantiles = quantiles_of(past, calendar, jnp.full(target.shape, float(lead)))
        assert (np.diff(np.asarray(quantiles)) >= 0).all()
        coverage = (target[..., None] <= np.asarray(quantiles)).mean(axis=(0, 1))
        np.testing.assert_allclose(coverage, LEVELS, atol=0.03)


def test_order_up_to_levels_are_those_of_known_demand(env, forecaster):
    """Independent normal demand: mean (L + 1) + z std sqrt(L + 1), whatever the past was."""
    params = env.default_params
    policy = quantile_newsvendor(env, params, forecaster=forecaster)

    @jax.jit
    def first_orders(keys):
        obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(keys, params)
        return policy.act((), obs), state.drawn  # stores start empty

    orders, drawn = jax.tree.map(lambda leaf: np.asarray(leaf), first_orders(jax.random.split(KEY, 256)))
    lead, underage = drawn["lead_time"], drawn["underage"]
    level = MEAN * (lead + 1) + stats.norm.ppf(underage / (underage + 1)) * STD * np.sqrt(lead + 1)
    error = orders / level - 1
    assert np.abs(error).max() < 0.12
    assert np.abs(error).mean() < 0.03
    assert np.abs(error.mean()) < 0.015


def test_training_windows_end_with_the_training_range(trees):
    begin, end = SERIES.train
    sales = SERIES.sales.copy()
    sales[..., end:] = 1000
    changed = demand_series(sales, SERIES.calendar, SERIES.splits, history=8, warm_up=8)
    before, after = (fit_forecaster(series, (1, 2), KEY, **SMALL_FIT) for series in (SERIES, changed))
    trees.equal(before.variables, after.variables)
    assert after.validation_loss[0] > before.validation_loss[0] + 1
    sales[..., begin:end] += 1
    changed = demand_series(sales, SERIES.calendar, SERIES.splits, history=8, warm_up=8)
    assert not trees.same(before.variables, fit_forecaster(changed, (1, 2), KEY, **SMALL_FIT).variables)


def test_the_best_weights_are_kept(forecaster):
    """Fitted anew, the relative loss falls well below that of always forecasting the mean."""
    losses = np.asarray(forecaster.validation_loss)
    assert losses.shape == (5,)
    assert losses.min() < 0.08


@pytest.mark.parametrize(
    ("leads", "changes", "argument"),
    [
        ((), {}, "periods_ahead"),
        ((0, 1), {}, "periods_ahead"),
        ((1, 88), {}, "train"),
        ((1, 32), {}, "validation"),
        ((1,), {"steps": 3, "checks": 2}, "steps"),
        ((1,), {"batch_size": 0}, "batch_size"),
        ((1,), {"sizes": (0,)}, "sizes"),
    ],
)
def test_fits_that_are_refused(leads, changes, argument):
    with pytest.raises(InvalidArgument) as error:
        fit_forecaster(SERIES, leads, KEY, **{**SMALL_FIT, **changes})
    assert error.value.argument == argument


# --- policies ---------------------------------------------------------------------------------------------------


def test_learned_quantiles_start_at_the_newsvendor_and_have_the_gradient_of_the_cost(env, forecaster, keys):
    params = env.default_params
    policy = fixed_quantile(env, params, forecaster=forecaster)
    weights = policy.init(KEY)
    assert jax.nn.sigmoid(weights) == pytest.approx(9 / 10, rel=1e-5)

    @jax.jit
    def cost(weights):
        return simulate(env, lambda obs: policy.act(weights, obs), keys, 12, params).mean()

    at, step = weights - 1.0, 0.01
    difference = (cost(at + step) - cost(at - step)) / (2 * step)
    assert float(jax.jit(jax.grad(cost))(at)) == pytest.approx(float(difference), rel=0.05)


def test_transformed_quantiles_are_a_function_of_the_critical_ratio_alone(env, forecaster):
    """Stores with the same costs order up to the same quantile, and all weights but the forecaster's are learned."""
    params = env.default_params
    policy = transformed_newsvendor(env, params, (4,), forecaster=forecaster)
    weights = policy.init(KEY)
    shapes = [leaf.shape for leaf in jax.tree.leaves(weights)]
    assert sorted(shapes) == [(1,), (1, 4), (4,), (4, 1)]
    obs, _ = jax.jit(env.reset_env)(KEY, params)
    orders = policy.act(weights, jnp.broadcast_to(obs, (2, 3, *obs.shape)))
    assert orders.shape == (2, 3, 1)
    np.testing.assert_allclose(orders, jnp.broadcast_to(policy.act(weights, obs), (2, 3, 1)), rtol=1e-5)


def test_returns_bring_stock_down_to_the_quantile(env, forecaster):
    """Where the plain environment orders nothing, stock in excess goes back; its scenarios are the same."""
    params = env.default_params
    returning = WithReturns(env)
    obs, state = jax.jit(returning.reset_env)(KEY, params)
    np.testing.assert_array_equal(obs, jax.jit(env.reset_env)(KEY, params)[0])
    plain = quantile_newsvendor(env, params, forecaster=forecaster).act((), obs)
    state = state.replace(inventory=state.inventory.at[0, 0].set(plain[0] + 25))
    obs = returning.observation(state, params)
    order = returns_newsvendor(returning, params, forecaster=forecaster).act((), obs)
    assert order[0] == pytest.approx(-25, abs=1e-3)
    assert quantile_newsvendor(env, params, forecaster=forecaster).act((), obs)[0] == 0
    stock = [which.advance(state, order, jnp.zeros(1), params)[1].inventory.sum() for which in (returning, env)]
    np.testing.assert_allclose(stock, [plain[0], plain[0] + 25], rtol=1e-5)


def test_policies_that_do_not_fit_are_refused(env, forecaster):
    for other, argument in ((one_store_lost(), "window"), (one_warehouse(), "policy")):
        with pytest.raises(InvalidArgument) as error:
            quantile_newsvendor(other, other.default_params, forecaster=forecaster)
        assert error.value.argument == argument
    with pytest.raises(InvalidArgument, match="WithForesight"):
        just_in_time(env, env.default_params)
    with pytest.raises(InvalidArgument, match="stores only"):
        WithReturns(one_warehouse())
    with pytest.raises(InvalidArgument, match="periods"):
        WithForesight(env, 0)


# --- the oracle -------------------------------------------------------------------------------------------------


def test_just_in_time_sells_all_that_is_asked_for_and_keeps_nothing(env, forecaster, keys):
    periods, longest = 12, LEADS[1]
    seeing = WithForesight(real_store(SERIES, "test", lead_time=LEADS, lean=False), periods)
    params = env.default_params
    oracle = just_in_time(seeing, params)
    advance = jax.vmap(seeing.advance, in_axes=(0, 0, 0, None))

    @jax.jit
    def trace(keys):
        obs, state = jax.vmap(seeing.reset_env, in_axes=(0, None))(jax.vmap(jax.random.split)(keys)[:, 0], params)
        demand = jax.vmap(lambda state: seeing.draw_noise(KEY, state, params, periods), out_axes=1)(state)

        def period(carry, demand):
            obs, before = carry
            obs, after, _ = advance(before, oracle.act((), obs), demand, params)
            return (obs, after), (before.inventory[:, 0, 0], demand[:, 0])

        return *jax.lax.scan(period, (obs, state), demand)[1], state.drawn

    on_hand, demand, drawn = trace(keys)
    served = np.arange(periods)[:, None] >= drawn["lead_time"][:, 0]
    np.testing.assert_allclose(on_hand, np.where(served, demand, 0), rtol=1e-6)

    # From the longest lead time on every unit that is asked for is sold at no cost: no policy earns more.
    most = np.mean(drawn["underage"][:, 0] * np.asarray(demand)[longest:], axis=0)
    profit = -simulate(seeing, lambda obs: oracle.act((), obs), keys, periods, params, ignore=longest)
    np.testing.assert_allclose(profit, most, rtol=1e-5)
    other = quantile_newsvendor(env, params, forecaster=forecaster)
    admissible = -simulate(env, lambda obs: other.act((), obs), keys, periods, params, ignore=longest)
    assert (admissible <= profit + 1e-3).all()


def test_just_in_time_reaches_stores_through_their_nearest_warehouse(keys):
    env = many_warehouses()
    edges = len(env.network.edges)
    params = env.default_params.replace(
        initial_periods=jnp.zeros(env.network.nodes, jnp.int32), edge_cost=jnp.zeros(edges)
    )
    seeing = WithForesight(env, 16)
    oracle = just_in_time(seeing, params)

    def cost(params):
        return simulate(seeing, lambda obs: oracle.act((), obs), keys, 16, params, ignore=9)

    cost = jax.jit(cost)
    np.testing.assert_allclose(cost(params), 0, atol=1e-3)
    # Only store 6 is nearer to the first warehouse, since the second does not serve it; so a unit cost there is paid
    # for the mean demand of store 6, and one at the second for that of all others.
    unit = jnp.zeros((2, edges)).at[(0, 1), (0, 1)].set(1.0)
    means = np.asarray(params.demand_mean)
    paid = [float(cost(params.replace(edge_cost=costs)).mean() * env.network.stores) for costs in unit]
    np.testing.assert_allclose(paid, [means[6], means.sum() - means[6]], rtol=0.03)

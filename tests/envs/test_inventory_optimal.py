"""Optimal inventory costs against tables computed elsewhere, brute force, quadrature, simulation and limits."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from jaxrl.envs.inventory.optimal import (
    backlogged_newsvendor,
    base_stock_cost,
    best_base_stock,
    best_capped_base_stock,
    capped_base_stock_cost,
    clark_scarf,
    lost_sales_optimum,
    transshipment_bound,
)
from scipy import integrate, stats

from jaxrl.errors import InvalidArgument

UNDERAGES = (4, 9, 19, 39)
PRINTED = 6e-5
"""half of the last printed digit, and a little for what the table's own iteration left open"""
LATTICE = 1e-4
"""one in the last printed digit: these tables were made on a coarser lattice than ours"""

# lead time and underage: optimum, best base-stock policy (level), best capped base-stock policy (level, cap)
LOST = {
    (1, 4): (4.0407, 4.1628, 12, 4.0654, 12, 6),
    (1, 9): (5.4382, 5.5475, 13, 5.4812, 14, 6),
    (1, 19): (6.6757, 6.7278, 15, 6.6877, 15, 8),
    (1, 39): (7.8360, 7.8626, 16, 7.8425, 16, 9),
    (2, 4): (4.3953, 4.6386, 16, 4.4057, 17, 5),
    (2, 9): (6.0936, 6.3163, 19, 6.1191, 19, 6),
    (2, 19): (7.6644, 7.8422, 21, 7.7209, 21, 7),
    (2, 39): (9.1064, 9.1903, 22, 9.1326, 22, 8),
    (3, 4): (4.5987, 4.9750, 20, 4.6308, 21, 5),
    (3, 9): (6.5314, 6.8640, 23, 6.6164, 24, 6),
    (3, 19): (8.3625, 8.6045, 26, 8.4010, 26, 6),
    (3, 39): (10.0385, 10.2176, 28, 10.0853, 28, 7),
    (4, 4): (4.7285, 5.1978, 25, 4.7978, 26, 5),
    (4, 9): (6.8359, 7.2709, 28, 6.9123, 29, 5),
    (4, 19): (8.8872, 9.2319, 31, 8.9544, 31, 6),
    (4, 39): (10.7944, 11.0623, 33, 10.8926, 34, 6),
}
BACKLOGGED = {
    1: ((3.1666, 3.9703, 4.6666, 5.2891), None),
    4: ((5.0062, 6.2769, 7.3779, 8.3620), (28.01, 29.59, 30.88, 32.01)),
    20: ((10.2576, 12.8612, 15.1171, 17.1338), None),
}
SERIAL = {
    1: (6.8986, 8.3669, 9.6080, 10.7009),
    2: (7.5984, 9.2610, 10.6703, 11.9130),
    3: (8.2059, 10.0367, 11.5919, 12.9648),
    4: (8.7525, 10.7339, 12.4201, 13.9100),
}
MEANS = [3.743, 4.75, 4.555, 3.801, 6.852, 3.425, 2.598, 7.266, 5.902, 4.933]
STDS = [1.765, 2.124, 1.622, 1.405, 1.714, 1.59, 0.879, 2.701, 2.127, 2.391]


# Lost demand


@pytest.mark.parametrize(("lead_time", "underage"), LOST)
def test_lost_sales_table(lead_time, underage):
    optimum, base, base_level, capped, capped_level, cap = LOST[lead_time, underage]
    assert lost_sales_optimum(lead_time, 5.0, underage).cost == pytest.approx(optimum, abs=PRINTED)
    cost, level = best_base_stock(lead_time, 5.0, underage)
    assert level == base_level
    assert cost == pytest.approx(base, abs=PRINTED)
    cost, *best = best_capped_base_stock(lead_time, 5.0, underage)
    assert best == [capped_level, cap]
    assert cost == pytest.approx(capped, abs=PRINTED)


def plain_process(lead_time, mean, underage, most_on_hand, most_ordered):
    """Costs ``[N]`` and transitions ``[N, A, N]`` by the definition, demand by demand, orders free up to a bound.

    Stock beyond the box is thrown away, which no policy worth its cost runs into.
    """
    shape = (most_on_hand + 1,) + (most_ordered + 1,) * (lead_time - 1)
    states = list(np.ndindex(*shape))
    cost, chance = np.zeros(len(states)), np.zeros((len(states), most_ordered + 1, len(states)))
    demands = np.arange(40)
    for s, state in enumerate(states):
        for demand, probability in zip(demands, stats.poisson.pmf(demands, mean)):
            left = state[0] - demand
            cost[s] += probability * (underage * max(-left, 0) + max(left, 0))
            for order in range(most_ordered + 1):
                arriving, *later = (*state[1:], order)
                following = min(max(left, 0) + arriving, most_on_hand), *later
                chance[s, order, np.ravel_multi_index(following, shape)] += probability
    return np.array(states), cost, chance


def average_cost(cost, chance):
    """Average cost of a chain by its stationary distribution."""
    equations = np.vstack([chance.T - np.eye(len(cost)), np.ones(len(cost))])
    return np.linalg.lstsq(equations, np.eye(len(cost) + 1)[-1], rcond=None)[0] @ cost


@pytest.fixture(scope="module", params=[(1, 6.0), (2, 6.0), (2, 0.4)])
def small(request):
    """A system small enough to be written out: lead time, mean, underage, and the process."""
    (lead_time, underage), mean = request.param, 1.3
    return lead_time, mean, underage, plain_process(lead_time, mean, underage, most_on_hand=13, most_ordered=6)


def test_optimum_is_that_of_the_plain_process(small):
    lead_time, mean, underage, (states, cost, chance) = small
    value = np.zeros(len(states))
    for _ in range(300):
        updated = cost + (chance @ value).min(axis=1)
        gain, value = updated - value, updated - updated[0]
    assert np.ptp(gain) < 1e-9
    optimum = lost_sales_optimum(lead_time, mean, underage, tolerance=1e-9)
    assert optimum.cost == pytest.approx(gain[0], abs=1e-8)
    orders = np.asarray(optimum.order(states))
    followed = chance[np.arange(len(states)), orders]
    assert average_cost(cost, followed) == pytest.approx(gain[0], abs=1e-8)
    # Optimal in every state of the box, also in those that the policy never gets into.
    future = chance @ value
    reached = states.sum(axis=1) <= 10  # the box's edge, where the plain process throws stock away, is out of reach
    np.testing.assert_allclose(future[np.arange(len(states)), orders][reached], future.min(axis=1)[reached], atol=1e-7)


@pytest.mark.parametrize(("level", "cap"), [(0, 0), (1, 1), (4, 1), (5, 5), (5, 2), (8, 3)])
def test_cost_of_levels_is_that_of_the_plain_process(small, level, cap):
    lead_time, mean, underage, (states, cost, chance) = small
    orders = np.clip(level - states.sum(axis=1), 0, cap)
    expected = average_cost(cost, chance[np.arange(len(states)), orders])
    found = capped_base_stock_cost(level, cap, lead_time, mean, underage, tolerance=1e-9)
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 39), (2, 4), (2, 39), (3, 9)])
def test_wider_bounds_change_nothing(lead_time, underage):
    narrow = lost_sales_optimum(lead_time, 5.0, underage, tolerance=1e-9)
    wide = lost_sales_optimum(lead_time, 5.0, underage, margin=3, tolerance=1e-9)
    assert wide.cost == pytest.approx(narrow.cost, abs=1e-8)
    assert wide.orders.shape == tuple(n + 3 for n in narrow.orders.shape)
    everything = np.indices(wide.orders.shape).reshape(lead_time, -1).T
    np.testing.assert_array_equal(np.asarray(narrow.order(everything)), wide.orders.ravel())


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 4), (3, 9)])
def test_simulation_of_the_optimal_policy(lead_time, underage):
    """Order, demand, cost, arrivals, from an empty store."""
    optimum = lost_sales_optimum(lead_time, 5.0, underage)
    policy = jax.jit(optimum.order)
    generator = np.random.default_rng(0)
    inventory, costs = np.zeros((20_000, lead_time), int), []
    for _ in range(100):
        order = np.asarray(policy(inventory))
        left = inventory[:, 0] - generator.poisson(5.0, len(inventory))
        costs.append(underage * np.maximum(-left, 0) + np.maximum(left, 0))
        inventory = np.column_stack([inventory[:, 1:], order])  # what is due in a period from now comes first
        inventory[:, 0] += np.maximum(left, 0)
    traces = np.mean(costs[30:], axis=0)
    assert traces.mean() == pytest.approx(optimum.cost, abs=4 * stats.sem(traces))
    assert stats.sem(traces) < 0.002 * optimum.cost


def test_orders_of_inventories():
    optimum = lost_sales_optimum(2, 5.0, 9.0)
    inventory = np.array([[3.4, 5.6, 7.0], [3.0, 6.0, 0.0], [-0.4, 0.0, 1.0]])
    orders = optimum.order(inventory)
    assert orders.dtype == np.int32
    assert orders.tolist() == [optimum.orders[3, 6], optimum.orders[3, 6], optimum.orders[0, 0]]
    assert optimum.order(np.array([[1000, 0], [0, 1000], [20, 14]])).tolist() == [0, 0, 0]
    assert jax.jit(jax.vmap(optimum.order))(inventory).tolist() == orders.tolist()
    assert optimum.order(np.zeros((4, 3, 2))).shape == (4, 3)
    with pytest.raises(InvalidArgument, match="at least 2 entries"):
        optimum.order(np.zeros((5, 1)))


def test_orders_fall_by_at_most_one_a_unit_and_more_for_younger_units():
    """-1 <= the slope in x_{L-1} <= ... <= the slope in x_0 <= 0 (Karlin and Scarf 1958, Morton 1969)."""
    orders = lost_sales_optimum(3, 5.0, 9.0).orders
    slopes = [np.diff(orders, axis=axis)[:7, :7, :7] for axis in range(3)]
    assert slopes[0].max() == 0
    assert (slopes[0] >= slopes[1]).all()
    assert (slopes[1] >= slopes[2]).all()
    assert slopes[2].min() == -1


def test_costs_scale_and_orders_do_not():
    optimum, scaled = lost_sales_optimum(2, 3.0, 7.0, 0.5), lost_sales_optimum(2, 3.0, 14.0, 1.0)
    assert scaled.cost == pytest.approx(2 * optimum.cost, abs=1e-5)
    np.testing.assert_array_equal(scaled.orders, optimum.orders)
    assert best_base_stock(2, 3.0, 14.0).cost == pytest.approx(2 * best_base_stock(2, 3.0, 7.0, 0.5).cost, abs=1e-5)


def test_cheap_shortage_is_left_alone():
    """As p vanishes nothing is ordered, and the cost is that of losing all demand."""
    optimum = lost_sales_optimum(3, 5.0, 1e-4)
    assert optimum.cost == pytest.approx(5e-4, abs=1e-6)
    assert not optimum.orders.any()
    assert best_base_stock(3, 5.0, 1e-4) == pytest.approx((5e-4, 0), abs=1e-6)
    assert best_capped_base_stock(3, 5.0, 1e-4)[0] == pytest.approx(5e-4, abs=1e-6)
    # A first unit is left over with probability exp(-5), so it pays from p (1 - exp(-5)) > h exp(-5) on, p > 0.00678.
    assert not lost_sales_optimum(3, 5.0, 0.0067).orders.any()
    assert lost_sales_optimum(3, 5.0, 0.0069).orders.any()


def test_dear_shortage_approaches_backlogging_from_below():
    def backlogged(underage):
        demand = stats.poisson(15.0)
        d = np.arange(200)
        level = demand.ppf(underage / (underage + 1))
        return demand.pmf(d) @ (underage * np.maximum(d - level, 0) + np.maximum(level - d, 0))

    underages = [1, 10, 100, 1000, 1e6]
    ratios = [lost_sales_optimum(2, 5.0, p).cost / backlogged(p) for p in underages]
    assert all(a < b < 1 for a, b in pairwise(ratios))
    assert ratios[-1] > 0.998
    policies = [best_base_stock(2, 5.0, p).cost / backlogged(p) for p in underages]
    assert all(a <= b < 1 for a, b in zip(ratios, policies))


def test_levels_and_caps():
    cost = base_stock_cost(16, 2, 5.0, 4.0)
    assert capped_base_stock_cost(16, 16, 2, 5.0, 4.0) == cost
    assert capped_base_stock_cost(16, 99, 2, 5.0, 4.0) == cost
    assert base_stock_cost(0, 2, 5.0, 4.0) == pytest.approx(20)
    assert capped_base_stock_cost(16, 0, 2, 5.0, 4.0) == pytest.approx(20)
    # below the level that a cap under the mean demand leaves within reach, orders are constant
    assert capped_base_stock_cost(50, 2, 2, 5.0, 4.0) == pytest.approx(capped_base_stock_cost(60, 2, 2, 5.0, 4.0))


@pytest.mark.parametrize(("mean", "underage"), [(5.0, 9.0), (2.3, 0.3)])
def test_searches_find_what_enumeration_does(mean, underage):
    grid = {
        (level, cap): capped_base_stock_cost(level, cap, 2, mean, underage)
        for level in range(24)
        for cap in [*range(min(level, 10)), level]
    }
    cost, level, cap = best_capped_base_stock(2, mean, underage)
    assert cost == grid[level, cap]
    assert cost == pytest.approx(min(grid.values()), abs=1e-6)
    cost, level = best_base_stock(2, mean, underage)
    assert cost == min(value for (s, r), value in grid.items() if s == r) == grid[level, level]


def test_huge_costs_end_where_float64_does():
    assert lost_sales_optimum(1, 2.0, 1e10, tolerance=1e-12).cost > 0


# Backlogged demand


@pytest.mark.parametrize("lead_time", BACKLOGGED)
def test_backlogged_table(lead_time):
    costs, levels = BACKLOGGED[lead_time]
    found = [backlogged_newsvendor(lead_time, 5.0, 1.6, p) for p in UNDERAGES]
    np.testing.assert_allclose([policy.cost for policy in found], costs, atol=LATTICE, rtol=0)
    if levels is not None:
        np.testing.assert_allclose([policy.level for policy in found], levels, atol=0.0051, rtol=0)


@pytest.mark.parametrize(("mean", "std"), [(5.0, 1.6), (1.0, 2.0)])
def test_clipped_demand_by_quadrature(mean, std):
    """Two periods, the second of which is met from what the first leaves: atom at 0 and density apart."""

    def shortage(y):  # E (max(D, 0) - y)^+ of one period
        u = (max(y, 0.0) - mean) / std
        return std * (stats.norm.pdf(u) - u * stats.norm.sf(u)) + max(-y, 0.0)

    cost, level = backlogged_newsvendor(1, mean, std, 9.0)
    atom = stats.norm.cdf(-mean / std)
    density = stats.norm(mean, std).pdf
    for y, tolerance in ((level, 1e-6), (level + 0.3, None), (level - 0.3, None)):
        rest = integrate.quad(lambda d, y=y: density(d) * shortage(y - d), 0, mean + 12 * std, points=[y], limit=200)[0]
        exact = y - 2 * shortage(0.0) + 10 * (atom * shortage(y) + rest)
        if tolerance:
            assert cost == pytest.approx(exact, rel=tolerance)
        else:
            assert cost < exact


def test_clip_far_away_is_none():
    for lead_time in (1, 6):
        clipped = backlogged_newsvendor(lead_time, 50.0, 1.6, 9.0)
        closed = backlogged_newsvendor(lead_time, 50.0, 1.6, 9.0, clipped=False)
        z, spread = stats.norm.ppf(0.9), 1.6 * np.sqrt(lead_time + 1)
        assert closed == pytest.approx((10 * stats.norm.pdf(z) * spread, 50 * (lead_time + 1) + z * spread))
        assert clipped.cost == pytest.approx(closed.cost, rel=1e-6)
        assert clipped.level == pytest.approx(closed.level, abs=1e-4)


def test_demand_clipped_to_nothing_costs_nothing():
    assert backlogged_newsvendor(2, -100.0, 1.0, 9.0) == pytest.approx((0, 0))


# Chains


@pytest.mark.parametrize("lead_time", SERIAL)
def test_serial_table(lead_time):
    found = [clark_scarf([2, 4, 3, lead_time], [0.1, 0.2, 0.5, 1.0], 5.0, 2.0, p).cost for p in UNDERAGES]
    np.testing.assert_allclose(found, SERIAL[lead_time], atol=LATTICE, rtol=0)


def test_serial_levels():
    levels = clark_scarf([2, 4, 3, 2], [0.1, 0.2, 0.5, 1.0], 5.0, 2.0, 4.0).levels
    np.testing.assert_allclose(levels, [69.52, 59.44, 36.00, 19.44], atol=0.0101, rtol=0)


@pytest.mark.parametrize("clipped", [True, False])
def test_chain_of_one_is_the_newsvendor(clipped):
    chain = clark_scarf([4], [1.5], 5.0, 2.0, 9.0, clipped=clipped)
    store = backlogged_newsvendor(4, 5.0, 2.0, 9.0, 1.5, clipped=clipped)
    assert chain.cost == pytest.approx(store.cost, rel=1e-6)
    assert chain.levels == pytest.approx([store.level], abs=1e-3)


def test_nearly_free_stock_upstream_leaves_the_store_alone():
    """An upstream node that holds for next to nothing never runs out, and the store has its newsvendor's cost."""
    chain = clark_scarf([3, 2], [1e-6, 1.0], 5.0, 1.0, 9.0)
    assert chain.cost == pytest.approx(backlogged_newsvendor(2, 5.0, 1.0, 9.0).cost, rel=1e-4)


def test_stock_under_way_between_nodes_is_a_constant():
    arguments = [2, 4, 3], [0.2, 0.5, 1.0], 5.0, 1.0, 9.0
    free, charged = clark_scarf(*arguments), clark_scarf(*arguments, charge_transit=True)
    np.testing.assert_array_equal(free.levels, charged.levels)
    assert charged.cost - free.cost == pytest.approx(5.0 * (0.2 * 4 + 0.5 * 3), abs=1e-4)


def test_simulation_of_echelon_levels():
    """All nodes order at once, a node ships from what it has on hand, stock under way is free."""
    leads, holding, underage = [2, 4, 3, 2], np.array([0.1, 0.2, 0.5, 1.0]), 4.0
    cost, levels = clark_scarf(leads, holding, 5.0, 2.0, underage)
    generator = np.random.default_rng(0)
    traces, nodes = 4000, len(leads)
    on_hand = np.zeros((traces, nodes)) + np.diff(levels[::-1], prepend=0.0)[::-1]  # each echelon starts at its level
    coming = [np.zeros((traces, lead)) for lead in leads]  # due in 1, 2, ... periods
    costs = []
    for _ in range(250):
        stock = on_hand + np.column_stack([c.sum(axis=1) for c in coming])
        echelon = np.cumsum(stock[:, ::-1], axis=1)[:, ::-1]
        available = np.column_stack([np.full(traces, np.inf), on_hand[:, :-1]])
        orders = np.minimum(np.maximum(levels - echelon, 0), available)
        demand = np.maximum(generator.normal(5.0, 2.0, traces), 0)
        left = on_hand - np.column_stack([orders[:, 1:], demand])
        costs.append(np.maximum(left, 0) @ holding + underage * np.maximum(-left[:, -1], 0))
        for k in range(nodes):
            coming[k][:, -1] += orders[:, k]
            on_hand[:, k] = left[:, k] + coming[k][:, 0]
            coming[k] = np.column_stack([coming[k][:, 1:], np.zeros(traces)])
    means = np.mean(costs[50:], axis=0)
    assert means.mean() == pytest.approx(cost, abs=4 * stats.sem(means))
    assert stats.sem(means) < 0.005 * cost


# Transshipment


@pytest.mark.parametrize(
    ("stores", "lead_time", "correlation", "underage", "cost"),
    [
        (5, 2, 0.0, 4, 4.5912),
        (5, 2, 0.0, 9, 5.7561),
        (5, 2, 0.5, 4, 5.2964),
        (5, 2, 0.5, 9, 6.6402),
        (5, 6, 0.0, 4, 6.6655),
        (5, 6, 0.0, 9, 8.3567),
        (5, 6, 0.5, 4, 7.1695),
        (5, 6, 0.5, 9, 8.9886),
        (10, 6, 0.5, 9, 9.4609),
        (3, 2, 0.0, 4, 5.1514),
    ],
)
def test_transshipment_table(stores, lead_time, correlation, underage, cost):
    bound = transshipment_bound(MEANS[:stores], STDS[:stores], correlation, 3, lead_time, underage)
    assert bound.cost_per_store == pytest.approx(cost, abs=PRINTED)
    assert bound.cost == pytest.approx(stores * cost, abs=stores * PRINTED)


def test_bound_is_the_cost_of_free_rebalancing():
    """At the moment of a shipment all stock is dealt out so that all stores run the same risk."""
    means, stds = np.array(MEANS[:3]), np.array(STDS[:3])
    bound = transshipment_bound(means, stds, 0.5, 3, 2, 9.0)
    generator = np.random.default_rng(0)
    covariance = np.outer(stds, stds) * (0.5 + 0.5 * np.eye(3))
    before = generator.multivariate_normal(3 * means, 3 * covariance, 200_000)
    after = generator.multivariate_normal(3 * means, 3 * covariance, 200_000)
    spare = bound.level - before.sum(axis=1) - 3 * means.sum()
    left = 3 * means + spare[:, None] * stds / stds.sum() - after
    costs = (9 * np.maximum(-left, 0) + np.maximum(left, 0)).sum(axis=1)
    assert costs.mean() == pytest.approx(bound.cost, abs=4 * stats.sem(costs))


def test_stores_that_are_one():
    """One store has the two lead times in a row; stores that always demand the same are as many of them."""
    single = backlogged_newsvendor(3 + 2, 5.0, 1.5, 9.0, clipped=False)
    assert transshipment_bound([5.0], [1.5], 0.0, 3, 2, 9.0) == pytest.approx((single.cost, single.cost, single.level))
    alike = transshipment_bound([5.0] * 4, [1.5] * 4, 1.0, 3, 2, 9.0)
    assert alike == pytest.approx((4 * single.cost, single.cost, 4 * single.level))
    costs = [transshipment_bound([5.0] * 4, [1.5] * 4, rho, 3, 2, 9.0).cost for rho in (-1 / 3, 0.0, 0.5, 1.0)]
    assert costs == sorted(costs)


# Mistakes


LOST_SALES = {"lead_time": 2, "mean_demand": 5.0, "underage": 4.0, "holding": 1.0}
NEWSVENDOR = {"lead_time": 2, "mean": 5.0, "std": 1.6, "underage": 4.0, "holding": 1.0}
CHAIN = {"lead_times": [2, 3], "holding": [0.5, 1.0], "mean": 5.0, "std": 2.0, "underage": 4.0}
STORES = {
    **{"means": [5.0, 6.0, 4.0], "stds": [1.0, 2.0, 1.0], "correlation": 0.5},
    **{"warehouse_lead_time": 3, "lead_time": 2, "underage": 4.0},
}


@pytest.mark.parametrize("function", [lost_sales_optimum, best_base_stock, best_capped_base_stock])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("lead_time", 0),
        ("lead_time", -1),
        ("lead_time", 1.5),
        ("lead_time", float("nan")),
        ("lead_time", 40),
        ("mean_demand", 0.0),
        ("mean_demand", float("nan")),
        ("underage", 0.0),
        ("underage", -1.0),
        ("underage", float("inf")),
        ("holding", 0.0),
        ("holding", -0.5),
        ("tolerance", 0.0),
    ],
)
def test_refused_lost_sales(function, argument, value):
    with pytest.raises(InvalidArgument, match=f"^{argument}={value}: "):
        function(**LOST_SALES | {argument: value})


@pytest.mark.parametrize(
    ("function", "arguments", "argument"),
    [
        (lost_sales_optimum, LOST_SALES | {"margin": -1}, "margin"),
        (base_stock_cost, LOST_SALES | {"level": -1}, "level"),
        (base_stock_cost, LOST_SALES | {"level": 2.5}, "level"),
        (capped_base_stock_cost, LOST_SALES | {"level": 12, "cap": -1}, "cap"),
        (capped_base_stock_cost, LOST_SALES | {"level": 12, "cap": float("inf")}, "cap"),
        (lost_sales_optimum, LOST_SALES | {"lead_time": 60, "mean_demand": 0.01}, "lead_time"),
        (backlogged_newsvendor, NEWSVENDOR | {"lead_time": 0}, "lead_time"),
        (backlogged_newsvendor, NEWSVENDOR | {"std": 0.0}, "std"),
        (backlogged_newsvendor, NEWSVENDOR | {"mean": float("nan")}, "mean"),
        (backlogged_newsvendor, NEWSVENDOR | {"underage": -4.0}, "underage"),
        (backlogged_newsvendor, NEWSVENDOR | {"holding": 0.0}, "holding"),
        (clark_scarf, CHAIN | {"lead_times": [0, 3]}, "lead_time"),
        (clark_scarf, CHAIN | {"lead_times": [1, 2, 3]}, "holding"),
        (clark_scarf, CHAIN | {"lead_times": [], "holding": []}, "holding"),
        (clark_scarf, CHAIN | {"holding": [1.0, 0.5]}, "holding"),
        (clark_scarf, CHAIN | {"holding": [1.0, 1.0]}, "holding"),
        (clark_scarf, CHAIN | {"holding": [-0.5, 1.0]}, "holding"),
        (clark_scarf, CHAIN | {"std": -1.0}, "std"),
        (clark_scarf, CHAIN | {"underage": 0.0}, "underage"),
        (transshipment_bound, STORES | {"means": [5.0]}, "means"),
        (transshipment_bound, STORES | {"stds": [1.0, 0.0, 1.0]}, "stds"),
        (transshipment_bound, STORES | {"correlation": 1.1}, "correlation"),
        (transshipment_bound, STORES | {"correlation": -0.6}, "correlation"),
        (transshipment_bound, STORES | {"warehouse_lead_time": 0}, "warehouse_lead_time"),
        (transshipment_bound, STORES | {"lead_time": 0}, "lead_time"),
        (transshipment_bound, STORES | {"underage": 0.0}, "underage"),
    ],
)
def test_refused(function, arguments, argument):
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        function(**arguments)

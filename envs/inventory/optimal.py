"""Optimal and best heuristic costs of inventory systems, computed without simulation.

One store: ``lost_sales_optimum``, ``best_base_stock`` and ``best_capped_base_stock`` for lost demand,
``backlogged_newsvendor`` for backlogged demand. Networks: ``clark_scarf`` for a store behind a chain of suppliers,
``transshipment_bound`` for many stores behind one warehouse.

Time runs as in the environments of this package. In a period orders are placed with the stock on hand in sight, then
demand is met from it, then holding and shortage are charged on what is left, then what is due arrives. An order of
period t first serves the demand of period t + lead time. All costs are long-run averages per period, in money; stock,
demand and orders are in units, lead times in whole periods.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal, sparse, stats

from jaxrl.errors import InvalidArgument

MOST_INVENTORIES = 2**23
MOST_TRANSITIONS = 2**27
"""larger tables, of more than about 5 GiB, are refused"""
STEP = 0.8
"""of value iteration: below 1, since demand that takes all there is, period by period, makes nearly periodic chains"""
LATTICE = 500
"""lattice points in a standard deviation of the demand of one period"""
REACH = 9
"""standard deviations from a period's mean to the ends of its lattice"""
NEGLIGIBLE = 1e-15
"""probability that is cut off at either end of a lattice of several periods"""


class BaseStock(NamedTuple):
    """A base-stock policy: order what the stock on hand and under way lacks to ``level``."""

    cost: float
    level: float


class CappedBaseStock(NamedTuple):
    """A capped base-stock policy: order what the stock on hand and under way lacks to ``level``, at most ``cap``."""

    cost: float
    level: int
    cap: int


class EchelonBaseStock(NamedTuple):
    """A base-stock policy of a chain: each node orders what its echelon's stock lacks to its level."""

    cost: float
    levels: np.ndarray
    """``[K]``, the top of the chain first, the store last"""


class TransshipmentBound(NamedTuple):
    """A cost that no policy can beat."""

    cost: float
    """of all stores together"""
    cost_per_store: float
    level: float
    """base-stock level of all stock in the system, at which the relaxed system attains the bound"""


class LostSalesOptimum(NamedTuple):
    """The optimal policy of a store that loses the demand it cannot meet."""

    cost: float
    orders: np.ndarray
    """int ``[X_0, X_1, ...]``, one axis for each period of the lead time: what to order with x_0 units on hand, x_1 due
    in one period, and so on"""

    def order(self, inventory: jax.Array | np.ndarray) -> jax.Array:
        """Optimal orders for inventories, also under ``jit`` and ``vmap``.

        Args:
            inventory: ``[..., n]`` units on hand, due in one period, in two and so on, n >= lead time. Fractions are
                rounded to the nearest integer; entries from the lead time on are not read.

        Returns:
            ``[...]`` int32. 0 for inventories outside the table: they hold so much that not to order is optimal.
        """
        lead_time = self.orders.ndim
        stock = jnp.rint(jnp.atleast_1d(inventory)[..., :lead_time]).astype(jnp.int32)
        if stock.shape[-1] < lead_time:
            raise InvalidArgument("inventory", stock.shape, f"must have at least {lead_time} entries on its last axis")
        stock = jnp.maximum(stock, 0)
        inside = (stock < jnp.array(self.orders.shape)).all(axis=-1)
        found = jnp.asarray(self.orders, jnp.int32)[tuple(jnp.moveaxis(stock, -1, 0))]  # out of bounds is clamped
        return jnp.where(inside, found, 0)


class _Process(NamedTuple):
    """A decision process whose N states are the inventories before an order, with M pairs of a state and an order."""

    states: np.ndarray
    """int ``[N, L]``: on hand, due in one period, ..."""
    orders: np.ndarray
    """int ``[M]``, by state"""
    first: np.ndarray
    """int ``[N]``: each state's first pair"""
    transition: sparse.csr_matrix
    """``[M, N]`` probabilities"""
    cost: np.ndarray
    """``[N]`` expected cost of a period; an order does not change its own period's"""


def lost_sales_optimum(
    lead_time: int,
    mean_demand: float,
    underage: float,
    holding: float = 1.0,
    *,
    margin: int = 0,
    tolerance: float = 1e-6,
) -> LostSalesOptimum:
    """The optimal cost and policy of one store with Poisson demand that is lost if it cannot be met.

    By relative value iteration over the inventories (x_0 on hand, x_1 due in one period, ..., x_{L-1}) and integer
    orders. Let b_n be the newsvendor's level for the demand of n periods, the least b with P(D_n <= b) >= p / (p + h).
    When an order q arrives, at least x_l + ... + x_{L-1} + q is on hand but for the demand of L - l periods, for any l
    from 0 to L. If that sum is more than b_{L-l+1}, then the last unit of q is left over in its first period with a
    probability of at least p / (p + h), and is better ordered later (Morton 1969, Zipkin 2008a). So only states and
    orders within these L + 1 bounds are needed; outside, the optimal order is 0.

    Args:
        lead_time: L >= 1.
        mean_demand: mean of the demand of a period, in units.
        underage: p, cost of a unit of lost demand.
        holding: h, cost of a unit left over at the end of a period.
        margin: units by which to widen all bounds, to check that nothing changes.
        tolerance: the span, between states, of the last iteration's change of the relative values. The cost is within
            half of it.

    Returns:
        The cost per period, and the table of orders, the lower of two equally good ones.

    Raises:
        InvalidArgument: if a cost or the mean demand is not positive, or the lead time less than 1 or so long that the
            table would not fit. With a mean demand of 5 units L = 4 takes less than a second, L = 5 some 5 s and 2 GB.

    Sources: Morton, "Bounds on the solution of the lagged optimal inventory equation with no demand backlogging and
    proportional costs", SIAM Review 11 (1969); Zipkin, "On the structure of lost-sales inventory models" (a) and "Old
    and new methods for lost-sales inventory systems" (b), Operations Research 56 (2008).

    Example:
        >>> optimum = lost_sales_optimum(lead_time=2, mean_demand=5.0, underage=4.0)
        >>> round(optimum.cost, 4)
        4.3953
        >>> optimum.order(np.array([[0, 0], [5, 5], [20, 0]])).tolist()
        [6, 5, 0]
    """
    _check_store(lead_time, underage, holding, mean_demand=mean_demand, tolerance=tolerance)
    _check_integer("margin", margin, 0)
    demands = mean_demand * np.arange(lead_time + 1, 0, -1)  # from x_l's arrival to the order's own period, by l
    bounds = stats.poisson.ppf(underage / (underage + holding), demands).astype(int) + margin
    if (entries := np.prod(bounds[:-1] + 1.0)) > MOST_TRANSITIONS:
        raise InvalidArgument("lead_time", lead_time, f"makes a table of {entries:.0e} orders")
    states = _inventories(bounds[:-1], bounds[0])
    largest = bounds[-1] * np.ones(len(states), int)
    for position, bound in zip(_positions(states).T, bounds):
        largest = np.minimum(largest, bound - position)
    process = _process(states, np.zeros_like(largest), largest, mean_demand, underage, holding)
    cost, value = _relative_value_iteration(process, tolerance)
    future = process.transition @ value
    least = np.repeat(np.minimum.reduceat(future, process.first), np.diff(process.first, append=len(future)))
    good = np.flatnonzero(future <= least + tolerance)
    chosen = process.orders[good[np.searchsorted(good, process.first)]]  # each state's first good pair
    orders = np.zeros(bounds[:-1] + 1, np.int32)
    orders[tuple(states.T)] = chosen
    return LostSalesOptimum(cost, orders)


def base_stock_cost(
    level: int, lead_time: int, mean_demand: float, underage: float, holding: float = 1.0, *, tolerance: float = 1e-6
) -> float:
    """Cost of the base-stock policy of an integer level in the system of ``lost_sales_optimum``.

    Args:
        level: S >= 0, stock on hand and under way that orders restore.
        lead_time, mean_demand, underage, holding, tolerance: as in ``lost_sales_optimum``.

    Raises:
        InvalidArgument: as ``lost_sales_optimum``, and for a negative level.

    Example:
        >>> round(base_stock_cost(12, lead_time=1, mean_demand=5.0, underage=4.0), 4)
        4.1628
    """
    return capped_base_stock_cost(level, level, lead_time, mean_demand, underage, holding, tolerance=tolerance)


def capped_base_stock_cost(
    level: int,
    cap: int,
    lead_time: int,
    mean_demand: float,
    underage: float,
    holding: float = 1.0,
    *,
    tolerance: float = 1e-6,
) -> float:
    """Cost of a capped base-stock policy of integer level and cap in the system of ``lost_sales_optimum``.

    Args:
        level: S >= 0, stock on hand and under way that orders restore as far as the cap allows.
        cap: r >= 0, the largest order.
        lead_time, mean_demand, underage, holding, tolerance: as in ``lost_sales_optimum``.

    Raises:
        InvalidArgument: as ``lost_sales_optimum``, and for a negative level or cap.

    Source: Xin, "Understanding the performance of capped base-stock policies in lost-sales inventory models",
    Operations Research 69 (2021).

    Example:
        >>> round(capped_base_stock_cost(12, 6, lead_time=1, mean_demand=5.0, underage=4.0), 4)
        4.0654
    """
    _check_store(lead_time, underage, holding, mean_demand=mean_demand, tolerance=tolerance)
    _check_integer("level", level, 0)
    _check_integer("cap", cap, 0)
    return _base_stock_cost(int(level), int(cap), lead_time, mean_demand, underage, holding, tolerance, np.inf)


def _base_stock_cost(level, cap, lead_time, mean_demand, underage, holding, tolerance, enough):
    """The cost of a capped base-stock policy, or a lower bound on it that is more than ``enough``."""
    states = _inventories(np.full(lead_time, level), cap)
    order = np.minimum(level - states.sum(axis=1), cap)
    process = _process(states, order, order, mean_demand, underage, holding)
    return _relative_value_iteration(process, tolerance, enough)[0]


def best_base_stock(
    lead_time: int, mean_demand: float, underage: float, holding: float = 1.0, *, tolerance: float = 1e-6
) -> BaseStock:
    """The best integer base-stock level in the system of ``lost_sales_optimum``, and its cost.

    The cost is convex in the level (Janakiraman and Roundy 2004), and the best level is at most that of backlogged
    demand, the newsvendor's for the demand of L + 1 periods. So the search goes down from there.

    Args:
        lead_time, mean_demand, underage, holding, tolerance: as in ``lost_sales_optimum``.

    Raises:
        InvalidArgument: as ``lost_sales_optimum``.

    Source: Janakiraman and Roundy, "Lost-sales problems with stochastic lead times: convexity results for base-stock
    policies", Operations Research 52 (2004).

    Example:
        >>> cost, level = best_base_stock(lead_time=1, mean_demand=5.0, underage=9.0)
        >>> round(cost, 4), level
        (5.5475, 13)
    """
    _check_store(lead_time, underage, holding, mean_demand=mean_demand, tolerance=tolerance)
    highest = int(stats.poisson.ppf(underage / (underage + holding), (lead_time + 1) * mean_demand))
    best = BaseStock(np.inf, highest)
    for level in range(highest, -1, -1):
        cost = _base_stock_cost(level, level, lead_time, mean_demand, underage, holding, tolerance, best.cost)
        if cost >= best.cost:
            break
        best = BaseStock(cost, level)
    return best


def best_capped_base_stock(
    lead_time: int, mean_demand: float, underage: float, holding: float = 1.0, *, tolerance: float = 1e-6
) -> CappedBaseStock:
    """The best integer level and cap of a capped base-stock policy in the system of ``lost_sales_optimum``.

    The search goes from the best base-stock level and the largest order that an optimal policy may place to a pair that
    none of its eight neighbours beats. It is not proved that such a pair is the best of all, but enumeration found none
    better in 52 systems with L <= 3, means of 0.3 to 9 and p of 0.15 h to 140 h.

    Args:
        lead_time, mean_demand, underage, holding, tolerance: as in ``lost_sales_optimum``.

    Raises:
        InvalidArgument: as ``lost_sales_optimum``.

    Example:
        >>> cost, level, cap = best_capped_base_stock(lead_time=1, mean_demand=5.0, underage=9.0)
        >>> round(cost, 4), level, cap
        (5.4812, 14, 6)
    """
    level = best_base_stock(lead_time, mean_demand, underage, holding, tolerance=tolerance).level
    cap = int(stats.poisson.ppf(underage / (underage + holding), mean_demand))
    best = CappedBaseStock(np.inf, int(level), cap)
    moves = [(0, 0), (0, -1), (1, 0), (-1, 0), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)]
    tried, ahead = set(), iter(moves)
    while (move := next(ahead, None)) is not None:
        pair = best.level + move[0], best.cap + move[1]
        if pair in tried or min(pair) < 0:
            continue
        tried.add(pair)
        cost = _base_stock_cost(*pair, lead_time, mean_demand, underage, holding, tolerance, best.cost)
        if cost < best.cost - tolerance:
            best, ahead = CappedBaseStock(cost, *pair), iter(moves)
    return best


def _check_store(lead_time, underage, holding, **positive):
    """Refuses a lead time below 1 and what is not positive."""
    _check_integer("lead_time", lead_time, 1)
    for name, value in {"underage": underage, "holding": holding, **positive}.items():
        if not 0 < value < np.inf:
            raise InvalidArgument(name, value, "must be positive and finite")


def _check_finite(name, value):
    """Refuses NaN and infinity."""
    if not np.isfinite(value).all():
        raise InvalidArgument(name, np.asarray(value).tolist(), "must be finite")


def _check_integer(name, value, least):
    """Refuses what is not an integer of at least ``least``."""
    if not float(value).is_integer() or value < least:
        raise InvalidArgument(name, value, f"must be an integer of at least {least}")


def _counted(counts):
    """0, 1, ..., c - 1 for every c of ``counts``, one after the other."""
    ends = np.cumsum(counts, dtype=np.int32)
    return np.arange(ends[-1], dtype=np.int32) - np.repeat(ends - counts.astype(np.int32), counts)


def _positions(states):
    """``[N, L]``: the units of each inventory ``[N, L]`` from x_l on."""
    return np.cumsum(states[:, ::-1], axis=1)[:, ::-1]


def _inventories(bounds, cap):
    """All inventories ``[N, L]`` with positions from x_l on of at most ``bounds[l]`` and no more than ``cap`` under way
    in any one period. On hand varies fastest, so inventories that differ in nothing else are neighbours."""
    states = np.zeros((1, 0), np.int32)
    for at in reversed(range(len(bounds))):
        room = bounds[at] - states.sum(axis=1)
        counts = 1 + (np.minimum(room, cap) if at else room)
        if counts.sum() > MOST_INVENTORIES:
            raise InvalidArgument("lead_time", len(bounds), f"has over {MOST_INVENTORIES} inventories to look at")
        states = np.column_stack([_counted(counts), np.repeat(states, counts, axis=0)])
    return states


def _process(states, least, most, mean_demand, underage, holding) -> _Process:
    """The process of one store that may order ``least`` to ``most`` ``[N]`` in its states ``[N, L]``."""
    base, lead_time = int(states.max()) + 1, states.shape[1]
    if base**lead_time > np.iinfo(np.int64).max:
        raise InvalidArgument("lead_time", lead_time, "is too long to number all inventories")
    radix = base ** np.arange(lead_time)  # so that the states' keys ascend
    counts = most - least + 1
    pair_state = np.repeat(np.arange(len(states)), counts)
    orders = least[pair_state] + _counted(counts)
    sold_out = np.column_stack([states[pair_state, 1:], orders])  # the next inventory if demand took all on hand
    next_of_sold_out = np.searchsorted(states @ radix, sold_out @ radix).astype(np.int32)

    on_hand = np.arange(states[:, 0].max() + 1)
    demand = stats.poisson.pmf(on_hand, mean_demand)
    surplus = np.array([demand[:x] @ np.arange(x, 0, -1) for x in on_hand])  # E (x - D)^+
    period_cost = underage * (mean_demand - on_hand + surplus) + holding * surplus
    # left[x, z] = P((x - D)^+ = z)
    left = np.where(on_hand <= on_hand[:, None], demand[np.abs(on_hand[:, None] - on_hand)], 0.0)
    left[:, 0] = stats.poisson.sf(on_hand - 1, mean_demand)

    leftovers = states[pair_state, 0] + 1
    if leftovers.sum() > MOST_TRANSITIONS:
        raise InvalidArgument("lead_time", lead_time, f"has over {MOST_TRANSITIONS} transitions to look at")
    z = _counted(leftovers)
    transition = sparse.csr_matrix(
        (
            left[np.repeat(leftovers - 1, leftovers), z],
            np.repeat(next_of_sold_out, leftovers) + z,
            np.concatenate([[0], np.cumsum(leftovers)]),
        ),
        shape=(len(orders), len(states)),
    )
    return _Process(states, orders, np.cumsum(counts) - counts, transition, period_cost[states[:, 0]])


def _relative_value_iteration(process, tolerance, enough=np.inf):
    """Average cost of a period, within ``tolerance`` / 2, and relative values ``[N]`` of the best allowed orders. Stops
    as soon as the cost is known to be more than ``enough``, with a lower bound in its place."""
    value = np.zeros(len(process.cost))
    while True:
        change = process.cost + np.minimum.reduceat(process.transition @ value, process.first) - value
        low, high = change.min(), change.max()
        smallest = 64 * np.finfo(float).eps * np.abs(value).max()  # no smaller span can be told from rounding
        if high - low < max(tolerance, smallest):
            return float(low + high) / 2, value
        if low > enough:
            return float(low), value
        value += STEP * change
        value -= value[0]


def backlogged_newsvendor(
    lead_time: int, mean: float, std: float, underage: float, holding: float = 1.0, *, clipped: bool = True
) -> BaseStock:
    """The optimal base-stock level and cost of one store with normal demand that is backlogged if it cannot be met.

    What is left at the end of a period is the level less the demand of the last L + 1 periods, so the problem is the
    newsvendor's for that demand. Without clipping its cost is (p + h) phi(z) sigma sqrt(L + 1) and its level
    mu (L + 1) + z sigma sqrt(L + 1), with z = Phi^-1(p / (p + h)).

    Args:
        lead_time: L >= 1.
        mean, std: mu and sigma of the normal demand of a period before clipping, in units.
        underage: p, cost of a unit backlogged at the end of a period.
        holding: h, cost of a unit left over at the end of a period.
        clipped: whether each period's demand is max(0, normal). The distribution of the sum is then made by convolution
            on a lattice, which gives the cost to within a part in a million.

    Raises:
        InvalidArgument: if a cost or the deviation is not positive, or the lead time less than 1.

    Example:
        >>> cost, level = backlogged_newsvendor(lead_time=4, mean=5.0, std=1.6, underage=4.0)
        >>> round(cost, 4), round(level, 2)
        (5.0062, 28.01)
    """
    _check_store(lead_time, underage, holding, std=std)
    _check_finite("mean", mean)
    periods = lead_time + 1
    if not clipped:
        z = stats.norm.ppf(underage / (underage + holding))
        spread = std * np.sqrt(periods)
        return BaseStock(float((underage + holding) * stats.norm.pdf(z) * spread), float(mean * periods + z * spread))
    demand = _lattice(mean, std, periods, clipped)
    levels = demand.step * (demand.first + np.arange(len(demand.mass)))
    cost = holding * (levels - demand.mean) + (underage + holding) * _shortage(demand, levels)
    return _least(levels, cost)


def clark_scarf(
    lead_times: np.ndarray,
    holding: np.ndarray,
    mean: float,
    std: float,
    underage: float,
    *,
    clipped: bool = True,
    charge_transit: bool = False,
) -> EchelonBaseStock:
    """The optimal echelon base-stock levels and cost of a chain of K nodes, the last of them a store that backlogs.

    The echelon stock of a node is what is on hand there and downstream of it or under way between them, less backlogs.
    With echelon holding costs e_k, lead times L_k and D_n the demand of n periods, numbered from the store, k = 1, up:

        G_1(y) = E[e_1 (y - D_{L_1 + 1}) + (p + h_1) (D_{L_1 + 1} - y)^+]
        G_k(y) = e_k (y - mu (L_k + 1)) + E[G_{k-1}(min(S_{k-1}, y - D_{L_k}))]

    where S_k minimises G_k, and the least value of the last one is the cost (Clark and Scarf 1960; for average costs
    Federgruen and Zipkin 1984). Expectations are convolutions on a lattice, which give the cost to within a part in a
    million.

    Args:
        lead_times: ``[K]`` L >= 1 periods from the supplier to the node, the top of the chain first, the store last.
        holding: ``[K]`` h, cost of a unit at the node at the end of a period, in the same order and increasing.
        mean, std: of the store's normal demand of a period before clipping, in units.
        underage: p, cost of a unit backlogged at the end of a period.
        clipped: whether each period's demand is max(0, normal).
        charge_transit: whether units on their way from one node to the next cost what they did at the former. Otherwise
            they are free, which changes the cost by a constant and the levels not at all.

    Returns:
        The cost per period and the levels ``[K]``, the top first.

    Raises:
        InvalidArgument: if a cost or the deviation is not positive, a lead time less than 1, the holding costs do not
            increase, or there are not as many as lead times.

    Sources: Clark and Scarf, "Optimal policies for a multi-echelon inventory problem", Management Science 6 (1960);
    Federgruen and Zipkin, "Computational issues in an infinite-horizon, multiechelon inventory model", Operations
    Research 32 (1984).

    Example:
        >>> cost, levels = clark_scarf([2, 4, 3, 2], [0.1, 0.2, 0.5, 1.0], mean=5.0, std=2.0, underage=4.0)
        >>> round(cost, 4), levels.round(1).tolist()
        (7.5984, [69.5, 59.4, 36.0, 19.4])
    """
    lead_times, holding = np.atleast_1d(lead_times), np.atleast_1d(np.asarray(holding, float))
    if lead_times.shape != holding.shape or lead_times.ndim != 1 or not lead_times.size:
        allowed = f"must have one entry for each of the lead times, {lead_times.tolist()}, and at least one"
        raise InvalidArgument("holding", holding.tolist(), allowed)
    for lead_time, cost in zip(lead_times, holding):
        _check_store(lead_time, underage, cost, std=std)
    _check_finite("mean", mean)
    echelon_holding = np.diff(holding, prepend=0.0)[::-1]  # store first, as the recursion goes
    if (echelon_holding <= 0).any():
        raise InvalidArgument("holding", holding.tolist(), "must increase from the top of the chain to the store")
    leads = lead_times[::-1].astype(int)
    one = _lattice(mean, std, 1, clipped)
    store = _lattice(mean, std, leads[0] + 1, clipped)
    upstream = [_lattice(mean, std, lead, clipped) for lead in leads[1:]]

    # Every convolution takes points off both ends, so the first echelon starts with room for all.
    reach = 2 * sum(abs(demand.first) + len(demand.mass) for demand in (store, *upstream))
    start, size = -reach, 2 * reach + 1
    y = one.step * (start + np.arange(size))
    total = echelon_holding[0] * (y - store.mean) + (underage + holding[-1]) * _shortage(store, y)
    best = [_least(y, total)]
    for demand, lead, rate in zip(upstream, leads[1:], echelon_holding[1:]):
        induced = np.where(y < best[-1].level, total, best[-1].cost)
        future = signal.fftconvolve(induced, demand.mass, mode="valid")
        start += demand.first + len(demand.mass) - 1
        y = one.step * (start + np.arange(len(future)))
        total = rate * (y - one.mean * (lead + 1)) + future
        best.append(_least(y, total))
    in_transit = 0.0 if charge_transit else one.mean * (holding[:-1] @ lead_times[1:])
    return EchelonBaseStock(best[-1].cost - float(in_transit), np.array([node.level for node in reversed(best)]))


def transshipment_bound(
    means: np.ndarray,
    stds: np.ndarray,
    correlation: float,
    warehouse_lead_time: int,
    lead_time: int,
    underage: float,
    holding: float = 1.0,
) -> TransshipmentBound:
    """A lower bound on the cost of K stores that backlog, behind a warehouse that keeps no stock.

    The warehouse ships all that it receives at once. If it could also take stock back, every shipment would leave all
    stores with the same risk of shortage, and the system would be one store with normal demand of the variance

        L_w sum_ij cov_ij + (L + 1) (sum_k sigma_k)^2

    since the periods before the shipment pool the stores' demands and the L + 1 after it do not. Its newsvendor cost
    (p + h) phi(z) sqrt(variance), z = Phi^-1(p / (p + h)), bounds that of the system that cannot take stock back
    (Federgruen and Zipkin 1984). Demand is independent between periods, and not clipped at 0.

    Args:
        means, stds: ``[K]`` of the stores' demands of a period, in units.
        correlation: of the demands of any two stores in a period.
        warehouse_lead_time: L_w >= 1 periods from the supplier to the warehouse.
        lead_time: L >= 1 periods from the warehouse to each store.
        underage: p, cost of a unit backlogged at the end of a period.
        holding: h, cost of a unit at a store at the end of a period.

    Raises:
        InvalidArgument: if a cost or a deviation is not positive, a lead time less than 1, the correlation one that K
            variables cannot have, or there are not as many means as deviations.

    Source: Federgruen and Zipkin, "Approximations of dynamic, multilocation production and inventory problems",
    Management Science 30 (1984).

    Example:
        >>> bound = transshipment_bound([4.0, 6.0], [1.0, 2.0], 0.5, warehouse_lead_time=3, lead_time=2, underage=4.0)
        >>> round(bound.cost, 4), round(bound.level, 2)
        (9.6982, 65.83)
    """
    means, stds = np.atleast_1d(np.asarray(means, float)), np.atleast_1d(np.asarray(stds, float))
    if means.shape != stds.shape or means.ndim != 1:
        raise InvalidArgument("means", means.tolist(), f"must have one entry for each deviation, {stds.tolist()}")
    for std in stds:
        _check_store(lead_time, underage, holding, stds=float(std))
    _check_finite("means", means)
    _check_integer("warehouse_lead_time", warehouse_lead_time, 1)
    others = max(len(stds) - 1, 1)
    if not -1 / others <= correlation <= 1:
        raise InvalidArgument("correlation", correlation, f"must be from -1/{others} to 1 for {len(stds)} stores")
    pooled = correlation * stds.sum() ** 2 + (1 - correlation) * (stds**2).sum()
    spread = np.sqrt(warehouse_lead_time * pooled + (lead_time + 1) * stds.sum() ** 2)
    z = stats.norm.ppf(underage / (underage + holding))
    cost = float((underage + holding) * stats.norm.pdf(z) * spread)
    level = float((warehouse_lead_time + lead_time + 1) * means.sum() + z * spread)
    return TransshipmentBound(cost, cost / len(stds), level)


class _Lattice(NamedTuple):
    """A distribution on the multiples of ``step``."""

    step: float
    first: int
    """its least value, in steps"""
    mass: np.ndarray
    """``[N]``"""
    mean: float


def _lattice(mean, std, periods, clipped) -> _Lattice:
    """The demand of some periods, normal in each, on a lattice that does not depend on the number of periods."""
    step = std / LATTICE
    low, high = round(mean / step) - REACH * LATTICE, round(mean / step) + REACH * LATTICE
    if clipped:
        low, high = max(low, 0), max(high, 0)
    edges = (step * (np.arange(low, high) + 0.5) - mean) / std
    mass = np.diff(stats.norm.cdf(edges), prepend=0.0, append=1.0)  # what is below the lattice goes to its first point
    size = periods * (len(mass) - 1) + 1
    mass = np.maximum(np.fft.irfft(np.fft.rfft(mass, size) ** periods, size), 0.0)
    inside = np.flatnonzero((np.cumsum(mass) > NEGLIGIBLE) & (np.cumsum(mass[::-1])[::-1] > NEGLIGIBLE))
    first, mass = periods * low + inside[0], mass[inside[0] : inside[-1] + 1]
    return _Lattice(step, int(first), mass, float(step * (first + np.arange(len(mass))) @ mass))


def _shortage(demand, y):
    """E (D - y)^+ at every y."""
    above = np.cumsum(demand.mass[::-1])[::-1] - demand.mass  # P(D > d)
    lattice = demand.step * (demand.first + np.arange(len(above)))
    shortage = demand.step * np.cumsum(above[::-1])[::-1]
    return np.where(y < lattice[0], demand.mean - y, np.interp(y, lattice, shortage, right=0.0))


def _least(y, cost) -> BaseStock:
    """The least of a convex function on a lattice, its place refined by the parabola through its neighbours."""
    at = int(np.argmin(cost))
    level = y[at]
    if 0 < at < len(y) - 1:
        before, here, after = cost[at - 1 : at + 2]
        level += 0.5 * (y[1] - y[0]) * (before - after) / (before - 2 * here + after)
    return BaseStock(float(cost[at]), float(level))

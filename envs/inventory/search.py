"""The best base-stock policy of a network, searched for on simulated demand without gradients.

It is the heuristic that a learned policy has to beat where no optimum is known, so it is given what it can use: capped
orders or not, levels of a node's own stock or of its echelon's, and the choice of a supplier where there are several.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.inventory.environment import InventoryNetwork, InventoryParams
from jaxrl.envs.inventory.network import OUTSIDE, Network
from jaxrl.envs.inventory.simulation import simulate

from jaxrl.errors import InvalidArgument

LANES = 8
"""candidates that are simulated together; fewer are filled up, so that one program serves the whole search"""
LEVEL_FACTORS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
CAP_FACTORS = (0.0, 1.0, 2.0, 4.0)
"""deviations above mean demand at which the search starts"""
GAIN = 1e-6
"""relative improvement below which two costs count as equal"""
NO_CAP = 1e30
NORMAL_95 = 1.96


class SimulatedBaseStock(NamedTuple):
    """A base-stock policy that was found by search: each node orders what its stock lacks to its level."""

    levels: np.ndarray
    """``[n]`` units of stock on hand and in transit that orders restore"""
    caps: np.ndarray
    """``[n]`` units, the most that a node orders in a period; infinite where orders have no cap"""
    suppliers: np.ndarray
    """int ``[n]``, the edge along which each node orders"""
    echelon: bool
    """whether levels are of the stock of a node and all that it serves, instead of the node's own"""
    cost: float
    """average cost per store and period on fresh scenarios"""
    interval: tuple[float, float]
    """95% confidence interval of it"""
    searched_cost: float
    """the same on the scenarios of the search, to which the levels were fitted"""
    candidates: int
    """how many policies were simulated"""


class _Plan(NamedTuple):
    """Who supplies whom, and what that means for each node; leaves may have leading axes."""

    used: Any
    """``[E]`` 1 for edges along which is ordered"""
    reach: Any
    """``[n, n]`` 1 where the first node's level counts the second node's stock"""
    level: Any
    """``[2, n]`` mean and deviation of the demand that a level has to cover"""
    cap: Any
    """``[2, n]`` mean and deviation of the demand of a period that a node has to serve"""


def best_simulated_base_stock(
    env: InventoryNetwork,
    keys: jax.Array,
    periods: int,
    ignore: int = 0,
    params: InventoryParams | None = None,
    *,
    capped: bool = False,
    echelon: bool | None = None,
    whole: bool = False,
    fresh_keys: jax.Array | None = None,
) -> SimulatedBaseStock:
    """The base-stock policy with the least average cost on simulated scenarios, all candidates on the same ones.

    Levels are ``mean (L + 1) + k deviation sqrt(L + 1)`` of the demand that a node serves. First all stores share one
    factor k and all other nodes another, found on a grid and by pattern search; where nodes have several suppliers, the
    search starts once from the nearest and once from the cheapest ones and moves stores to other suppliers as long as
    that helps. Then each node gets a factor of its own, by pattern search in steps that are halved down to 1/32 of a
    deviation: along each factor and along all of a group, and along the moves that help taken together.

    Args:
        env: the network. Nodes order from one supplier each.
        keys: ``[B]`` scenarios to search on.
        periods, ignore: as in ``simulate``.
        params: the environment's own by default.
        capped: orders have an upper bound, searched for in the same way.
        echelon: levels of echelons (True) or of the nodes' own stock (False); by default whichever is better.
        whole: levels and caps in whole units, as where demand is counted.
        fresh_keys: scenarios for the cost that is returned; by default ``B`` new ones.

    Raises:
        InvalidArgument: unless ``0 <= ignore < periods``, or for fewer than two scenarios.

    Source: Zipkin, "Foundations of Inventory Management" (2000), for the levels; Hooke and Jeeves, "Direct search
    solution of numerical and statistical problems", Journal of the ACM 8 (1961), for the search.
    """
    if keys.shape[0] < 2:
        raise InvalidArgument("keys", keys.shape, "must be at least two scenarios")
    params = env.default_params if params is None else params
    if fresh_keys is None:
        fresh_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0x5EA4C4)
    search = _Search(env, params, keys, periods, ignore, capped, whole)
    nested = len(env.network.inside) > 0
    forms = [echelon] if echelon is not None and nested else [False, True] if nested else [False]
    starts = [(suppliers, form) for suppliers in first_choices(env.network, params) for form in forms]
    best = min((search.shared(suppliers, form) for suppliers, form in starts), key=lambda found: found.cost)
    best = search.refined(best)
    plan = search.plan(best.suppliers, best.echelon)
    levels, caps = search.expanded(best.factors[None], [plan])
    costs = search.simulated(levels, caps, [plan], fresh_keys)[0]
    margin = NORMAL_95 * costs.std(ddof=1) / len(costs) ** 0.5
    return SimulatedBaseStock(
        levels=levels[0],
        caps=np.where(caps[0] < NO_CAP, caps[0], np.inf),
        suppliers=best.suppliers,
        echelon=best.echelon,
        cost=float(costs.mean()),
        interval=(float(costs.mean() - margin), float(costs.mean() + margin)),
        searched_cost=best.cost,
        candidates=search.candidates,
    )


def base_stock_orders(
    env: InventoryNetwork, found: SimulatedBaseStock, params: InventoryParams | None = None
) -> Callable[[jax.Array], jax.Array]:
    """The policy ``(obs[..., D]) -> orders[..., E]`` that was found, for ``simulate``."""
    params = env.default_params if params is None else params
    plan = _plan(env.network, params, found.suppliers, found.echelon)
    return _policy(env, params, plan, jnp.asarray(found.levels, jnp.float32), jnp.asarray(found.caps, jnp.float32))


def first_choices(network: Network, params: InventoryParams) -> list[np.ndarray]:
    """Int ``[n]`` edges along which each node orders: from its nearest supplier, and from the one from which a unit is
    cheapest, orders further upstream included. Only one where both are the same."""
    lead_time, edge_cost = _lead_time(params), np.asarray(params.edge_cost)

    @functools.cache
    def unit_cost(edge: int) -> float:
        source = network.sources[edge]
        return edge_cost[edge] + (0.0 if source == OUTSIDE else min(map(unit_cost, _entering(network, source))))

    choices = []
    for rank in (lambda e: (lead_time[e], unit_cost(e)), lambda e: (unit_cost(e), lead_time[e])):
        choices.append(np.array([min(_entering(network, node), key=rank) for node in range(network.nodes)]))
    return choices[: 1 if (choices[0] == choices[1]).all() else 2]


class _Found(NamedTuple):
    factors: np.ndarray
    """``[d]`` of all levels, then of all caps"""
    suppliers: np.ndarray
    echelon: bool
    cost: float


class _Search:
    """Costs of candidates on the same scenarios, and the steps of the search."""

    def __init__(self, env, params, keys, periods, ignore, capped, whole):
        self.env, self.params, self.keys, self.periods, self.ignore = env, params, keys, periods, ignore
        self.capped, self.whole, self.candidates = capped, whole, 0
        n, first = env.network.nodes, env.network.first_store
        stores = np.arange(n) >= first
        groups = np.array([group for group in (stores, ~stores) if group.any()], float)
        # [G, d]: which factors each shared one stands for
        self.groups = np.kron(np.eye(1 + capped), groups)

    def plan(self, suppliers, echelon):
        return _plan(self.env.network, self.params, suppliers, echelon)

    def expanded(self, factors, plans: Sequence[_Plan]):
        """Levels and caps ``[C, n]`` from factors ``[C, d]`` and as many plans, or one for all."""
        n = self.env.network.nodes
        level, cap = (np.stack([getattr(plan, name) for plan in plans]) for name in ("level", "cap"))
        levels = np.maximum(level[:, 0] + factors[:, :n] * level[:, 1], 0)
        caps = np.full_like(levels, NO_CAP)
        if self.capped:
            caps = np.maximum(cap[:, 0] + factors[:, n:] * cap[:, 1], 0)
        return (np.rint(levels), np.rint(caps)) if self.whole else (levels, caps)

    def simulated(self, levels, caps, plans: Sequence[_Plan], keys):
        """Average costs ``[C, B]`` of candidates in each scenario."""
        count = len(levels)
        self.candidates += count
        where = np.minimum(np.arange(-(-count // LANES) * LANES), count - 1).reshape(-1, LANES)
        costs = []
        for lanes in where:
            plan = jax.tree.map(lambda *leaves: np.stack(leaves), *(plans[i % len(plans)] for i in lanes))
            inputs = levels[lanes].astype(np.float32), caps[lanes].astype(np.float32)
            costs.append(_costs(self.env, plan, *inputs, keys, self.params, self.periods, self.ignore))
        return np.concatenate([np.asarray(part, float) for part in costs])[:count]

    def costs(self, factors, plans: Sequence[_Plan]):
        """Costs ``[C]`` on the scenarios of the search."""
        return self.simulated(*self.expanded(factors, plans), plans, self.keys).mean(axis=1)

    def shared(self, suppliers, echelon) -> _Found:
        """The best policy whose factors are shared by all stores and by all other nodes."""
        plan = self.plan(suppliers, echelon)
        count = len(self.groups) // (1 + self.capped)
        grid = [np.array(point) for point in itertools.product(LEVEL_FACTORS, repeat=count)]
        if self.capped:  # one factor for all caps to begin with
            grid = [np.append(point, [factor] * count) for point in grid for factor in CAP_FACTORS]
        factors = np.array(grid) @ self.groups
        costs = self.costs(factors, [plan])
        best = _Found(factors[costs.argmin()], suppliers, echelon, costs.min())
        while True:
            best = self.descended(best, _box(self.groups), 0.5, 1 / 16)
            moved = self.moved(best)
            if moved is best:
                return best
            best = moved

    def refined(self, best: _Found) -> _Found:
        """The best policy near to one, with a factor for each node."""
        size = self.groups.shape[1]
        axes = np.eye(size)
        directions = _box(axes) if size <= 3 else np.concatenate([axes, -axes, self.groups, -self.groups])
        while True:
            best = self.descended(best, directions, 0.5, 1 / 32)
            moved = self.moved(best)
            if moved is best:
                break
            best = moved
        if self.whole:  # the neighbours of the whole numbers, which steps may have jumped over
            plan = self.plan(best.suppliers, best.echelon)
            deviations = np.concatenate([plan.level[1], plan.cap[1]])[:size]
            steps = directions / np.where(deviations > 0, deviations, 1)
            best = self.descended(self.rounded(best), steps, 1, 1)
        return best

    def rounded(self, best: _Found) -> _Found:
        """The same policy, with factors that say exactly what it rounds to."""
        plan = self.plan(best.suppliers, best.echelon)
        values = np.concatenate(self.expanded(best.factors[None], [plan]), axis=1)[0, : len(best.factors)]
        mean, deviation = np.concatenate([plan.level, plan.cap], axis=1)[:, : len(values)]
        return best._replace(factors=(values - mean) / np.where(deviation > 0, deviation, 1))

    def descended(self, best: _Found, directions, step: float, smallest: float) -> _Found:
        """Pattern search: steps along directions ``[D, d]``, and along those that help taken together."""
        plan = self.plan(best.suppliers, best.echelon)
        factors, cost = best.factors, best.cost
        while step >= smallest:
            moves = step * directions
            costs = self.costs(factors + moves, [plan])
            helpful = [i for i in np.argsort(costs) if costs[i] < cost - GAIN * abs(cost)]
            if not helpful:
                step /= 2
                continue
            points, costs = factors + moves[helpful[:1]], costs[helpful[:1]]
            if len(helpful) > 1:
                sizes = sorted({min(2**power, len(helpful)) for power in range(1, len(helpful).bit_length() + 1)})
                joint = np.array([factors + moves[helpful[:size]].sum(axis=0) for size in sizes])
                points, costs = np.concatenate([points, joint]), np.append(costs, self.costs(joint, [plan]))
            factors, cost = points[costs.argmin()], costs.min()
        return best._replace(factors=factors, cost=cost)

    def moved(self, best: _Found) -> _Found:
        """The policy with the one change of a supplier that helps most, or the same if none does."""
        network, choices = self.env.network, []
        for node in range(network.nodes):
            for edge in _entering(network, node):
                if edge != best.suppliers[node]:
                    choices.append(best.suppliers.copy())
                    choices[-1][node] = edge
        if not choices:
            return best
        factors = np.repeat(best.factors[None], len(choices), axis=0)
        costs = self.costs(factors, [self.plan(suppliers, best.echelon) for suppliers in choices])
        if costs.min() >= best.cost - GAIN * abs(best.cost):
            return best
        return best._replace(suppliers=choices[costs.argmin()], cost=costs.min())


@functools.partial(jax.jit, static_argnames=("env", "periods", "ignore"))
def _costs(env, plan, levels, caps, keys, params, periods, ignore):
    """``[C, B]`` average costs of candidates in scenarios."""

    def cost(plan, levels, caps):
        return simulate(env, _policy(env, params, plan, levels, caps), keys, periods, params, ignore=ignore)

    return jax.vmap(cost)(plan, levels, caps)


def _policy(env, params, plan: _Plan, levels, caps):
    targets = env.network.targets

    def policy(obs):
        stock = env.view(obs, params).inventory.sum(axis=-1)
        if len(env.network.inside):
            stock = jnp.matmul(stock, jnp.asarray(plan.reach).T, precision="highest")
        orders = jnp.minimum(jnp.maximum(levels - stock, 0), caps)
        return orders[..., targets] * plan.used

    return policy


def _plan(network: Network, params: InventoryParams, suppliers: np.ndarray, echelon: bool) -> _Plan:
    """What it means that each node orders along ``suppliers[n]``."""
    n, stores, first = network.nodes, network.stores, network.first_store
    lead_time = _lead_time(params)
    reach, serves, away = np.eye(n), np.zeros((n, stores)), np.zeros((n, stores))
    for store in range(stores):
        path, periods, node = [], 0.0, first + store
        while node != OUTSIDE:
            path.append(node)
            periods += lead_time[suppliers[node]]
            serves[node, store], away[node, store] = 1, periods
            reach[node, path] = 1
            node = network.sources[suppliers[node]]
    mean, std = np.asarray(params.demand_mean, float), np.asarray(params.demand_std, float)
    correlation = float(params.demand_correlation)
    served = serves @ mean
    pooled = np.sqrt(correlation * (serves @ std) ** 2 + (1 - correlation) * serves @ std**2)
    if echelon:
        covered = (serves * (away + 1)) @ mean
        spread = pooled * np.sqrt(away.max(axis=1) + 1)
    else:
        reach = np.eye(n)
        covered = served * (lead_time[suppliers] + 1)
        spread = pooled * np.sqrt(lead_time[suppliers] + 1)
    used = (suppliers[network.targets] == np.arange(len(network.edges))).astype(np.float32)
    return _Plan(used, reach.astype(np.float32), np.stack([covered, spread]), np.stack([served, pooled]))


def _box(directions: np.ndarray) -> np.ndarray:
    """All sums of directions ``[G, d]``, each taken once, backwards or not at all, but for the sum of none."""
    signs = np.array(list(itertools.product((0, 1, -1), repeat=len(directions)))[1:])
    return signs @ directions


def _entering(network: Network, node: int) -> list[int]:
    """The edges that lead to a node."""
    return [int(edge) for edge in np.flatnonzero(network.targets == node)]


def _lead_time(params: InventoryParams) -> np.ndarray:
    """``[E]`` periods; the middle of the bounds where they are drawn."""
    bounds = [bounds.get("lead_time", params.lead_time) for bounds in (params.lower, params.upper)]
    return np.mean([np.asarray(bound, float) for bound in bounds], axis=0)

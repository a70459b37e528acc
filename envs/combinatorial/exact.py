"""Exact optima of small instances, by dynamic programming over sets in numpy: what experts and networks are held to."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxrl.errors import InvalidArgument

MOST_NODES = 16
"""beside the start: the tables are of all their subsets"""


class Paths:
    """The lengths of shortest paths from node 0 through sets of the others (Held and Karp 1962).

    Args:
        cost: ``[N, N]`` from row to column.

    Raises:
        InvalidArgument: for more than ``MOST_NODES`` nodes beside the start.
    """

    def __init__(self, cost: np.ndarray):
        cost = np.asarray(cost, np.float64)
        m = len(cost) - 1
        if m > MOST_NODES:
            raise InvalidArgument("nodes", m, f"must be at most {MOST_NODES} for an exact solution")
        self.cost, self.m = cost, m
        self.sets = np.arange(1 << m)
        # [2^m, m]: through all of a set, to end at one of its nodes.
        length = np.full((1 << m, m), np.inf)
        length[1 << np.arange(m), np.arange(m)] = cost[0, 1:]
        sizes = np.array([bin(s).count("1") for s in range(1 << m)])
        for size in range(2, m + 1):
            sets = self.sets[sizes == size]
            for end in range(m):
                inside = sets[(sets >> end) & 1 == 1]
                length[inside, end] = (length[inside ^ (1 << end)] + cost[1:, end + 1]).min(axis=1)
        self.length = length
        self.closed = (length + cost[1:, 0]).min(axis=1) if m else np.zeros(1)
        self.closed[0] = 0.0

    def tour(self, chosen: int) -> list[int]:
        """The best order of a set, given by its bits: nodes from 1 on, the first one first."""
        order: list[int] = []
        left = int(chosen)
        after = self.cost[1:, 0] if left else np.zeros(self.m)
        while left:
            end = int(np.argmin(self.length[left] + after))
            order.append(end + 1)
            after, left = self.cost[1:, end + 1], left ^ (1 << end)
        return order[::-1]

    def totals(self, amounts: Any) -> np.ndarray:
        """``[2^m]``: sums over every set of amounts ``[m]``."""
        bits = (self.sets[:, None] >> np.arange(self.m)) & 1
        return bits @ np.asarray(amounts, np.float64)


def best_tour(cost: np.ndarray) -> tuple[float, list[list[int]]]:
    """The TSP and the ATSP: length, and the tour without node 0 as the only route."""
    paths = Paths(cost)
    whole = (1 << paths.m) - 1
    return float(paths.closed[whole]), [paths.tour(whole)]


def best_routes(cost: np.ndarray, demand: np.ndarray, capacity: float) -> tuple[float, list[list[int]]]:
    """The CVRP: total length and routes; ``demand [N]`` with 0 for the depot, node 0."""
    paths = Paths(cost)
    single = np.where(paths.totals(demand[1:]) <= capacity, paths.closed, np.inf)
    best, chosen = np.full(1 << paths.m, np.inf), np.zeros(1 << paths.m, np.int64)
    best[0] = 0.0
    for whole in range(1, 1 << paths.m):
        first = whole & -whole  # its route is chosen first, so that no partition is seen twice
        rest = part = whole ^ first
        while True:
            total = single[part | first] + best[rest ^ part]
            if total < best[whole]:
                best[whole], chosen[whole] = total, part | first
            if not part:
                break
            part = (part - 1) & rest
    routes, left = [], (1 << paths.m) - 1
    while left:
        routes.append(paths.tour(chosen[left]))
        left ^= int(chosen[left])
    return float(best[-1]), routes


def best_prizes(cost: np.ndarray, prize: np.ndarray, length: float) -> tuple[float, list[list[int]]]:
    """The OP: minus the prizes, and the tour; ``prize [N]`` with 0 for the depot, node 0."""
    paths = Paths(cost)
    totals = np.where(paths.closed <= length, paths.totals(prize[1:]), -np.inf)
    chosen = int(np.argmax(totals))
    return -float(totals[chosen]), [paths.tour(chosen)]


def best_items(value: np.ndarray, weight: np.ndarray, capacity: float) -> tuple[float, list[list[int]]]:
    """The KP by dynamic programming over capacities: minus the value, and the items; weights are whole numbers."""
    weights, capacity = np.rint(weight).astype(np.int64), int(np.floor(capacity))
    if not np.array_equal(weights, np.asarray(weight, np.float64)):
        raise InvalidArgument("weight", weight, "must be whole numbers for an exact solution")
    best = np.zeros(capacity + 1)
    taken = np.zeros((len(weights), capacity + 1), bool)
    for item, (w, v) in enumerate(zip(weights, np.asarray(value, np.float64))):
        if w > capacity:
            continue
        with_item = best[: capacity + 1 - w] + v
        taken[item, w:] = with_item > best[w:]
        best[w:] = np.maximum(best[w:], with_item)
    items, left = [], capacity
    for item in reversed(range(len(weights))):
        if taken[item, left]:
            items.append(item)
            left -= weights[item]
    return -float(best[-1]), [items[::-1]]


EXACT: dict[str, Callable[..., tuple[float, list[list[int]]]]] = {
    "tsp": best_tour, "atsp": best_tour, "cvrp": best_routes, "op": best_prizes, "kp": best_items,
}  # fmt: skip
"""by the problem's name, of what ``arrays_of`` in ``jaxrl.sources.solvers`` makes of an instance"""

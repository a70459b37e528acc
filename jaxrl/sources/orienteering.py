"""An iterated local search for the orienteering problem, of which no packaged solver is near the optimum.

After Vansteenwegen et al. (2009, doi:10.1016/j.cor.2008.11.008) in outline: take a part of the tour out, shorten the
rest, put in what earns most for its detour, exchange; keep what is not worse. Compiled by numba.
"""

from typing import Any

import numba
import numpy as np

TINY = 1e-9


@numba.njit(cache=True)
def search(cost: np.ndarray, prize: np.ndarray, most: float, rounds: int, rng: np.random.Generator) -> np.ndarray:
    """The best tour found, nodes from 1 on in their order.

    Args:
        cost: ``[N, N]``, symmetric; node 0 is the depot.
        prize: ``[N]``, 0 for the depot.
        most: length of a tour at most.
        rounds: perturbations.
    """
    n = len(cost)
    tour = np.zeros(n + 1, np.int64)  # the depot at either end
    size, inside = 2, np.zeros(n, np.bool_)
    inside[0] = True
    noise = np.ones(n)
    size = improve(tour, size, inside, cost, prize, most, noise)
    held = total(tour, size, prize)
    best, best_size, best_held = tour.copy(), size, held
    kept, kept_size, kept_held = tour.copy(), size, held
    for _ in range(rounds):
        inner = size - 2
        if inner > 0:
            # A third at most, or anything now and then: good tours may lie in quite another direction.
            most_out = inner if rng.random() < 0.1 else min(inner, inner // 3 + 1)
            out = 1 + int(rng.random() * most_out)
            begin = 1 + int(rng.random() * (inner - out + 1))
            for at in range(begin, begin + out):
                inside[tour[at]] = False
            for at in range(begin + out, size):
                tour[at - out] = tour[at]
            size -= out
        for node in range(n):
            noise[node] = 0.5 + rng.random()
        size = improve(tour, size, inside, cost, prize, most, noise)
        held = total(tour, size, prize)
        if held > best_held + TINY:
            best[:], best_size, best_held = tour, size, held
        # A little worse is kept now and then, so that the search gets away from where it is.
        if held > kept_held - TINY or rng.random() < 0.02:
            kept[:], kept_size, kept_held = tour, size, held
        else:
            if rng.random() < 0.01:
                kept[:], kept_size, kept_held = best, best_size, best_held
            tour[:], size = kept, kept_size
            inside[:] = False
            for at in range(size):
                inside[tour[at]] = True
    return best[1 : best_size - 1].copy()


@numba.njit(cache=True)
def total(tour: np.ndarray, size: int, prize: np.ndarray) -> Any:
    held = 0.0
    for at in range(size):
        held += prize[tour[at]]
    return held


@numba.njit(cache=True)
def length_of(tour: np.ndarray, size: int, cost: np.ndarray) -> Any:
    walked = 0.0
    for at in range(size - 1):
        walked += cost[tour[at], tour[at + 1]]
    return walked


@numba.njit(cache=True)
def improve(
    tour: np.ndarray, size: int, inside: np.ndarray, cost: np.ndarray, prize: np.ndarray, most: float, noise: np.ndarray
) -> int:
    """Shortens, inserts and exchanges until nothing more is to be had; returns the size."""
    while True:
        shorten(tour, size, cost)
        size = insert(tour, size, inside, cost, prize, most, noise)
        size, gained = exchange(tour, size, inside, cost, prize, most)
        if not gained:
            return size


@numba.njit(cache=True)
def shorten(tour: np.ndarray, size: int, cost: np.ndarray) -> None:
    """2-opt and moves of up to three nodes, to a local optimum."""
    going = True
    while going:
        going = False
        for i in range(size - 3):
            for j in range(i + 2, size - 1):
                a, b, c, d = tour[i], tour[i + 1], tour[j], tour[j + 1]
                if cost[a, c] + cost[b, d] < cost[a, b] + cost[c, d] - TINY:
                    low, high = i + 1, j
                    while low < high:
                        tour[low], tour[high] = tour[high], tour[low]
                        low, high = low + 1, high - 1
                    going = True
        for several in range(1, 4):
            for i in range(1, size - several):
                first, last = tour[i], tour[i + several - 1]
                a, b = tour[i - 1], tour[i + several]
                saved = cost[a, first] + cost[last, b] - cost[a, b]
                least, where, turned = saved - TINY, -1, False
                for j in range(size - 1):
                    if i - 1 <= j <= i + several - 1:
                        continue
                    c, d = tour[j], tour[j + 1]
                    straight = cost[c, first] + cost[last, d] - cost[c, d]
                    back = cost[c, last] + cost[first, d] - cost[c, d]
                    if straight < least:
                        least, where, turned = straight, j, False
                    if back < least:
                        least, where, turned = back, j, True
                if where >= 0:
                    move(tour, i, several, where, turned)
                    going = True


@numba.njit(cache=True)
def move(tour: np.ndarray, begin: int, several: int, where: int, turned: bool) -> None:
    """Moves nodes from ``begin`` on behind position ``where``."""
    part = tour[begin : begin + several].copy()
    if turned:
        part = part[::-1].copy()
    if where < begin:
        for at in range(begin - 1, where, -1):
            tour[at + several] = tour[at]
        tour[where + 1 : where + 1 + several] = part
    else:
        for at in range(begin + several, where + 1):
            tour[at - several] = tour[at]
        tour[where + 1 - several : where + 1] = part


@numba.njit(cache=True)
def cheapest(tour: np.ndarray, size: int, node: int, cost: np.ndarray) -> tuple:
    """The least detour by a node, and behind which position."""
    least, where = np.inf, 0
    for at in range(size - 1):
        detour = cost[tour[at], node] + cost[node, tour[at + 1]] - cost[tour[at], tour[at + 1]]
        if detour < least:
            least, where = detour, at
    return least, where


@numba.njit(cache=True)
def put(tour: np.ndarray, size: int, node: int, where: int) -> int:
    for at in range(size - 1, where, -1):
        tour[at + 1] = tour[at]
    tour[where + 1] = node
    return size + 1


@numba.njit(cache=True)
def insert(
    tour: np.ndarray, size: int, inside: np.ndarray, cost: np.ndarray, prize: np.ndarray, most: float, noise: np.ndarray
) -> int:
    """Puts in what earns most for its detour, times its noise, as long as something fits."""
    n = len(cost)
    left = most - length_of(tour, size, cost)
    detours, places = np.empty(n), np.empty(n, np.int64)
    for node in range(n):
        if not inside[node]:
            detours[node], places[node] = cheapest(tour, size, node, cost)
    while True:
        chosen, highest = -1, -1.0
        for node in range(n):
            if not inside[node] and detours[node] <= left:
                worth = noise[node] * prize[node] / (detours[node] + TINY)
                if worth > highest:
                    chosen, highest = node, worth
        if chosen < 0:
            return size
        where = places[chosen]
        left -= detours[chosen]
        size = put(tour, size, chosen, where)
        inside[chosen] = True
        for node in range(n):
            if inside[node]:
                continue
            if places[node] == where:  # its place is gone
                detours[node], places[node] = cheapest(tour, size, node, cost)
                continue
            if places[node] > where:
                places[node] += 1
            for at in (where, where + 1):
                detour = cost[tour[at], node] + cost[node, tour[at + 1]] - cost[tour[at], tour[at + 1]]
                if detour < detours[node]:
                    detours[node], places[node] = detour, at


@numba.njit(cache=True)
def exchange(
    tour: np.ndarray, size: int, inside: np.ndarray, cost: np.ndarray, prize: np.ndarray, most: float
) -> tuple:
    """One node for another with a larger prize, the exchange that gains most; returns the size and whether there was
    one."""
    left = most - length_of(tour, size, cost)
    gain, out, chosen = TINY, -1, -1
    rest = np.empty_like(tour)
    for at in range(1, size - 1):
        old = tour[at]
        freed = cost[tour[at - 1], old] + cost[old, tour[at + 1]] - cost[tour[at - 1], tour[at + 1]]
        rest[:at] = tour[:at]
        rest[at : size - 1] = tour[at + 1 : size]
        for node in range(len(cost)):
            if inside[node] or prize[node] <= prize[old] + gain:
                continue
            detour, _ = cheapest(rest, size - 1, node, cost)
            if detour <= left + freed:
                gain, out, chosen = prize[node] - prize[old], at, node
    if out < 0:
        return size, False
    inside[tour[out]] = False
    for at in range(out, size - 1):
        tour[at] = tour[at + 1]
    _, where = cheapest(tour, size - 1, chosen, cost)
    inside[chosen] = True
    return put(tour, size - 1, chosen, where), True

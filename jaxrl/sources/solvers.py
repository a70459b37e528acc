"""Solvers that label instances, by name, and what they need to be told: plain numpy, one instance, one thread.

``elkai`` has LKH inside, whose licence is for academic and non-commercial use.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import InvalidArgument, UserError, unknown

Routes = list[list[int]]
"""slots of an instance, without the start and the depot; a list a route, items of a knapsack in one list"""
Arrays = dict[str, Any]
"""float64: ``cost [N, N]``, ``demand [N]``, ``prize [N]``, ``value [N]``, ``weight [N]``, ``capacity``, ``length``"""

HGS_UNITS = 1000.0
"""of a length of 1 for HGS, which refuses large and small distances"""
WHOLE = 1_000_000
"""units of the largest cost for solvers of whole numbers"""
SLACK = 2.5e-6
"""share of the OP's length that solvers are not told of: the process subtracts in 32 bits, and what is feasible in 64
must be so there"""
MOST_NODES = 16
"""beside the start, for what goes through all sets of them"""


class Solver(NamedTuple):
    """One way to solve some problems."""

    solve: Callable[[Arrays, int, float], Routes]
    """``(arrays, seed, effort) -> routes``"""
    problems: tuple[str, ...]
    package: str | None
    """the module that it is from; None for our own"""
    effort: float
    """how long it searches by default"""
    unit: str
    """of the effort, in words"""
    greatest: float = np.inf
    """nodes that it can solve"""


# --- instances and solutions ------------------------------------------------------------------------------------


def arrays_of(problem: str, instance: Any) -> Arrays:
    """What a solver is told of one unsolved instance, without padding and without the destination's copy."""
    valid = np.flatnonzero(np.asarray(instance.remaining.valid))
    rows = valid if problem == "kp" else valid[valid != int(instance.destination)]
    nodes = {name: np.asarray(values, np.float64)[rows] for name, values in instance.nodes.items()}
    arrays: Arrays = {name: nodes[name] for name in ("demand", "prize", "value", "weight") if name in nodes}
    if problem != "kp":
        if instance.cost is None:
            at = nodes["coordinates"]
            arrays["cost"] = np.sqrt(np.sum(np.square(at[:, None] - at), axis=-1))
        else:
            arrays["cost"] = np.asarray(instance.cost, np.float64)[np.ix_(rows, rows)]
    if problem in ("cvrp", "kp"):
        arrays["capacity"] = float(instance.capacity)
    if problem == "op":
        arrays["length"] = float(instance.capacity) * (1 - SLACK)
    return arrays


def actions_from(problem: str, routes: Routes, arrays: Arrays, steps: int) -> np.ndarray:
    """int32 ``[steps]``: a solution as the actions of its process, -1 from its end on.

    Routes of the CVRP are sorted by what the vehicle has left at their end, ascending, so that the last has the most
    slack; each but the first begins by way of the depot (flag 1). That is taken from the routes themselves, for a route
    may begin with less left than the one before has at its end.
    """
    actions = np.full(steps, -1, np.int32)
    routes = [route for route in routes if route]
    if problem == "cvrp":
        demand = arrays["demand"]
        routes = sorted(routes, key=lambda route: arrays["capacity"] - demand[route].sum())
        flags = [int(i > 0 and j == 0) for i, route in enumerate(routes) for j in range(len(route))]
        nodes = [2 * node + flag for node, flag in zip([node for route in routes for node in route], flags)]
    else:
        nodes = [node for route in routes for node in route]
        if problem == "op":
            nodes = lengthened(nodes, arrays)
    actions[: len(nodes)] = nodes
    return actions


def lengthened(route: list[int], arrays: Arrays) -> list[int]:
    """A tour of the OP, with what can still be visited at its end: the process would go on there, too."""
    cost, prize = arrays["cost"], arrays["prize"]
    left = arrays["length"] - sum(cost[a, b] for a, b in zip([0, *route], route))
    # With what they have not been told of: 64 bits say that it fits, and so will the process.
    left += arrays["length"] * SLACK
    while True:
        last = route[-1] if route else 0
        near = [j for j in range(1, len(cost)) if j not in route and cost[last, j] + cost[j, 0] <= left]
        if not near:
            return route
        best = max(near, key=lambda j: prize[j])
        route, left = [*route, best], left - cost[last, best]


# --- solvers ----------------------------------------------------------------------------------------------------


def fast_tsp(arrays: Arrays, seed: int, effort: float) -> Routes:
    """Or-opt with perturbations, for at most ``effort`` seconds; distances are rounded to 16 bits."""
    import fast_tsp

    cost = arrays["cost"]
    if len(cost) <= 3:
        return [list(range(1, len(cost)))]
    whole = np.rint(cost * (65_000 / largest(cost))).astype(int)
    return [from_start(fast_tsp.find_tour(whole.tolist(), duration_seconds=effort))]


def elkai(arrays: Arrays, seed: int, effort: float) -> Routes:
    """LKH, ``effort`` runs; distances in millionths of the largest, so that they stay within its whole numbers."""
    import elkai

    cost = arrays["cost"]
    if len(cost) <= 3:
        return best_of_few(cost)
    whole = np.rint(cost * (WHOLE / largest(cost))).astype(int)
    return [from_start(elkai.DistanceMatrix(whole.tolist()).solve_tsp(runs=round(effort))[:-1])]


def hygese(arrays: Arrays, seed: int, effort: float) -> Routes:
    """HGS-CVRP, until ``effort`` iterations brought nothing; no time limit, so that a label does not depend on the
    machine."""
    import hygese

    demand, cost = arrays["demand"], arrays["cost"]
    if len(demand) == 2:
        return [[1]]
    parameters = hygese.AlgorithmParameters(nbIter=round(effort), seed=seed, timeLimit=0.0)
    data = {
        "distance_matrix": cost * (HGS_UNITS * math.sqrt(2) / largest(cost)),
        "demands": demand,
        "vehicle_capacity": arrays["capacity"],
        "depot": 0,
    }
    return [list(route) for route in hygese.Solver(parameters, verbose=False).solve_cvrp(data).routes]


def local_search(arrays: Arrays, seed: int, effort: float) -> Routes:
    """Our own iterated local search for the OP, ``effort`` perturbations."""
    from jaxrl.sources.orienteering import search

    rng = np.random.default_rng(seed)
    return [search(arrays["cost"], arrays["prize"], arrays["length"], round(effort), rng).tolist()]


def ortools(arrays: Arrays, seed: int, effort: float) -> Routes:
    """Branch and bound, exact for whole values and weights."""
    from ortools.algorithms.python import knapsack_solver

    kind = knapsack_solver.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER
    solver = knapsack_solver.KnapsackSolver(kind, "knapsack")
    value, weight = (np.rint(arrays[name]).astype(int).tolist() for name in ("value", "weight"))
    solver.init(value, [weight], [math.floor(arrays["capacity"])])
    solver.solve()
    return [[item for item in range(len(value)) if solver.best_solution_contains(item)]]


def knapsack(arrays: Arrays, seed: int, effort: float) -> Routes:
    """Dynamic programming over capacities, exact."""
    from jaxrl.envs.combinatorial.exact import best_items

    return best_items(**arrays)[1]


def held_karp(arrays: Arrays, seed: int, effort: float) -> Routes:
    """Dynamic programming over sets of nodes, exact."""
    from jaxrl.envs.combinatorial.exact import best_prizes, best_routes, best_tour

    return (best_prizes if "prize" in arrays else best_routes if "demand" in arrays else best_tour)(**arrays)[1]


def from_start(tour: Any) -> list[int]:
    """A tour as the nodes after node 0."""
    tour = [int(node) for node in tour]
    start = tour.index(0)
    return tour[start + 1 :] + tour[:start]


def largest(cost: np.ndarray) -> float:
    """The largest cost, 1 where all are 0."""
    return cost.max() or 1.0


def best_of_few(cost: np.ndarray) -> Routes:
    """The best tour of at most three nodes."""
    if len(cost) < 3:
        return [list(range(1, len(cost)))]
    there, back = ([1, 2], [2, 1])
    ways = [cost[0, a] + cost[a, b] + cost[b, 0] for a, b in (there, back)]
    return [there if ways[0] <= ways[1] else back]


SOLVERS = {
    "fast-tsp": Solver(fast_tsp, ("tsp",), "fast_tsp", 0.05, "seconds"),
    "elkai": Solver(elkai, ("tsp", "atsp"), "elkai", 10, "runs of LKH"),
    "hygese": Solver(hygese, ("cvrp",), "hygese", 1000, "iterations without a better solution"),
    "local-search": Solver(local_search, ("op",), "numba", 2000, "perturbations"),
    "ortools": Solver(ortools, ("kp",), "ortools", 1, "(always exact)"),
    "knapsack": Solver(knapsack, ("kp",), None, 1, "(always exact)"),
    "held-karp": Solver(held_karp, ("tsp", "atsp", "cvrp", "op"), None, 1, "(always exact)", MOST_NODES),
}
"""by name; of those for any number of nodes that solve a problem, the first one that is installed is its default"""


def solver_of(problem: str, nodes: int, name: str | None = None) -> str:
    """The name of a solver of a problem with so many nodes or items: the one asked for, or the problem's default.

    Raises:
        InvalidArgument: for a name that is unknown, a solver of something else or of smaller instances.
        UserError: for one that is not installed.
    """
    if name is not None and name not in SOLVERS:
        raise unknown("solver", name, SOLVERS)
    able = [each for each, solver in SOLVERS.items() if problem in solver.problems]
    if not able:
        raise unknown("problem", problem, {p for solver in SOLVERS.values() for p in solver.problems})
    if name is not None and name not in able:
        raise InvalidArgument("solver", name, f"must be one that solves {problem}: {', '.join(able)}")
    if name is not None and nodes > SOLVERS[name].greatest:
        raise InvalidArgument("nodes", nodes, f"must be at most {SOLVERS[name].greatest} for {name}")
    tried = [name] if name is not None else [each for each in able if SOLVERS[each].greatest == np.inf]
    for each in tried:
        package = SOLVERS[each].package
        if package is None or importlib.util.find_spec(package) is not None:
            return each
    raise UserError(f"solver={tried[0]!r}: not installed: pip install 'jaxrl[combinatorial]'")


def solve_all(solver: str, problem: str, rows: list[Arrays], seeds: list[int], effort: float, steps: int) -> np.ndarray:
    """int32 ``[len(rows), steps]``, in whatever process it runs."""
    solve = SOLVERS[solver].solve
    solved = (actions_from(problem, solve(row, seed, effort), row, steps) for row, seed in zip(rows, seeds))
    return np.stack(list(solved))

"""Instances from TSPLIB and CVRPLIB files, and their published optimal solutions.

Coordinates are moved and scaled into the unit square, as networks are trained on, and are features alone: costs are the
file's own, with its rounding, so that they compare to published ones. Needs ``tsplib95`` and ``vrplib``
(``pip install 'jaxrl[combinatorial]'``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.combinatorial.atsp import ATSP
from jaxrl.envs.combinatorial.cvrp import CVRP
from jaxrl.envs.combinatorial.instances import routed
from jaxrl.envs.combinatorial.problem import Instance, Problem
from jaxrl.envs.combinatorial.tsp import TSP

from jaxrl.errors import InvalidArgument, UserError


def read_tsplib(path: str | Path, identifiers: int = 1) -> tuple[Problem, Instance]:
    """A TSP or an ATSP of TSPLIB: the problem, and an instance with the file's costs.

    Node 1 of the file is the start. A TSP without coordinates to draw has none to feed a network either.

    Args:
        identifiers: of an ATSP's nodes, see ``triangle_costs``; drawn anew from the seed 0.

    Raises:
        InvalidArgument: for a file of another kind, without coordinates, or with an asymmetric matrix called a TSP.
        UserError: for a file that cannot be read, or if ``tsplib95`` is not installed.
    """
    tsplib95 = needed("tsplib95")
    found = parsed(path, lambda: tsplib95.load(str(path)))
    nodes = list(found.get_nodes())
    if found.type not in ("TSP", "ATSP"):
        raise InvalidArgument("path", str(path), f"must be a TSP or an ATSP, not {found.type}")
    cost = np.array([[found.get_weight(i, j) for j in nodes] for i in nodes], float)
    np.fill_diagonal(cost, 0)  # files have a large number there
    if found.type == "ATSP":
        rows = {"identifier": jax.random.uniform(jax.random.key(0), (len(nodes), identifiers))}
        problem, instance = ATSP, routed(rows, cost)
    else:
        places = found.node_coords or found.display_data
        if not places:
            raise InvalidArgument("path", str(path), "must have coordinates, the features of a TSP")
        at = np.array([places[node] for node in nodes], float)
        problem, instance = TSP, routed({"coordinates": unit_square(at)}, cost)
    problem.check(instance)
    return problem, instance


def read_cvrplib(path: str | Path, rounded: bool = True) -> tuple[Problem, Instance]:
    """A CVRP of CVRPLIB: the problem, and an instance with the file's costs; the depot is slot 0.

    Args:
        rounded: round Euclidean distances to whole numbers, as in the published costs of the sets A to X.

    Raises:
        InvalidArgument: for a file without coordinates, a customer above the capacity, or a depot that is not node 1.
        UserError: for a file that cannot be read, or if ``vrplib`` is not installed.
    """
    vrplib = needed("vrplib")
    found = parsed(path, lambda: vrplib.read_instance(str(path)))
    for name in ("node_coord", "demand", "capacity"):
        if name not in found:
            raise InvalidArgument("path", str(path), f"must have a {name.upper()}")
    if list(np.ravel(found.get("depot", [0]))) != [0]:
        raise InvalidArgument("path", str(path), "must have one depot, its first node")
    cost = np.asarray(found["edge_weight"], float)
    if rounded and found.get("edge_weight_type") == "EUC_2D":
        cost = np.floor(cost + 0.5)
    rows = {"coordinates": unit_square(np.asarray(found["node_coord"], float)), "demand": found["demand"]}
    instance = routed(rows, cost, capacity=found["capacity"])
    CVRP.check(instance)
    return CVRP, instance


def read_tour(path: str | Path) -> jax.Array:
    """int32 ``[N - 1]``: the actions of a TSPLIB tour file, from its node 1 on."""
    tsplib95 = needed("tsplib95")
    (tour,) = parsed(path, lambda: tsplib95.load(str(path))).tours
    tour = np.asarray(tour) - 1
    return jnp.asarray(np.roll(tour, -int(np.argmin(tour)))[1:], jnp.int32)


def read_routes(path: str | Path) -> list[list[int]]:
    """The routes of a CVRPLIB solution file, as slots; ``jaxrl.sources.solvers.actions_from`` makes actions of them."""
    vrplib = needed("vrplib")
    return parsed(path, lambda: vrplib.read_solution(str(path)))["routes"]


def unit_square(at: np.ndarray) -> np.ndarray:
    """Coordinates ``[N, 2]``, moved and scaled alike in both directions so that the longer side becomes 1."""
    low = at.min(axis=0)
    return (at - low) / ((at - low).max() or 1.0)


def needed(package: str) -> Any:
    """An optional package; raises UserError if it is not installed."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(f"{package} is not installed: pip install 'jaxrl[combinatorial]'") from None


def parsed(path: str | Path, read: Callable[[], Any]) -> Any:
    """What a reader makes of a file; raises UserError if it cannot."""
    try:
        return read()
    except Exception as error:  # readers raise whatever a line breaks
        raise UserError(f"path={str(path)!r}: cannot be read ({type(error).__name__}: {error})") from error

"""Routing and packing, solved node by node: direct processes, and by ``quotient/`` what is left of them.

| id | solution | settings |
| --- | --- | --- |
| `combinatorial/tsp-v0` | the shortest tour | `nodes` |
| `combinatorial/atsp-v0` | the cheapest tour, there and back differ | `nodes`, `identifiers` |
| `combinatorial/cvrp-v0` | the shortest routes of a vehicle that holds so much | `nodes`, `capacity` |
| `combinatorial/op-v0` | the largest prizes on a tour of limited length | `nodes`, `length`, `prizes` |
| `combinatorial/kp-v0` | the most valuable items of limited weight | `nodes`, `capacity` |

A problem is a ``Problem``, a bundle of pure functions of an ``Instance``, and a generator of instances apart from it.
What learns from solutions works on batches of instances rather than on episodes: see ``subproblems``, and ``groups``
for several solutions of each.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxrl.envs.combinatorial.atsp import ATSP, triangle_costs
from jaxrl.envs.combinatorial.cvrp import CVRP, uniform_customers
from jaxrl.envs.combinatorial.environment import Construction, Quotient
from jaxrl.envs.combinatorial.kp import KP, uniform_items
from jaxrl.envs.combinatorial.op import OP, uniform_prizes
from jaxrl.envs.combinatorial.problem import (
    NOWHERE,
    Instance,
    Problem,
    Remaining,
    Tokens,
    advance,
    allowed,
    compacted,
    gathered,
    reduced,
    sizes,
    solution_cost,
    tokens,
    unvisited,
)
from jaxrl.envs.combinatorial.tsp import TSP, uniform_cities

__all__ = [
    "GENERATORS",
    "NOWHERE",
    "PROBLEMS",
    "SETTINGS",
    "Construction",
    "Instance",
    "Problem",
    "Quotient",
    "Remaining",
    "Tokens",
    "advance",
    "allowed",
    "compacted",
    "gathered",
    "reduced",
    "sizes",
    "solution_cost",
    "tokens",
    "unvisited",
]

Generate = Callable[[jax.Array], Instance]

PROBLEMS = {problem.name: problem for problem in (TSP, ATSP, CVRP, OP, KP)}
"""by name"""
GENERATORS: dict[str, Callable[..., Generate]] = {
    "tsp": uniform_cities, "atsp": triangle_costs, "cvrp": uniform_customers, "op": uniform_prizes, "kp": uniform_items,
}  # fmt: skip
"""by the problem's name: settings to ``(key) -> Instance``"""


def tsp(nodes: int = 100) -> Construction:
    """The shortest tour through uniform points; see ``uniform_cities``."""
    return Construction(TSP, uniform_cities(nodes), "combinatorial/tsp-v0")


def atsp(nodes: int = 100, identifiers: int = 1) -> Construction:
    """The cheapest tour where there and back differ; see ``triangle_costs``."""
    return Construction(ATSP, triangle_costs(nodes, identifiers), "combinatorial/atsp-v0")


def cvrp(nodes: int = 100, capacity: float | None = None) -> Construction:
    """The shortest routes from a depot to all customers, within a capacity; see ``uniform_customers``."""
    return Construction(CVRP, uniform_customers(nodes, capacity), "combinatorial/cvrp-v0")


def op(nodes: int = 100, length: float | None = None, prizes: str = "distance") -> Construction:
    """The largest prizes on a tour of limited length; see ``uniform_prizes``."""
    return Construction(OP, uniform_prizes(nodes, length, prizes), "combinatorial/op-v0")


def kp(nodes: int = 100, capacity: float | None = None) -> Construction:
    """The most valuable items of limited weight; see ``uniform_items``."""
    return Construction(KP, uniform_items(nodes, capacity), "combinatorial/kp-v0")


SETTINGS: dict[str, Callable[..., Any]] = {
    f"combinatorial/{make.__name__}-v0": make for make in (tsp, atsp, cvrp, op, kp)
}
"""factories by id"""

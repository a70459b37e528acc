"""The travelling salesman's problem: the shortest tour through all nodes."""

from collections.abc import Callable

import jax
from jaxrl.envs.arguments import whole
from jaxrl.envs.combinatorial.instances import check_distances, routed
from jaxrl.envs.combinatorial.problem import Instance, Problem, distance, everything, nothing

TSP = Problem(
    name="tsp",
    spend=nothing,
    price=lambda instance, origin, node, flag: distance(instance, origin, node),
    closing=lambda instance, node: distance(instance, node, instance.destination),
    fits=everything,
    features=lambda instance: instance.nodes["coordinates"],
    check=lambda instance: check_distances(instance, symmetric=True),
    circular=True,
)
"""In its path version: from an origin through all unvisited nodes to a destination. Features are the coordinates."""


def uniform_cities(nodes: int = 100) -> Callable[[jax.Array], Instance]:
    """Instances with ``nodes`` points drawn uniformly from the unit square; slots ``nodes + 1``.

    Raises:
        InvalidArgument: for fewer than two nodes.
    """
    nodes = whole("nodes", nodes, 2)
    return lambda key: routed({"coordinates": jax.random.uniform(key, (nodes, 2))})

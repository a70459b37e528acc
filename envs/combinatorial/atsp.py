"""The asymmetric travelling salesman's problem: the cheapest tour where there and back differ."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxrl.envs.arguments import whole
from jaxrl.envs.combinatorial.instances import check_distances, routed
from jaxrl.envs.combinatorial.problem import Instance, Problem, distance, everything, nothing

LARGEST = 1_000_000

ATSP = Problem(
    name="atsp",
    spend=nothing,
    price=lambda instance, origin, node, flag: distance(instance, origin, node),
    closing=lambda instance, node: distance(instance, node, instance.destination),
    fits=everything,
    features=lambda instance: instance.nodes["identifier"],
    check=lambda instance: check_distances(instance, symmetric=False),
    matrix=True,
    circular=True,
)
"""In its path version, as of the TSP. Features are random identifiers: nodes are known by their distances only."""


def triangle_costs(nodes: int = 100, identifiers: int = 1) -> Callable[[jax.Array], Instance]:
    """Instances with whole costs U{1..10^6} from node to node, shortened until no detour is shorter, over 10^6
    (Kwon et al. 2021, arXiv:2106.11113; that the BQ paper draws them so could not be confirmed).

    Args:
        nodes: how many; slots ``nodes + 1``.
        identifiers: random numbers U[0, 1] that a node is known by; the destination has those of its node.

    Raises:
        InvalidArgument: for fewer than two nodes or no identifier.
    """
    nodes, identifiers = whole("nodes", nodes, 2), whole("identifiers", identifiers, 1)

    def generate(key: jax.Array) -> Instance:
        cost_key, identifier_key = jax.random.split(key)
        cost = jax.random.randint(cost_key, (nodes, nodes), 1, LARGEST + 1).astype(jnp.float32)
        cost = shortest(jnp.where(jnp.eye(nodes, dtype=bool), 0.0, cost))
        return routed({"identifier": jax.random.uniform(identifier_key, (nodes, identifiers))}, cost / LARGEST)

    return generate


def shortest(cost: jax.Array) -> jax.Array:
    """``[n, n]``: lengths of shortest paths (Floyd and Warshall), the fixed point of ``c_ij = min_k c_ik + c_kj``."""
    return jax.lax.fori_loop(0, len(cost), lambda k, c: jnp.minimum(c, c[:, k, None] + c[k]), cost)

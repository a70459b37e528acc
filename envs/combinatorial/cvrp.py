"""The capacitated vehicle routing problem: the shortest routes from a depot that serve all customers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxrl.envs.arguments import positive, whole
from jaxrl.envs.combinatorial.instances import check_amounts, check_capacity, check_distances, routed
from jaxrl.envs.combinatorial.problem import Instance, Problem, distance, row

from jaxrl.errors import InvalidArgument

MOST_DEMAND = 9
CAPACITIES = {20: 30, 50: 40, 100: 50, 200: 80, 500: 100, 1000: 250}
"""capacity by the number of customers: of 100 and more the paper's, below those of Kool et al. 2019"""


def fits(instance: Instance) -> jax.Array:
    """By way of the depot everywhere, directly where the demand is at most what the vehicle has left."""
    direct = instance.nodes["demand"] <= instance.remaining.budget
    return jnp.stack([direct, jnp.ones_like(direct)], axis=-1)


def price(instance: Instance, origin, node, flag) -> jax.Array:
    depot = instance.destination
    detour = distance(instance, origin, depot) + distance(instance, depot, node)
    return jnp.where(flag == 1, detour, distance(instance, origin, node))


def features(instance: Instance) -> jax.Array:
    """``[n, 4]``: coordinates, demand and remaining capacity over the capacity."""
    demand = instance.nodes["demand"] / instance.capacity
    left = jnp.broadcast_to(instance.remaining.budget / instance.capacity, demand.shape)
    return jnp.concatenate([instance.nodes["coordinates"], demand[:, None], left[:, None]], axis=-1)


def check(instance: Instance) -> None:
    check_distances(instance, symmetric=True)
    check_amounts(instance, "demand", most=check_capacity(instance))


CVRP = Problem(
    name="cvrp",
    spend=lambda instance, origin, node: row(instance, "demand")[node],
    price=price,
    closing=lambda instance, node: distance(instance, node, instance.destination),
    fits=fits,
    features=features,
    check=check,
    flags=2,
)
"""In its path version: actions are a customer and whether to go there by way of the depot, where the vehicle is filled
up again. The depot's demand is 0."""


def uniform_customers(nodes: int = 100, capacity: float | None = None) -> Callable[[jax.Array], Instance]:
    """Instances with a depot and ``nodes`` customers drawn uniformly from the unit square, demands U{1..9}.

    Args:
        nodes: customers; slots ``nodes + 2``.
        capacity: of the vehicle; by default that of ``CAPACITIES``.

    Raises:
        InvalidArgument: for a capacity below the largest demand, or none where the number has no usual one.
    """
    nodes = whole("nodes", nodes, 1)
    if capacity is None:
        if nodes not in CAPACITIES:
            raise InvalidArgument("capacity", capacity, f"must be given unless nodes is one of {[*CAPACITIES]}")
        capacity = CAPACITIES[nodes]
    capacity = positive("capacity", capacity)
    if capacity < MOST_DEMAND:
        raise InvalidArgument("capacity", capacity, f"must be at least {MOST_DEMAND}, the largest demand")

    def generate(key: jax.Array) -> Instance:
        place_key, demand_key = jax.random.split(key)
        demand = jax.random.randint(demand_key, (nodes,), 1, MOST_DEMAND + 1).astype(jnp.float32)
        rows = {
            "coordinates": jax.random.uniform(place_key, (nodes + 1, 2)),
            "demand": jnp.concatenate([jnp.zeros(1), demand]),
        }
        return routed(rows, capacity=capacity)

    return generate

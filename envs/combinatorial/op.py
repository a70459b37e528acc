"""The orienteering problem: the largest prizes on a tour from a depot that is not too long."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.arguments import positive, whole
from jaxrl.envs.combinatorial.instances import check_amounts, check_capacity, check_distances, routed
from jaxrl.envs.combinatorial.problem import Instance, Problem, distance, nothing, row

from jaxrl.errors import InvalidArgument

TOLERANCE = 1e-6
"""of the length, for rounding"""
LENGTHS = {20: 2.0, 50: 3.0, 100: 4.0}
"""length limits by the number of nodes: of 100 the paper's, below those of Kool et al. 2019"""
PRIZES = ("distance", "uniform")


def fits(instance: Instance) -> jax.Array:
    """Where one can go and still be back at the depot in time."""
    slots = jnp.arange(instance.remaining.valid.shape[0])
    there = distance(instance, instance.remaining.origin, slots)
    return (there + distance(instance, slots, instance.destination) <= instance.remaining.budget + TOLERANCE)[:, None]


def features(instance: Instance) -> jax.Array:
    """``[n, 4]``: coordinates, prize, remaining length."""
    prize = instance.nodes["prize"]
    left = jnp.broadcast_to(instance.remaining.budget, prize.shape)
    return jnp.concatenate([instance.nodes["coordinates"], prize[:, None], left[:, None]], axis=-1)


def check(instance: Instance) -> None:
    check_distances(instance, symmetric=True)
    check_amounts(instance, "prize")
    check_capacity(instance)
    if not np.asarray(fits(instance))[1:-1].any():
        raise InvalidArgument(
            "capacity", np.asarray(instance.capacity).item(), "must allow a tour to one node at least"
        )


OP = Problem(
    name="op",
    spend=distance,
    price=lambda instance, origin, node, flag: -row(instance, "prize")[node],
    closing=nothing,
    fits=fits,
    features=features,
    check=check,
    covers=False,
)
"""In its path version: costs are minus the prizes, the budget is the remaining length. There is no action for going
back to the depot: prizes are not negative, so stopping is never better than one more node, and a tour ends when no node
can be reached with the way back."""


def uniform_prizes(
    nodes: int = 100, length: float | None = None, prizes: str = "distance"
) -> Callable[[jax.Array], Instance]:
    """Instances with a depot and ``nodes`` places drawn uniformly from the unit square.

    Args:
        nodes: places; slots ``nodes + 2``.
        length: of a tour at most; by default that of ``LENGTHS``. It is a feature as it is, so a network that was
            trained with one limit knows nothing of others. Below 2.83 a depot in a corner may have no place in reach;
            then the first state has no allowed action.
        prizes: ``"distance"``: ``(1 + floor(99 d / max d)) / 100`` of the distance from the depot; ``"uniform"``:
            U{1..99} / 100.

    Raises:
        InvalidArgument: for values that make no sense, or no length where the number has no usual one.
    """
    nodes = whole("nodes", nodes, 1)
    if prizes not in PRIZES:
        raise InvalidArgument("prizes", prizes, f"must be one of {', '.join(PRIZES)}")
    if length is None:
        if nodes not in LENGTHS:
            raise InvalidArgument("length", length, f"must be given unless nodes is one of {[*LENGTHS]}")
        length = LENGTHS[nodes]
    length = positive("length", length)

    def generate(key: jax.Array) -> Instance:
        place_key, prize_key = jax.random.split(key)
        at = jax.random.uniform(place_key, (nodes + 1, 2))
        if prizes == "distance":
            away = jnp.sqrt(jnp.sum(jnp.square(at[1:] - at[0]), axis=-1))
            prize = 1 + jnp.floor(99 * away / jnp.max(away))
        else:
            prize = jax.random.randint(prize_key, (nodes,), 1, 100).astype(jnp.float32)
        return routed({"coordinates": at, "prize": jnp.concatenate([jnp.zeros(1), prize / 100])}, capacity=length)

    return generate

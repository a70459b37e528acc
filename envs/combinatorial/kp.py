"""The knapsack problem: the most valuable items that are not too heavy together."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.arguments import positive, whole
from jaxrl.envs.combinatorial.instances import check_amounts, check_capacity, packed, present
from jaxrl.envs.combinatorial.problem import Instance, Problem, nothing, row

from jaxrl.errors import InvalidArgument

SCALE = 1000.0
"""of values and weights"""
MOST = 998
CAPACITIES = {100: 20_000, 200: 25_000}
"""capacity by the number of items"""


def features(instance: Instance) -> jax.Array:
    """``[n, 3]``: value, weight and remaining capacity, in thousands."""
    value, weight = instance.nodes["value"], instance.nodes["weight"]
    left = jnp.broadcast_to(instance.remaining.budget, value.shape)
    return jnp.stack([value, weight, left], axis=-1) / SCALE


def check(instance: Instance) -> None:
    check_amounts(instance, "value")
    check_amounts(instance, "weight")
    capacity, weight = check_capacity(instance), present(instance, "weight")
    if not (weight <= capacity).any():
        raise InvalidArgument("capacity", capacity, f"must be at least {np.min(weight):g}, the lightest item's weight")


KP = Problem(
    name="kp",
    spend=lambda instance, origin, node: row(instance, "weight")[node],
    price=lambda instance, origin, node, flag: -row(instance, "value")[node] / SCALE,
    closing=nothing,
    fits=lambda instance: (instance.nodes["weight"] <= instance.remaining.budget)[:, None],
    features=features,
    check=check,
    path=False,
    covers=False,
)
"""Values and weights are whole numbers, kept as they are; costs are minus the values, in thousands. What no longer fits
stays a token, as in the paper's code. A knapsack is full when nothing fits: values are not negative."""


def uniform_items(nodes: int = 100, capacity: float | None = None) -> Callable[[jax.Array], Instance]:
    """Instances with ``nodes`` items, which are the slots, of values and weights U{1..998}.

    Args:
        nodes: items.
        capacity: of the knapsack; by default that of ``CAPACITIES``, or a fifth of a thousand an item where there is
            none.

    Raises:
        InvalidArgument: for a capacity below the largest weight.
    """
    nodes = whole("nodes", nodes, 1)
    capacity = positive("capacity", CAPACITIES.get(nodes, nodes * SCALE / 5) if capacity is None else capacity)
    if capacity < MOST:
        raise InvalidArgument("capacity", capacity, f"must be at least {MOST}, the largest weight")

    def generate(key: jax.Array) -> Instance:
        value, weight = jax.random.randint(key, (2, nodes), 1, MOST + 1).astype(jnp.float32)
        return packed({"value": value, "weight": weight}, capacity)

    return generate

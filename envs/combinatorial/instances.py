"""Instances made from arrays: by generators, from files, from a user's own data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.combinatorial.problem import NOWHERE, Instance, Remaining

from jaxrl.errors import InvalidArgument


def routed(nodes: dict[str, Any], cost: Any = None, capacity: Any = 0.0) -> Instance:
    """An instance of a routing problem, with a copy of the first node as destination behind the last one.

    Args:
        nodes: rows by name, ``[N, ...]``; row 0 is the start or the depot.
        cost: ``[N, N]`` from row to column, or None for the Euclidean distance of ``nodes["coordinates"]``.
        capacity: the budget to start with and after a visit to the depot.
    """
    if cost is not None:
        cost = jnp.asarray(cost, jnp.float32)
        cost = jnp.concatenate([cost, cost[:1]])
        cost = jnp.concatenate([cost, cost[:, :1]], axis=1)
    rows = {name: jnp.asarray(values, jnp.float32) for name, values in nodes.items()}
    rows = {name: jnp.concatenate([values, values[:1]]) for name, values in rows.items()}
    slots = next(iter(rows.values())).shape[0] if rows else cost.shape[0]  # type: ignore[union-attr]
    capacity = jnp.asarray(capacity, jnp.float32)
    start = Remaining(jnp.ones(slots, bool), jnp.int32(0), capacity)
    return Instance(rows, cost, capacity, jnp.int32(slots - 1), start)


def packed(nodes: dict[str, Any], capacity: Any) -> Instance:
    """An instance of a problem without a path: ``nodes`` are rows ``[n, ...]`` by name, ``capacity`` the budget."""
    rows = {name: jnp.asarray(values, jnp.float32) for name, values in nodes.items()}
    slots = next(iter(rows.values())).shape[0]
    capacity = jnp.asarray(capacity, jnp.float32)
    start = Remaining(jnp.ones(slots, bool), jnp.int32(NOWHERE), capacity)
    return Instance(rows, None, capacity, jnp.int32(NOWHERE), start)


def padded(instance: Instance, slots: int) -> Instance:
    """The same instance with ``slots`` slots, the new ones removed from the start, so that instances of several sizes
    make one batch.

    Raises:
        InvalidArgument: for fewer slots than it has.
    """
    present = instance.remaining.valid.shape[0]
    if slots < present:
        raise InvalidArgument("slots", slots, f"must be at least the instance's {present}")

    def pad(array: Any, axes: int) -> Any:
        widths = [(0, slots - present)] * axes + [(0, 0)] * (jnp.ndim(array) - axes)
        return jnp.pad(array, widths)

    return dataclasses.replace(
        instance,
        nodes={name: pad(rows, 1) for name, rows in instance.nodes.items()},
        cost=None if instance.cost is None else pad(instance.cost, 2),
        remaining=dataclasses.replace(instance.remaining, valid=pad(instance.remaining.valid, 1)),
    )


def stacked(instances: list[Instance]) -> Instance:
    """Instances of one problem as a batch, padded to the largest."""
    slots = max(instance.remaining.valid.shape[0] for instance in instances)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(padded(instance, slots) for instance in instances))


# --- what instances must be -------------------------------------------------------------------------------------


def present(instance: Instance, name: str) -> np.ndarray:
    """The rows of a name that are there, numpy; raises InvalidArgument for numbers that are not finite."""
    if name not in instance.nodes:
        raise InvalidArgument("nodes", sorted(instance.nodes), f"must have {name}")
    rows = np.asarray(instance.nodes[name])[np.asarray(instance.remaining.valid)]
    if not np.isfinite(rows).all():
        raise InvalidArgument(name, rows, "must be finite")
    return rows


def check_distances(instance: Instance, symmetric: bool) -> None:
    """Raises InvalidArgument for coordinates or costs that make no sense."""
    if instance.cost is None:
        if present(instance, "coordinates").shape[1:] != (2,):
            raise InvalidArgument("coordinates", instance.nodes["coordinates"].shape, "must be two a node")
        return
    cost, slots = np.asarray(instance.cost), instance.remaining.valid.shape[0]
    if cost.shape != (slots, slots):
        raise InvalidArgument("the shape of cost", cost.shape, f"must be ({slots}, {slots}), a row and column a slot")
    valid = np.asarray(instance.remaining.valid)
    cost = cost[np.ix_(valid, valid)]
    if not np.isfinite(cost).all() or (cost < 0).any():
        raise InvalidArgument("cost", cost, "must be finite and not negative")
    if symmetric and not np.array_equal(cost, cost.T):
        i, j = np.argwhere(cost != cost.T)[0].tolist()
        there, back = cost[i, j].item(), cost[j, i].item()
        raise InvalidArgument("cost", (there, back), f"must be the same from {i} to {j} and back; else it is an ATSP")


def check_amounts(instance: Instance, name: str, most: float = np.inf) -> np.ndarray:
    """The rows of a name, ``[k]``; raises InvalidArgument for negative ones and those above ``most``."""
    amounts = present(instance, name)
    if (amounts < 0).any():
        raise InvalidArgument(name, amounts.min().item(), "must not be negative")
    if (amounts > most).any():
        raise InvalidArgument(name, amounts.max().item(), f"must be at most the capacity of {most:g}")
    return amounts


def check_capacity(instance: Instance) -> float:
    """The capacity; raises InvalidArgument unless it is finite and above 0."""
    capacity = np.asarray(instance.capacity).item()
    if not (np.isfinite(capacity) and capacity > 0):
        raise InvalidArgument("capacity", capacity, "must be finite and above 0")
    return capacity


def among(instances: Instance) -> Callable[[jax.Array], Instance]:
    """A generator that draws one of a batch of given instances, such as from a file."""
    number = instances.capacity.shape[0]

    def generate(key: jax.Array) -> Instance:
        row = jax.random.randint(key, (), 0, number)
        return jax.tree.map(lambda leaf: leaf[row], instances)

    return generate

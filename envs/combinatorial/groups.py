"""Several solutions of each instance side by side.

A group is an ``Instance`` whose nodes, cost and capacity have leaves ``[B, ...]``, and whose destination and remaining
have leaves ``[B, k, ...]``: partial solutions of one instance share all that does not change.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxrl.envs.combinatorial.problem import NOWHERE, Instance, Problem, Remaining, advance, allowed, solution_cost

GROUP = Instance(nodes=None, cost=None, capacity=None, destination=0, remaining=0)  # type: ignore[arg-type]
"""the axis of partial solutions, as ``jax.vmap`` is told"""


class Start(NamedTuple):
    """Where solutions of an instance begin; leaves ``[B, k, ...]``."""

    destination: jax.Array
    """int32"""
    remaining: Remaining
    first: jax.Array
    """int32, the first action; ``NOWHERE`` where it is left to the policy"""


def begun(instance: Instance, start: Start) -> Instance:
    """The group of instances ``[B, ...]`` at their starts."""
    return dataclasses.replace(instance, destination=start.destination, remaining=start.remaining)


def each(function: Callable[..., Any], group: Instance, *arrays: jax.Array) -> Any:
    """``function`` of one instance, and of arrays, for all of a group and arrays ``[B, k, ...]``."""
    inner = jax.vmap(function, in_axes=(GROUP, *(0 for _ in arrays)))
    return jax.vmap(inner)(group, *arrays)


def allowed_in(problem: Problem, group: Instance) -> jax.Array:
    """bool ``[B, k, n, flags]``."""
    return each(lambda instance: allowed(problem, instance), group)


def costs(problem: Problem, group: Instance, actions: jax.Array) -> jax.Array:
    """``[B, k]`` of solutions ``[B, k, T]`` of a group at its start."""
    return each(lambda *one: solution_cost(problem, *one), group, actions)


def onward(problem: Problem, instance: Instance, action: jax.Array) -> Remaining:
    """What an action leaves of one instance; ``NOWHERE`` leaves all."""
    after, _, _ = advance(problem, instance, jnp.maximum(action, 0))
    return jax.tree.map(lambda x, y: jnp.where(action == NOWHERE, x, y), instance.remaining, after.remaining)


def visits(problem: Problem, instance: Instance, actions: jax.Array) -> Remaining:
    """Where each step of a solution ``[T]`` of one instance goes on from, ``[T, ...]``."""

    def step(remaining, action):
        return onward(problem, dataclasses.replace(instance, remaining=remaining), action), remaining

    return jax.lax.scan(step, instance.remaining, actions)[1]


def starts(problem: Problem, instance: Instance, number: int, nodes: bool, key: jax.Array) -> Start:
    """Where ``number`` solutions of one instance begin, ``[number, ...]``.

    Args:
        nodes: each with another node, in random order, and anew if there are more solutions than nodes. Where the start
            is a node like others (the TSP) that node is origin and destination in its place, and the copy of it that
            the instance has is left out. Elsewhere it is the first action, of those that are allowed. Without, all
            begin where the instance does, and the first action is left to the policy.
    """
    start = instance.remaining
    slots = jnp.arange(start.valid.shape[0], dtype=jnp.int32)
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *jnp.shape(leaf))), start)
    destination = jnp.broadcast_to(instance.destination, (number,))
    if not nodes:
        return Start(destination, same, jnp.full(number, NOWHERE, jnp.int32))
    fine = start.valid & (slots != instance.destination) if problem.circular else allowed(problem, instance)[:, 0]
    order = jnp.argsort(jnp.where(fine, jax.random.uniform(key, slots.shape), jnp.inf))
    node = order[jnp.arange(number) % jnp.maximum(fine.sum(), 1)].astype(jnp.int32)
    if not problem.circular:
        return Start(destination, same, jnp.where(fine.any(), node * problem.flags, NOWHERE))
    return Start(
        node,
        same.replace(valid=jnp.broadcast_to(fine, same.valid.shape), origin=node),
        jnp.full(number, NOWHERE, jnp.int32),
    )

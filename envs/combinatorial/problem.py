"""Problems of constructing a solution node by node, and their reduction to what remains.

A problem is a few pure functions, ``Problem``; all else is here and is the same for all of them. The bisimulation
quotient (Drakulic et al. 2023, arXiv:2301.03313) maps a partial solution to the sub-instance that it leaves, and of the
problems here that sub-instance is an instance again: so there is one type, ``Instance``, for both, and its
``remaining`` says where construction stands. Two functions make sub-instances: ``advance`` of the one before and an
action, and ``reduced`` of the first instance and all actions so far, in closed form. Both come to the same.

Slots of routing problems are, by the convention of the generators: 0 the node where the tour starts or the depot, then
the others, and last the destination, a copy of slot 0. So the origin and the destination are two tokens from the start.
An action is ``slot * flags + flag``; only CVRP has two flags, 1 of them for going by way of the depot.

All functions are of one instance and made to be vmapped; ``n`` is the number of slots.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

NOWHERE = -1
"""the origin and the destination of a problem without a path, and an action of a solution that has ended"""


@struct.dataclass
class Remaining:
    """What construction has left, all that changes: beams of one instance share everything else.

    Args:
        valid: bool ``[n]``, the slots that are still there: unvisited nodes, the origin and the destination.
        origin: int32 ``[]``, the slot to go on from.
        budget: float32 ``[]``: the vehicle's remaining capacity, the remaining length, the knapsack's remaining
            capacity; 0 where there is none.
    """

    valid: Any
    origin: Any
    budget: Any


@struct.dataclass
class Instance:
    """An instance, or the sub-instance that a partial solution leaves of one.

    Args:
        nodes: rows by name, ``[n, ...]``: ``coordinates [n, 2]``, ``demand``, ``prize``, ``weight``, ``value``,
            ``identifier``. Removed slots keep theirs, which no function here reads; ``compacted`` drops them.
        cost: ``[n, n]`` from row to column, or None for the Euclidean distance of the coordinates.
        capacity: float32 ``[]``, the budget after a visit to the depot.
        destination: int32 ``[]``.
        remaining: where construction stands.
    """

    nodes: dict[str, Any]
    cost: Any
    capacity: Any
    destination: Any
    remaining: Remaining


class Tokens(NamedTuple):
    """What a network sees of an instance: nothing of removed slots, which are 0 everywhere."""

    features: jax.Array
    """float32 ``[n, F]``"""
    valid: jax.Array
    """bool ``[n]``, which slots are tokens at all"""
    origin: jax.Array
    """bool ``[n]``, true at one token, or at none where there is no path"""
    destination: jax.Array
    """bool ``[n]``, likewise"""
    allowed: jax.Array
    """bool ``[n, flags]``, the actions that keep a solution feasible; never the origin or the destination"""
    cost: jax.Array | None
    """float32 ``[n, n]`` for problems whose nodes are known by their distances; else None"""


class Problem(NamedTuple):
    """One combinatorial problem: pure functions of an instance, an origin and a node, which are slots.

    ``spend``, ``price`` and ``closing`` take slots of any shape. Costs are minimised; what is collected is negative.
    """

    name: str
    spend: Callable[[Instance, Any, Any], jax.Array]
    """``(instance, origin, node) -> budget`` that going to a node uses"""
    price: Callable[[Instance, Any, Any, Any], jax.Array]
    """``(instance, origin, node, flag) -> cost`` of that step"""
    closing: Callable[[Instance, Any], jax.Array]
    """``(instance, node) -> cost`` of ending there"""
    fits: Callable[[Instance], jax.Array]
    """``(instance) -> bool [n, flags]``: what the budget allows"""
    features: Callable[[Instance], jax.Array]
    """``(instance) -> [n, F]``, rows of removed slots may be anything"""
    check: Callable[[Instance], None]
    """raises InvalidArgument for an instance, in numpy, that makes no sense or has no solution"""
    flags: int = 1
    """ways to go to a node; the last of two fills the budget up again"""
    path: bool = True
    """whether there are an origin and a destination"""
    matrix: bool = False
    """whether networks need the costs between all nodes"""
    covers: bool = True
    """whether a solution has all nodes"""
    circular: bool = False
    """whether the start is a node like others: a solution may as well be told from any of them"""


def distance(instance: Instance, origin: Any, node: Any) -> jax.Array:
    """From slots to slots, of any shapes that broadcast."""
    if instance.cost is not None:
        return jnp.asarray(instance.cost)[origin, node]
    at = row(instance, "coordinates")
    # Written out: the norm of a vector of zeros has no gradient, and costs another kernel.
    return jnp.sqrt(jnp.sum(jnp.square(at[origin] - at[node]), axis=-1))


def row(instance: Instance, name: str) -> jax.Array:
    """``[n, ...]``, what the nodes have of a name, to be indexed by traced slots also where it is numpy."""
    return jnp.asarray(instance.nodes[name])


def nothing(instance: Instance, *slots: Any) -> jax.Array:
    """Zeros of the slots' shape: no budget is spent, closing is free."""
    return jnp.zeros(jnp.broadcast_shapes(*(jnp.shape(slot) for slot in slots)))


def everything(instance: Instance) -> jax.Array:
    """``[n, 1]`` of trues: no budget restricts."""
    return jnp.ones((instance.remaining.valid.shape[0], 1), bool)


def unvisited(instance: Instance) -> jax.Array:
    """bool ``[n]``: slots that are still to be chosen from, without the origin and the destination."""
    slots = jnp.arange(instance.remaining.valid.shape[0])
    return instance.remaining.valid & (slots != instance.remaining.origin) & (slots != instance.destination)


def allowed(problem: Problem, instance: Instance) -> jax.Array:
    """bool ``[n, flags]``: the actions after which the solution can still be completed. None: it is complete."""
    return unvisited(instance)[:, None] & problem.fits(instance)


def node_and_flag(problem: Problem, action: Any) -> tuple[Any, Any]:
    """The slot and the flag of actions of any shape."""
    return action // problem.flags, action % problem.flags


def permitted(mask: jax.Array, action: Any) -> jax.Array:
    """The action, or the first one that is allowed in place of one that is not; ``mask [n, flags]``."""
    mask = mask.reshape(-1)
    action = jnp.asarray(action, jnp.int32)
    return jnp.where(mask[action], action, jnp.argmax(mask).astype(jnp.int32))


def advance(problem: Problem, instance: Instance, action: Any) -> tuple[Instance, jax.Array, jax.Array]:
    """A step of the quotient: what an allowed action leaves, float32 ``[]`` its reward, and whether it was the last.

    Rewards add up to minus the cost of the solution; the last step's includes the way to the destination.
    """
    before = instance.remaining
    node, flag = node_and_flag(problem, action)
    slots = jnp.arange(before.valid.shape[0])
    budget = before.budget if problem.flags == 1 else jnp.where(flag == 1, instance.capacity, before.budget)
    after = Remaining(
        valid=before.valid & (slots != (before.origin if problem.path else node)),
        origin=jnp.asarray(node, jnp.int32) if problem.path else before.origin,
        budget=budget - problem.spend(instance, before.origin, node),
    )
    successor = dataclasses.replace(instance, remaining=after)
    done = ~jnp.any(allowed(problem, successor))
    cost = problem.price(instance, before.origin, node, flag) + jnp.where(done, problem.closing(instance, node), 0.0)
    return successor, -cost, done


def reduced(problem: Problem, instance: Instance, actions: jax.Array, steps: Any = None) -> Instance:
    """The sub-instance that a partial solution leaves, in closed form: what ``advance`` comes to step by step.

    Args:
        actions: int32 ``[T]``, the solution; ``NOWHERE`` from its end on.
        steps: how many of them count, at most the solution's length; all by default.
    """
    start, slots, time = instance.remaining, jnp.arange(instance.remaining.valid.shape[0]), jnp.arange(len(actions))
    steps = jnp.sum(actions != NOWHERE) if steps is None else steps
    taken = time < steps
    nodes, flags = node_and_flag(problem, jnp.maximum(actions, 0))
    origins = origins_of(problem, instance, actions)
    # A path leaves the slot that it comes from, a set the one that it takes.
    left = jnp.where(taken, origins if problem.path else nodes, NOWHERE)
    refilled = taken & (flags == 1)
    last_refill = jnp.max(jnp.where(refilled, time, -1))
    budget = start.budget if problem.flags == 1 else jnp.where(last_refill >= 0, instance.capacity, start.budget)
    counts = taken & (time >= last_refill)
    budget = budget - jnp.sum(jnp.where(counts, problem.spend(instance, origins, nodes), 0.0))
    last = nodes[jnp.maximum(steps - 1, 0)].astype(jnp.int32)
    remaining = Remaining(
        valid=start.valid & ~jnp.any(slots[:, None] == left, axis=1),
        origin=jnp.where(steps > 0, last, start.origin) if problem.path else start.origin,
        budget=budget,
    )
    return dataclasses.replace(instance, remaining=remaining)


def origins_of(problem: Problem, instance: Instance, actions: jax.Array) -> jax.Array:
    """``[T]``: the slot that each step goes on from."""
    nodes, _ = node_and_flag(problem, jnp.maximum(actions, 0))
    return jnp.concatenate([instance.remaining.origin[None], nodes[:-1].astype(jnp.int32)])


def solution_cost(problem: Problem, instance: Instance, actions: jax.Array) -> jax.Array:
    """Float32 ``[]``: the cost of a complete solution ``[T]``, ``NOWHERE`` from its end on; of a partial one, with what
    ending there would cost."""
    taken = actions != NOWHERE
    nodes, flags = node_and_flag(problem, jnp.maximum(actions, 0))
    origins = origins_of(problem, instance, actions)
    steps = jnp.sum(jnp.where(taken, problem.price(instance, origins, nodes, flags), 0.0))
    last = nodes[jnp.maximum(jnp.sum(taken) - 1, 0)]
    last = jnp.where(jnp.any(taken), last, instance.remaining.origin)
    return steps + problem.closing(instance, last)


def tokens(problem: Problem, instance: Instance) -> Tokens:
    """What a network sees."""
    valid = instance.remaining.valid
    slots = jnp.arange(valid.shape[0])
    cost = None
    if problem.matrix:
        cost = jnp.where(valid[:, None] & valid, jnp.asarray(instance.cost), 0.0)
    return Tokens(
        features=jnp.where(valid[:, None], problem.features(instance), 0.0),
        valid=valid,
        origin=slots == instance.remaining.origin,
        destination=slots == instance.destination,
        allowed=allowed(problem, instance),
        cost=cost,
    )


# --- smaller shapes ---------------------------------------------------------------------------------------------


def gathered(instance: Instance, slots: jax.Array) -> Instance:
    """The instance of some of the slots alone, int32 ``[size]``, no two the same.

    An origin or a destination that is not among them becomes ``NOWHERE``. Slot ``i`` of the result is ``slots[i]``
    here, which turns actions back (``slots[action // flags] * flags + action % flags``).
    """

    def place(slot: Any) -> jax.Array:
        found = slots == slot
        return jnp.where(jnp.any(found), jnp.argmax(found), NOWHERE).astype(jnp.int32)

    remaining = instance.remaining
    return Instance(
        nodes={name: row(instance, name)[slots] for name in instance.nodes},
        cost=None if instance.cost is None else jnp.asarray(instance.cost)[slots[:, None], slots],
        capacity=instance.capacity,
        destination=place(instance.destination),
        remaining=Remaining(jnp.asarray(remaining.valid)[slots], place(remaining.origin), remaining.budget),
    )


def compacted(instance: Instance, size: int) -> tuple[Instance, jax.Array]:
    """The remaining slots first, in their order, cut to a smaller static size, and int32 ``[size]`` where they were.

    Nothing is lost as long as at most ``size`` slots remain, which a trace cannot check: after ``k`` steps there are
    ``n - k`` of them (see ``sizes``).
    """
    slots = jnp.argsort(~instance.remaining.valid, stable=True)[:size].astype(jnp.int32)
    return gathered(instance, slots), slots


def sizes(slots: int, number: int = 10, least: int = 4) -> tuple[int, ...]:
    """Static sizes to compact to, descending from ``slots``: ``number`` of them at most, evenly spaced.

    Example:
        >>> sizes(101, 4)
        (101, 76, 51, 26)
    """
    step = -(-(slots - least + 1) // number)
    return tuple(int(size) for size in np.arange(slots, least - 1, -max(step, 1)))

"""What imitation learns from: sub-problems of solved instances, without taking the steps to them.

A suffix of an optimal solution is an optimal solution of the sub-instance that it begins in, so each cut of a labelled
solution is a pair of a state and an expert's action. A learner draws a bucket, how much is left in it, and gets

    example = batch_of(problem, instances, actions, left, key, bucket.size)       # leaves [B, ...]
    seen = jax.vmap(partial(tokens, problem))(example.instance)                   # what its network sees
    scores = where(seen.allowed, network(seen), very_negative).reshape(B, -1)     # [B, size * flags]
    loss = -sum(example.target * log_softmax(scores), axis=-1)

Where targets are, actions are allowed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxrl.envs.arguments import whole
from jaxrl.envs.combinatorial.problem import (
    NOWHERE,
    Instance,
    Problem,
    compacted,
    node_and_flag,
    reduced,
    sizes,
)


class Example(NamedTuple):
    """A sub-instance, and how likely the expert is to take each action in it."""

    instance: Instance
    target: jax.Array
    """float32 ``[n * flags]``, adding up to 1: on one action, or spread evenly over a set's items that are left"""


class Bucket(NamedTuple):
    """Sub-problems that share a static size."""

    size: int
    """slots to compact to"""
    least: int
    """steps of the solution that are left, at least"""
    most: int
    """and at most: both are drawn, too"""


def fewest(problem: Problem) -> int:
    """Steps left in the smallest sub-problem that is learned from: with one node left a tour has no choice; where nodes
    may be left out, the last one is a choice too."""
    return 2 if problem.covers else 1


def buckets(problem: Problem, slots: int, number: int = 10) -> tuple[Bucket, ...]:
    """Sizes that cover every cut of full-size instances once, ``fewest`` to all steps left.

    The paper draws sizes uniformly: that is to draw a bucket in proportion to ``most - least + 1`` and then what is
    left uniformly. Its code is off by one and never trains the whole TSP, where origin and destination are one place;
    here the largest cut is the whole instance.

    Problems that leave nodes out have one bucket of full size: their unused nodes stay, and solutions differ in length,
    so that ``most`` stands for whatever a solution has.
    """
    if not problem.covers:
        return (Bucket(slots, fewest(problem), slots),)
    held = 2 * problem.path  # the origin and the destination
    ends = sizes(slots, whole("number", number, 1), fewest(problem) + held)
    bottoms = [*(end + 1 for end in ends[1:]), fewest(problem) + held]
    return tuple(Bucket(end, bottom - held, end - held) for end, bottom in zip(ends, bottoms))


def length(actions: jax.Array) -> jax.Array:
    """``[...]`` steps of solutions ``[..., T]``."""
    return jnp.sum(actions != NOWHERE, axis=-1)


def shuffled(actions: jax.Array, key: jax.Array) -> jax.Array:
    """A solution ``[T]`` in random order."""
    draws = jnp.where(actions == NOWHERE, jnp.inf, jax.random.uniform(key, actions.shape))
    return actions[jnp.argsort(draws)]


def example(problem: Problem, instance: Instance, actions: jax.Array, left: Any, key: jax.Array) -> Example:
    """The sub-problem in which so much of a solution is left.

    Args:
        instance: one, solved from its start.
        actions: int32 ``[T]``, ``NOWHERE`` from the end on.
        left: steps left, at least 1; the whole solution if it has fewer.
        key: for problems without a path, where any part of the solution may be what is left.
    """
    total = length(actions)
    steps = total - jnp.minimum(left, total)
    if not problem.path:
        actions = shuffled(actions, key)
    time = jnp.arange(len(actions))
    expected = (time == steps) if problem.path else (time >= steps) & (time < total)
    slots = jnp.arange(instance.remaining.valid.shape[0] * problem.flags)
    hits = jnp.any((slots[:, None] == actions) & expected, axis=1)
    target = hits / jnp.maximum(jnp.sum(hits), 1)
    return Example(reduced(problem, instance, actions, steps), target.astype(jnp.float32))


def shrunk(problem: Problem, given: Example, size: int) -> Example:
    """The same in ``size`` slots, see ``compacted``."""
    instance, slots = compacted(given.instance, size)
    target = given.target.reshape(-1, problem.flags)[slots]
    return Example(instance, target.reshape(-1))


def batch_of(
    problem: Problem, instances: Instance, actions: jax.Array, left: Any, key: jax.Array, size: int | None = None
) -> Example:
    """Sub-problems of a batch of solved instances.

    Args:
        instances: leaves ``[B, ...]``.
        actions: int32 ``[B, T]``.
        left: int32 ``[]`` or ``[B]``, steps left: one number for all is what the paper's code does, for each its own
            makes gradients less correlated; within one bucket both have the same shapes.
        key: see ``example``.
        size: slots to compact to, at least those that are left; None for all.
    """

    def one(instance: Instance, actions: jax.Array, left: jax.Array, key: jax.Array) -> Example:
        made = example(problem, instance, actions, left, key)
        return made if size is None else shrunk(problem, made, size)

    rows = actions.shape[0]
    return jax.vmap(one)(instances, actions, jnp.broadcast_to(left, (rows,)), jax.random.split(key, rows))


def drawn_left(
    problem: Problem, actions: jax.Array, key: jax.Array, bucket: Bucket, together: bool = False
) -> jax.Array:
    """int32 ``[B]``: how much to leave of solutions ``[B, T]``, uniform from the bucket's least to its most or to the
    solution's length, if that is less.

    Args:
        together: draw one number for the whole batch.
    """
    most = jnp.minimum(bucket.most, length(actions))
    draws = jax.random.uniform(key, () if together else most.shape)
    least = jnp.minimum(bucket.least, most)
    return least + jnp.floor(draws * (most - least + 1)).astype(jnp.int32)


def actions_of(problem: Problem, nodes: jax.Array, flags: Any = 0) -> jax.Array:
    """int32 ``[..., T]`` actions of slots ``[..., T]`` (``NOWHERE`` from the end on) and their flags."""
    return jnp.where(nodes == NOWHERE, NOWHERE, nodes * problem.flags + flags).astype(jnp.int32)


def routes_of(problem: Problem, actions: Any) -> list[list[int]]:
    """The slots of one solution ``[T]``, numpy, a list a route: a new one begins where the way is by the depot."""
    routes: list[list[int]] = [[]]
    for action in [int(action) for action in actions if action != NOWHERE]:
        node, flag = node_and_flag(problem, action)
        if flag and routes[-1]:
            routes.append([])
        routes[-1].append(node)
    return routes

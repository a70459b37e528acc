"""Decoding: how solutions are constructed by a scorer of actions.

A ``Scorer`` looks at sub-instances, a ``Decode`` makes solutions of instances; ``nearest`` is a transform of the first,
``augmented`` one of the second, and ``beam``, of which ``greedy`` is the narrowest, and ``multistart`` go from one to
the other. The sub-instance becomes smaller with every step; so that compiled programs make use of it, it is compacted
into ever smaller static sizes on the way.
"""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl.core.types import PyTree
from jaxrl.envs.combinatorial.problem import (
    NOWHERE,
    Instance,
    Problem,
    advance,
    allowed,
    compacted,
    distance,
    gathered,
    node_and_flag,
    row,
    sizes,
    solution_cost,
    tokens,
    unvisited,
)
from jaxrl.errors import InvalidArgument
from jaxrl.networks.construction import IMPOSSIBLE

Scorer: TypeAlias = Callable[[PyTree, Instance], jax.Array]
"""``(params, instances[R]) -> logits[R, n, flags]``, those of actions that are not allowed ``IMPOSSIBLE``"""
Encode: TypeAlias = Callable[[PyTree, Instance], Instance]
"""``(params, instances[B]) -> instances[B]`` with more rows among the nodes, for a scorer to look at"""
Decode: TypeAlias = Callable[[PyTree, Instance], jax.Array]
"""``(params, instances[B]) -> actions int32 [B, T]``, solutions with ``NOWHERE`` from their end on"""


def scorer(problem: Problem, apply: Callable[[PyTree, Any], jax.Array]) -> Scorer:
    """A scorer from a network's ``(params, tokens[R]) -> logits[R, n, flags]``."""
    return lambda params, instances: apply(params, jax.vmap(lambda each: tokens(problem, each))(instances))


def nearest(problem: Problem, score: Scorer, number: int) -> Scorer:
    """Scores the ``number - 1`` unvisited nodes nearest to the origin, it among them, and the destination alone; all
    other logits are ``IMPOSSIBLE``. Of problems that need not visit all, half are the nearest and half those of the
    greatest prizes. With at least as many as there are tokens it is ``score``.

    Raises:
        InvalidArgument: for fewer than three, or a problem without distances.
    """
    if number < 3:
        raise InvalidArgument("number", number, "must be at least 3: the origin, the destination and a node")
    if not problem.path:
        raise InvalidArgument("problem", problem.name, "must have distances")

    def near(instance: Instance) -> jax.Array:
        """int32 ``[number]`` slots, the destination last."""
        slots = jnp.arange(instance.remaining.valid.shape[0])
        origin, candidates = instance.remaining.origin, unvisited(instance)
        # The origin is nearest to itself, the destination comes last whatever it is.
        away = jnp.where(candidates, distance(instance, origin, slots), jnp.inf)
        away = jnp.where(slots == origin, -1.0, away)
        away = jnp.where(slots == instance.destination, jnp.inf, away)
        many = number - 1 if problem.covers else (number + 1) // 2
        chosen = jax.lax.top_k(-away, many)[1]
        if many < number - 1:
            prize = jnp.where(candidates, instance.nodes["prize"], -1.0).at[chosen].set(-2.0)
            prize = prize.at[instance.destination].set(-3.0)
            chosen = jnp.concatenate([chosen, jax.lax.top_k(prize, number - 1 - many)[1]])
        return jnp.concatenate([chosen, instance.destination[None]]).astype(jnp.int32)

    def scored(params: PyTree, instances: Instance) -> jax.Array:
        rows, n = instances.remaining.valid.shape
        if n <= number:
            return score(params, instances)
        slots = jax.vmap(near)(instances)
        found = score(params, jax.vmap(gathered)(instances, slots))
        everywhere = jnp.full((rows, n, problem.flags), IMPOSSIBLE, found.dtype)
        return everywhere.at[jnp.arange(rows)[:, None], slots].set(found)

    return scored


def encoded(encode: Encode, decode: Decode) -> Decode:
    """Encodes instances once, before the first step. The rows that ``encode`` adds move with their nodes."""
    return lambda params, instances: decode(params, encode(params, instances))


# --- from actions to solutions ----------------------------------------------------------------------------------


class Beams(NamedTuple):
    """Partial solutions, and the best complete one of each instance so far."""

    instance: Instance
    """``[B * k]`` what each leaves, compacted"""
    slots: jax.Array
    """int32 ``[B * k, size]``: where its slots were at first"""
    actions: jax.Array
    """int32 ``[B * k, T]``, in the slots of the start"""
    log_prob: jax.Array
    """``[B, k]``; minus infinity of those that are complete"""
    cost: jax.Array
    """``[B, k]``, so far"""
    best: jax.Array
    """int32 ``[B, T]``"""
    best_cost: jax.Array
    """``[B]``"""


def greedy(problem: Problem, score: Scorer, buckets: Sequence[int] | None = None) -> Decode:
    """The action of the greatest logit at every step."""
    return beam(problem, score, 1, buckets)


def beam(problem: Problem, score: Scorer, width: int, buckets: Sequence[int] | None = None) -> Decode:
    """Keeps the ``width`` partial solutions of the greatest probability, and gives the complete one of least cost.

    Complete solutions are set aside and no longer take the place of partial ones. Of partial solutions that are the
    same set, where order does not matter, the most probable one is kept. A width of 1 is greedy.

    Args:
        buckets: static sizes to compact sub-instances to, descending from the number of slots; by default ten. Fewer
            compile faster.

    Raises:
        InvalidArgument: for a width below one; when tracing, for buckets that do not begin with the number of slots.
    """
    if width < 1:
        raise InvalidArgument("width", width, "must be at least 1")
    return construct(problem, score, width, buckets)


def multistart(problem: Problem, score: Scorer, starts: int, buckets: Sequence[int] | None = None) -> Decode:
    """The best of greedy constructions after each of the ``starts`` first actions of the greatest logits (Kwon et al.
    2020); with more than there are actions, of all. One start is greedy."""
    if starts < 1:
        raise InvalidArgument("starts", starts, "must be at least 1")
    return construct(problem, score, starts, buckets, apart=True)


def construct(
    problem: Problem, score: Scorer, width: int, buckets: Sequence[int] | None, apart: bool = False
) -> Decode:
    """``beam``; or, with ``apart``, beams that each go on greedily after their first step."""

    def decode(params: PyTree, instances: Instance) -> jax.Array:
        batch, n = instances.remaining.valid.shape
        steps = n - 2 if problem.path else n
        stages = tuple(buckets) if buckets is not None else sizes(n)
        if stages[0] != n or any(small >= large for large, small in pairwise(stages)) or stages[-1] < 3:
            raise InvalidArgument("buckets", stages, f"must descend from the {n} slots, to no less than 3")
        flags = problem.flags
        names = jax.random.bits(jax.random.key(0), (n,), jnp.uint32)  # sets are told apart by their names' sum

        def step(beams: Beams, time: Any, branch: bool) -> Beams:
            size, k = beams.slots.shape[1], beams.log_prob.shape[1]
            logits = score(params, beams.instance).reshape(batch, k, size * flags)
            log_prob = beams.log_prob[..., None] + jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
            log_prob = jnp.where(logits > IMPOSSIBLE / 2, log_prob, -jnp.inf)
            if not branch:
                action = jnp.argmax(log_prob, axis=-1)
                chosen = jnp.take_along_axis(log_prob, action[..., None], axis=-1)[..., 0]
                parent = jnp.broadcast_to(jnp.arange(k), (batch, k))
                return extended(beams, parent, action.astype(jnp.int32), chosen, time)
            if not problem.path:
                log_prob = without_twins(log_prob, set_names(beams, names))
            chosen, place = jax.lax.top_k(log_prob.reshape(batch, -1), min(width, k * size * flags))
            parent, action = place // (size * flags), place % (size * flags)
            return extended(beams, parent, action.astype(jnp.int32), chosen, time)

        def set_names(beams: Beams, names: jax.Array) -> jax.Array:
            """uint32 ``[B, k, size]``: of the set that remains after each action."""
            local = names[beams.slots]
            total = jnp.sum(jnp.where(beams.instance.remaining.valid, local, 0), axis=-1, dtype=jnp.uint32)
            return (total[:, None] - local).reshape(batch, -1, local.shape[-1])

        def extended(beams: Beams, parent, action, log_prob, time) -> Beams:
            k = parent.shape[1]
            row = (jnp.arange(batch)[:, None] * beams.log_prob.shape[1] + parent).reshape(-1)
            instance, slots, actions = jax.tree.map(
                lambda leaf: leaf[row], (beams.instance, beams.slots, beams.actions)
            )
            node, flag = node_and_flag(problem, action.reshape(-1))
            where = jnp.take_along_axis(slots, node[:, None], axis=1)[:, 0]
            actions = actions.at[:, time].set(where * flags + flag)
            instance, reward, done = jax.vmap(lambda *each: advance(problem, *each))(instance, action.reshape(-1))
            reward, done = reward.reshape(batch, k), done.reshape(batch, k)
            cost = jnp.take_along_axis(beams.cost, parent, axis=1) - reward
            complete = jnp.where(done & (log_prob > -jnp.inf), cost, jnp.inf)
            first = jnp.argmin(complete, axis=1)
            least = jnp.take_along_axis(complete, first[:, None], axis=1)[:, 0]
            found = jnp.take_along_axis(actions.reshape(batch, k, -1), first[:, None, None], axis=1)[:, 0]
            better = least < beams.best_cost
            return Beams(
                instance,
                slots,
                actions,
                jnp.where(done, -jnp.inf, log_prob),
                cost,
                jnp.where(better[:, None], found, beams.best),
                jnp.where(better, least, beams.best_cost),
            )

        def going_on(beams: Beams, time: jax.Array) -> tuple[Beams, None]:
            return step(beams, time, branch=width > 1 and not apart), None

        def shrunk(beams: Beams, size: int) -> Beams:
            instance, kept = jax.vmap(lambda each: compacted(each, size))(beams.instance)
            return beams._replace(instance=instance, slots=jnp.take_along_axis(beams.slots, kept, axis=1))

        nothing = jnp.full((batch, steps), NOWHERE, jnp.int32)
        every = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), (batch, n))
        possible = jax.vmap(lambda each: jnp.any(allowed(problem, each)))(instances)
        zeros = jnp.zeros((batch, 1))
        start = jnp.where(possible[:, None], zeros, -jnp.inf)
        beams = Beams(instances, every, nothing, start, zeros, nothing, jnp.full(batch, jnp.inf))
        time = 0
        for size, smaller in pairwise((*stages, n - steps)):
            beams = beams if time == 0 else shrunk(beams, size)
            until = time + size - smaller
            # While there are fewer than `width`, shapes grow; from then on they stay, and steps are one loop.
            while time < until and beams.log_prob.shape[1] < width and not (apart and time):
                beams = step(beams, time, branch=True)
                time += 1
            if time < until:
                beams, _ = jax.lax.scan(going_on, beams, jnp.arange(time, until))
            time = until
        return beams.best

    return decode


def without_twins(log_prob: jax.Array, names: jax.Array) -> jax.Array:
    """``[B, k, m]`` with minus infinity in place of all but the first greatest of those of one name, uint32
    ``[B, k, m]``."""
    batch = log_prob.shape[0]
    flat, named = log_prob.reshape(batch, -1), names.reshape(batch, -1)

    def one(values, names):
        order = jnp.lexsort((-values, names))
        repeated = jnp.concatenate([jnp.zeros(1, bool), names[order][1:] == names[order][:-1]])
        return values.at[order].set(jnp.where(repeated, -jnp.inf, values[order]))

    return jax.vmap(one)(flat, named).reshape(log_prob.shape)


def cheapest(problem: Problem, instances: Instance, actions: jax.Array) -> jax.Array:
    """``[B, T]``: of several solutions ``[k, B, T]`` of each instance the one of least cost, the first of equals."""
    cost = jax.vmap(jax.vmap(lambda *each: solution_cost(problem, *each)), in_axes=(None, 0))(instances, actions)
    return jnp.take_along_axis(actions, jnp.argmin(cost, axis=0)[None, :, None], axis=0)[0]


def rotated(problem: Problem, decode: Decode, starts: int) -> Decode:
    """The best of the tours that begin at the first ``starts`` nodes, where the start is a node like others (Kwon et
    al. 2020); with more than there are nodes, at all. One start is ``decode``.

    Raises:
        InvalidArgument: for fewer than one, or a problem whose start is not.
    """
    if starts < 1:
        raise InvalidArgument("starts", starts, "must be at least 1")
    if not problem.circular:
        raise InvalidArgument("problem", problem.name, "must have tours without a depot")

    def moved(instance: Instance, by: Any) -> tuple[Instance, jax.Array]:
        """The instance with its nodes moved up so far in their circle, and int32 ``[n]`` where they were."""
        last, slots = instance.destination, jnp.arange(instance.remaining.valid.shape[0])
        source = jnp.where(slots <= last, (slots + by) % last, slots).astype(jnp.int32)
        nodes = {name: row(instance, name)[source] for name in instance.nodes}
        cost = None if instance.cost is None else jnp.asarray(instance.cost)[source[:, None], source]
        return dataclasses.replace(instance, nodes=nodes, cost=cost), source

    def moved_back(source: jax.Array, actions: jax.Array) -> jax.Array:
        """The same tour ``[T]``, told from the first node on."""
        count = jnp.sum(actions != NOWHERE)
        time = jnp.arange(actions.shape[0])
        circle = jnp.concatenate([source[:1], source[jnp.maximum(actions, 0)]])
        first = jnp.argmax((circle == 0) & (jnp.arange(circle.shape[0]) <= count))
        return jnp.where(time < count, circle[(first + 1 + time) % (count + 1)], NOWHERE).astype(jnp.int32)

    def decode_all(params: PyTree, instances: Instance) -> jax.Array:
        def one(by):
            turned_to, sources = jax.vmap(lambda each: moved(each, by))(instances)
            return jax.vmap(moved_back)(sources, decode(params, turned_to))

        number = min(starts, instances.remaining.valid.shape[1] - 1)
        return cheapest(problem, instances, jax.lax.map(one, jnp.arange(number)))

    return decode_all


SYMMETRIES: tuple[Callable[[jax.Array], jax.Array], ...] = tuple(
    (lambda at, flip=flip, turn=turn: turned(at[..., ::-1] if flip else at, turn))
    for flip in (False, True)
    for turn in range(4)
)
"""of the unit square, on coordinates ``[..., 2]``; the first is the identity"""


def turned(at: jax.Array, quarters: int) -> jax.Array:
    """Points of the unit square, turned about its middle by quarters of a circle."""
    x, y = at[..., 0], at[..., 1]
    return jnp.stack([(x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x)][quarters], axis=-1)


def augmented(problem: Problem, decode: Decode, symmetries: int = 8) -> Decode:
    """The best of the solutions of an instance and of its mirror images and turns (Kwon et al. 2020); one symmetry is
    ``decode``.

    Raises:
        InvalidArgument: for a number outside 1 to 8; when tracing, for instances without coordinates.
    """
    if not 1 <= symmetries <= len(SYMMETRIES):
        raise InvalidArgument("symmetries", symmetries, f"must be within 1 and {len(SYMMETRIES)}")

    def decode_all(params: PyTree, instances: Instance) -> jax.Array:
        if "coordinates" not in instances.nodes:
            raise InvalidArgument("instances", problem.name, "must be known by coordinates")
        at = instances.nodes["coordinates"]
        images = jnp.stack([symmetry(at) for symmetry in SYMMETRIES[:symmetries]])

        def one(image):
            return decode(params, dataclasses.replace(instances, nodes=instances.nodes | {"coordinates": image}))

        return cheapest(problem, instances, jax.lax.map(one, images))

    return decode_all

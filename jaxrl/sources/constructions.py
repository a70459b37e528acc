"""Solutions of fresh instances: the source of what learns to construct by trying."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.types import Average, Source
from jaxrl.envs.combinatorial.groups import Start, begun, costs, starts
from jaxrl.envs.combinatorial.problem import Instance, Problem
from jaxrl.errors import InvalidArgument


class Attempts(NamedTuple):
    """``k`` solutions of each of ``B`` instances."""

    instance: Instance
    """``[B, ...]``, at its own start"""
    start: Start
    """``[B, k, ...]``, where solutions began"""
    actions: jax.Array
    """int32 ``[B, k, T]``, ``NOWHERE`` from their ends on"""
    cost: jax.Array
    """``[B, k]``"""


def attempts(
    problem: Problem, generate: Callable[[jax.Array], Instance], steps: int, batch_size: int, number: int, nodes: bool
) -> Source:
    """Draws ``batch_size`` instances and has ``number`` solutions of each constructed, ``Attempts``.

    The behaviour is asked once for whole solutions: ``act((instances[B], starts[B, k]), noise[B, k, T]) ->
    (actions[B, k, T], extras)``.

    Metrics: ``episode_return``, minus the mean cost, and ``best_return``, that of the best of each instance's.

    Args:
        generate: ``(key) -> Instance``.
        steps: ``T``, the most that a solution has.
        nodes: see ``starts``.
    """
    for name, size in (("batch_size", batch_size), ("number", number)):
        if size < 1:
            raise InvalidArgument(name, size, "must be at least 1")

    def next_batch(state, behaviour, key):
        instance_key, start_key, act_key = jax.random.split(key, 3)
        instance = jax.vmap(generate)(jax.random.split(instance_key, batch_size))
        place = lambda each, key: starts(problem, each, number, nodes, key)  # noqa: E731
        start = jax.vmap(place)(instance, jax.random.split(start_key, batch_size))
        noise = behaviour.noise(act_key, (batch_size, number, steps))
        actions, _ = behaviour.act((instance, start), noise)
        cost = costs(problem, begun(instance, start), actions)
        count = jnp.float32(batch_size)
        metrics = {
            "episode_return": Average(-cost.mean() * count, count),
            "best_return": Average(-cost.min(axis=1).mean() * count, count),
        }
        return state, Attempts(instance, start, actions, cost), metrics

    return Source(lambda key: (), next_batch, batch_size * number * steps)

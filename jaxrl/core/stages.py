"""Algorithms that begin anew several times in a run, and what they are given for each stage."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.combine import as_averages
from jaxrl.core.counted import keep_best
from jaxrl.core.scaled import NormalisedState
from jaxrl.core.types import Algorithm, AlgorithmState, Behaviour, Key, Learner, Metrics, PyTree, Shared

STAGE_KEY = 0x57A6E5
"""folded into keys that the algorithm inside splits: a number that none of its own draws has"""


class StagesState(NamedTuple):
    """Of the learner of an algorithm in stages."""

    calls: Shared
    """updates so far"""
    given: PyTree
    """what the stage is given, and leaves as it is"""
    inner: PyTree
    """the state of the stage's own learner"""


def in_stages(
    make: Callable[[PyTree, jax.Array], Algorithm],
    first: Callable[[Key], PyTree],
    following: Callable[[PyTree, PyTree, jax.Array, Key], tuple[PyTree, Metrics]],
    ends: Sequence[int],
    fresh: bool = True,
    renewed: Callable[[PyTree, jax.Array], PyTree] = lambda source, begins: source,
) -> Algorithm:
    """``make(given, stage)``, run for ``ends[0]`` updates, then begun anew with something else given, and so on.

    Between two stages ``following`` makes what the next is given of what the last has learned. It is part of the update
    that begins the next stage, so that after ``ends[m]`` updates the agent is judged as stage ``m`` left it. The
    counter is ``Shared`` by all members: under ``vmap`` an update within a stage pays for nothing else. The source goes
    on.

    Laws: with one stage it is ``make(first(key), 0)``; a stage's learner starts from ``init`` of a new key, whatever
    was learned before it, unless it is not ``fresh``.

    Args:
        make: ``(given, stage) -> algorithm``, all stages of one shape; ``stage`` is an int32 ``[]``.
        first: ``(key) -> given`` of the first stage.
        following: ``(given, learner's state, stage, key) -> (given, metrics)``, at the end of a stage.
        ends: updates after which each stage but the last is over, not falling. A stage of no updates is left out.
        fresh: begin each stage with a new learner's state, else with that of the last.
        renewed: ``(source's state, begins) -> source's state``: the source's part in a new stage, at every update.
    """
    ends = tuple(dict.fromkeys(end for end in ends if end > 0))

    def number(calls: jax.Array) -> jax.Array:
        return jnp.sum(calls > jnp.array(ends, jnp.int32), dtype=jnp.int32)

    def init(key):
        given = first(jax.random.fold_in(key, STAGE_KEY))
        state = make(given, jnp.int32(0)).init(key)
        return state._replace(learner=StagesState(Shared(jnp.int32(0)), given, state.learner))

    def begun(given, inner, stage, key):
        given_key, init_key = jax.random.split(key)
        given, metrics = following(given, inner, stage, given_key)
        if fresh:
            inner = make(given, stage + 1).init(init_key).learner
        return given, inner, as_averages(metrics)

    def update(state):
        calls, given, inner = state.learner
        calls, source, metrics = calls.value + 1, state.source, {}
        stage = number(calls)
        if ends:
            begins = stage > number(calls - 1)
            shapes = jax.eval_shape(begun, given, inner, stage, state.key)[2]
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            given, inner, metrics = jax.lax.cond(
                begins,
                lambda: begun(given, inner, stage - 1, jax.random.fold_in(state.key, STAGE_KEY)),
                lambda: (given, inner, nothing),
            )
            source = renewed(source, begins)
        state, own = make(given, stage).update(AlgorithmState(source, inner, state.key))
        return state._replace(learner=StagesState(Shared(calls), given, state.learner)), metrics | own

    def policy(state, obs, key, greedy=True):
        calls, given, inner = state.learner
        return make(given, number(calls.value)).policy(state._replace(learner=inner), obs, key, greedy)

    steps = make(first(jax.random.key(0)), jnp.int32(0)).steps_per_update
    return Algorithm(init, update, policy, steps)


# --- the best of a stage ----------------------------------------------------------------------------------------


def acting_part(state: PyTree) -> tuple[PyTree, ...]:
    """What a learner acts by: statistics of observations, outermost first, and parameters."""
    if isinstance(state, NormalisedState):
        return (state.moments, *acting_part(state.inner))
    return acting_part(state.inner) if hasattr(state, "inner") else (state.params,)


def with_acting_part(state: PyTree, part: tuple[PyTree, ...]) -> PyTree:
    """A learner's state that acts by ``part``, as ``acting_part`` gives it."""
    if isinstance(state, NormalisedState):
        state, part = state._replace(moments=part[0]), part[1:]
    if hasattr(state, "inner"):
        return state._replace(inner=with_acting_part(state.inner, part))
    return state._replace(params=part[0])


def judged_by_best(
    algorithm: Algorithm, score: Callable[[Callable[[jax.Array, Key], jax.Array], Key], jax.Array], period: int
) -> Algorithm:
    """``keep_best`` around a whole algorithm: it goes on learning from the latest parameters and is judged by the best
    ones, statistics of observations included.

    Args:
        score: ``(policy, key) -> []`` of a greedy policy ``(obs[N, ...], key) -> action[N, ...]``.
        period: updates between two scores.
    """

    def around(state: AlgorithmState, learned: PyTree) -> Learner:
        """A learner whose update is to take what was learned elsewhere."""

        def acts(obs, key, part):
            learner = with_acting_part(learned, part)
            return algorithm.policy(state._replace(learner=learner), obs, key, True)

        passive = Learner(
            lambda key: learned,
            lambda _, batch, key: batch,
            lambda _: Behaviour(lambda *_: None, lambda *_: (None, {})),
            lambda inner, obs, key, greedy: algorithm.policy(state._replace(learner=inner), obs, key, greedy),
        )
        return keep_best(
            passive,
            lambda part, key: score(lambda obs, act_key: acts(obs, act_key, part), key),
            period,
            acting_part,
            with_acting_part,
        )

    def init(key):
        state = algorithm.init(key)
        best = around(state, state.learner).init(jax.random.fold_in(key, STAGE_KEY))
        return state._replace(learner=best)

    def update(state):
        new, metrics = algorithm.update(state._replace(learner=state.learner.inner))
        learner, metrics = around(new, new.learner).update(state.learner, (new.learner, metrics), new.key)
        return new._replace(learner=learner), metrics

    def policy(state, obs, key, greedy=True):
        return around(state, state.learner.inner).policy(state.learner, obs, key, greedy)

    return Algorithm(init, update, policy, algorithm.steps_per_update)

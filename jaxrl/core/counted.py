"""Combinators that count the calls of a learner: what happens now and then, later, or to a copy that follows.

The counters are ``Shared`` by all members, so that under ``vmap`` a skipped call costs nothing. Each states its law;
``tests/core/test_combine.py`` tests them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.combine import keep, on_inner, update_if
from jaxrl.core.types import Average, Key, Learner, PyTree, Shared
from jaxrl.errors import InvalidArgument


class CountedState(NamedTuple):
    """Of a learner that counts its calls, and what it is put around."""

    calls: Shared
    inner: PyTree


def every(learner: Learner, period: int) -> Learner:
    """Updates at calls ``0, period, 2 * period, ...`` and does nothing at the others.

    The counter is ``Shared`` by all members, so a skipped call costs nothing under ``vmap``.

    Laws: ``every(learner, 1)`` makes the updates of ``learner``; ``n`` calls make ``ceil(n / period)`` updates. Metrics
    of skipped calls weigh nothing.
    """

    def init(key):
        return CountedState(Shared(jnp.int32(0)), learner.init(key))

    def update(state, batch, key):
        calls = state.calls.value
        inner, metrics = update_if(calls % period == 0, learner.update, state.inner, batch, key)
        return CountedState(Shared((calls + 1) % period), inner), metrics

    return on_inner(learner, init, update)


def one_of(learners: Sequence[Learner], weights: Sequence[float]) -> Learner:
    """Updates with one of several learners of one kind of state, drawn anew at every call in proportion to ``weights``:
    programs for batches of several sizes, say.

    The draws are of the counter of calls, ``Shared`` by all members, so that under ``vmap`` one learner runs and not
    all.

    Laws: of one learner it is that learner; init, behaviour and policy are the first one's.

    Raises:
        InvalidArgument: unless there are as many weights as learners, positive ones.
    """
    if len(weights) != len(learners) or not all(weight > 0 for weight in weights):
        raise InvalidArgument("weights", weights, f"must be positive, one for each of the {len(learners)} learners")
    if len(learners) == 1:
        return learners[0]
    logits = jnp.log(jnp.asarray(weights, jnp.float32))

    def init(key):
        return CountedState(Shared(jnp.int32(0)), learners[0].init(key))

    def update(state, batch, key):
        calls = state.calls.value
        chosen = jax.random.categorical(jax.random.fold_in(jax.random.key(0), calls), logits)
        inner, metrics = jax.lax.switch(chosen, [each.update for each in learners], state.inner, batch, key)
        return CountedState(Shared(calls + 1), inner), metrics

    return on_inner(learners[0], init, update)


def after(learner: Learner, start: int) -> Learner:
    """Does nothing at the first ``start`` calls and updates at all later ones, as a learner does that waits for data.

    The counter is ``Shared`` by all members, so a skipped call costs nothing under ``vmap``.

    Laws: ``after(learner, 0)`` makes the updates of ``learner``; ``n`` calls make ``max(0, n - start)`` updates.
    Metrics of skipped calls weigh nothing.
    """

    def init(key):
        return CountedState(Shared(jnp.int32(0)), learner.init(key))

    def update(state, batch, key):
        calls = state.calls.value
        inner, metrics = update_if(calls >= start, learner.update, state.inner, batch, key)
        return CountedState(Shared(jnp.minimum(calls + 1, start)), inner), metrics

    return on_inner(learner, init, update)


def restarted(learner: Learner, period: int) -> Learner:
    """Begins anew after every ``period``-th update, with fresh parameters and a fresh optimiser, while the source goes
    on: the periodic resets of Nikishin et al. (2022).

    Laws: between two restarts it is ``learner``; after one, its state is ``learner.init(key)`` of a new key, but for
    ``Shared`` counters, which count on.
    """

    def init(key):
        return CountedState(Shared(jnp.int32(0)), learner.init(key))

    def update(state, batch, key):
        inner, metrics = learner.update(state.inner, batch, key)
        calls = (state.calls.value + 1) % period

        def begin(inner):
            return keep(jnp.bool_(True), learner.init(jax.random.fold_in(key, 1)), inner)

        return CountedState(Shared(calls), jax.lax.cond(calls == 0, begin, lambda inner: inner, inner)), metrics

    return on_inner(learner, init, update)


class TargetState(NamedTuple):
    calls: Shared
    inner: PyTree
    target: PyTree


class WithTarget(NamedTuple):
    """What the learner inside ``with_target`` gets as its batch."""

    batch: PyTree
    target: PyTree


def with_target(
    learner: Learner, parameters: Callable[[PyTree], PyTree], rate: float | jax.Array, period: int = 1
) -> Learner:
    """Keeps a slowly moving copy of ``parameters(state)`` and hands it to ``learner`` beside the batch.

    After every ``period``-th update ``target <- target + rate * (parameters - target)``: a hard copy at intervals with
    ``rate=1``, Polyak averaging with a small rate and ``period=1``. The counter is ``Shared`` by all members.

    Laws: with ``rate=1`` the target is the parameters after the last update whose number ``period`` divides, and the
    initial ones before; with ``rate=0`` it stays at the initial ones.
    """

    def init(key):
        inner = learner.init(key)
        return TargetState(Shared(jnp.int32(0)), inner, parameters(inner))

    def update(state, batch, key):
        inner, metrics = learner.update(state.inner, WithTarget(batch, state.target), key)
        calls = (state.calls.value + 1) % period

        def move(target):
            return jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, target, parameters(inner))

        target = move(state.target) if period == 1 else jax.lax.cond(calls == 0, move, lambda t: t, state.target)
        return TargetState(Shared(calls), inner, target), metrics

    return on_inner(learner, init, update)


WORST = -3e38
"""a score before there is any: finite, since what is not finite freezes a member"""


class BestState(NamedTuple):
    calls: Shared
    inner: PyTree
    key: Key
    """of all scores, so that they are of the same cases"""
    best: PyTree
    score: jax.Array


def keep_best(
    learner: Learner,
    score: Callable[[PyTree, Key], jax.Array],
    period: int,
    parameters: Callable[[PyTree], PyTree] = lambda state: state.params,
    with_parameters: Callable[[PyTree, PyTree], PyTree] = lambda state, params: state._replace(params=params),
) -> Learner:
    """Scores the parameters after every ``period``-th update and is judged by the best ones so far.

    Learning goes on from the latest parameters; only ``policy`` takes the best. Every score of a member is taken with
    the same key. Metrics: ``score`` of the latest and ``best_score``, where there was one.

    Laws: ``best_score`` never falls; with ``period=1`` it is the greatest of all scores; updates are those of
    ``learner``.

    Args:
        score: ``(parameters, key) -> []``, greater is better; NaN is never best.
        parameters, with_parameters: read and write what is kept in the learner's state.
    """

    def init(key):
        inner_key, score_key = jax.random.split(key)
        inner = learner.init(inner_key)
        return BestState(Shared(jnp.int32(0)), inner, score_key, parameters(inner), jnp.float32(WORST))

    def update(state, batch, key):
        inner, metrics = learner.update(state.inner, batch, key)
        latest, calls = parameters(inner), state.calls.value + 1

        def judge(best, best_score):
            value = score(latest, state.key)
            better = value > best_score
            kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), latest, best)
            best_score = jnp.where(better, value, best_score)
            return kept, best_score, value, jnp.float32(1)

        def skip(best, best_score):
            return best, best_score, jnp.float32(0), jnp.float32(0)

        best, best_score, value, weight = jax.lax.cond(calls % period == 0, judge, skip, state.best, state.score)
        seen = (best_score > WORST) * weight
        metrics = metrics | {
            "score": Average(value, weight),
            "best_score": Average(jnp.where(seen > 0, best_score, 0), seen),
        }
        return BestState(Shared(calls), inner, state.key, best, best_score), metrics

    def policy(state, obs, key, greedy):
        return learner.policy(with_parameters(state.inner, state.best), obs, key, greedy)

    return Learner(init, update, lambda state: learner.behaviour(state.inner), policy)


class Numbered(NamedTuple):
    """What the learner inside ``numbered`` gets as its batch."""

    batch: PyTree
    calls: jax.Array
    """updates before this one, int32 ``[]``, ``Shared`` by all members"""


def numbered(learner: Learner) -> Learner:
    """Hands ``learner`` the number of its updates so far beside the batch, for what changes over a run.

    Law: the number is 0 at the first update and grows by 1.
    """

    def init(key):
        return CountedState(Shared(jnp.int32(0)), learner.init(key))

    def update(state, batch, key):
        calls = state.calls.value
        inner, metrics = learner.update(state.inner, Numbered(batch, calls), key)
        return CountedState(Shared(calls + 1), inner), metrics

    return on_inner(learner, init, update)

"""Laws of ``keep_best``."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl.core.counted import WORST, keep_best
from jaxrl.core.types import Behaviour, Learner
from jaxrl.engine.memory import inner_jaxprs
from jaxrl.engine.program import member_axes

KEY = jax.random.key(0)


class State(NamedTuple):
    params: jax.Array
    updates: jax.Array


def told():
    """A learner whose parameters are its last batch plus noise of the key; judged and behaving by them."""

    def init(key):
        return State(jnp.float32(-1), jnp.int32(0))

    def update(state, batch, key):
        return State(batch, state.updates + 1), {"draw": jax.random.normal(key), "before": state.params}

    return Learner(
        init,
        update,
        lambda state: Behaviour(jax.random.normal, lambda obs, noise: (obs + state.params, {})),
        lambda state, obs, key, greedy: state.params + obs,
    )


def play(learner, batches):
    """States and metrics after each update."""
    state, update, history = learner.init(KEY), compiled(learner), []
    for call, batch in enumerate(batches):
        state, metrics = update(state, jnp.float32(batch), jax.random.key(call))
        history.append((state, metrics))
    return history


def itself(params, key):
    return params


@functools.cache
def compiled(learner):
    return jax.jit(learner.update)


@functools.cache
def by_itself(period):
    return keep_best(told(), itself, period)


numbers = st.floats(-100, 100, width=32)


@given(scores=st.lists(st.one_of(numbers, st.just(float("nan"))), min_size=1, max_size=12), period=st.integers(1, 4))
def test_the_best_of_the_scores_at_its_calls_is_kept(scores, period):
    """So the best never falls, and with a period of 1 it is the running maximum; NaN is never best."""
    best, kept = -np.inf, -1.0  # the initial parameters until there is a score
    for call, (state, metrics) in enumerate(play(by_itself(period), scores), 1):
        score = np.float32(scores[call - 1])
        scored = call % period == 0
        if scored and score > best:
            best = kept = score
        assert state.best == kept
        assert state.score == (best if np.isfinite(best) else np.float32(WORST))
        assert np.isfinite(state.score), "what is not finite would freeze a member"
        assert metrics["score"].weight == scored
        if scored:
            np.testing.assert_array_equal(metrics["score"].total, score)
        assert metrics["best_score"].weight == (scored and np.isfinite(best))
        assert metrics["best_score"].total == (best if scored and np.isfinite(best) else 0)


def test_equal_scores_keep_the_first():
    learner = keep_best(told(), lambda params, key: jnp.float32(1), 1)
    assert [float(state.best) for state, _ in play(learner, [3.0, 4.0])] == [3.0, 3.0]


@pytest.mark.parametrize("period", [1, 3])
def test_updates_and_metrics_are_those_of_the_learner(period, trees):
    batches = [3.0, 1.0, 2.0, 5.0]
    plain = told()
    state = plain.init(KEY)
    for call, (kept, metrics) in enumerate(play(keep_best(plain, itself, period), batches)):
        state, expected = jax.jit(plain.update)(state, jnp.float32(batches[call]), jax.random.key(call))
        trees.equal(kept.inner, state)
        trees.equal({name: metrics[name] for name in expected}, expected)
        assert set(metrics) == {*expected, "score", "best_score"}


def test_it_behaves_by_the_latest_and_is_judged_by_the_best():
    learner = keep_best(told(), itself, 1)
    state, _ = play(learner, [3.0, 1.0])[-1]
    assert learner.behaviour(state).act(jnp.float32(10), None)[0] == 11
    assert learner.policy(state, jnp.float32(10), KEY, True) == 13


def test_every_score_of_a_member_has_one_key_and_members_have_their_own():
    learner = keep_best(told(), lambda params, key: jax.random.normal(key), 2)
    update = jax.jit(learner.update)

    def scores(key):
        state, seen = learner.init(key), []
        for batch in range(6):
            state, metrics = update(state, jnp.float32(batch), jax.random.key(batch))
            seen.append(metrics["score"].total)
        return seen

    first, second = scores(KEY), scores(jax.random.key(1))
    assert first[1] == first[3] == first[5] != 0
    assert first[1] != second[1]
    assert first[0] == first[2] == 0, "not scored"


def test_what_is_kept_can_be_a_part_of_the_state():
    learner = keep_best(
        told(),
        lambda updates, key: -updates.astype(jnp.float32),
        1,
        parameters=lambda state: state.updates,
        with_parameters=lambda state, updates: state._replace(params=100.0 * updates),
    )
    state, _ = play(learner, [3.0, 1.0])[-1]
    assert state.best == 1
    assert learner.policy(state, jnp.float32(0), KEY, True) == 100


def test_under_the_engines_vmap_a_score_is_not_computed_when_it_is_not_asked_for():
    learner = keep_best(told(), lambda params, key: jnp.sin(params), 5)
    axes = member_axes(jax.eval_shape(learner.init, KEY))
    many = jax.vmap(learner.update, in_axes=(axes, 0, 0), out_axes=(axes, 0))
    keys = jax.random.split(KEY, 3)
    state = jax.vmap(learner.init, out_axes=axes)(keys)
    trace = jax.make_jaxpr(many)(state, jnp.ones(3), keys)

    def always(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            if equation.primitive.name != "cond":
                for inner in inner_jaxprs(equation):
                    yield from always(inner)

    names = set(always(trace.jaxpr))
    assert "cond" in names
    assert "sin" not in names
    assert "sin" in str(trace)

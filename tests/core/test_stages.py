"""Stages of a run on a learner that counts, and the best of what an algorithm has learned."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.combine import iterate
from jaxrl.core.moments import Moments
from jaxrl.core.scaled import NormalisedState
from jaxrl.core.stages import acting_part, in_stages, judged_by_best, with_acting_part
from jaxrl.core.types import Behaviour, Learner, Shared, Source

ONES = Source(lambda key: jnp.int32(0), lambda state, behaviour, key: (state + 1, jnp.ones(3), {}), steps=3)


class Counting(NamedTuple):
    calls: Shared
    params: jax.Array


def counting(given, stage) -> Learner:
    """Adds up its batches times what it is given; begins at a random number."""

    def update(state, batch, key):
        del key
        total = state.params + given * batch.sum()
        return Counting(Shared(state.calls.value + 1), total), {"stage": stage.astype(jnp.float32)}

    return Learner(
        lambda key: Counting(Shared(jnp.int32(0)), jax.random.uniform(key)),
        update,
        lambda state: Behaviour(lambda *_: None, lambda *_: (None, {})),
        lambda state, obs, key, greedy: given * jnp.ones_like(obs) + 0 * state.params,
    )


def made(given, stage):
    return iterate(ONES, counting(given, stage))


def after(given, learner, stage, key):
    """Ten times as much, whatever is learned; reports what it has seen."""
    return 10 * given, {"ended": learner.params, "stage_before": stage.astype(jnp.float32)}


def staged(ends, **settings):
    return in_stages(made, lambda key: jnp.float32(1), after, ends, **settings)


def history(algorithm, updates, seeds=(0,)):
    """States after every update, and metrics, of seeds side by side."""

    def run(key):
        state = algorithm.init(key)
        return jax.lax.scan(lambda state, _: step(state), state, length=updates)[1]

    def step(state):
        state, metrics = algorithm.update(state)
        return state, (state, metrics)

    return jax.jit(jax.vmap(run))(jax.vmap(jax.random.key)(jnp.asarray(seeds)))


def test_one_stage_is_the_algorithm(trees):
    key = jax.random.key(3)
    alone, one = made(jnp.float32(1), jnp.int32(0)), staged(())
    state, other = alone.init(key), one.init(key)
    for _ in range(3):
        (state, metrics), (other, same) = alone.update(state), one.update(other)
        trees.equal((state.source, state.key, metrics), (other.source, other.key, same))
        trees.equal(state.learner, other.learner.inner)
    assert one.steps_per_update == 3


def test_what_a_stage_is_given_and_where_it_begins():
    states, metrics = history(staged((2, 3)), 5, seeds=(0, 1))
    np.testing.assert_array_equal(metrics["stage"][0], [0, 0, 1, 2, 2])
    np.testing.assert_array_equal(states.learner.given[0], [1, 1, 10, 100, 100])
    np.testing.assert_array_equal(states.source[0], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(states.learner.inner.calls.value[0], [1, 2, 1, 1, 2])
    np.testing.assert_array_equal(states.learner.calls.value[0], [1, 2, 3, 4, 5])
    starts = states.learner.inner.params - jnp.array([3.0, 6.0, 30.0, 300.0, 600.0])
    assert ((starts >= 0) & (starts < 1)).all()
    for seed in range(2):  # begun anew, from numbers of its own
        assert len({round(float(start), 3) for start in starts[seed]}) == 3
    # Metrics of a stage's end weigh where it was and nothing elsewhere.
    ended = metrics["ended"]
    np.testing.assert_array_equal(ended.weight[0], [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(ended.total[:, 2:4], states.learner.inner.params[:, 1:3])
    np.testing.assert_array_equal(metrics["stage_before"].total[0], [0, 0, 0, 1, 0])


def test_a_learner_that_goes_on():
    states, _ = history(staged((2, 3), fresh=False), 4)
    start = states.learner.inner.params[0, 0] - 3
    np.testing.assert_allclose(states.learner.inner.params[0] - start, [3, 6, 36, 336], rtol=1e-6)


def test_it_is_judged_as_the_last_stage_left_it():
    algorithm, obs = staged((2,)), jnp.ones(4)
    state, seen = algorithm.init(jax.random.key(0)), []
    for _ in range(4):
        seen.append(float(algorithm.policy(state, obs, jax.random.key(1))[0]))
        state, _ = algorithm.update(state)
    assert seen == [1, 1, 1, 10]


def test_stages_without_updates_are_left_out():
    states, metrics = history(staged((0, 1, 1, 2)), 3)
    np.testing.assert_array_equal(metrics["stage"][0], [0, 1, 2])
    np.testing.assert_array_equal(states.learner.given[0], [1, 10, 100])


def test_the_source_hears_of_a_new_stage():
    renewed = lambda source, begins: jnp.where(begins, 100, source)  # noqa: E731
    states, _ = history(staged((2,), renewed=renewed), 3)
    np.testing.assert_array_equal(states.source[0], [1, 2, 101])


def test_the_best_is_judged_and_the_latest_learns():
    """Scores are the distance from 7: of 3, 6, 9, ... the second is the best."""

    learner = counting(jnp.float32(1), jnp.int32(0))._replace(
        init=lambda key: Counting(Shared(jnp.int32(0)), jnp.float32(0)),
        policy=lambda state, obs, key, greedy: jnp.full_like(obs, state.params),
    )

    def score(policy, key):
        return -jnp.abs(policy(jnp.ones(1), key)[0] - 7)

    algorithm = judged_by_best(iterate(ONES, learner), score, 1)
    states, metrics = history(algorithm, 4)
    np.testing.assert_array_equal(states.learner.inner.params[0], [3, 6, 9, 12])
    np.testing.assert_array_equal(states.learner.best[0][0], [3, 6, 6, 6])
    np.testing.assert_array_equal(metrics["best_score"].total[0], [-4, -1, -1, -1])
    last = jax.tree.map(lambda leaf: leaf[0, -1], states)
    np.testing.assert_array_equal(algorithm.policy(last, jnp.ones(2), jax.random.key(0)), [6, 6])


def test_what_acts_is_read_and_written_at_any_depth(trees):
    class Inside(NamedTuple):
        calls: Shared
        inner: Counting

    moments = Moments.empty((2,)).add(jnp.ones((3, 2)))
    state = NormalisedState(moments, Inside(Shared(jnp.int32(4)), Counting(Shared(jnp.int32(2)), jnp.float32(5))))
    trees.equal(acting_part(state), (moments, jnp.float32(5)))
    other = with_acting_part(state, (Moments.empty((2,)), jnp.float32(6)))
    trees.equal(acting_part(other), (Moments.empty((2,)), jnp.float32(6)))
    assert other.inner.calls.value == 4
    trees.equal(with_acting_part(other, acting_part(state)), state)

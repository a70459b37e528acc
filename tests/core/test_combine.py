"""The laws that the combinators state."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrl import InvalidArgument
from jaxrl.core.combine import as_averages, iterate, minibatched, relabel, repeated, shuffle, take_rows
from jaxrl.core.counted import after, every, one_of, with_target
from jaxrl.core.scaled import OBSERVATION_BOUND, normalised, scaled_rewards
from jaxrl.core.types import Average, Behaviour, Learner, Shared, Source
from jaxrl.engine.memory import inner_jaxprs
from jaxrl.engine.program import Program, member_axes

KEY = jax.random.key(0)


def learner_of(update, init=lambda key: jnp.float32(0)):
    """A learner that acts by its state, and is judged by twice that."""
    return Learner(
        init,
        update,
        lambda state: Behaviour(jax.random.normal, lambda obs, noise: (obs + noise, {"state": state})),
        lambda state, obs, key, greedy: 2 * obs,
    )


def compiled(learner):
    """The learner with one program for all its updates."""
    return learner._replace(update=jax.jit(learner.update))


def folding():
    """A learner whose state depends on every batch, every key and their order; in integers, so that equal is equal."""

    def update(state, batch, key):
        state = 3 * state + jnp.sum(batch).astype(jnp.uint32) * jax.random.bits(key)
        return state, {"state": (state % 1000).astype(jnp.float32)}

    return learner_of(update, lambda key: jnp.uint32(0))


# --- shuffle and take_rows ----------------------------------------------------------------------------------------


@given(
    size=st.one_of(st.integers(1, 200), st.sampled_from([255, 256, 257, 4095, 4096, 4097, 5000])), seed=st.integers(0)
)
def test_shuffle_is_a_permutation(size, seed):
    order = jax.jit(shuffle, static_argnums=1)(jax.random.key(seed % 2**32), size)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [8, 11])
def test_shuffle_puts_every_element_everywhere_equally_often(size):
    draws = 20_000
    orders = np.asarray(jax.vmap(lambda key: shuffle(key, size))(jax.random.split(KEY, draws)))
    counts = np.stack([np.bincount(orders[:, position], minlength=size) for position in range(size)])
    assert (counts.sum(axis=0) == draws).all()
    statistic = ((counts - draws / size) ** 2 / (draws / size)).sum()
    assert stats.chi2.sf(statistic, (size - 1) ** 2) > 1e-3


def test_shuffle_makes_every_order_equally_often():
    orders = np.asarray(jax.vmap(lambda key: shuffle(key, 4))(jax.random.split(KEY, 24_000)))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@given(
    rows=st.integers(1, 20),
    shapes=st.lists(
        st.tuples(
            st.sampled_from([np.float32, np.int32, np.uint8, np.bool_, np.float16]),
            st.sampled_from([(), (1,), (3,), (2, 2), (10, 10, 4)]),
        ),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 100),
)
def test_take_rows_is_indexing(rows, shapes, seed):
    generator = np.random.default_rng(seed)
    batch = {
        str(i): jnp.asarray(generator.integers(0, 100, (rows, *shape)).astype(dtype))
        for i, (dtype, shape) in enumerate(shapes)
    }
    index = generator.integers(0, rows, generator.integers(1, 30))
    taken = jax.jit(take_rows)(batch, jnp.asarray(index))
    for name, leaf in batch.items():
        np.testing.assert_array_equal(taken[name], np.asarray(leaf)[index], strict=True)


def test_take_rows_keeps_the_structure():
    class Rows(NamedTuple):
        a: jax.Array
        nothing: None
        b: dict

    batch = Rows(jnp.arange(6.0).reshape(3, 2), None, {"c": jnp.arange(3)})
    taken = take_rows(batch, jnp.array([2, 0]))
    assert isinstance(taken, Rows)
    assert taken.nothing is None
    np.testing.assert_array_equal(taken.b["c"], [2, 0])


# --- minibatched --------------------------------------------------------------------------------------------------


def counting(rows):
    """Counts how often it has seen each row, and when it was last."""

    def update(state, batch, key):
        counts, last, step = state
        metrics = {"size": jnp.float32(batch["row"].shape[0]), "consistent": (batch["twice"] == 2 * batch["row"]).all()}
        return (counts.at[batch["row"]].add(1), last.at[batch["row"]].set(step), step + 1), metrics

    return learner_of(update, lambda key: (jnp.zeros(rows, int), jnp.zeros(rows, int), jnp.int32(0)))


def rows_of(steps, envs):
    row = jnp.arange(steps * envs).reshape(steps, envs)
    return {"row": row, "twice": 2.0 * row}


@settings(max_examples=15)
@given(
    steps=st.integers(1, 6),
    envs=st.integers(1, 4),
    epochs=st.integers(1, 4),
    parts=st.integers(1, 24),
    seed=st.integers(0, 9),
)
def test_every_row_is_seen_exactly_once_an_epoch(steps, envs, epochs, parts, seed):
    size = steps * envs
    learner = compiled(minibatched(counting(size), epochs, parts))
    state = learner.init(KEY)
    if size % parts:
        with pytest.raises(InvalidArgument, match="num_minibatches"):
            learner.update(state, rows_of(steps, envs), jax.random.key(seed))
        return
    (counts, last, calls), metrics = learner.update(state, rows_of(steps, envs), jax.random.key(seed))
    assert calls == epochs * parts
    assert (counts == epochs).all()
    # the last epoch's minibatches are a partition into equal parts, and rows stay together across leaves
    assert (np.bincount(last - (epochs - 1) * parts, minlength=parts) == size // parts).all()
    assert metrics["size"] == size // parts
    assert metrics["consistent"] == 1


def test_orders_differ_between_epochs_and_keys():
    def update(state, batch, key):
        index, orders = state
        return (index + 1, orders.at[index].set(batch)), {"draw": jax.random.normal(key)}

    learner = minibatched(learner_of(update, lambda key: (jnp.int32(0), jnp.zeros((4, 12), int))), 4, 1)
    batch = jnp.arange(12).reshape(3, 4)
    (_, first), _ = learner.update(learner.init(KEY), batch, jax.random.key(1))
    (_, second), _ = learner.update(learner.init(KEY), batch, jax.random.key(2))
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 8


def test_every_minibatch_has_a_key_of_its_own():
    def update(state, batch, key):
        index, draws = state
        return (index + 1, draws.at[index].set(jax.random.bits(key))), {}

    learner = minibatched(learner_of(update, lambda key: (jnp.int32(0), jnp.zeros(12, jnp.uint32))), 3, 4)
    (_, draws), _ = learner.update(learner.init(KEY), jnp.arange(12).reshape(3, 4), KEY)
    assert len(np.unique(draws)) == 12


def test_one_of_several_learners_is_drawn_by_a_shared_counter():
    """One alone is itself; of two each is drawn in proportion to its weight, the same in all members."""
    learner = folding()
    assert one_of([learner], [2.0]) is learner

    def adding(number):
        return learner_of(lambda state, batch, key: (state + number, {}))

    drawn = one_of([adding(1.0), adding(1000.0)], [3.0, 1.0])
    start = drawn.init(KEY)
    state, _ = jax.lax.scan(lambda state, _: (drawn.update(state, None, KEY)[0], None), start, None, 400)
    second = int(state.inner) // 1000
    assert int(state.inner) == 1000 * second + 400 - second
    assert int(state.calls.value) == 400
    assert abs(second / 400 - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    for weights in ([1.0], [1.0, 0.0]):
        with pytest.raises(InvalidArgument, match="weights"):
            one_of([learner, learner], weights)


def test_one_epoch_of_one_minibatch_is_the_learner():
    def update(state, batch, key):
        return state + jnp.sum(batch**2), {"mean": batch.mean()}

    batch = jnp.arange(6.0).reshape(2, 3)
    plain, metrics = update(jnp.float32(1), batch.reshape(-1), KEY)
    once, once_metrics = minibatched(learner_of(update), 1, 1).update(jnp.float32(1), batch, KEY)
    assert once == plain
    assert once_metrics["mean"] == metrics["mean"]


@pytest.mark.parametrize(("limit", "updates", "stopped"), [(0, 0, 12), (3, 3, 9), (4, 4, 8), (11, 11, 1), (12, 12, 0)])
def test_after_a_stop_nothing_changes(limit, updates, stopped):
    """Metrics say 0, 1, 2 ...; a stop at ``limit`` discards that update and the later ones, over epochs too."""

    def update(state, batch, key):
        return {"count": state["count"] + 1, "nested": (state["nested"][0] * 2,)}, {"seen": state["count"]}

    learner = learner_of(update, lambda key: {"count": jnp.float32(0), "nested": (jnp.float32(1),)})
    learner = minibatched(learner, 3, 4, stop=lambda metrics: metrics["seen"] >= limit)
    state, metrics = learner.update(learner.init(KEY), jnp.arange(8).reshape(2, 4), KEY)
    assert state["count"] == updates
    assert state["nested"][0] == 2**updates
    assert metrics["stopped"] == pytest.approx(stopped / 12)


def test_a_stop_ends_with_the_call():
    def update(state, batch, key):
        return state + 1, {"odd": batch[0] % 2}

    learner = minibatched(learner_of(update), 1, 1, stop=lambda metrics: metrics["odd"] > 0)
    state, _ = learner.update(jnp.float32(0), jnp.ones((1, 1)), KEY)
    assert state == 0
    state, _ = learner.update(state, jnp.zeros((1, 1)), KEY)
    assert state == 1


def test_repeated_stacks_what_is_named():
    parts = jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)
    _, averaged = repeated(folding(), 3).update(jnp.uint32(2), parts, KEY)
    _, stacked = repeated(folding(), 3, stacked=("state",)).update(jnp.uint32(2), parts, KEY)
    assert stacked["state"].shape == (3,)
    assert stacked["state"].mean() == averaged["state"]


# --- repeated, relabel, iterate -----------------------------------------------------------------------------------


def test_repeated_once_is_the_learner():
    batch = jnp.arange(3.0)
    once, _ = repeated(folding(), 1).update(jnp.uint32(2), batch[None], KEY)
    assert once == folding().update(jnp.uint32(2), batch, KEY)[0]


@given(times=st.integers(2, 6), seed=st.integers(0, 99))
def test_repeated_is_the_fold_over_the_parts(times, seed):
    key, parts = jax.random.key(seed), jnp.arange(2.0 * times).reshape(times, 2)
    state, metrics = repeated(folding(), times).update(jnp.uint32(2), parts, key)
    expected, seen = jnp.uint32(2), []
    for part, part_key in zip(parts, jax.random.split(key, times)):
        expected, part_metrics = folding().update(expected, part, part_key)
        seen.append(part_metrics["state"])
    assert state == expected
    np.testing.assert_allclose(metrics["state"], np.mean(seen), rtol=1e-5, atol=1e-6)


def test_a_label_that_returns_the_batch_changes_nothing():
    batch = jnp.arange(3.0)
    same = relabel(folding(), lambda state, batch, key: batch)
    assert same.update(jnp.uint32(2), batch, KEY)[0] == folding().update(jnp.uint32(2), batch, KEY)[0]


def test_the_outer_label_comes_first_and_sees_the_state():
    def f(state, batch, key):
        return batch + state

    def g(state, batch, key):
        return batch * 3

    def update(state, batch, key):
        return state, {"batch": batch}

    learner = relabel(relabel(learner_of(update), g), f)
    assert learner.update(jnp.float32(10), jnp.float32(1), KEY)[1]["batch"] == 33


def test_a_label_has_randomness_of_its_own():
    def update(state, batch, key):
        return state, {"label": batch, "update": jax.random.bits(key)}

    _, metrics = relabel(learner_of(update), lambda s, b, key: jax.random.bits(key)).update(jnp.float32(0), None, KEY)
    assert metrics["label"] != metrics["update"]


def counting_source():
    """Yields what the behaviour does with the count of batches as the observation."""

    def next_batch(state, behaviour, key):
        noise_key, key = jax.random.split(key)
        action, extras = behaviour.act(state, behaviour.noise(noise_key, ()))
        return state + 1, {"action": action, "by": extras["state"], "draw": jax.random.normal(key)}, {"batches": state}

    return Source(lambda key: jax.random.normal(key), next_batch, 7)


def summing():
    def update(state, batch, key):
        state = 0.5 * state + batch["action"] + batch["by"] + batch["draw"] + jax.random.normal(key)
        return state, {"state": state}

    return learner_of(update, jax.random.normal)


def test_iterate_is_the_fold_of_next_and_update():
    source, learner = counting_source(), summing()
    algorithm = iterate(source, learner)
    assert algorithm.steps_per_update == 7
    state = algorithm.init(KEY)
    source_key, learner_key, key = jax.random.split(KEY, 3)
    source_state, learner_state = source.init(source_key), learner.init(learner_key)
    for _ in range(4):
        state, metrics = algorithm.update(state)
        collect_key, learn_key, key = jax.random.split(key, 3)
        source_state, batch, source_metrics = source.next(source_state, learner.behaviour(learner_state), collect_key)
        learner_state, learner_metrics = learner.update(learner_state, batch, learn_key)
        assert state.source == source_state
        assert state.learner == learner_state
        assert metrics == source_metrics | learner_metrics
    assert algorithm.policy(state, jnp.float32(3), KEY) == 6


def test_iterate_depends_on_the_initial_key_alone():
    algorithm = iterate(counting_source(), summing())

    def after(key):
        state = algorithm.init(key)
        for _ in range(3):
            state, _ = algorithm.update(state)
        return float(state.learner)

    assert after(KEY) == after(jax.random.key(0))
    assert after(KEY) != after(jax.random.key(1))


# --- every --------------------------------------------------------------------------------------------------------


def increment():
    return learner_of(lambda state, batch, key: (state + batch, {"loss": state}))


@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_every_makes_the_calls_that_are_multiples(period):
    learner = every(increment(), period)
    state, update = learner.init(KEY), jax.jit(learner.update)
    for call in range(12):
        state, metrics = update(state, jnp.float32(2**call), KEY)
        assert metrics["loss"].weight == (call % period == 0)
        if call % period:
            assert metrics["loss"].total == 0
        made = range(0, call + 1, period)
        assert len(made) == math.ceil((call + 1) / period)
        assert state.inner == sum(2**call for call in made)


def test_every_first_is_the_learner():
    learner = compiled(every(folding(), 1))
    plain, each = jnp.uint32(3), learner.init(KEY)._replace(inner=jnp.uint32(3))
    for call in range(4):
        key, batch = jax.random.key(call), jnp.arange(2.0) + call
        plain, metrics = folding().update(plain, batch, key)
        each, each_metrics = learner.update(each, batch, key)
        assert each.inner == plain
        assert each_metrics["state"] == Average(metrics["state"], 1)


@struct.dataclass
class Config:
    """What the engine makes members of."""

    rate: float = 1.0


def program_of(learner):
    """The engine's program of members that do nothing but learn."""
    source = Source(lambda key: (), lambda state, behaviour, key: (state, jnp.ones((2, 2)), {}), 1)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("member",))
    return Program(lambda config: iterate(source, learner(config)), None, None, mesh, 1, 1, None)


def costly(config):
    """A learner whose update is easy to find: a sine of a product."""

    def update(state, batch, key):
        return jnp.sin(state @ state) * config.rate, {"mean": state.mean()}

    return learner_of(update, lambda key: jax.random.normal(key, (3, 3)))


def primitives(jaxpr, outside_cond=True):
    """Names of the primitives of a trace; those that always run, or all."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        if not (outside_cond and equation.primitive.name == "cond"):
            for inner in inner_jaxprs(equation):
                yield from primitives(inner, outside_cond)


def advance_of(program):
    config, keys = Config(jnp.ones(5)), jax.random.split(KEY, 5)
    axes = program.axes(config, keys)
    state = jax.vmap(program.start, out_axes=axes)(config, keys)
    many = jax.vmap(program.advance, in_axes=(0, axes, None), out_axes=axes)
    return many, config, state


@pytest.mark.parametrize("rarely", [every, after])
def test_under_the_engines_vmap_every_stays_a_branch(rarely):
    many, config, state = advance_of(program_of(lambda config: rarely(costly(config), 3)))
    trace = jax.make_jaxpr(many)(config, state, 0).jaxpr
    always, all_ = list(primitives(trace)), list(primitives(trace, outside_cond=False))
    assert "cond" in always
    assert "sin" in all_
    assert "sin" not in always, "skipped calls pay for the update"
    assert " conditional(" in jax.jit(many).lower(config, state, 0).compile().as_text()


def test_a_counter_of_the_members_own_would_not_stay_a_branch():
    """So the test above can tell."""

    def learner(config):
        inner = costly(config)

        def update(state, batch, key):
            count, inner_state = state
            kept = lambda s: (s, {"mean": jnp.float32(0)})  # noqa: E731
            inner_state, metrics = jax.lax.cond(
                count % 3 == 0, lambda s: inner.update(s, batch, key), kept, inner_state
            )
            return (count + 1, inner_state), metrics

        return inner._replace(init=lambda key: (jnp.int32(0), inner.init(key)), update=update)

    many, config, state = advance_of(program_of(learner))
    assert "sin" in list(primitives(jax.make_jaxpr(many)(config, state, 0).jaxpr))


@pytest.mark.parametrize("stop", [None, lambda metrics: metrics["loss"].total > 1e9])
def test_every_inside_minibatched_trains_under_the_engine(stop):
    program = program_of(lambda config: minibatched(every(repeated_sum(), 3), 2, 2, stop))
    config, keys = Config(jnp.ones(4)), jax.random.split(KEY, 4)
    state = program.compiled_start(config, keys)(config, keys)
    advance = program.compiled_advance(config, state)
    state = advance(config, state, np.int32(0), np.int32(5), np.bool_(True))
    # 5 updates of 4 minibatches of 2 ones each are 20 calls, of which 0, 3, ... 18 count
    np.testing.assert_array_equal(state.algorithm.learner.inner, np.full(4, 14.0))
    assert member_axes(state.algorithm.learner).calls is None


def repeated_sum():
    return learner_of(lambda state, batch, key: (state + batch.sum(), {"loss": state}))


@pytest.mark.parametrize("start", [0, 3])
def test_after_waits(start):
    learner = compiled(after(folding(), start))
    state, plain = learner.init(KEY), jnp.uint32(0)
    for call in range(6):
        batch = jnp.arange(2, dtype=jnp.uint32) + call
        state, metrics = learner.update(state, batch, jax.random.key(call))
        if call >= start:
            plain, expected = folding().update(plain, batch, jax.random.key(call))
            assert metrics["state"].total == expected["state"]
        assert metrics["state"].weight == (call >= start)
        assert state.inner == plain
    assert plain != 0


# --- with_target --------------------------------------------------------------------------------------------------


def chasing():
    """Doubles its parameters and tells what target it was shown."""

    def update(state, batch, key):
        return {"w": 2 * state["w"] + batch.batch, "other": state["other"] + 1}, {"target": batch.target}

    return learner_of(update, lambda key: {"w": jnp.float32(1), "other": jnp.float32(0)})


@pytest.mark.parametrize("rate", [0.0, 1.0, 0.25])
def test_the_target_follows_at_its_rate(rate):
    learner = compiled(with_target(chasing(), lambda state: state["w"], rate))
    state = learner.init(KEY)
    assert state.target == 1
    target, w = 1.0, 1.0
    for batch in (1.0, -4.0, 2.0):
        state, metrics = learner.update(state, batch, KEY)
        assert metrics["target"] == pytest.approx(target), "the update sees the target from before it"
        w = 2 * w + batch
        target = target + rate * (w - target)
        assert state.inner["w"] == w
        assert state.target == pytest.approx(target)
    if rate == 1:
        assert state.target == state.inner["w"]
    if rate == 0:
        assert state.target == 1


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_the_target_moves_once_a_period(rate):
    learner = compiled(with_target(chasing(), lambda state: state["w"], rate, period=3))
    state, target, w = learner.init(KEY), 1.0, 1.0
    for call in range(1, 8):
        state, metrics = learner.update(state, 1.0, KEY)
        assert metrics["target"] == pytest.approx(target)
        w = 2 * w + 1
        target = target + rate * (w - target) if call % 3 == 0 else target
        assert state.target == pytest.approx(target)


# --- normalised and scaled_rewards --------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What the two combinators read of a transition."""

    obs: jax.Array
    next_obs: jax.Array
    reward: jax.Array
    cut: jax.Array


def batch_of(seed, steps=6, envs=3, scale=1.0):
    generator = np.random.default_rng(seed)
    obs = jnp.asarray(generator.normal(5.0, 3.0, (steps + 1, envs, 2)), jnp.float32)
    reward = jnp.asarray(generator.normal(1.0, 2.0, (steps, envs)), jnp.float32) * scale
    cut = jnp.asarray(generator.random((steps, envs)) < 0.2, jnp.float32)
    return Batch(obs[:-1], obs[1:], reward, cut)


def witness():
    """Keeps what it was shown last."""
    empty = Batch(jnp.zeros((6, 3, 2)), jnp.zeros((6, 3, 2)), jnp.zeros((6, 3)), jnp.zeros((6, 3)))
    return learner_of(lambda state, batch, key: (batch, {}), lambda key: empty)


def test_normalised_moments_are_of_all_rows_seen_and_frozen_within_an_iteration():
    learner = normalised(witness(), (2,))
    state, seen = learner.init(KEY), np.zeros((0, 2))
    for seed in range(4):
        batch = batch_of(seed)
        mean = seen.mean(axis=0) if len(seen) else 0.0
        deviation = seen.std(axis=0) if len(seen) else 1.0
        view = lambda obs: np.clip((np.asarray(obs, np.float64) - mean) / deviation, -10, 10)  # noqa: B023, E731
        # acting and judging, before the update
        behaviour = learner.behaviour(state)
        noise = behaviour.noise(KEY, batch.obs[0].shape)
        np.testing.assert_allclose(behaviour.act(batch.obs[0], noise)[0] - noise, view(batch.obs[0]), atol=1e-4)
        np.testing.assert_allclose(learner.policy(state, batch.obs[0], KEY, True), 2 * view(batch.obs[0]), atol=1e-4)
        # learning, on the same scale
        state, _ = learner.update(state, batch, KEY)
        np.testing.assert_allclose(state.inner.obs, view(batch.obs), atol=1e-4)
        np.testing.assert_allclose(state.inner.next_obs, view(batch.next_obs), atol=1e-4)
        np.testing.assert_array_equal(state.inner.reward, batch.reward)
        # and only then do the raw observations enter
        seen = np.concatenate([seen, np.asarray(batch.obs, np.float64).reshape(-1, 2)])
        np.testing.assert_allclose(state.moments.mean, seen.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(state.moments.deviation, seen.std(axis=0), rtol=1e-4)
        assert state.moments.count == len(seen)


def test_normalised_with_standard_data_is_the_learner():
    obs = jnp.asarray([[[-1.0, 1.0]], [[1.0, -1.0]]])
    batch = Batch(obs, obs, jnp.zeros((2, 1)), jnp.zeros((2, 1)))
    learner = normalised(learner_of(lambda state, batch, key: (batch.obs, {}), lambda key: obs * 0), (2,))
    state = learner.init(KEY)
    for _ in range(3):
        state, _ = learner.update(state, batch, KEY)
        np.testing.assert_array_equal(state.inner, obs)


def test_normalised_observations_are_bounded():
    learner = normalised(witness(), (2,))
    state, _ = learner.update(learner.init(KEY), batch_of(0), KEY)
    far = batch_of(1)
    state, _ = learner.update(state, far._replace(obs=100 * far.obs), KEY)
    assert np.abs(state.inner.obs).max() == OBSERVATION_BOUND


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    discount, clip = 0.9, 1.5
    learner = compiled(scaled_rewards(witness(), 3, discount, clip))
    state, running, returns = learner.init(KEY), np.zeros(3), []
    for seed in range(3):
        batch = batch_of(seed)
        for reward, cut in zip(np.asarray(batch.reward, np.float64), np.asarray(batch.cut)):
            running = discount * running + reward
            returns.append(running.copy())
            running = running * (1 - cut)
        state, _ = learner.update(state, batch, KEY)
        expected = np.clip(batch.reward / np.std(returns), -clip, clip)
        np.testing.assert_allclose(state.inner.reward, expected, rtol=1e-4)
        np.testing.assert_array_equal(state.inner.obs, batch.obs)
    assert (np.abs(expected) == clip).any()
    assert (np.abs(expected) < clip).any()


def test_a_constant_factor_of_all_rewards_changes_nothing():
    learner = compiled(scaled_rewards(witness(), 3, 0.9))
    for scale in (1e-2, 0.5, 3.0, 1e3):
        a, b = learner.init(KEY), learner.init(KEY)
        for seed in range(3):
            a, _ = learner.update(a, batch_of(seed), KEY)
            b, _ = learner.update(b, batch_of(seed, scale=scale), KEY)
            np.testing.assert_allclose(a.inner.reward, b.inner.reward, rtol=1e-4)


# --- metrics ------------------------------------------------------------------------------------------------------


def test_a_plain_metric_counts_once_and_an_average_as_it_says():
    metrics = as_averages({"loss": jnp.float16(3), "return": Average(jnp.float32(10), jnp.float32(4)), "n": 2})
    assert metrics == {"loss": Average(3, 1), "return": Average(10, 4), "n": Average(2, 1)}
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype(jnp.float32)}


def test_shared_leaves_have_no_member_axis():
    state = every(increment(), 2).init(KEY)
    assert isinstance(state.calls, Shared)
    assert jax.tree.leaves(member_axes(state)) == [0]

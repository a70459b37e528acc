"""The laws of learners of several parts, and of the combinators that they are put together with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl.core.alternate import Term, alternate
from jaxrl.core.combine import held, together
from jaxrl.core.counted import numbered, restarted
from jaxrl.core.descend import descend
from jaxrl.core.types import Average, Learner
from jaxrl.policies.bases import deterministic

KEY = jax.random.key(0)
POLICY = deterministic(lambda key: jnp.zeros(2), lambda params, obs: obs * params[0])
BATCH = jnp.array([1.0, -2.0])


def parts(key):
    return {"actor": jnp.array([0.5, 1.0]), "critics": jnp.array([2.0, -1.0]), "fixed": jnp.ones(3)}


def pull(name, other):
    """A loss that draws a part to the batch times another part."""

    def loss(params, batch, key, earlier):
        return jnp.sum((params[name] - batch * params[other]) ** 2), {f"seen_by_{name}": jnp.float32(len(earlier))}

    return loss


def test_one_term_makes_the_updates_of_descend(trees):
    adam = optax.adam(0.1)
    alone = descend(lambda key: parts(key)["actor"], lambda p, b, key: (jnp.sum((p - 2 * b) ** 2), {}), adam, POLICY)
    terms = {"actor": Term(lambda p, b, key, earlier: (jnp.sum((p["actor"] - 2 * b) ** 2), {}), adam)}
    one = alternate(parts, terms, POLICY)
    a, b = alone.init(KEY), one.init(KEY)
    for i in range(3):
        (a, _), (b, metrics) = alone.update(a, BATCH * i, KEY), one.update(b, BATCH * i, KEY)
    trees.close(b.params["actor"], a.params, rtol=1e-6)
    trees.equal(
        {name: b.params[name] for name in ("critics", "fixed")}, {n: parts(KEY)[n] for n in ("critics", "fixed")}
    )
    assert metrics.keys() == {"actor_loss"}
    obs = jnp.ones((3, 2))
    behaviour = one.behaviour(b)
    action, extras = behaviour.act(obs, behaviour.noise(KEY, (3,)))
    np.testing.assert_array_equal(action, obs * b.params["actor"][0])
    assert extras == {}, "nothing for a replay buffer to keep"
    np.testing.assert_array_equal(one.policy(b, obs, KEY, True), action)


def test_a_term_sees_what_earlier_ones_made_and_measured():
    sgd = optax.sgd(0.5)  # to the minimum in one step
    terms = {"critics": Term(pull("critics", "actor"), sgd), "actor": Term(pull("actor", "critics"), sgd)}
    learner = alternate(parts, terms, POLICY)
    state, metrics = learner.update(learner.init(KEY), BATCH, KEY)
    critics = BATCH * parts(KEY)["actor"]
    np.testing.assert_allclose(state.params["critics"], critics)
    np.testing.assert_allclose(state.params["actor"], BATCH * critics)
    assert (metrics["seen_by_critics"], metrics["seen_by_actor"]) == (0, 2)


def test_a_delayed_term_steps_at_every_second_update():
    terms = {
        "critics": Term(pull("critics", "fixed"), optax.sgd(0.1)),
        "actor": Term(pull("actor", "critics"), optax.sgd(0.1), 2),
    }
    learner = alternate(lambda key: parts(key) | {"fixed": jnp.ones(2)}, terms, POLICY)
    state, update, steps = learner.init(KEY), jax.jit(learner.update), []
    for _ in range(4):
        before = state.params["actor"]
        state, metrics = update(state, BATCH, KEY)
        steps.append(bool((state.params["actor"] != before).any()))
        assert isinstance(metrics["actor_loss"], Average)
        assert metrics["actor_loss"].weight == steps[-1]
    assert steps == [False, True, False, True]


def counting():
    """A learner that adds up its batches; begun at a number drawn with the key."""
    return Learner(
        lambda key: {"total": jax.random.uniform(key)},
        lambda state, batch, key: ({"total": state["total"] + batch}, {"batch": batch}),
        lambda state: state["total"],
        lambda state, obs, key, greedy: state["total"],
    )


@pytest.mark.parametrize("times", [1, 3])
def test_held(times):
    learner, batch = held(counting(), times), jnp.float32(2)
    state, metrics = learner.update({"total": jnp.float32(1)}, batch, KEY)
    assert state["total"] == 1 + 2 * times
    assert metrics["batch"] == 2


def test_numbered():
    inner = counting()
    seen = Learner(inner.init, lambda state, numbered, key: (state, {"calls": numbered.calls}), *inner[2:])
    learner = numbered(seen)
    state, calls = learner.init(KEY), []
    for _ in range(3):
        state, metrics = learner.update(state, jnp.float32(1), KEY)
        calls.append(int(metrics["calls"]))
    assert calls == [0, 1, 2]


def test_together():
    first, second = counting(), counting()
    learner = together(first, second)
    state = learner.init(KEY)
    assert state.first["total"] != state.second["total"]
    before = state
    state, _ = learner.update(state, jnp.float32(1), KEY)
    assert (state.first["total"], state.second["total"]) == (before.first["total"] + 1, before.second["total"] + 1)
    assert learner.behaviour(state) == state.first["total"]
    assert learner.policy(state, None, KEY, True) == state.first["total"]


def test_restarted():
    learner = restarted(
        numbered(Learner(counting().init, lambda s, b, key: ({"total": s["total"] + b.batch}, {}), *counting()[2:])), 3
    )
    state, update, totals = learner.init(KEY), jax.jit(learner.update), []
    for i in range(7):
        state, _ = update(state, jnp.float32(10), jax.random.fold_in(KEY, i))
        totals.append(float(state.inner.inner["total"]))
    np.testing.assert_allclose(np.diff(totals)[[0, 2, 3, 5]], [10, 10, 10, 10], rtol=1e-6)
    assert totals[2] < 1, "after the third update it begins anew"
    assert totals[5] < 1
    assert totals[2] != totals[5]
    assert state.inner.calls.value == 7, "what all members share counts on"

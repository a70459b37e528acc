"""The replay buffer against a list of all that ever happened, and the sum tree against exact frequencies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl import InvalidArgument
from jaxrl.core.types import Behaviour, Learner, Shared, Source, Transition
from jaxrl.sources import sum_tree
from jaxrl.sources.replay import PRIORITY_FLOOR, Feedback, Prioritised, contents, forgotten, prioritising, replay

GAMMA = 0.5
TOTAL = 200


class History(NamedTuple):
    """All that happens in two environments, ``[TOTAL, 2]`` each."""

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def cut(self):
        return self.terminated | self.truncated


def history_of(min_episode_steps, seed=0):
    """Random rewards and ends; no truncation before the least length of an episode."""
    draw = np.random.default_rng(seed)
    terminated, truncated = np.zeros((2, TOTAL, 2), bool)
    for env in range(2):
        age = 0
        for t in range(TOTAL):
            age += 1
            terminated[t, env] = draw.random() < 0.15
            truncated[t, env] = not terminated[t, env] and age >= min_episode_steps and draw.random() < 0.6
            if terminated[t, env] or truncated[t, env]:
                age = 0
    return History(draw.normal(size=(TOTAL, 2)).astype(np.float32), terminated, truncated)


def source_of(history, steps):
    """Plays the history. Observations say when, where and whether they are the last of an episode, as uint8."""
    reward, discount, cut = (jnp.asarray(x, jnp.float32) for x in (history.reward, ~history.terminated, history.cut))

    def next_batch(time, behaviour, key):
        t = time + jnp.arange(steps)[:, None] + jnp.zeros((1, 2), jnp.int32)
        env = jnp.broadcast_to(jnp.arange(2), t.shape)
        obs = jnp.stack([t, env, jnp.zeros_like(t)], axis=-1).astype(jnp.uint8)
        final = cut[t, env].astype(jnp.uint8)
        next_obs = jnp.stack([(t + 1).astype(jnp.uint8), env.astype(jnp.uint8), final], axis=-1)
        action = (1000 * env + t).astype(jnp.int32)
        batch = Transition(
            obs, action, reward[t, env], discount[t, env], cut[t, env], next_obs, {"twice": 2.0 * action}
        )
        return time + steps, batch, {"time": time}

    return Source(lambda key: jnp.int32(0), next_batch, 2 * steps)


NOTHING = Behaviour(lambda key, shape: (), lambda obs, noise: (obs, {}))


def played(history, steps, calls, **settings):
    """``next`` of a buffer, compiled, and after how many steps what was drawn."""
    buffer = replay(source_of(history, steps), lambda key: NOTHING, gamma=GAMMA, **settings)
    step = jax.jit(lambda state, key: buffer.next(state, NOTHING, key))
    state, drawn = buffer.init(jax.random.key(0)), []
    for call in range(calls):
        state, batch, _ = step(state, jax.random.key(call))
        drawn.append(((call + 1) * steps, jax.tree.map(np.asarray, batch)))
    return drawn


def expected(history, t, env, now, n_step, stored):
    """A transition from time ``t`` by a plain loop, and what ended it."""
    reward, factor, why = 0.0, 1.0, "n"
    for k in range(n_step):
        last = t + k
        reward += factor * history.reward[last, env]
        if history.terminated[last, env]:
            factor, why = 0.0, "terminated"
        elif history.truncated[last, env]:
            why = "truncated"
        elif last == now - 1 and k < n_step - 1:
            why = "seam"
        if why != "n" or k == n_step - 1:
            break
        factor *= GAMMA
    successor = (last + 1, env, history.cut[last, env])
    if why == "terminated" and not stored:
        successor = (last, env, 0)
    return reward, factor, history.cut[last, env], successor, why


@pytest.mark.parametrize(
    ("capacity", "steps", "min_episode_steps", "rows", "n_step", "prioritised"),
    [
        # successors stored at every step
        (24, 1, 1, 12, 1, None),
        (24, 3, 1, 12, 3, Prioritised(0.7, 0.5)),
        # observations stored once, with several final ones in the ring, and in one batch
        (24, 1, 5, 12, 1, Prioritised(0.7, 0.5)),
        (24, 1, 5, 12, 3, None),
        (24, 6, 2, 12, 3, None),
        (25, 5, 7, 15, 2, None),
    ],
)
def test_every_transition_is_one_that_happened(capacity, steps, min_episode_steps, rows, n_step, prioritised):
    """Nothing unwritten or overwritten; returns that end at ends and at the newest step; true successors."""
    history = history_of(min_episode_steps)
    calls = 3 * rows // steps
    settings = {"capacity": capacity, "batch_size": 24, "batches": 2, "n_step": n_step, "prioritised": prioritised}
    drawn = played(history, steps, calls, min_episode_steps=min_episode_steps, **settings)
    seen, ends = set(), []
    for now, batch in drawn:
        assert batch.obs.dtype == np.uint8
        assert batch.obs.shape == (2, 24, 3)
        flat = jax.tree.map(lambda leaf: leaf.reshape(48, *leaf.shape[2:]), batch)
        for i in range(48):
            t, env, last = map(int, flat.obs[i])
            assert max(0, now - rows) <= t < now
            assert last == 0
            reward, discount, cut, successor, why = expected(history, t, env, now, n_step, min_episode_steps == 1)
            np.testing.assert_allclose(flat.reward[i], reward, rtol=1e-5, atol=1e-6)
            assert flat.discount[i] == discount
            assert flat.cut[i] == cut
            assert tuple(map(int, flat.next_obs[i])) == successor
            assert flat.action[i] == 1000 * env + t
            assert flat.extras["twice"][i] == 2 * flat.action[i]
            seen.add((t, env))
            ends.append(why)
    assert len(seen) > 0.9 * 2 * calls * steps, "the newest and the oldest are drawn too"
    assert {"n", "terminated", "truncated"} | ({"seam"} if n_step > 1 else set()) == set(ends)


def test_without_batches_there_is_no_axis_of_them():
    (_, batch), *_ = played(history_of(1), 1, 1, capacity=8, batch_size=5)
    assert batch.obs.shape == (5, 3)
    assert batch.reward.shape == (5,)


@pytest.mark.parametrize("calls", [7, 40])
def test_draws_are_uniform_and_independent(calls):
    """Of the part that is filled, and of the whole ring."""
    size = 2 * min(calls, 16)
    *_, (_, batch) = played(history_of(1), 1, calls, capacity=32, batch_size=2, batches=30_000)
    place = np.asarray(batch.action) % 1000 % 16 * 2 + np.asarray(batch.action) // 1000
    place = np.unique(place, return_inverse=True)[1].reshape(place.shape)
    assert stats.chisquare(np.bincount(place.ravel(), minlength=size)).pvalue > 1e-3
    pairs = np.bincount(place[:, 0] * size + place[:, 1], minlength=size**2)
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_what_is_forgotten_is_not_drawn_again():
    """After a full ring only what came since, and all of it; without the condition nothing changes."""
    history = history_of(1)
    buffer = replay(source_of(history, 4), lambda key: NOTHING, gamma=GAMMA, capacity=32, batch_size=32)
    step = jax.jit(lambda state, key, when: buffer.next(forgotten(state, when), NOTHING, key))
    state, seen = buffer.init(jax.random.key(0)), []
    for call in range(9):
        state, batch, _ = step(state, jax.random.key(call), jnp.bool_(call == 6))
        seen.append(np.unique(np.asarray(batch.obs)[:, 0]))
    np.testing.assert_array_equal(seen[6], np.arange(24, 28))
    assert set(seen[8]) <= set(range(24, 36))
    assert seen[5].min() < 16
    assert len(seen[8]) > 8
    weighted = replay(source_of(history, 4), lambda key: NOTHING, capacity=32, batch_size=4, prioritised=Prioritised())
    with pytest.raises(TypeError, match="cannot forget"):
        forgotten(weighted.init(jax.random.key(0)), jnp.bool_(True))


def test_the_ring_is_written_in_place():
    """What a compiled update needs beside its state does not grow with the buffer, several members or not."""

    def temporary_bytes(capacity):
        buffer = replay(
            source_of(history_of(1), 1), lambda key: NOTHING, capacity, 8, n_step=2, gamma=GAMMA,
            prioritised=Prioritised(), min_episode_steps=50,
        )  # fmt: skip
        feedback = Feedback(jnp.zeros(8, jnp.int32), jnp.ones(8))

        def update(state, key):
            state, batch, _ = buffer.next(state, NOTHING._replace(feedback=feedback), key)
            return state, batch.reward.sum()

        axes = jax.tree.map(
            lambda node: None if isinstance(node, Shared) else 0,
            jax.eval_shape(buffer.init, jax.random.key(0)),
            is_leaf=lambda node: isinstance(node, Shared),
        )
        many = jax.vmap(update, in_axes=(axes, 0), out_axes=(axes, 0))

        def run(state, keys):
            def body(i, carry):
                state, total = carry
                state, sums = many(state, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i))
                return state, total + sums

            return jax.lax.fori_loop(0, 5, body, (state, jnp.zeros(3)))

        state = jax.eval_shape(jax.vmap(buffer.init, out_axes=axes), jax.random.split(jax.random.key(0), 3))
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))
        compiled = jax.jit(run, donate_argnums=0).lower(state, keys).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporary_bytes(2_000), temporary_bytes(200_000)
    assert large - small < 200_000, "not a byte for each transition"


# --- priorities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 17, 300])
def test_a_sum_tree_draws_in_proportion(size):
    weight = np.random.default_rng(size).gamma(0.5, size=size).astype(np.float32)
    weight[size // 2 : size // 2 + 2] = 0
    weight[0] = 1
    tree = sum_tree.replace(sum_tree.empty(size), jnp.arange(size), jnp.asarray(weight))
    np.testing.assert_allclose(sum_tree.total(tree), weight.sum(), rtol=1e-5)
    np.testing.assert_array_equal(sum_tree.weights(tree, jnp.arange(size)), weight)
    draws = np.asarray(sum_tree.draw(tree, jax.random.key(1), (40_000, 2))).ravel()
    counts = np.bincount(draws, minlength=size)
    assert (counts[weight == 0] == 0).all()
    if (weight > 0).sum() > 1:
        share = weight[weight > 0].astype(float) / weight.sum(dtype=float)
        rare = share * draws.size < 5
        observed, wanted = counts[weight > 0], share * draws.size
        observed = np.append(observed[~rare], observed[rare].sum())[: len(observed[~rare]) + bool(rare.any())]
        wanted = np.append(wanted[~rare], wanted[rare].sum())[: len(observed)]
        assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


def test_a_batch_is_stratified_at_the_root():
    """Of 64 draws from 16 equal children each gets 4."""
    tree = sum_tree.replace(sum_tree.empty(256), jnp.arange(256), jnp.ones(256))
    draws = np.asarray(sum_tree.draw(tree, jax.random.key(0), (50, 64)))
    assert all((np.bincount(batch // 16, minlength=16) == 4).all() for batch in draws)


def test_precision_does_not_run_out():
    """Two heavy weights far apart among a million light ones, which float32 sums would lose one by one."""
    size = 2**20
    weight = np.full(size, 1e-9, np.float32)
    weight[[3, size - 1]] = 1, 3
    tree = jax.jit(sum_tree.replace)(sum_tree.empty(size), jnp.arange(size), jnp.asarray(weight))
    draw = jax.jit(lambda tree, key: sum_tree.draw(tree, key, (1000, 64)))
    draws = np.asarray(draw(tree, jax.random.key(0))).ravel()
    share = np.mean(draws == size - 1)
    assert abs(share - 3 / (4 + 1e-9 * size)) < 4 * np.sqrt(0.75 * 0.25 / draws.size)
    light = (draws != 3) & (draws != size - 1)
    assert light.sum() < 50, "about 17 are expected"
    ones = tuple(level.at[:].set(16.0**height) for height, level in enumerate(tree))
    drawn = np.asarray(draw(ones, jax.random.key(2))).ravel()
    assert stats.chisquare(np.bincount(drawn % 64, minlength=64)).pvalue > 1e-3
    assert stats.kstest(drawn / size, "uniform").pvalue > 1e-4


def test_weights_are_replaced():
    """Sums stay exact over many changes; the greater of two for one index; what is behind the end is ignored."""
    size, draw = 300, np.random.default_rng(0)
    tree, weight = sum_tree.empty(size), np.zeros(size, np.float32)
    replace = jax.jit(sum_tree.replace)
    for _ in range(100):
        index = draw.integers(0, size, 20)
        new = draw.random(20).astype(np.float32) * 10.0 ** draw.integers(-4, 4)
        tree = replace(tree, jnp.asarray(np.append(index, 2**31 - 1)), jnp.asarray(np.append(new, 7.0), jnp.float32))
        weight[index] = 0
        np.maximum.at(weight, index, new)
    np.testing.assert_array_equal(sum_tree.weights(tree, jnp.arange(size)), weight)
    np.testing.assert_allclose(sum_tree.total(tree), weight.sum(dtype=float), rtol=1e-6)
    blocks = np.pad(weight, (0, 4)).reshape(-1, 16).sum(axis=1)
    np.testing.assert_allclose(np.asarray(tree[1]).ravel()[:19], blocks, rtol=1e-6)


def test_priorities_fed_back_are_frequencies_and_importance_weights():
    """Of 8 transitions: four with known priorities, and four that are newer and have the greatest one."""
    exponent, importance = 0.7, 0.5
    buffer = replay(
        source_of(history_of(1), 2), lambda key: NOTHING, 16, 8, 5_000,
        prioritised=Prioritised(exponent, lambda calls: importance * calls),
    )  # fmt: skip
    told = Feedback(jnp.array([[0, 1], [2, 3]]), jnp.array([[3.0, 0.1], [0.0, 1.5]]))
    step = jax.jit(lambda state, feedback, key: buffer.next(state, NOTHING._replace(feedback=feedback), key))
    nothing = Feedback(jnp.full((2, 2), 2**31 - 1), jnp.zeros((2, 2)))
    state, batch, _ = step(buffer.init(jax.random.key(0)), nothing, jax.random.key(0))
    np.testing.assert_array_equal(batch.extras["importance"], 1)
    assert set(np.unique(batch.extras["index"])) == {0, 1, 2, 3}
    state, batch, _ = step(state, told, jax.random.key(1))
    weight = (np.array([3.0, 0.1, 0.0, 1.5, 3.0, 3.0, 3.0, 3.0]) + PRIORITY_FLOOR) ** exponent
    probability = weight / weight.sum()
    index = np.asarray(batch.extras["index"])
    np.testing.assert_array_equal(index, 2 * np.asarray(batch.obs[..., 0]) + np.asarray(batch.obs[..., 1]))
    counts = np.bincount(index.ravel(), minlength=8)
    error = np.sqrt(index.size * probability * (1 - probability))
    assert (np.abs(counts - index.size * probability) < 4 * error + 1).all()
    raw = (8 * probability[index]) ** -importance
    np.testing.assert_allclose(batch.extras["importance"], raw / raw.max(axis=1, keepdims=True), rtol=1e-4)
    # one that is written over loses its priority: 12 more transitions go round to the first four
    for call in range(3):
        state, batch, _ = step(state, nothing, jax.random.key(call))
    np.testing.assert_allclose(
        sum_tree.weights(state.weights.tree, jnp.arange(16)), (3 + PRIORITY_FLOOR) ** exponent, rtol=1e-5
    )


def test_an_exponent_of_0_is_uniform():
    *_, (_, batch) = played(
        history_of(1), 1, 20, capacity=32, batch_size=32, batches=2_000, prioritised=Prioritised(0.0, 1.0)
    )
    np.testing.assert_allclose(batch.extras["importance"], 1, rtol=1e-5)
    counts = np.bincount(batch.extras["index"].ravel(), minlength=32)
    assert stats.chi2.sf(((counts - 2_000) ** 2 / 2_000).sum(), 31) > 1e-3


def test_prioritising_tells_what_the_learner_reported():
    def update(total, batch, key):
        return total + 1, {"priority": 2.0 * batch.reward, "loss": batch.reward.sum()}

    learner = prioritising(Learner(lambda key: 0, update, lambda state: NOTHING, lambda *_: None), (3,))
    state = learner.init(jax.random.key(0))
    assert (learner.behaviour(state).feedback.index == 2**31 - 1).all()
    batch = Transition((), (), jnp.arange(3.0), (), (), (), {"index": jnp.array([4, 0, 4])})
    state, metrics = learner.update(state, batch, None)
    assert state.inner == 1
    assert set(metrics) == {"loss"}
    np.testing.assert_array_equal(learner.behaviour(state).feedback.index, [4, 0, 4])
    np.testing.assert_array_equal(learner.behaviour(state).feedback.priority, [0, 2, 4])


@pytest.mark.parametrize(
    ("argument", "settings"),
    [
        ("capacity", {"capacity": 7}),
        ("capacity", {"capacity": 8, "n_step": 5}),
        ("batch_size", {"batch_size": 0}),
        ("batches", {"batches": 0}),
        ("n_step", {"n_step": -1}),
        ("n_step", {"n_step": 0}),
        ("min_episode_steps", {"min_episode_steps": 0}),
    ],
)
def test_bad_arguments_are_named(argument, settings):
    with pytest.raises(InvalidArgument) as error:
        replay(source_of(history_of(1), 1), lambda key: NOTHING, **{"capacity": 16, "batch_size": 8, **settings})
    assert error.value.argument == argument


@pytest.mark.parametrize("min_episode_steps", [1, 3])
@pytest.mark.parametrize("calls", [0, 3, 14])
def test_contents_are_the_last_that_happened_in_order(min_episode_steps, calls):
    steps, length, history = 4, 20, history_of(min_episode_steps)
    buffer = replay(source_of(history, steps), lambda key: NOTHING, 2 * length, 8, min_episode_steps=min_episode_steps)
    step, state = (
        jax.jit(lambda state: buffer.next(state, NOTHING, jax.random.key(0))[0]),
        buffer.init(jax.random.key(0)),
    )
    for _ in range(calls):
        state = step(state)
    held = contents(jax.device_get(state), steps)
    t = np.arange(max(0, calls * steps - length), calls * steps)
    assert held.reward.shape == (len(t), 2)
    np.testing.assert_array_equal(held.reward, history.reward[t])
    np.testing.assert_array_equal(held.discount, ~history.terminated[t])
    np.testing.assert_array_equal(held.cut, history.cut[t])
    np.testing.assert_array_equal(held.extras["twice"], 2 * held.action)
    for env in range(2):
        np.testing.assert_array_equal(held.obs[:, env], np.stack([t, 0 * t + env, 0 * t], axis=-1))
        follows = np.stack([t + 1, 0 * t + env, history.cut[t, env]], axis=-1)
        if min_episode_steps > 1:  # nothing follows a termination, and nothing is kept
            follows = np.where(history.terminated[t, env][:, None], held.obs[:, env], follows)
        np.testing.assert_array_equal(held.next_obs[:, env], follows)

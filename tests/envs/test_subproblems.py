"""Sub-problems of solved instances against stepping to them, and which of them are drawn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.combinatorial import GENERATORS, NOWHERE, PROBLEMS, advance, allowed
from jaxrl.envs.combinatorial.exact import EXACT
from jaxrl.envs.combinatorial.subproblems import Bucket, batch_of, buckets, drawn_left, routes_of

from jaxrl.sources.solvers import actions_from, arrays_of

SETTINGS = {
    "tsp": {"nodes": 7},
    "atsp": {"nodes": 7},
    "cvrp": {"nodes": 7, "capacity": 14},
    "op": {"nodes": 7, "length": 2.0},
    "kp": {"nodes": 10, "capacity": 2000},
}
ROWS = 3


def solved(name):
    """A batch of instances and their optimal actions."""
    keys = jax.random.split(jax.random.key(1000), ROWS)
    instances = jax.device_get(jax.jit(jax.vmap(GENERATORS[name](**SETTINGS[name])))(keys))
    slots, path = instances.remaining.valid.shape[1], PROBLEMS[name].path
    actions = []
    for row in range(ROWS):
        arrays = arrays_of(name, jax.tree.map(lambda leaf, i=row: leaf[i], instances))
        actions.append(actions_from(name, EXACT[name](**arrays)[1], arrays, slots - 2 * path))
    return instances, np.stack(actions)


@pytest.mark.parametrize("name", ["tsp", "atsp", "cvrp", "op"])
def test_examples_of_paths_are_where_stepping_leads(name):
    problem = PROBLEMS[name]
    instances, actions = solved(name)
    make = jax.jit(lambda left: batch_of(problem, instances, actions, left, jax.random.key(0)))
    step = jax.jit(jax.vmap(partial(advance, problem)))
    mask = jax.jit(jax.vmap(lambda instance: allowed(problem, instance).reshape(-1)))
    lengths = (actions != NOWHERE).sum(axis=1)
    shortest = lengths.min()
    for left in range(1, shortest + 1):
        example = jax.device_get(make(left))
        for row in range(ROWS):
            expected = actions[row, lengths[row] - left]
            assert example.target[row].tolist() == [float(i == expected) for i in range(len(example.target[row]))]
    # Stepping from the whole: the states in between, for the first row as far as the shortest goes.
    state = instances
    for taken in range(shortest):
        example = jax.device_get(make(lengths - taken))
        remaining = jax.device_get(state.remaining)
        np.testing.assert_array_equal(example.instance.remaining.valid, remaining.valid)
        np.testing.assert_array_equal(example.instance.remaining.origin, remaining.origin)
        np.testing.assert_allclose(example.instance.remaining.budget, remaining.budget, atol=1e-5)
        assert mask(state)[np.arange(ROWS), actions[:, taken]].all()
        state, _, done = step(state, actions[:, taken])
    np.testing.assert_array_equal(done, lengths == shortest)


def test_any_part_of_a_set_may_be_left_and_its_items_are_targets_alike():
    problem = PROBLEMS["kp"]
    instances, actions = solved("kp")
    make = jax.jit(lambda left, key: batch_of(problem, instances, actions, left, key))
    seen = set()
    for seed in range(8):
        example = jax.device_get(make(2, jax.random.key(seed)))
        for row in range(ROWS):
            items = set(actions[row][actions[row] != NOWHERE].tolist())
            targets = set(np.flatnonzero(example.target[row]).tolist())
            assert example.target[row].sum() == 1
            assert len(targets) == 2
            assert set(example.target[row].tolist()) == {0, 0.5}
            gone = set(np.flatnonzero(~example.instance.remaining.valid[row]).tolist())
            assert gone | targets == items
            assert not gone & targets
            weight = instances.nodes["weight"][row]
            assert example.instance.remaining.budget[row] == 2000 - weight[list(gone)].sum()
            seen |= {frozenset(targets)} if row == 0 else set()
    assert len(seen) > 1


def test_via_flags_are_those_of_the_routes():
    """Also where a route's first customer leaves less than the route before had left."""
    arrays = {"cost": np.zeros((5, 5)), "demand": np.array([0.0, 3, 5, 4, 9]), "capacity": 10.0}
    actions = actions_from("cvrp", [[1, 2], [4], [3]], arrays, 4)
    # Left over: 2, 1 and 6, so the route to 4 comes first and that to 3 last.
    np.testing.assert_array_equal(actions, [2 * 4, 2 * 1 + 1, 2 * 2, 2 * 3 + 1])
    assert routes_of(PROBLEMS["cvrp"], actions) == [[4], [1, 2], [3]]


@pytest.mark.parametrize(("name", "slots"), [("tsp", 51), ("cvrp", 102), ("atsp", 6), ("tsp", 4)])
def test_buckets_have_every_cut_once_and_the_whole_instance(name, slots):
    found = buckets(PROBLEMS[name], slots, 10)
    assert len(found) <= 10
    cuts = [left for bucket in found for left in range(bucket.least, bucket.most + 1)]
    assert sorted(cuts) == list(range(2, slots - 1))
    assert all(bucket.most + 2 == bucket.size for bucket in found)
    assert found[0].size == slots


def test_what_is_left_is_drawn_evenly():
    actions = jnp.where(jnp.arange(8) < jnp.array([8, 5])[:, None], 1, NOWHERE)
    actions = jnp.tile(actions, (3000, 1))
    draw = jax.jit(lambda key, bucket: drawn_left(PROBLEMS["op"], actions, key, bucket), static_argnums=1)
    left = np.asarray(draw(jax.random.key(0), Bucket(10, 1, 10))).reshape(-1, 2)
    for column, most in ((0, 8), (1, 5)):
        values, counts = np.unique(left[:, column], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(1, most + 1))
        # Five standard errors of a count.
        assert np.abs(counts - 3000 / most).max() < 5 * np.sqrt(3000 / most)
    together = drawn_left(PROBLEMS["tsp"], actions[::2], jax.random.key(0), Bucket(10, 2, 8), together=True)
    assert len(np.unique(together)) == 1


def test_smaller_shapes_keep_what_is_left():
    problem = PROBLEMS["cvrp"]
    instances, actions = solved("cvrp")
    bucket = buckets(problem, 9, 3)[1]
    left = jnp.array([bucket.least, bucket.most, bucket.most])
    whole, small = (
        jax.device_get(jax.jit(partial(batch_of, problem, size=size))(instances, actions, left, jax.random.key(0)))
        for size in (None, bucket.size)
    )
    assert small.instance.remaining.valid.shape == (ROWS, bucket.size)
    np.testing.assert_array_equal(
        small.instance.remaining.valid.sum(axis=1), whole.instance.remaining.valid.sum(axis=1)
    )
    np.testing.assert_array_equal(small.target.sum(axis=1), 1)
    for row in range(ROWS):
        at = [
            example.instance.nodes["coordinates"][row][example.target[row].argmax() // 2] for example in (whole, small)
        ]
        np.testing.assert_array_equal(*at)

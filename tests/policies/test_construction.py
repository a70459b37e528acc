"""Decoding: solutions are complete and feasible, exhaustive beams are optimal, transforms that must change nothing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.combinatorial import ATSP, CVRP, KP, NOWHERE, OP, TSP, solution_cost, tokens, uniform_cities
from jaxrl.envs.combinatorial.atsp import triangle_costs
from jaxrl.envs.combinatorial.cvrp import uniform_customers
from jaxrl.envs.combinatorial.instances import padded
from jaxrl.envs.combinatorial.kp import uniform_items
from jaxrl.envs.combinatorial.op import uniform_prizes

from jaxrl import InvalidArgument
from jaxrl.networks.construction import IMPOSSIBLE, ConstructionNetwork
from jaxrl.policies.construction import augmented, beam, greedy, multistart, nearest, rotated, scorer

BATCH = 3
MAKERS = {
    "tsp": (TSP, uniform_cities(6)),
    "atsp": (ATSP, triangle_costs(6)),
    "cvrp": (CVRP, uniform_customers(5, 12)),
    "op": (OP, uniform_prizes(5, 2.0)),
    "kp": (KP, uniform_items(6, 1500)),
}


def instances(name, number=BATCH, key=0):
    """A batch of instances."""
    return jax.vmap(MAKERS[name][1])(jax.random.split(jax.random.key(key), number))


def network(problem, features):
    """A scorer by a small network away from its start, and its parameters."""
    module = ConstructionNetwork(problem.flags, problem.matrix, layers=1, width=12, heads=3, hidden=16)
    params = module.init(jax.random.key(1), features)
    params = jax.tree.map(lambda leaf: leaf + 0.5 if leaf.ndim == 0 else leaf, params)
    return scorer(problem, module.apply), params


def seen(problem, batch):
    """What a network sees of a batch."""
    return jax.vmap(lambda each: tokens(problem, each))(batch)


def costs(problem, batch, actions):
    """``[B]``"""
    return np.asarray(jax.vmap(lambda *each: solution_cost(problem, *each))(batch, actions))


def optimum(problem, batch, index):
    """By trying all sequences of actions, with the direct rules written out again."""
    each = jax.tree.map(lambda leaf: np.asarray(leaf[index]), batch)
    n = len(each.remaining.valid)
    if problem is KP:
        subsets = itertools.product((0, 1), repeat=n)
        fitting = [s for s in subsets if np.dot(s, each.nodes["weight"]) <= each.capacity]
        return -max(np.dot(s, each.nodes["value"]) for s in fitting) / 1000
    if each.cost is None:
        at = each.nodes["coordinates"]
        cost = np.linalg.norm(at[:, None] - at, axis=-1)
    else:
        cost = each.cost
    nodes = range(1, n - 1)
    if problem is OP:
        tours = [t for k in range(1, n - 1) for t in itertools.permutations(nodes, k)]
        length = lambda t: sum(cost[a, b] for a, b in itertools.pairwise((0, *t, n - 1)))  # noqa: E731
        return -max(each.nodes["prize"][list(t)].sum() for t in tours if length(t) <= each.capacity + 1e-6)
    best = np.inf
    for tour in itertools.permutations(nodes):
        for cuts in itertools.product((0, 1), repeat=n - 3) if problem is CVRP else [()]:
            total, left, place = 0.0, each.capacity, 0
            for node, via in zip(tour, (0, *cuts) if problem is CVRP else (0,) * len(tour)):
                total += cost[place, 0] + cost[0, node] if via else cost[place, node]
                if problem is CVRP:
                    left = (each.capacity if via else left) - each.nodes["demand"][node]
                    total += 0 if left >= 0 else np.inf
                place = node
            best = min(best, total + cost[place, n - 1])
    return best


@pytest.mark.parametrize("name", MAKERS)
def test_an_exhaustive_beam_is_optimal(name):
    """With room for all partial solutions, whatever the network thinks of them."""
    problem, batch = MAKERS[name][0], instances(name)
    score, params = network(problem, seen(problem, batch))
    width = {"tsp": 120, "atsp": 120, "cvrp": 1920, "op": 120, "kp": 20}[name]
    actions = jax.jit(beam(problem, score, width, (batch.remaining.valid.shape[1],)))(params, batch)
    found = costs(problem, batch, actions)
    np.testing.assert_allclose(found, [optimum(problem, batch, i) for i in range(BATCH)], rtol=1e-5)
    single = costs(problem, batch, jax.jit(greedy(problem, score))(params, batch))
    assert (found <= single + 1e-5).all()
    assert (found < single - 1e-3).any()


@pytest.mark.parametrize(
    "name", [name if name in ("cvrp", "kp") else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS]
)
def test_compaction_changes_nothing(name):
    """Solutions of networks are the same in every choice of sizes, feasible, and those of a beam of 1."""
    problem, batch = MAKERS[name][0], instances(name, key=1)
    score, params = network(problem, seen(problem, batch))
    n = batch.remaining.valid.shape[1]
    at_once = jax.jit(greedy(problem, score, (n,)))(params, batch)
    np.testing.assert_array_equal(jax.jit(greedy(problem, score, (n, 5, 3)))(params, batch), at_once)
    np.testing.assert_array_equal(jax.jit(multistart(problem, score, 1, (n,)))(params, batch), at_once)
    wide = [jax.jit(beam(problem, score, 4, buckets))(params, batch) for buckets in ((n,), (n, 4))]
    np.testing.assert_array_equal(*wide)
    for solution in np.asarray(at_once):
        nodes = solution[solution != NOWHERE] // problem.flags
        assert len(set(nodes)) == len(nodes)
        if problem.covers:
            assert set(nodes) == set(range(1, n - 1))


def test_all_starts():
    """As many starts as nodes: never worse than one."""
    problem, batch = TSP, instances("tsp", 8)
    score, params = network(problem, seen(problem, batch))
    one = costs(problem, batch, jax.jit(multistart(problem, score, 1))(params, batch))
    every = costs(problem, batch, jax.jit(multistart(problem, score, 50))(params, batch))
    assert (every <= one + 1e-5).all()
    assert (every < one - 1e-3).any()


def test_tours_from_everywhere():
    """Never worse than from one node, whole, and one start changes nothing; padded instances too."""
    problem, batch = TSP, jax.vmap(lambda each: padded(each, 9))(instances("tsp", 8))
    score, params = network(problem, seen(problem, batch))
    single = greedy(problem, score, (9,))
    one = jax.jit(single)(params, batch)
    np.testing.assert_array_equal(jax.jit(rotated(problem, single, 1))(params, batch), one)
    every = jax.jit(rotated(problem, single, 50))(params, batch)
    for tour in np.asarray(every):
        assert sorted(tour) == [NOWHERE, NOWHERE, 1, 2, 3, 4, 5]
    before, after = costs(problem, batch, one), costs(problem, batch, every)
    assert (after <= before + 1e-5).all()
    assert (after < before - 1e-3).any()


def test_neighbours():
    """As many as there are change nothing; fewer are the nearest ones, by a logit that prefers those far away."""
    problem, batch = TSP, instances("tsp")
    score, params = network(problem, seen(problem, batch))
    n = batch.remaining.valid.shape[1]
    np.testing.assert_array_equal(nearest(problem, score, n)(params, batch), score(params, batch))

    def blind(params, batch):
        allowed = seen(problem, batch).allowed
        return jnp.where(allowed, 1.0, IMPOSSIBLE)

    allowed = np.asarray(nearest(problem, blind, 4)(None, batch)[..., 0] > 0)
    at = np.asarray(batch.nodes["coordinates"])
    for row in range(BATCH):
        away = np.linalg.norm(at[row, 1:-1] - at[row, 0], axis=-1)
        assert set(np.flatnonzero(allowed[row])) == {1 + i for i in np.argsort(away)[:2]}


def test_neighbours_and_prizes():
    """Half of them are near, half of them worth much."""
    problem, batch = OP, instances("op")
    allowed = lambda params, batch: jnp.where(seen(problem, batch).allowed, 1.0, IMPOSSIBLE)  # noqa: E731
    batch = batch.replace(remaining=batch.remaining.replace(budget=batch.remaining.budget + 10))
    found = np.asarray(nearest(problem, allowed, 5)(None, batch)[..., 0] > 0)
    at, prize = np.asarray(batch.nodes["coordinates"]), np.asarray(batch.nodes["prize"])
    for row in range(BATCH):
        near = 1 + np.argsort(np.linalg.norm(at[row, 1:-1] - at[row, 0], axis=-1))[:2]
        rest = [i for i in range(1, 6) if i not in near]
        rich = max(rest, key=lambda i: prize[row, i])
        assert set(np.flatnonzero(found[row])) == {*near, rich}


def test_symmetries():
    """Of a network that is not symmetric, eight images are never worse than one, and all have the same distances."""
    problem, batch = TSP, instances("tsp", 8)
    score, params = network(problem, seen(problem, batch))
    one = jax.jit(augmented(problem, greedy(problem, score), 1))(params, batch)
    np.testing.assert_array_equal(one, jax.jit(greedy(problem, score))(params, batch))
    eight = jax.jit(augmented(problem, greedy(problem, score)))(params, batch)
    before, after = costs(problem, batch, one), costs(problem, batch, eight)
    assert (after <= before + 1e-5).all()
    assert (after < before - 1e-3).any()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("width", lambda score: beam(TSP, score, 0)),
        ("starts", lambda score: multistart(TSP, score, 0)),
        ("starts", lambda score: rotated(TSP, greedy(TSP, score), 0)),
        ("problem", lambda score: rotated(CVRP, greedy(CVRP, score), 2)),
        ("number", lambda score: nearest(TSP, score, 2)),
        ("problem", lambda score: nearest(KP, score, 5)),
        ("symmetries", lambda score: augmented(TSP, greedy(TSP, score), 9)),
        ("buckets", lambda score: greedy(TSP, score, (6, 5))(None, instances("tsp"))),
    ],
)
def test_what_cannot_be(argument, call):
    with pytest.raises(InvalidArgument) as error:
        call(lambda params, batch: jnp.where(seen(TSP, batch).allowed, 1.0, IMPOSSIBLE))
    assert error.value.argument == argument

"""Construction problems against their definitions: every solution of tiny instances is listed in plain Python."""

import itertools
from collections import defaultdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.combinatorial import (
    GENERATORS,
    PROBLEMS,
    Construction,
    Quotient,
    advance,
    allowed,
    compacted,
    reduced,
    solution_cost,
    tokens,
)
from jaxrl.envs.combinatorial.exact import EXACT
from jaxrl.envs.combinatorial.instances import among, packed, padded, routed, stacked

from jaxrl import envs
from jaxrl.errors import InvalidArgument
from jaxrl.sources.solvers import arrays_of

TINY = {
    "tsp": {"nodes": 6},
    "atsp": {"nodes": 6},
    "cvrp": {"nodes": 4, "capacity": 12},
    "op": {"nodes": 5, "length": 1.8},
    "kp": {"nodes": 6, "capacity": 1900},
}
LANES = 512
QUICK = [("", "cvrp"), ("quotient/", "atsp"), ("quotient/", "cvrp"), ("quotient/", "kp")]
"""of the contract tests; those of the others are slow"""


def pentagon(key):
    """Of the OP: ways of equal length, without which no two prefixes of it come to the same."""
    turns = 2 * np.pi * np.arange(5) / 5
    at = np.concatenate([np.zeros((1, 2)), 0.3 * np.stack([np.cos(turns), np.sin(turns)], axis=1)])
    return routed({"coordinates": at, "prize": [0, 0.3, 0.5, 0.2, 0.9, 0.4]}, capacity=TINY["op"]["length"])


def tiny(name):
    return pentagon if name == "op" else GENERATORS[name](**TINY[name])


def by_definition(name, arrays):
    """Every complete solution as ``(actions, cost)``: what is feasible and what it costs, from the arrays alone."""
    if name == "kp":
        value, weight, capacity = arrays["value"], arrays["weight"], arrays["capacity"]
        for size in range(len(value) + 1):
            for items in itertools.permutations(range(len(value)), size):
                left = capacity - sum(weight[i] for i in items)
                if left >= 0 and all(weight[j] > left for j in range(len(value)) if j not in items):
                    yield items, -sum(value[i] for i in items) / 1000
        return
    cost = arrays["cost"]
    others = range(1, len(cost))
    walk = lambda path: sum(cost[a, b] for a, b in itertools.pairwise(path))  # noqa: E731
    if name == "op":
        for size in range(len(cost)):
            for nodes in itertools.permutations(others, size):
                path = (0, *nodes)
                back = lambda path: walk((*path, 0))  # noqa: E731
                if back(path) <= arrays["length"] and all(
                    back((*path, j)) > arrays["length"] for j in others if j not in nodes
                ):
                    yield nodes, -sum(arrays["prize"][j] for j in nodes)
        return
    for nodes in itertools.permutations(others):
        if name != "cvrp":
            yield nodes, walk((0, *nodes, 0))
            continue
        for flags in itertools.product((0, 1), repeat=len(nodes)):
            routes = [[]]
            for node, flag in zip(nodes, flags):
                if flag:
                    routes.append([])
                routes[-1].append(node)
            if all(sum(arrays["demand"][route]) <= arrays["capacity"] for route in routes):
                actions = tuple(2 * node + flag for node, flag in zip(nodes, flags))
                yield actions, sum(walk((0, *route, 0)) for route in routes)


class Tree:
    """All that can be done with one tiny instance, by the quotient's steps: prefixes, states, rewards."""

    def __init__(self, name, seed=1000):
        self.name, self.problem = name, PROBLEMS[name]
        self.instance = jax.jit(tiny(name))(jax.random.key(seed))
        self.arrays = arrays_of(name, self.instance)
        self.total = {(): 0.0}  # by prefix
        self.state, self.complete = {}, set()
        step = jax.jit(jax.vmap(partial(advance, self.problem)))
        mask = jax.jit(jax.vmap(lambda instance: allowed(self.problem, instance).reshape(-1)))
        level, states = [()], jax.tree.map(lambda leaf: leaf[None], self.instance)
        while level:
            self.state |= dict(zip(level, rows(states, len(level))))
            masks = over_lanes(mask, len(level), states)
            self.complete |= {prefix for prefix, allows in zip(level, masks) if not allows.any()}
            parents, actions = np.nonzero(masks)
            if not len(parents):
                break
            chosen = jax.tree.map(lambda leaf: np.asarray(leaf)[parents], states)  # noqa: B023
            states, rewards, done = over_lanes(step, len(parents), chosen, actions.astype(np.int32))
            following = [(*level[parent], int(action)) for parent, action in zip(parents, actions)]
            for prefix, parent, reward in zip(following, parents, rewards):
                self.total[prefix] = self.total[level[parent]] + float(reward)
            self.done = dict(zip(following, done)) | getattr(self, "done", {})
            level = following

    def padded(self, prefixes):
        longest = max(map(len, self.total))
        return np.array([[*prefix, *[-1] * (longest - len(prefix))] for prefix in prefixes], np.int32)

    def key(self, prefix):
        """What makes two states the same: rounded budgets, for lengths are summed in another order."""
        state = self.state[prefix].remaining
        return state.valid.tobytes(), int(state.origin), round(float(state.budget), 4)


def rows(tree, number):
    return [jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], tree) for i in range(number)]


def over_lanes(function, number, *trees):
    """A vmapped function on any number of rows, as calls of one shape."""
    parts = []
    for begin in range(0, number, LANES):
        index = np.minimum(np.arange(begin, begin + LANES), number - 1)
        parts.append(jax.device_get(function(*jax.tree.map(lambda leaf, i=index: np.asarray(leaf)[i], trees))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:number], *parts)


@pytest.fixture(scope="module")
def trees_of():
    made = {}

    def tree_of(name):
        if name not in made:
            made[name] = Tree(name)
        return made[name]

    return tree_of


each = pytest.mark.parametrize("name", PROBLEMS)


@each
def test_solutions_and_costs_are_those_of_the_definition(name, trees_of):
    tree = trees_of(name)
    solutions = dict(by_definition(name, tree.arrays))
    assert tree.complete == set(solutions)
    assert all(tree.done[prefix] == (prefix in solutions) for prefix in tree.total if prefix)
    ours = [-tree.total[actions] for actions in solutions]
    np.testing.assert_allclose(ours, list(solutions.values()), atol=2e-6)
    cost = over_lanes(
        jax.jit(jax.vmap(lambda actions: solution_cost(tree.problem, tree.instance, actions))),
        len(solutions),
        tree.padded(solutions),
    )
    np.testing.assert_allclose(cost, list(solutions.values()), atol=2e-6)
    best, routes = EXACT[name](**tree.arrays)
    scale = 1000 if name == "kp" else 1
    np.testing.assert_allclose(best / scale, min(solutions.values()), atol=1e-9)
    assert len({node for route in routes for node in route}) == sum(map(len, routes))


@each
def test_reduction_in_closed_form_is_what_steps_come_to(name, trees_of):
    tree = trees_of(name)
    reduce = jax.jit(jax.vmap(lambda actions: reduced(tree.problem, tree.instance, actions).remaining))
    states = over_lanes(reduce, len(tree.total), tree.padded(tree.total))
    stepped = jax.tree.map(lambda *leaves: np.stack(leaves), *(tree.state[prefix].remaining for prefix in tree.total))
    np.testing.assert_array_equal(states.valid, stepped.valid)
    np.testing.assert_array_equal(states.origin, stepped.origin)
    np.testing.assert_allclose(states.budget, stepped.budget, atol=1e-5)


@each
def test_equal_states_have_equal_continuations(name, trees_of):
    """The bisimulation, and that suffixes of an optimal solution are optimal for the sub-instance they begin in."""
    tree = trees_of(name)
    continuations = defaultdict(dict)  # state: prefix: suffix: cost to go
    for solution in tree.complete:
        for cut in range(len(solution) + 1):
            prefix, suffix = solution[:cut], solution[cut:]
            to_go = tree.total[prefix] - tree.total[solution]
            continuations[tree.key(prefix)].setdefault(prefix, {})[suffix] = to_go
    shared = [prefixes for prefixes in continuations.values() if len(prefixes) > 1]
    assert len(shared) >= 10
    for prefixes in shared:
        first, *others = prefixes.values()
        for other in others:
            assert other.keys() == first.keys()
            np.testing.assert_allclose([other[suffix] for suffix in first], list(first.values()), atol=2e-5)
    optimal = max(tree.complete, key=tree.total.__getitem__)
    for cut in range(len(optimal) + 1):
        to_go = continuations[tree.key(optimal[:cut])][optimal[:cut]]
        np.testing.assert_allclose(to_go[optimal[cut:]], min(to_go.values()), atol=2e-5)


@each
def test_the_direct_process_is_the_quotient(name, trees_of):
    """Along some solutions: rewards, ends, masks and reduced states of the direct process against the quotient's."""
    tree = trees_of(name)
    direct = Construction(tree.problem, lambda key: tree.instance)
    quotient = Quotient(direct)
    solutions = sorted(tree.complete)[:: max(1, len(tree.complete) // 20)]
    actions = tree.padded(solutions)

    @jax.jit
    @jax.vmap
    def play(actions):
        def step(states, action):
            key, params = jax.random.key(0), direct.default_params
            obs, state, reward, done, _ = direct.step_env(key, states[0], action, params)
            seen, small, earned, ended, _ = quotient.step_env(key, states[1], action, params)
            masks = direct.action_mask(obs), quotient.action_mask(seen)
            same = quotient.reduce(state)
            budgets = same.instance.remaining.budget, small.instance.remaining.budget
            places = [(s.instance.remaining.valid, s.instance.remaining.origin, s.time) for s in (same, small)]
            return (state, small), ((reward, earned), (done, ended), masks, tuple(places), budgets)

        _, state = direct.start(tree.instance)
        return jax.lax.scan(step, (state, quotient.start(tree.instance)[1]), actions)[1]

    *exactly, budgets = jax.device_get(play(actions))
    taken = actions >= 0
    for ours, theirs in exactly:
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[taken], y[taken]), ours, theirs)
    np.testing.assert_allclose(budgets[0][taken], budgets[1][taken], atol=1e-5)
    ends = [len(solution) - 1 for solution in solutions]
    np.testing.assert_array_equal(exactly[1][0].argmax(axis=1), ends)


@each
def test_networks_see_nothing_of_removed_nodes_and_compaction_keeps_the_rest(name, trees_of):
    tree = trees_of(name)
    prefix = next(p for p in sorted(tree.total) if len(p) == 2 and p not in tree.complete)
    state = tree.state[prefix]
    gone = ~state.remaining.valid
    changed = state.replace(
        nodes={key: np.where(gone[(...,) + (None,) * (rows.ndim - 1)], 7, rows) for key, rows in state.nodes.items()},
        cost=None if state.cost is None else np.where(gone[:, None] | gone, 7, state.cost),
    )
    see, step = (jax.jit(partial(function, tree.problem)) for function in (tokens, advance))
    seen = jax.device_get(see(state))
    jax.tree.map(np.testing.assert_array_equal, see(changed), seen)
    assert not seen.features[gone].any()

    size = int(state.remaining.valid.sum()) + 1  # with a removed one
    small, slots = jax.device_get(jax.jit(partial(compacted, size=size))(state))
    few = jax.device_get(see(small))
    for ours, whole in zip(few[:5], seen[:5]):
        np.testing.assert_array_equal(ours, whole[slots])
    if seen.cost is not None:
        np.testing.assert_array_equal(few.cost, seen.cost[slots[:, None], slots])
    flags = tree.problem.flags
    for action in np.flatnonzero(few.allowed):
        whole = slots[action // flags] * flags + action % flags
        after, reward, done = step(small, action)
        expected, paid, ended = step(state, whole)
        assert (reward, done) == (paid, ended)
        np.testing.assert_array_equal(after.remaining.valid, expected.remaining.valid[slots])
        assert after.remaining.budget == expected.remaining.budget


def test_an_action_that_is_not_allowed_is_the_first_one_that_is(trees_of):
    tree = trees_of("cvrp")
    env = Quotient(Construction(tree.problem, lambda key: tree.instance))
    obs, state = jax.jit(env.start)(tree.instance)
    first = int(np.argmax(env.action_mask(np.asarray(obs))))
    key, params = jax.random.key(0), env.default_params
    step = jax.jit(lambda action: env.step_env(key, state, action, params)[1:4])
    jax.tree.map(np.testing.assert_array_equal, step(0), step(first))  # 0 is the depot
    assert int(step(first)[0].instance.remaining.origin) == first // 2


def test_nothing_in_reach_ends_an_episode_without_a_change():
    far = routed({"coordinates": [[0, 0], [1, 1]], "prize": [0, 1]}, capacity=1.0)
    with pytest.raises(InvalidArgument, match="must allow a tour to one node"):
        PROBLEMS["op"].check(far)
    direct = Construction(PROBLEMS["op"], lambda key: far)
    for env in (direct, Quotient(direct)):
        obs, state = jax.jit(env.start)(far)
        assert not np.asarray(obs)[:, env.feature_size + 3].any()  # allowed
        _, after, reward, done, _ = jax.jit(env.step_env)(jax.random.key(0), state, 1, env.default_params)
        assert done
        assert reward == 0
        jax.tree.map(np.testing.assert_array_equal, after.instance, state.instance)


# --- environments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        pytest.param(prefix, name, marks=[pytest.mark.slow] * ((prefix, name) not in QUICK))
        for prefix in ("", "quotient/")
        for name in PROBLEMS
    ],
)
def test_contract(prefix, name):
    envs.check(envs.make(f"{prefix}combinatorial/{name}-v0", **TINY[name]))


def test_observations_come_apart():
    env = envs.make("quotient/combinatorial/atsp-v0", nodes=4)
    obs, state = jax.jit(env.reset_env)(jax.random.key(1000), env.default_params)
    seen = jax.jit(partial(tokens, env.problem))(state.instance)
    jax.tree.map(np.testing.assert_array_equal, env.view(np.asarray(obs)), seen)
    direct = envs.make("combinatorial/cvrp-v0", nodes=3, capacity=12)
    _, state = jax.jit(direct.reset_env)(jax.random.key(1000), direct.default_params)
    step = jax.jit(lambda state, action: direct.step_env(jax.random.key(0), state, action, direct.default_params)[:2])
    obs, state = step(state, 2 * 3)
    obs, state = step(state, 2 * 1 + 1)
    seen = direct.view(np.asarray(obs))
    np.testing.assert_array_equal(seen.order, [0, 2, 0, 1, 0])
    np.testing.assert_array_equal(seen.flag, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(np.flatnonzero(seen.origin), [1])
    assert seen.budget == 12 - state.instance.nodes["demand"][1]


def test_quotients_are_of_constructions_only():
    with pytest.raises(InvalidArgument, match="must construct a solution"):
        envs.make("quotient/CartPole-v1")


# --- instances --------------------------------------------------------------------------------------------------


def test_generators():
    draw = lambda name, **settings: jax.jit(GENERATORS[name](**settings))(jax.random.key(1000))  # noqa: E731
    cvrp = draw("cvrp", nodes=200)
    demand = np.asarray(cvrp.nodes["demand"])
    assert set(demand[1:-1].tolist()) == set(range(1, 10))
    assert demand[0] == demand[-1] == 0
    assert cvrp.capacity == 80

    op = draw("op", nodes=100)
    at = np.asarray(op.nodes["coordinates"])
    away = np.linalg.norm(at - at[0], axis=1)
    assert op.nodes["prize"].max() == 1
    expected = (1 + np.floor(99 * away / away.max()))[1:-1] / 100
    np.testing.assert_allclose(op.nodes["prize"][1:-1], expected, atol=0.0101)  # where rounding falls either way
    assert np.mean(np.isclose(op.nodes["prize"][1:-1], expected)) > 0.95
    uniform = np.rint(100 * draw("op", nodes=100, prizes="uniform").nodes["prize"][1:-1])
    assert uniform.min() >= 1
    assert uniform.max() <= 99

    cost = np.asarray(draw("atsp", nodes=12).cost)[:-1, :-1]
    through = (cost[:, :, None] + cost[None]).min(axis=1)
    np.testing.assert_allclose(through, cost, atol=1e-6)  # no detour is shorter
    assert (cost != cost.T).any()
    assert not np.diag(cost).any()

    kp = draw("kp", nodes=200)
    assert kp.capacity == 25_000
    for name in ("value", "weight"):
        amounts = np.asarray(kp.nodes[name])
        assert np.array_equal(amounts, np.rint(amounts))
        assert amounts.min() >= 1
        assert amounts.max() <= 998


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tsp", {"nodes": 1}, "nodes=1"),
        ("cvrp", {"nodes": 77}, "capacity=None"),
        ("cvrp", {"capacity": 5}, "largest demand"),
        ("op", {"nodes": 77}, "length=None"),
        ("op", {"prizes": "none"}, "distance, uniform"),
        ("kp", {"capacity": 900}, "at least 998"),
    ],
)
def test_settings_that_make_no_sense(name, settings, message):
    with pytest.raises(InvalidArgument, match=message):
        GENERATORS[name](**settings)


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("name", "instance", "message"),
    [
        ("tsp", routed({}, cost=[[0, 1, 2], [1, 0, 3], [2, 4, 0]]), "it is an ATSP"),
        ("tsp", routed({"coordinates": [[0, 0], [np.nan, 1]]}), "must be finite"),
        ("atsp", routed({}, cost=[[0, -1], [1, 0]]), "not negative"),
        ("cvrp", routed({"coordinates": SQUARE, "demand": [0, 1, 7, 1]}, capacity=6), "demand=7.0: must be at most"),
        ("cvrp", routed({"coordinates": SQUARE, "demand": [0, 1, -1, 1]}, capacity=6), "must not be negative"),
        ("cvrp", routed({"coordinates": SQUARE}, capacity=6), "must have demand"),
        ("op", routed({"coordinates": SQUARE, "prize": [0, 1, -2, 1]}, capacity=6), "prize=-2.0"),
        ("op", routed({"coordinates": SQUARE, "prize": [0, 1, 2, 1]}, capacity=np.inf), "must be finite and above 0"),
        ("kp", packed({"value": [1, 2], "weight": [5, 6]}, 4), "at least 5"),
    ],
)
def test_instances_that_make_no_sense(name, instance, message):
    with pytest.raises(InvalidArgument, match=message):
        PROBLEMS[name].check(instance)


def test_padding_changes_nothing():
    small, large = (jax.jit(GENERATORS["tsp"](nodes))(jax.random.key(1000)) for nodes in (4, 6))
    PROBLEMS["tsp"].check(padded(small, 9))
    both = stacked([small, large])
    actions = jnp.array([[1, 2, 3, -1, -1], [1, 2, 3, 4, 5]])
    price = partial(solution_cost, PROBLEMS["tsp"])
    cost = jax.jit(jax.vmap(price))(both, actions)
    expected = [jax.jit(price)(instance, row) for instance, row in zip((small, large), actions)]
    np.testing.assert_allclose(cost, expected, rtol=1e-6)
    drawn = jax.jit(among(both))(jax.random.key(0))
    assert drawn.remaining.valid.sum() in (5, 7)
    with pytest.raises(InvalidArgument, match="slots=3"):
        padded(small, 3)

"""POMO: its gradient against all tours listed, scores of solutions against steps taken, learning, what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.combinatorial import NOWHERE, TSP, solution_cost, uniform_cities
from jaxrl.envs.combinatorial.exact import best_tour
from jaxrl.envs.combinatorial.groups import Start, begun, costs, starts

from jaxrl import POMO, InvalidArgument, make
from jaxrl.policies.construction import greedy, rotated
from jaxrl.policies.groups import draw, log_probs
from jaxrl.sources.constructions import Attempts

TINY = {"layers": 1, "width": 8, "heads": 2, "hidden_width": 8}
CONFIG = POMO(**TINY)
ENVS = {
    "tsp": make("combinatorial/tsp-v0", nodes=5),
    "cvrp": make("combinatorial/cvrp-v0", nodes=5, capacity=12),
    "op": make("combinatorial/op-v0", nodes=5, length=2.0),
    "kp": make("combinatorial/kp-v0", nodes=5, capacity=1500),
}


def drawn(env, config=CONFIG, seed=0):
    """Parameters away from their start."""
    params = jax.jit(config.policy(env).init)(jax.random.key(seed))
    return jax.tree.map(lambda leaf: leaf + 0.5 if leaf.ndim == 0 else 2 * leaf, params)


def scored(env, params, instance, start, actions, config=CONFIG):
    """``[B, k]`` log-probabilities."""
    group = begun(config.encoder(env)(params, instance), start)
    return log_probs(env.problem, config.group_scorer(env), params, group, start.first, actions)


@pytest.fixture(scope="module")
def square():
    """A TSP of four cities, each of them a start, and all tours from each: actions ``[4, 6, 3]``."""
    env, instance = make("combinatorial/tsp-v0", nodes=4), uniform_cities(4)(jax.random.key(3))
    start = starts(TSP, instance, 4, True, jax.random.key(0))
    tours = [list(itertools.permutations(set(range(4)) - {int(node)})) for node in start.destination]
    return env, jax.tree.map(lambda leaf: leaf[None], instance), start, np.array(tours, np.int32)


def test_the_mean_of_its_gradient_is_that_of_the_expected_cost(square):
    """Over all combinations of tours, 6^4, weighted by how likely they are."""
    env, instance, start, tours = square
    params, k, number = drawn(env), 4, 6
    # each of the tours is a partial solution of its own for the list of all of them
    all_starts = jax.tree.map(lambda leaf: jnp.repeat(leaf, number, axis=0)[None], start)
    listed = jnp.asarray(tours.reshape(1, k * number, -1))
    cost = costs(TSP, begun(instance, all_starts), listed)

    def chances(params):
        return jnp.exp(scored(env, params, instance, all_starts, listed)).reshape(k, number)

    probability = jax.jit(chances)(params)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert np.ptp(probability) > 0.02
    expected_cost = lambda params: jnp.mean(jnp.sum(chances(params) * cost.reshape(k, number), axis=1))  # noqa: E731
    expected = jax.jit(jax.grad(expected_cost))(params)

    combinations = np.array(list(itertools.product(range(number), repeat=k)))
    weights = np.prod(np.asarray(probability)[np.arange(k), combinations], axis=1)
    loss = CONFIG.loss(env)
    one_start = jax.tree.map(lambda leaf: leaf[None], start)

    @jax.jit
    @jax.vmap
    def gradient(chosen):
        actions = jnp.asarray(tours)[jnp.arange(k), chosen][None]
        batch = Attempts(instance, one_start, actions, cost.reshape(k, number)[jnp.arange(k), chosen][None])
        return jax.grad(lambda params: loss(params, batch, None)[0])(params)

    mean = jax.tree.map(lambda leaf: np.tensordot(weights, leaf, 1), gradient(combinations))
    for found, exact in zip(jax.tree.leaves(mean), jax.tree.leaves(expected)):
        np.testing.assert_allclose(found, np.asarray(exact) * (k - 1) / k, atol=1e-4)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0.05


def test_starts_are_alike(square):
    """A tour costs the same from wherever it is told; from a node it is as likely as in the instance with that node
    first; the order of the others changes nothing."""
    env, instance, start, _ = square
    params, circle = drawn(env), [0, 2, 1, 3]
    tours, orders, renamed = [], [], []
    for node in np.asarray(start.destination):
        tour = np.roll(circle, -circle.index(node))[1:]
        order = [node, *sorted(tour, reverse=True), node]
        tours.append(tour)
        orders.append(order)
        renamed.append([order.index(city) for city in tour])

    @jax.jit
    def both(params):
        told = jnp.asarray(tours, jnp.int32)[None]
        here = jax.tree.map(lambda leaf: leaf[None], start)
        four = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4, axis=0), instance)
        moved = four.replace(nodes={"coordinates": instance.nodes["coordinates"][0][np.array(orders)]})
        remaining = jax.tree.map(lambda leaf: leaf[:, None], moved.remaining)
        own = Start(moved.destination[:, None], remaining, jnp.full((4, 1), NOWHERE))
        again = jnp.asarray(renamed, jnp.int32)[:, None]
        lengths = costs(TSP, begun(instance, here), told)[0], costs(TSP, begun(moved, own), again)[:, 0]
        scores = scored(env, params, instance, here, told)[0], scored(env, params, moved, own, again)[:, 0]
        return lengths, scores

    lengths, scores = both(params)
    np.testing.assert_allclose(lengths[0], lengths[0][0], rtol=1e-5)
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert np.ptp(scores[0]) > 0.01
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.parametrize(
    "name", [name if name in ("cvrp", "op") else pytest.param(name, marks=pytest.mark.slow) for name in ENVS]
)
def test_scores_are_those_of_the_steps(name):
    """Drawn solutions take allowed actions to the end, and their scores add up from the policy's own in the
    environment, but for the first action where it was not the policy's."""
    env, number = ENVS[name], 5
    problem, policy = env.problem, CONFIG.policy(env)

    @jax.jit
    def sampled_and_walked(params):
        instances = jax.vmap(env.generate)(jax.random.split(jax.random.key(1), 2))
        start = jax.vmap(lambda each: starts(problem, each, number, problem.covers, jax.random.key(0)))(instances)
        group = begun(CONFIG.encoder(env)(params, instances), start)
        noise = jax.random.uniform(jax.random.key(2), (2, number, env.steps))
        actions = draw(problem, CONFIG.group_scorer(env), params, group, start.first, noise)
        scores = scored(env, params, instances, start, actions), costs(problem, begun(instances, start), actions)
        # One solution of each instance that begins where the environment does.
        row = jnp.argmax(start.destination == 0, axis=1) if problem.circular else jnp.zeros(2, jnp.int32)
        one = jax.tree.map(lambda leaf: leaf[jnp.arange(2), row], (actions, *scores))

        def walk(carry, action):
            obs, state, done = carry
            action_or_first = jnp.maximum(action, 0)
            fine = jnp.take_along_axis(env.action_mask(obs), action_or_first[:, None], axis=1)[:, 0]
            fine = jnp.where(done, action == NOWHERE, fine)
            log_prob, _ = policy.log_prob(params, obs, action_or_first, None)
            step = jax.vmap(lambda *each: env.step_env(None, *each, None))
            obs, state, reward, ended, _ = step(state, action_or_first)
            return (obs, state, done | ended), (fine, jnp.where(done, 0, log_prob), jnp.where(done, 0, reward))

        begin = (*jax.vmap(env.start)(instances), jnp.zeros(2, bool))
        (_, _, done), walked = jax.lax.scan(walk, begin, one[0].T)
        return start, actions, one, done, walked

    start, actions, (_, log_prob, cost), done, (fine, steps, rewards) = sampled_and_walked(drawn(env))
    assert done.all()
    assert fine.all()
    forced = name == "cvrp"
    np.testing.assert_allclose(log_prob, steps[forced:].sum(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(cost, -rewards.sum(axis=0), rtol=1e-5)
    if forced:
        np.testing.assert_array_equal(actions[..., 0], start.first)
    elif name == "tsp":
        assert all(len(set(row)) == number for row in np.asarray(start.destination).tolist())
    else:
        assert (np.asarray(start.first) == NOWHERE).all()


def test_tours_become_short():
    """After 300 updates on tours of six cities: near the optimum, far better than at the start, and from all starts at
    least as good; without a label."""
    nodes, held = 6, 128
    env = make("combinatorial/tsp-v0", nodes=nodes)
    config = POMO(learning_rate=3e-3, batch_size=32, layers=2, width=16, heads=2, hidden_width=32)
    algorithm = config.make(env)
    assert algorithm.steps_per_update == 32 * 6 * 5
    start = jax.jit(algorithm.init)(jax.random.key(1))
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: algorithm.update(state), state, None, 300))
    state, metrics = run(start)
    instances = jax.vmap(uniform_cities(nodes))(jax.random.split(jax.random.key(0), held))
    places = np.asarray(instances.nodes["coordinates"])[:, :nodes]
    best = np.array([best_tour(np.linalg.norm(at[:, None] - at, axis=-1))[0] for at in places])

    def gap(params, number=1):
        decode = config.decoder(env, lambda score: rotated(TSP, greedy(TSP, score, (nodes + 1,)), number))
        lengths = jax.vmap(lambda *each: solution_cost(TSP, *each))(instances, jax.jit(decode)(params, instances))
        return float(np.mean(np.asarray(lengths) / best - 1))

    before, after = gap(start.learner.params), gap(state.learner.params)
    assert before > 0.1
    assert -1e-6 < after < 0.05
    assert -1e-6 < gap(state.learner.params, nodes) <= after
    returns = np.asarray(metrics["episode_return"].total / metrics["episode_return"].weight)
    assert returns[-10:].mean() > returns[:10].mean() + 0.1


@pytest.mark.parametrize(
    ("argument", "env", "settings"),
    [
        ("env", "quotient/combinatorial/tsp-v0", {}),
        ("env", "combinatorial/atsp-v0", {}),
        ("env", "CartPole-v1", {}),
        ("num_starts", "combinatorial/tsp-v0", {"num_starts": 1}),
        ("starts", "combinatorial/tsp-v0", {"starts": "all"}),
        ("logit_clip", "combinatorial/tsp-v0", {"logit_clip": 0.0}),
        ("heads", "combinatorial/tsp-v0", {"heads": 7}),
        ("batch_size", "combinatorial/tsp-v0", {"batch_size": 0}),
    ],
)
def test_what_cannot_be(argument, env, settings):
    env = make(env)
    with pytest.raises(InvalidArgument) as error:
        POMO(**settings).check(env, env.default_params)
    assert error.value.argument == argument

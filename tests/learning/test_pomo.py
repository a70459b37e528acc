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
    params = config.policy(env).init(jax.random.key(seed))
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

    probability = chances(params)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert np.ptp(probability) > 0.02
    expected = jax.grad(lambda params: jnp.mean(jnp.sum(chances(params) * cost.reshape(k, number), axis=1)))(params)

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
        np.testing.assert_allclose(found, np.asarray(exact) * (k - 1) / k, atol=2e-6)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-3


def test_starts_are_alike(square):
    """A tour costs the same from wherever it is told; from a node it is as likely as in the instance with that node
    first; the order of the others changes nothing."""
    env, instance, start, _ = square
    params = drawn(env)
    at = instance.nodes["coordinates"][0]
    circle = [0, 2, 1, 3]
    length = solution_cost(TSP, jax.tree.map(lambda leaf: leaf[0], instance), jnp.array(circle[1:]))
    for place, node in enumerate(np.asarray(start.destination)):
        turn = circle.index(node)
        tour = np.roll(circle, -turn)[1:]
        here = jax.tree.map(lambda leaf, place=place: leaf[place][None, None], start)
        told = jnp.asarray(tour, jnp.int32)[None, None]
        np.testing.assert_allclose(costs(TSP, begun(instance, here), told), length, rtol=1e-6)
        order = np.array([node, *sorted(tour, reverse=True), node])
        moved = instance.replace(nodes={"coordinates": at[order][None]})
        remaining = jax.tree.map(lambda leaf: leaf[:, None], moved.remaining)
        own = Start(moved.destination[:, None], remaining, jnp.full((1, 1), NOWHERE))
        renamed = np.array([list(order).index(city) for city in tour], np.int32)[None, None]
        np.testing.assert_allclose(
            scored(env, params, instance, here, told), scored(env, params, moved, own, jnp.asarray(renamed)), rtol=1e-4
        )


@pytest.mark.parametrize("name", ENVS)
def test_scores_are_those_of_the_steps(name):
    """Drawn solutions take allowed actions to the end, and their scores add up from the policy's own in the
    environment, but for the first action where it was not the policy's."""
    env, number = ENVS[name], 4
    problem, config = env.problem, CONFIG
    params, policy = drawn(env), config.policy(env)
    instances = jax.vmap(env.generate)(jax.random.split(jax.random.key(1), 2))

    def sample(nodes):
        start = jax.vmap(lambda each: starts(problem, each, number, nodes, jax.random.key(0)))(instances)
        group = begun(config.encoder(env)(params, instances), start)
        noise = jax.random.uniform(jax.random.key(2), (2, number, env.steps))
        actions = draw(problem, config.group_scorer(env), params, group, start.first, noise)
        log_prob = scored(env, params, instances, start, actions)
        return start, actions, log_prob, costs(problem, begun(instances, start), actions)

    step = jax.jit(jax.vmap(lambda *each: env.step_env(None, *each, None)))
    judge = jax.jit(lambda obs, action: policy.log_prob(params, obs, action, None)[0])

    def walked(actions):
        """Log-probabilities ``[2, T]``, 0 after the end, and costs ``[2]``."""
        obs, state = jax.vmap(env.start)(instances)
        done, found, cost = jnp.zeros(2, bool), [], jnp.zeros(2)
        for time in range(env.steps):
            action = actions[:, time]
            fine = jnp.take_along_axis(env.action_mask(obs), jnp.maximum(action, 0)[:, None], axis=1)[:, 0]
            assert bool(jnp.all(jnp.where(done, action == NOWHERE, fine)))
            found.append(jnp.where(done, 0.0, judge(obs, jnp.maximum(action, 0))))
            obs, state, reward, ended, _ = step(state, jnp.maximum(action, 0))
            cost, done = cost - jnp.where(done, 0.0, reward), done | ended
        assert bool(done.all())
        return jnp.stack(found, axis=1), cost

    start, actions, log_prob, cost = jax.jit(sample, static_argnums=0)(False)
    assert (np.asarray(start.first) == NOWHERE).all()
    for row in range(number):
        steps, walked_cost = walked(actions[:, row])
        np.testing.assert_allclose(log_prob[:, row], steps.sum(axis=1), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(cost[:, row], walked_cost, rtol=1e-5)
    start, actions, log_prob, _ = jax.jit(sample, static_argnums=0)(True)
    if problem.circular:
        assert all(len(set(row)) == number for row in np.asarray(start.destination))
        return
    np.testing.assert_array_equal(actions[..., 0], start.first)
    steps, _ = walked(actions[:, 1])
    np.testing.assert_allclose(log_prob[:, 1], steps[:, 1:].sum(axis=1), rtol=1e-3, atol=1e-5)


def test_tours_become_short():
    """After 150 updates on tours of six cities: near the optimum, far better than at the start, and from all starts at
    least as good; without a label."""
    nodes, held = 6, 128
    env = make("combinatorial/tsp-v0", nodes=nodes)
    config = POMO(learning_rate=3e-3, batch_size=32, layers=2, width=16, heads=2, hidden_width=32)
    algorithm = config.make(env)
    assert algorithm.steps_per_update == 32 * 6 * 5
    start = jax.jit(algorithm.init)(jax.random.key(1))
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: algorithm.update(state), state, None, 150))
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

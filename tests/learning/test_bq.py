"""Imitation of solutions: what is learned of small problems, whole runs, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.combinatorial import TSP, solution_cost, uniform_cities
from jaxrl.envs.combinatorial.exact import best_tour

from jaxrl import BQ, InvalidArgument, make
from jaxrl.policies.construction import greedy
from jaxrl.sources.expert import Solved, label, request

NODES, ROWS, HELD = 6, 512, 128
SMALL = {"layers": 2, "width": 16, "heads": 2, "hidden_width": 32, "num_sizes": 1, "batch_size": 128}
ENV = make("quotient/combinatorial/tsp-v0", nodes=NODES)


@pytest.fixture(scope="module")
def solved():
    """Instances, their optimal tours and how long they are."""
    instances = jax.vmap(uniform_cities(NODES))(jax.random.split(jax.random.key(0), ROWS + HELD))
    lengths, tours = [], []
    for at in np.asarray(instances.nodes["coordinates"])[:, :NODES]:
        length, (tour,) = best_tour(np.linalg.norm(at[:, None] - at, axis=-1))
        lengths.append(length)
        tours.append(tour)
    return instances, jnp.asarray(tours, jnp.int32), np.array(lengths)


def part(tree, rows):
    """Some rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def acts_as_decoded(env, algorithm, state, instances, tours):
    """Acting step by step, by the observation, comes to the decoded tours ``[B, T]``."""
    act = jax.jit(lambda obs: algorithm.policy(state, obs, jax.random.key(0)))
    obs, inner = jax.vmap(env.start)(instances)
    for time in range(NODES - 1):
        action = act(obs)
        np.testing.assert_array_equal(action, tours[:, time])
        obs, inner, *_ = jax.vmap(lambda *each: env.step_env(None, *each, None))(inner, action)


def test_tours_become_short(solved):
    """After 200 updates on 512 instances of six cities: near the optimum on instances not seen, and far better than at
    the start; acting in the environment by the observation comes to the same tours."""
    instances, tours, lengths = solved
    config = BQ(learning_rate=3e-3, **SMALL)
    algorithm = config.imitate(ENV, Solved(*part((instances, tours), slice(ROWS))))
    init = jax.jit(algorithm.init)
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: algorithm.update(state), state, None, 200))
    start = init(jax.random.key(1))
    state, metrics = run(start)
    held, best = part(instances, slice(ROWS, None)), lengths[ROWS:]
    decode = jax.jit(greedy(TSP, config.scorer(ENV), (NODES + 1,)))

    def gap(tours):
        return float(np.mean(np.asarray(jax.vmap(lambda *e: solution_cost(TSP, *e))(held, tours)) / best - 1))

    found = decode(state.learner.params, held)
    assert gap(decode(start.learner.params, held)) > 0.1
    assert -1e-6 < gap(found) < 0.04
    assert metrics["loss"][-10:].mean() < metrics["loss"][:10].mean()

    acts_as_decoded(ENV, algorithm, state, held, found)


def test_encoded_once(solved):
    """In the direct process the network that encodes an instance once learns too, and decodes what it acts by."""
    instances, tours, _ = solved
    env, config = make("combinatorial/tsp-v0", nodes=NODES), BQ(learning_rate=3e-3, **SMALL)
    algorithm = config.imitate(env, Solved(*part((instances, tours), slice(ROWS))))
    start = jax.jit(algorithm.init)(jax.random.key(1))
    run = jax.jit(lambda state: jax.lax.scan(lambda state, _: algorithm.update(state), state, None, 100))
    state, metrics = run(start)
    assert metrics["loss"][-10:].mean() < 0.9 * metrics["loss"][:10].mean()
    held = part(instances, slice(ROWS, ROWS + 4))
    decode = config.decoder(env, lambda score: greedy(TSP, score, (NODES + 1, 4)))
    found = jax.jit(decode)(state.learner.params, held)
    acts_as_decoded(env, algorithm, state, held, found)


def test_sizes_share_one_state(solved):
    """Updates of several static sizes: one at a time, of finite losses."""
    instances, tours, _ = solved
    config = BQ(**SMALL | {"num_sizes": 3, "layers": 1})
    algorithm = config.imitate(ENV, Solved(*part((instances, tours), slice(ROWS))))
    update = jax.jit(algorithm.update)
    state = algorithm.init(jax.random.key(0))
    for _ in range(4):
        state, metrics = update(state)
        assert np.isfinite(metrics["loss"])
    assert int(state.learner.calls.value) == 4


@pytest.mark.parametrize(
    ("argument", "env", "settings"),
    [
        ("env", "combinatorial/atsp-v0", {}),
        ("env", "CartPole-v1", {}),
        ("latents", "combinatorial/tsp-v0", {"latents": 4}),
        ("heads", "quotient/combinatorial/tsp-v0", {"heads": 7}),
        ("layers", "quotient/combinatorial/tsp-v0", {"layers": 0}),
        ("decay", "quotient/combinatorial/tsp-v0", {"decay": 1.1}),
    ],
)
def test_what_cannot_be(argument, env, settings):
    env = make(env)
    with pytest.raises(InvalidArgument) as error:
        BQ(**settings).check(env, env.default_params)
    assert error.value.argument == argument


def test_labels_on_disk(tmp_path):
    """They are learned from in an environment of their problem and size, and refused in others."""
    labels = label(tmp_path / "labels", request("tsp", {"nodes": NODES}, solver="held-karp"), 8, workers=0)
    assert len(labels.cost) == 8
    config = BQ(**SMALL, labels=str(tmp_path / "labels"))
    config.make(ENV)
    for env in (make("quotient/combinatorial/tsp-v0", nodes=5), make("quotient/combinatorial/kp-v0", nodes=NODES + 1)):
        with pytest.raises(InvalidArgument, match="labels"):
            config.make(env)
    with pytest.raises(InvalidArgument, match="labels"):
        BQ(**SMALL).make(ENV)

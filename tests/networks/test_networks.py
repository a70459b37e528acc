"""Initialisers and modules: what they compute, and that a population of them starts at all."""

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl.networks.actor_critic import ActorCritic
from jaxrl.networks.denoiser import ResidualMLP, TimeFeatures, denoiser
from jaxrl.networks.initialisers import FanInDense, orthogonal
from jaxrl.networks.torsos import ACTIVATIONS, MLP, MinAtarCNN, Patches

KEY = jax.random.key(0)
SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (4, 64), (64, 64), (64, 2), (16, 128), (128, 128), (3, 3, 4, 16), (1024, 128)]


def gram(matrix):
    rows, columns = math.prod(matrix.shape[:-1]), matrix.shape[-1]
    matrix = np.float64(matrix).reshape(rows, columns)
    return matrix.T @ matrix if rows >= columns else matrix @ matrix.T


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_for_every_shape(shape):
    product = gram(orthogonal(3.0)(KEY, shape))
    np.testing.assert_allclose(product / 9, np.eye(len(product)), atol=1e-5)


@pytest.mark.parametrize("leading", [(), (5,), (3, 5)])
def test_gradients_of_a_fan_in_layer_are_those_of_its_formula(leading):
    layer, x = FanInDense(4), jax.random.normal(KEY, (2, *leading, 3))
    weights = jax.vmap(lambda key: layer.init(key, x[0])["params"]["Dense_0"])(jax.random.split(KEY))

    def loss(x, weights, out=None):
        out = layer.apply({"params": {"Dense_0": weights}}, x) if out is None else out
        return jnp.sum(jnp.sin(out))

    def by_formula(x, weights):
        return loss(x, weights, jnp.einsum("...i,io->...o", x, weights["kernel"]) + weights["bias"])

    ours, expected = (jax.vmap(jax.grad(f, argnums=(0, 1)))(x, weights) for f in (loss, by_formula))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, expected)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 64), (64, 64), (64, 1)])
def test_orthogonal_for_256_members(shape):
    matrices = jax.jit(jax.vmap(lambda key: orthogonal()(key, shape)))(jax.random.split(KEY, 256))
    for matrix in np.asarray(matrices):
        product = gram(matrix)
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


def test_orthogonal_keeps_the_dtype_asked_for():
    assert orthogonal()(KEY, (4, 4), jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("n", [2, 3, 8])
def test_orthogonal_is_uniform_among_the_orthogonal_matrices(n):
    """Haar: a column is uniform on the sphere, so an entry's square is Beta(1/2, (n-1)/2); the determinant is 1 and -1
    equally often; the trace has mean 0 and mean square 1."""
    draws = 4000
    q = np.asarray(jax.vmap(lambda key: orthogonal()(key, (n, n)))(jax.random.split(KEY, draws)))
    for i, j in ((0, 0), (n - 1, 0), (0, n - 1), (n - 1, n - 1)):
        assert stats.kstest(q[:, i, j] ** 2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue > 1e-3
        assert stats.binomtest(int((q[:, i, j] > 0).sum()), draws).pvalue > 1e-3
    assert stats.binomtest(int((np.linalg.det(q) > 0).sum()), draws).pvalue > 1e-3
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 / np.sqrt(draws)
    assert abs((trace**2).mean() - 1) < 4 * (trace**2).std() / np.sqrt(draws)


POPULATION = """
import jax
from jaxrl import PPO, make
env = make("CartPole-v1")
init = jax.jit(jax.vmap(PPO().make(env).init))
for members in (64, 256, 1024):
    state = init(jax.random.split(jax.random.key(0), members))
    print(members, float(jax.tree.leaves(state.learner.params)[0].sum()), flush=True)
"""


def test_a_population_of_a_thousand_members_starts():
    """In a process of its own, since the trap is a deadlock: independent batched QRs in one program hang jax 0.10.2's
    CPU threads, of which it has as many here as a user has."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    done = subprocess.run(
        [sys.executable, "-c", POPULATION], env=environment, capture_output=True, text=True, timeout=240, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["64", "256", "1024"]


# --- modules ------------------------------------------------------------------------------------------------------


def dense(params, x):
    return np.float64(x) @ np.float64(params["kernel"]) + np.float64(params["bias"])


def test_mlp_is_what_it_says():
    x = jax.random.normal(KEY, (5, 2, 3))
    module = MLP((7, 4), "tanh")
    params = module.init(KEY, x)
    layers = params["params"]
    expected = np.tanh(dense(layers["Dense_1"], np.tanh(dense(layers["Dense_0"], x))))
    np.testing.assert_allclose(module.apply(params, x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gram(layers["Dense_0"]["kernel"]) / 2, np.eye(3), atol=1e-5)


def test_mlp_flattens_observations_of_a_higher_rank():
    x = jax.random.normal(KEY, (5, 2, 3, 4))
    module, flat = MLP((7,), rank=2), MLP((7,))
    params = module.init(KEY, x)
    np.testing.assert_array_equal(module.apply(params, x), flat.apply(params, x.reshape(5, 2, 12)))


def test_patches_are_a_convolution():
    x = jax.random.normal(KEY, (2, 10, 9, 4))
    module = Patches(16)
    params = module.init(KEY, x)
    kernel, bias = params["params"]["Dense_0"]["kernel"], params["params"]["Dense_0"]["bias"]
    expected = jax.lax.conv_general_dilated(
        x, kernel.reshape(3, 3, 4, 16), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(module.apply(params, x), expected + bias, rtol=1e-4, atol=1e-5)


def test_minatar_takes_booleans_and_any_leading_axes():
    x = jax.random.bernoulli(KEY, 0.3, (3, 2, 10, 10, 4))
    module = MinAtarCNN((32,))
    params = module.init(KEY, x[0, 0])
    features = module.apply(params, x)
    assert features.shape == (3, 2, 32)
    np.testing.assert_allclose(features[1, 1], module.apply(params, x[1, 1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_named_after_what_they_are(name):
    assert ACTIVATIONS[name](jnp.float32(0)) == 0
    reference = jnp.tanh if name == "tanh" else getattr(jax.nn, name)
    np.testing.assert_array_equal(ACTIVATIONS[name](jnp.arange(-3.0, 3.0)), reference(jnp.arange(-3.0, 3.0)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("log_std", [False, True])
def test_actor_critic(shared, log_std):
    network = ActorCritic(torso=lambda: MLP((8,)), outputs=3, log_std=log_std, shared=shared)
    obs = jax.random.normal(KEY, (5, 2, 4))
    params = network.init(KEY, obs[0, 0])
    actor, value = network.apply(params, obs)
    mean = actor[0] if log_std else actor
    assert mean.shape == (5, 2, 3)
    assert value.shape == (5, 2)
    torsos = [name for name in params["params"] if "torso" in name]
    assert len(torsos) == (1 if shared else 2)
    if log_std:
        np.testing.assert_array_equal(actor[1], np.zeros((5, 2, 3)))
    np.testing.assert_array_equal(value, network.apply(params, obs, method="critic"))
    assert np.abs(mean).max() < 0.1, "a small first policy, close to uniform"
    # the critic's gradient reaches the actor's torso only where they share it
    gradient = jax.grad(lambda p: network.apply(p, obs, method="critic").sum())(params)["params"]
    reached = any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["actor_torso"]))
    assert reached == shared
    assert all(not np.abs(leaf).any() for leaf in jax.tree.leaves(gradient["actor_head"]))


def test_denoisers_take_one_time_for_all_rows_or_one_each():
    init, network = denoiser(2, (3,), lambda: MLP((8,), "mish", orthogonal=False))
    params, keys = init(KEY), jax.random.split(KEY)
    x, obs = jax.random.normal(keys[0], (4, 5, 2)), jax.random.normal(keys[1], (4, 1, 3))
    times = jnp.arange(5.0)[:, None]

    @jax.jit
    def both(params):
        alone = [network(params, x[:, i], times[i, 0], obs[:, 0]) for i in range(5)]
        return network(params, x, times, obs), jnp.stack(alone, axis=1)

    together, alone = both(params)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    raw = TimeFeatures("none", sizes=())
    np.testing.assert_array_equal(raw.apply({}, times), times)


def test_denoisers_drop_features_where_they_get_a_key():
    init, network = denoiser(2, (3,), lambda: ResidualMLP(8, 1, dropout=0.5))
    params, x, obs = init(KEY), jnp.ones((4, 2)), jnp.ones((4, 3))
    plain, dropped = jax.jit(lambda params: [network(params, x, jnp.float32(1), obs, key) for key in (None, KEY)])(
        params
    )
    np.testing.assert_allclose(plain, plain[:1].repeat(4, axis=0), atol=1e-6)
    assert float(jnp.abs(dropped - plain).max()) > 1e-3
    assert float(jnp.abs(dropped[0] - dropped[1]).max()) > 1e-3  # each row drops its own

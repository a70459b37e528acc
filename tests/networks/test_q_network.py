"""Networks of action values: what they compute, against formulas on their own parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.networks.q_network import QNetwork
from jaxrl.networks.torsos import MLP, MinAtarCNN

KEY = jax.random.key(0)
OBS = jax.random.normal(KEY, (5, 2, 4))


def made(obs=OBS, levels=None, **settings):
    network = QNetwork(lambda: MLP((8,), "relu"), actions=3, **settings)
    params = network.init(KEY, obs, levels)
    return network, params, network.apply(params, obs, levels)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("head_sizes", [(), (6,)])
@pytest.mark.parametrize("dueling", [False, True])
def test_shapes(size, head_sizes, dueling):
    _, _, outputs = made(size=size, head_sizes=head_sizes, dueling=dueling)
    assert outputs.shape == (5, 2, 3, size)


def test_plain_is_a_linear_map_of_the_torso():
    _, params, outputs = made(size=2)
    layers = params["params"]
    features = MLP((8,), "relu").apply({"params": layers["MLP_0"]}, OBS)
    expected = features @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
    np.testing.assert_allclose(outputs, expected.reshape(5, 2, 3, 2), rtol=1e-5, atol=1e-6)


def test_dueling_is_value_plus_centred_advantage():
    """The mean over actions is the value stream, for each number apart."""
    _, params, outputs = made(size=2, dueling=True)
    layers = params["params"]
    features = MLP((8,), "relu").apply({"params": layers["MLP_0"]}, OBS)
    advantage, value = (features @ layers[name]["kernel"] for name in ("Dense_0", "Dense_1"))
    assert value.shape == (5, 2, 2)
    np.testing.assert_allclose(outputs.mean(axis=-2), value, rtol=1e-4, atol=1e-5)
    advantage = advantage.reshape(5, 2, 3, 2)
    np.testing.assert_allclose(
        outputs - value[..., None, :], advantage - advantage.mean(axis=-2, keepdims=True), rtol=1e-4, atol=1e-5
    )


def test_implicit_quantiles_are_of_their_own_level():
    """The k-th number depends on the k-th level alone, by the cosine embedding of the paper."""
    levels = jax.random.uniform(KEY, (5, 2, 6))
    network, params, outputs = made(levels=levels, size=6, cosines=4)
    assert outputs.shape == (5, 2, 3, 6)
    layers = params["params"]
    features = MLP((8,), "relu").apply({"params": layers["MLP_0"]}, OBS)
    waves = np.cos(np.pi * np.asarray(levels)[..., None] * np.arange(4))
    embedding = np.maximum(waves @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
    expected = (np.asarray(features)[..., None, :] * embedding) @ layers["Dense_1"]["kernel"]
    np.testing.assert_allclose(outputs, np.swapaxes(expected, -1, -2), rtol=1e-4, atol=1e-5)
    moved = network.apply(params, OBS, levels.at[..., 2].set(0.5))
    changed = np.abs(np.asarray(moved - outputs)).max(axis=(0, 1, 2)) > 1e-6
    np.testing.assert_array_equal(changed, np.arange(6) == 2)


def test_layer_norm_makes_features_blind_to_scale():
    obs = jax.random.normal(KEY, (4, 6))
    normed, plain = MLP((8, 8), "relu", layer_norm=True), MLP((8, 8), "relu")
    for network, same in ((normed, True), (plain, False)):
        params = network.init(KEY, obs)
        ratio = network.apply(params, 1000 * obs) / jnp.maximum(network.apply(params, obs), 1e-3)
        assert bool((ratio < 1.5).all()) == same
    board = jax.random.bernoulli(KEY, 0.3, (2, 10, 10, 4))
    cnn = MinAtarCNN((8,), layer_norm=True)
    assert cnn.apply(cnn.init(KEY, board), board).shape == (2, 8)

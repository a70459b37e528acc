"""Likelihoods, entropies and samples against scipy and numerical integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from jaxrl.policies.bases import categorical, clipped, gaussian, select_action, squash

KEY = jax.random.key(0)

# Policies whose parameters are the distribution's own.
DISCRETE = categorical(lambda key: None, lambda params, obs: params)
NORMAL = gaussian(lambda key: None, lambda params, obs: params, 2)
ONE_NORMAL = gaussian(lambda key: None, lambda params, obs: params, 1)


def normal_params(mean, std, shape=()):
    return jnp.broadcast_to(jnp.asarray(mean, jnp.float32), (*shape, np.size(mean))), jnp.broadcast_to(
        jnp.log(jnp.asarray(std, jnp.float32)), (*shape, np.size(mean))
    )


# --- categorical --------------------------------------------------------------------------------------------------


@given(logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=8))
def test_categorical_likelihood_and_entropy(logits):
    exact = special.log_softmax(np.float64(logits))
    actions = jnp.arange(len(logits))
    log_prob, entropy = DISCRETE.log_prob(jnp.array([logits] * len(logits)), None, actions, KEY)
    np.testing.assert_allclose(log_prob, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(entropy, stats.entropy(np.exp(exact)), rtol=1e-4, atol=1e-5)
    assert DISCRETE.mode(jnp.array(logits), None) == np.argmax(np.float32(logits))


def test_categorical_samples_have_the_frequencies_and_the_likelihoods_they_state():
    logits = jnp.array([[0.0, 1.0, -1.0, 2.0], [3.0, 0.0, 0.0, -2.0]])
    noise = DISCRETE.noise(KEY, (40_000, 2))
    action, log_prob = DISCRETE.sample(jnp.broadcast_to(logits, (40_000, 2, 4)), None, noise)
    assert action.shape == (40_000, 2)
    assert action.dtype == jnp.int32
    stated, _ = DISCRETE.log_prob(jnp.broadcast_to(logits, (40_000, 2, 4)), None, action, KEY)
    np.testing.assert_array_equal(log_prob, stated)
    for column, probabilities in enumerate(special.softmax(np.float64(logits), axis=-1)):
        counts = np.bincount(action[:, column], minlength=4)
        assert stats.chisquare(counts, 40_000 * probabilities).pvalue > 1e-3


@pytest.mark.parametrize("actions", [2, 5, 20])
@pytest.mark.parametrize("forbidden", [-np.inf, -1e9])
@pytest.mark.parametrize("noise", [0.0, 1e-30, 0.5, 1 - 2**-23])
def test_an_action_of_probability_zero_is_never_sampled(actions, forbidden, noise):
    """Not for the least and the greatest noise either (0 and 1 - 2^-23), where cumulative sums round."""
    generator = np.random.default_rng(0)
    allowed = generator.random((5000, actions)) < 0.5
    allowed[np.arange(5000), generator.integers(0, actions, 5000)] = True
    logits = np.where(allowed, generator.normal(size=allowed.shape), forbidden)
    action, log_prob = DISCRETE.sample(jnp.asarray(logits, jnp.float32), None, jnp.full(5000, noise, jnp.float32))
    assert allowed[np.arange(5000), action].all()
    assert np.isfinite(log_prob).all()


@given(st.integers(0, 99), st.integers(1, 6))
def test_select_action_is_indexing(seed, actions):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(3, 4, actions)).astype(np.float32)
    action = generator.integers(0, actions, (3, 4))
    expected = np.take_along_axis(values, action[..., None], axis=-1)[..., 0]
    np.testing.assert_array_equal(select_action(jnp.asarray(values), jnp.asarray(action)), expected)


# --- gaussian -----------------------------------------------------------------------------------------------------

MEAN, STD = [0.5, -2.0], [0.3, 1.7]


def test_gaussian_likelihood_and_entropy():
    action = jax.random.normal(KEY, (50, 2)) * 3
    log_prob, entropy = NORMAL.log_prob(normal_params(MEAN, STD, (50,)), None, action, KEY)
    exact = stats.norm(MEAN, STD)
    np.testing.assert_allclose(log_prob, exact.logpdf(np.float64(action)).sum(axis=-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(entropy, exact.entropy().sum(), rtol=1e-5)


def test_gaussian_samples_have_the_moments_and_the_likelihoods_they_state():
    params = normal_params(MEAN, STD, (50_000,))
    action, log_prob = NORMAL.sample(params, None, NORMAL.noise(KEY, (50_000,)))
    assert action.shape == (50_000, 2)
    np.testing.assert_allclose(action.mean(axis=0), MEAN, atol=4 * max(STD) / np.sqrt(50_000))
    for column in range(2):
        assert stats.kstest(action[:, column], stats.norm(MEAN[column], STD[column]).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(np.asarray(action).T)[0, 1]) < 0.02
    stated, _ = NORMAL.log_prob(params, None, action, KEY)
    np.testing.assert_allclose(log_prob, stated, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(NORMAL.mode(params, None), params[0])


def test_clipped_sends_the_bound_and_keeps_the_likelihood():
    policy = clipped(NORMAL, jnp.array([-1.0, 0.0]), jnp.array([1.0, 3.0]))
    action = jnp.array([[5.0, -5.0], [0.5, 1.0]])
    np.testing.assert_array_equal(policy.decode(action), [[1.0, 0.0], [0.5, 1.0]])
    params = normal_params(MEAN, STD, (2,))
    np.testing.assert_array_equal(
        policy.log_prob(params, None, action, KEY), NORMAL.log_prob(params, None, action, KEY)
    )


# --- squash -------------------------------------------------------------------------------------------------------

LOW, HIGH = -1.0, 3.0
SQUASHED = squash(ONE_NORMAL, jnp.array([LOW]), jnp.array([HIGH]))


def grid(mean, std, points=20_001):
    """Actions before the tanh, dense where the density is, with what is sent for each."""
    action = jnp.linspace(mean - 9 * std, mean + 9 * std, points)[:, None]
    return action, np.float64(LOW + (HIGH - LOW) * (np.tanh(np.float64(action)) + 1) / 2)[:, 0]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.3), (-2.0, 0.7), (0.3, 3.0)])
def test_squash_has_the_likelihood_of_what_is_sent(mean, std):
    action, sent = grid(mean, std)
    log_prob, _ = SQUASHED.log_prob(normal_params(mean, std, (len(action),)), None, action, KEY)
    density = np.exp(np.float64(log_prob))
    probability = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(sent))])
    assert probability[-1] == pytest.approx(1, abs=2e-3)
    # the distribution function of what is sent, at points inside
    for at in (2000, 8000, 10_000, 12_000, 18_000):
        assert probability[at] == pytest.approx(stats.norm.cdf(float(action[at, 0]), mean, std), abs=2e-3)


def test_squash_is_exact_however_close_to_the_bounds():
    """log(1 - tanh(u)^2) is 2 (log 2 - |u| - log(1 + exp(-2 |u|))), where the tanh has long been 1 in float32."""
    action = jnp.concatenate([jnp.linspace(-200, 200, 401), jnp.linspace(-10, 10, 401)])[:, None]
    for mean in (-5.0, 0.0, 3.7):
        params = normal_params(mean, 2.0, (len(action),))
        log_prob, entropy = SQUASHED.log_prob(params, None, action, KEY)
        u = np.float64(action)[:, 0]
        log_volume = np.log((HIGH - LOW) / 2) + 2 * (np.log(2) - np.abs(u) - np.log1p(np.exp(-2 * np.abs(u))))
        np.testing.assert_allclose(log_prob, stats.norm.logpdf(u, mean, 2.0) - log_volume, rtol=1e-4, atol=1e-4)
        assert np.isfinite(entropy).all()
        gradients = jax.grad(lambda params: SQUASHED.log_prob(params, None, action, KEY)[0].sum())(params)
        assert all(np.isfinite(leaf).all() for leaf in gradients)


def test_squash_entropy_is_unbiased():
    mean, std = 0.8, 0.6
    action, sent = grid(mean, std)
    log_prob, _ = SQUASHED.log_prob(normal_params(mean, std, (len(action),)), None, action, KEY)
    log_density = np.float64(log_prob)
    exact = -np.trapezoid(np.exp(log_density) * log_density, sent)
    params = normal_params(mean, std, (100_000,))
    _, estimates = SQUASHED.log_prob(params, None, jnp.zeros((100_000, 1)), jax.random.key(3))
    error = np.std(estimates) / np.sqrt(100_000)
    assert 0 < error < 0.01
    assert float(np.mean(estimates)) == pytest.approx(exact, abs=float(4 * error + 2e-3))


def test_squash_samples_state_their_likelihood():
    params = normal_params(0.5, 1.0, (500,))
    action, log_prob = SQUASHED.sample(params, None, SQUASHED.noise(KEY, (500,)))
    stated, _ = SQUASHED.log_prob(params, None, action, KEY)
    np.testing.assert_allclose(log_prob, stated, rtol=1e-4, atol=1e-4)
    sent = np.asarray(SQUASHED.decode(action))
    assert ((sent > LOW) & (sent < HIGH)).all()


def test_squash_mode_is_the_image_of_the_mode():
    params = normal_params(0.7, 1.0)
    np.testing.assert_allclose(SQUASHED.decode(SQUASHED.mode(params, None)), 1 + 2 * np.tanh(0.7), rtol=1e-6)


def test_what_is_sent_lies_within_the_bounds():
    generator = np.random.default_rng(0)
    low = generator.normal(0, 10, 3000).astype(np.float32)
    high = low + generator.exponential(3, 3000).astype(np.float32)
    for policy in (squash(NORMAL, low, high), clipped(NORMAL, low, high)):
        for action in (-np.inf, -8.0, -1.0, 0.0, 3.0, 8.0, np.inf):
            sent = np.asarray(policy.decode(jnp.full(3000, action)))
            assert (low <= sent).all()
            assert (sent <= high).all()

"""Mixtures of experts: densities, what the router converges to, and who gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxrl.algorithms.pmoe import best_expert
from jaxrl.policies.bases import gaussian, squash
from jaxrl.policies.mixture import MixtureOutputs, chosen, frequency_loss, mixture, mixture_log_prob, route

KEY = jax.random.key(0)
OUT = MixtureOutputs(
    jnp.array([0.3, -0.5, 1.0]), jnp.array([[-1.0], [0.5], [2.0]]), jnp.log(jnp.array([[0.4], [0.2], [0.7]]))
)
POLICY = mixture(lambda key: None, lambda params, obs: params, 3, 1)


def test_the_density_is_the_weighed_sum_and_integrates_to_one():
    x = jnp.linspace(-8.0, 10.0, 20_001)[:, None]
    log_prob = jax.vmap(lambda action: mixture_log_prob(OUT, action))(x)
    weights = np.asarray(jax.nn.softmax(OUT.logits))
    exact = sum(
        w * stats.norm.pdf(x[:, 0], m, np.exp(s)) for w, m, s in zip(weights, OUT.mean[:, 0], OUT.log_std[:, 0])
    )
    np.testing.assert_allclose(np.exp(log_prob), exact, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), x[:, 0]), 1, atol=1e-5)


def test_identical_experts_are_one_gaussian_whatever_their_weights():
    same = MixtureOutputs(OUT.logits, jnp.full((3, 2), 0.7), jnp.full((3, 2), -0.3))
    action = jnp.array([1.0, -2.0])
    one = gaussian(lambda key: None, lambda params, obs: params, 2)
    np.testing.assert_allclose(
        mixture_log_prob(same, action), one.log_prob((same.mean[0], same.log_std[0]), None, action, KEY)[0], rtol=1e-6
    )


def test_many_dimensions_do_not_underflow():
    far = MixtureOutputs(jnp.zeros(2), jnp.zeros((2, 60)), jnp.zeros((2, 60)))
    assert np.isfinite(mixture_log_prob(far, jnp.full(60, 5.0)))


def test_one_expert_is_the_gaussian_bit_for_bit(trees):
    mean, log_std = jax.random.normal(KEY, (2, 16, 3))
    alone = squash(gaussian(lambda key: None, lambda params, obs: params, 3), -2.0, 2.0)
    of_one = squash(
        mixture(
            lambda key: None, lambda p, obs: MixtureOutputs(jnp.full((16, 1), 0.7), p[0][:, None], p[1][:, None]), 1, 3
        ),
        -2.0,
        2.0,
    )
    samples = [policy.sample((mean, log_std), None, policy.noise(KEY, (16,))) for policy in (alone, of_one)]
    trees.equal(*samples)
    stated = [policy.log_prob((mean, log_std), None, samples[0][0], KEY)[0] for policy in (alone, of_one)]
    trees.equal(*stated)
    trees.equal(*[policy.decode(policy.mode((mean, log_std), None)) for policy in (alone, of_one)])


def test_samples_have_the_density_that_they_state():
    rows = 20_000
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), OUT)
    action, log_prob = POLICY.sample(params, None, POLICY.noise(KEY, (rows,)))
    np.testing.assert_allclose(log_prob, mixture_log_prob(params, action), rtol=1e-6)
    weights = np.asarray(jax.nn.softmax(OUT.logits))

    def cdf(x):
        return sum(w * stats.norm.cdf(x, m, np.exp(s)) for w, m, s in zip(weights, OUT.mean[:, 0], OUT.log_std[:, 0]))

    assert stats.kstest(np.asarray(action[:, 0]), cdf).pvalue > 1e-3
    assert float(POLICY.mode(OUT, None)[0]) == 2.0


def test_the_router_draws_by_its_weights_and_never_beyond():
    logits = jnp.broadcast_to(jnp.array([0.0, -jnp.inf, 1.0]), (20_000, 3))
    expert = route(logits, jax.random.uniform(KEY, (20_000,)))
    counts = np.bincount(expert, minlength=3)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2]], 20_000 * special.softmax([0.0, 1.0])).pvalue > 1e-3
    assert route(jnp.zeros(3), jnp.float32(1 - 2**-24)) == 2
    np.testing.assert_array_equal(chosen(jnp.arange(12.0).reshape(2, 3, 2), jnp.array([1, 2])), [[2, 3], [10, 11]])


def test_the_router_converges_to_how_often_each_expert_is_best():
    """Values whose difference is N(1, 2): the first is best with probability Phi(1 / sqrt 2)."""
    difference = 1 + np.sqrt(2) * jax.random.normal(KEY, (4000, 256))
    best = jnp.where(difference > 0, 0, 1)

    def step(logits, best):
        gradient = jax.grad(lambda logits: frequency_loss(logits, best).mean())
        return logits - 2.0 * gradient(jnp.broadcast_to(logits, (256, 2))).sum(axis=0) / 1.0, logits

    _, path = jax.lax.scan(step, jnp.zeros(2), best)
    weights = np.asarray(jax.nn.softmax(path[2000:])).mean(axis=0)
    assert abs(weights[0] - 0.7602) < 0.01
    shares = np.array([0.5, 0.3, 0.2])
    expected = sum(p * frequency_loss(jnp.log(shares), jnp.int32(k)) for k, p in enumerate(shares))
    np.testing.assert_allclose(expected, (1 - (shares**2).sum()) / 3, rtol=1e-5)


@pytest.mark.parametrize("best", [0, 2])
def test_gradient_of_the_router(best):
    w, v = np.asarray(jax.nn.softmax(OUT.logits)), np.eye(3)[best]
    formula = 2 / 3 * w * ((w - v) - (w * (w - v)).sum())
    np.testing.assert_allclose(jax.grad(frequency_loss)(OUT.logits, jnp.int32(best)), formula, rtol=1e-5)


def test_of_equally_good_experts_any_is_best():
    counts = np.bincount(best_expert(jnp.zeros((9000, 3)), KEY), minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(best_expert(jnp.array([[0.0, 2.0, 1.0], [5.0, -1.0, 5.0 - 1e-3]]), KEY), [1, 0])

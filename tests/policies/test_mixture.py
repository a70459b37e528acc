"""Mixtures of experts: densities, what the router converges to, and who gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from experiments.reproduce.pmoe import known
from jaxrl.algorithms.pmoe import best_expert
from jaxrl.policies.bases import gaussian, squash
from jaxrl.policies.mixture import MixtureOutputs, chosen, frequency_loss, mixture, mixture_log_prob, route, score_loss

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


def test_known_answers():
    """The router's fixed point, its least loss, its gradient and the estimates of it, and the integral of a density."""
    rows = list(known())
    assert len(rows) == 7
    assert [row for row in rows if row.verdict != "holds"] == []


def test_estimates_of_the_routers_gradient_are_unbiased():
    """Over the experts that may be best, and over those that may be drawn, exactly."""
    logits, cost, shares = OUT.logits, jnp.array([0.7, -1.3, 2.0]), jnp.array([0.5, 0.3, 0.2])
    w = jax.nn.softmax(logits)
    found = sum(p * jax.grad(frequency_loss)(logits, jnp.int32(k)) for k, p in enumerate(shares))
    towards = jax.grad(lambda logits: jnp.mean(jnp.square(jax.nn.softmax(logits) - shares)))(logits)
    np.testing.assert_allclose(found, towards, rtol=1e-5)
    found = sum(p * jax.grad(score_loss)(logits, cost, jnp.int32(k)) for k, p in enumerate(w))
    exact = jax.grad(lambda logits: jnp.sum(jax.nn.softmax(logits) * cost))(logits)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    np.testing.assert_allclose(exact, w * (cost - w @ cost), rtol=1e-5)


def test_renumbering_experts_changes_nothing():
    order, action = jnp.array([2, 0, 1]), jnp.array([0.4])
    other = jax.tree.map(lambda leaf: leaf[order], OUT)
    np.testing.assert_allclose(mixture_log_prob(other, action), mixture_log_prob(OUT, action), rtol=1e-6)
    for best in range(3):
        place = jnp.int32(np.flatnonzero(order == best)[0])
        for loss in (frequency_loss, lambda logits, k: score_loss(logits, logits**2, k)):
            np.testing.assert_allclose(loss(other.logits, place), loss(OUT.logits, jnp.int32(best)), rtol=1e-5)


def test_of_equally_good_experts_any_is_best():
    counts = np.bincount(best_expert(jnp.zeros((9000, 3)), KEY), minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(best_expert(jnp.array([[0.0, 2.0, 1.0], [5.0, -1.0, 5.0 - 1e-3]]), KEY), [1, 0])

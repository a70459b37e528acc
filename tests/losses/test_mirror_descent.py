"""Mirror descent against its closed forms: one state, soft steps, Tsallis logarithms, a process of two states."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.reproduce.mirror_descent import SOFT, closed_forms, soft_loss
from jaxrl.losses.policy_gradient import proximal_cost, tsallis_log
from jaxrl.policies.bases import gaussian_kl


def test_closed_forms():
    rows = list(closed_forms())
    assert len(rows) == 13
    assert [row for row in rows if row.verdict != "holds"] == []
    assert np.abs(jax.grad(soft_loss)(jnp.log(jnp.array(SOFT)), 0.2)).max() > 0.05, "the slope tells policies apart"


def test_tsallis():
    log_x = jnp.linspace(-3.0, 2.0, 11)
    np.testing.assert_allclose(tsallis_log(log_x, 1.0), log_x)
    np.testing.assert_allclose(tsallis_log(log_x, 1.0 + 1e-5), log_x, atol=1e-3)
    np.testing.assert_allclose(tsallis_log(log_x, 2.0), np.expm1(log_x), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(tsallis_log(log_x, 1.5), np.expm1(0.5 * log_x) / 0.5, rtol=1e-5, atol=1e-7)
    near_one = proximal_cost(log_x, log_x[::-1], 0.2, 1.0, 1.0 + 1e-6)
    np.testing.assert_allclose(near_one, proximal_cost(log_x, log_x[::-1], 0.2, 1.0), atol=1e-4)
    assert np.isfinite(jax.grad(lambda index: tsallis_log(log_x, index).sum())(1.0))


def test_gaussian_divergence():
    narrow, wide = (jnp.zeros(1), jnp.zeros(1)), (jnp.zeros(1), jnp.log(2.0) * jnp.ones(1))
    np.testing.assert_allclose(gaussian_kl(narrow, wide), np.log(2) + 1 / 8 - 1 / 2, rtol=1e-6)
    np.testing.assert_allclose(gaussian_kl(wide, narrow), -np.log(2) + 2 - 1 / 2, rtol=1e-6)
    one = (jnp.array([0.3, -1.0]), jnp.array([0.2, -0.4]))
    other = (jnp.array([-0.2, 0.5]), jnp.array([-0.1, 0.3]))
    x = np.random.default_rng(0).normal(size=(400_000, 2)) * np.exp(one[1]) + np.asarray(one[0])
    ratio = sum(
        stats.norm.logpdf(x[:, i], one[0][i], np.exp(one[1][i]))
        - stats.norm.logpdf(x[:, i], other[0][i], np.exp(other[1][i]))
        for i in range(2)
    )
    assert abs(float(gaussian_kl(one, other)) - ratio.mean()) < 4 * ratio.std() / np.sqrt(len(ratio))

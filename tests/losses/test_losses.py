"""Losses on values worked out by hand, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl.losses.policy_gradient import approximate_kl, clipped_surrogate
from jaxrl.losses.value import clipped_squared_error, squared_error

# ratio, advantage: loss and whether the log-probability still gets a gradient, at clip = 0.2
SURROGATE = [
    (1.0, 2.0, -2.0, True),
    (1.1, 2.0, -2.2, True),
    (1.5, 2.0, -2.4, False),  # as much better as it may be
    (0.5, 2.0, -1.0, True),  # worse than it was: no bound
    (1.1, -2.0, 2.2, True),
    (1.5, -2.0, 3.0, True),  # worse than it was: no bound
    (0.5, -2.0, 1.6, False),  # as much better as it may be
    (0.5, 0.0, 0.0, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "moves"), SURROGATE)
def test_clipped_surrogate(ratio, advantage, loss, moves):
    behaviour = jnp.float32(-1.3)
    log_prob = behaviour + jnp.log(ratio)
    value, gradient = jax.value_and_grad(clipped_surrogate)(log_prob, behaviour, jnp.float32(advantage), 0.2)
    assert value == pytest.approx(loss, rel=1e-5)
    # the gradient of a ratio by its log-probability is the ratio
    assert gradient == pytest.approx(-ratio * advantage if moves else 0.0, rel=1e-5)


def test_clipped_surrogate_is_elementwise():
    columns = np.array(SURROGATE, np.float32).T
    losses = clipped_surrogate(jnp.log(columns[0]), jnp.zeros(8), columns[1], 0.2)
    np.testing.assert_allclose(losses, columns[2], rtol=1e-5)


def test_approximate_kl_estimates_the_kl():
    """Of normal distributions with means 0 and 0.3, which is 0.3^2 / 2."""
    x = np.random.default_rng(0).normal(size=400_000)
    estimates = np.asarray(approximate_kl(stats.norm.logpdf(x, 0.3), stats.norm.logpdf(x)))
    error = estimates.std() / np.sqrt(len(x))
    assert abs(estimates.mean() - 0.045) < 4 * error
    assert estimates.min() >= 0


def test_approximate_kl_of_nearly_equal_policies_is_not_lost_in_rounding():
    np.testing.assert_allclose(approximate_kl(jnp.float32(1e-2), jnp.float32(0)), 5.0167e-5, rtol=1e-2)
    assert approximate_kl(jnp.float32(-3.0), jnp.float32(-3.0)) == 0


# value, target: loss and gradient by the value, with an old value of 1 and clip = 0.5
VALUE = [
    (1.2, 2.0, 0.32, -0.8),  # within the bound: the plain one
    (1.8, 2.0, 0.125, 0.0),  # held at 1.5, which is worse: no gradient to go on
    (3.0, 2.0, 0.5, 1.0),  # held at 1.5, which errs by as much at most: the plain one
    (4.0, 2.0, 2.0, 2.0),
    (0.0, 1.0, 0.5, -1.0),
]


@pytest.mark.parametrize(("value", "target", "loss", "slope"), VALUE)
def test_clipped_squared_error(value, target, loss, slope):
    result, gradient = jax.value_and_grad(clipped_squared_error)(
        jnp.float32(value), jnp.float32(1), jnp.float32(target), 0.5
    )
    assert result == pytest.approx(loss, rel=1e-5)
    assert gradient == pytest.approx(slope, rel=1e-5)


def test_squared_error():
    value, gradient = jax.value_and_grad(squared_error)(jnp.float32(3.0), jnp.float32(1.0))
    assert (value, gradient) == (2.0, 2.0)
    loose = clipped_squared_error(jnp.array([3.0]), jnp.array([0.0]), jnp.array([1.0]), 100.0)
    np.testing.assert_array_equal(loose, squared_error(jnp.array([3.0]), jnp.array([1.0])))

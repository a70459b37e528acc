"""The trust-region step where its answer is known: quadratic losses and divergences."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.gradients.trust_region import trust_region_step

CURVATURE = jnp.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])
SLOPE = jnp.array([1.0, -2.0, 0.5])
START = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}


def flat(params):
    return jnp.concatenate([params["a"], params["b"]])


def divergence(params):
    moved = flat(params) - flat(START)
    return 0.5 * moved @ CURVATURE @ moved


def test_a_linear_loss_goes_along_the_natural_gradient_to_the_edge():
    step = trust_region_step(lambda p: flat(p) @ SLOPE, divergence, START, 0.01, damping=0.0)
    natural = np.linalg.solve(CURVATURE, SLOPE)
    expected = -np.sqrt(2 * 0.01 / (SLOPE @ natural)) * natural
    moved = flat(step.params) - flat(START)
    assert step.accepted
    # The whole length is on the edge, where rounding decides; half of it is inside.
    assert np.allclose(moved, expected, rtol=1e-3) or np.allclose(moved, expected / 2, rtol=1e-3)
    np.testing.assert_allclose(step.improvement, -moved @ SLOPE, rtol=1e-4)
    assert step.divergence <= 0.01


def test_the_length_is_halved_until_the_loss_falls():
    """A loss that is convex: the whole length overshoots its minimum by far."""
    step = trust_region_step(
        lambda p: 50 * jnp.sum((flat(p) - flat(START)) ** 2) + flat(p) @ SLOPE, divergence, START, 1.0
    )
    assert step.accepted
    assert 0 < step.divergence < 0.1
    assert step.improvement > 0


def test_where_nothing_is_better_nothing_changes(trees):
    """The loss is least at the start but for its slope, which lies."""

    @jax.custom_jvp
    def loss(x):
        return jnp.sum((x - flat(START)) ** 2)

    @loss.defjvp
    def _(primals, tangents):
        return loss(*primals), tangents[0] @ SLOPE

    step = trust_region_step(lambda p: loss(flat(p)), divergence, START, 0.01)
    trees.equal(step.params, START)
    assert not step.accepted
    assert step.improvement == step.divergence == 0


def test_many_members_are_each_as_alone():
    losses = jnp.stack([SLOPE, 2 * SLOPE + 1, -SLOPE])
    one = lambda slope: flat(trust_region_step(lambda p: flat(p) @ slope, divergence, START, 0.1).params)  # noqa: E731
    np.testing.assert_allclose(jax.vmap(one)(losses), [one(slope) for slope in losses], rtol=1e-5)

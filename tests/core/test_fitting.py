"""Supervised training: what is held out, what is kept, when it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl import InvalidArgument
from jaxrl.core.fitting import check_batch, fit, held_out_rows

X = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
TRUE = np.array([1.5, -0.5], np.float32)


def squares(params, rows, key):
    del key
    x, y = rows
    return jnp.mean(jnp.square(x @ params - y))


def test_a_line_is_found(trees):
    data = (jnp.asarray(X), jnp.asarray(X @ TRUE))
    fitted = jax.jit(lambda key: fit(jnp.zeros(2), squares, data, key, optax.adam(0.05), 100, 20))(jax.random.key(0))
    np.testing.assert_allclose(fitted.params, TRUE, atol=0.01)
    assert fitted.epochs == 100
    assert fitted.loss < 1e-3


def test_the_best_on_the_rows_held_out_is_kept_and_patience_ends():
    """With nothing to learn in the other direction: steps only make it worse, and where it began is kept."""
    data = (jnp.asarray(X), jnp.asarray(X @ TRUE))
    away = optax.sgd(-0.1)

    def run(params, patience):
        return fit(params, squares, data, jax.random.key(1), away, 30, 20, patience=patience)

    fitted = jax.jit(jax.vmap(lambda params: run(params, 3)))(jnp.stack([jnp.zeros(2), jnp.ones(2)]))
    np.testing.assert_array_equal(fitted.params, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(fitted.epochs, [3, 3])
    assert (fitted.loss > 0.1).all()


def test_rows_that_are_held_out_are_not_trained_on():
    """A row each has a parameter of its own: those that gradients never reach are the tenth that judges."""
    rows = jnp.arange(50)

    def loss(params, index, key):
        del key
        return jnp.mean(params[index])

    # The loss falls in every trained row and stays in the others, so the first parameters are the best.
    seen = jax.jit(lambda key: fit(jnp.ones(50), loss, rows, key, optax.sgd(0.1), 5, 5, 0.1))(jax.random.key(2))
    np.testing.assert_array_equal(seen.params, np.ones(50))

    def drawn(params, index, key):
        """As before, with a reward for every step that lets the latest be kept."""
        return loss(params[1:], index, key) + params[0]

    kept = jax.jit(lambda key: fit(jnp.ones(51), drawn, rows, key, optax.sgd(0.1), 5, 5, 0.1))(jax.random.key(2))
    moved = np.asarray(kept.params[1:]) < 1
    assert moved.sum() == 45
    np.testing.assert_allclose(kept.params[1:][moved], 1 - 5 * 0.1 / 5, rtol=1e-5)


@pytest.mark.parametrize(("rows", "share", "held"), [(10, 0.1, 1), (3, 0.1, 1), (2, 0.9, 1), (512_000, 0.1, 51_200)])
def test_how_many_are_held_out(rows, share, held):
    assert held_out_rows(rows, share) == held


@pytest.mark.parametrize("batch_size", [0, 10])
def test_what_cannot_be(batch_size):
    with pytest.raises(InvalidArgument, match="at most the 9 rows"):
        check_batch(10, 0.1, batch_size)

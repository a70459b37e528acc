"""Running moments against numpy's of everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl.core.moments import Moments


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    shape=st.sampled_from([(), (3,), (2, 2)]),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
def test_however_the_rows_are_cut_into_batches(sizes, shape, offset, seed):
    rows = np.random.default_rng(seed).normal(offset, 2.0, (sum(sizes), *shape)).astype(np.float32)
    moments, start = Moments.empty(shape), 0
    for size in sizes:
        moments = moments.add(rows[start : start + size])
        start += size
    exact = rows.astype(np.float64)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moments.deviation, np.maximum(exact.std(axis=0), 1e-4), rtol=1e-3, atol=1e-4)


def test_all_leading_axes_are_rows():
    values = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    a, b = Moments.empty((3,)).add(values), Moments.empty((3,)).add(values.reshape(20, 3))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_large_mean_does_not_swallow_a_small_deviation():
    """A sum of squares would: (1e4)^2 in float32 is exact to 8 only."""
    rows = np.random.default_rng(0).normal(1e4, 1.0, (200, 64)).astype(np.float32)
    moments = Moments.empty(())
    for batch in rows:
        moments = moments.add(batch)
    np.testing.assert_allclose(moments.deviation, rows.astype(np.float64).std(), rtol=1e-3)


def test_before_anything_was_added_values_stay_as_they_are():
    values = jnp.array([3.0, -4.0])
    np.testing.assert_array_equal(Moments.empty((2,)).standardise(values), values)


def test_a_constant_is_standardised_to_zero():
    moments = Moments.empty(()).add(jnp.full(10, 7.0))
    assert moments.standardise(jnp.float32(7.0)) == 0
    assert moments.deviation == pytest.approx(1e-4)


def test_integers_are_taken_as_numbers():
    moments = Moments.empty(()).add(jnp.array([0, 255], jnp.uint8))
    assert moments.mean == 127.5
    assert moments.deviation == 127.5

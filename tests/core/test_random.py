"""The unrolled generator is jax's own, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl.core import random

SEEDS = st.integers(0, 2**32 - 1)


def same(ours, theirs):
    if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
        ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), strict=True)


@given(seed=SEEDS, data=SEEDS)
def test_keys_of_a_seed_and_their_descendants(seed, data):
    ours, theirs = random.key(np.uint32(seed)), jax.random.key(np.uint32(seed))
    same(ours, theirs)
    same(jax.random.fold_in(ours, data), jax.random.fold_in(theirs, data))
    same(jax.random.split(ours, (2, 3)), jax.random.split(theirs, (2, 3)))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4, 7), (4097,)])
def test_bits_of_every_width_and_shape(dtype, shape):
    same(jax.random.bits(random.key(5), shape, dtype), jax.random.bits(jax.random.key(5), shape, dtype))


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: jax.random.normal(key, (9, 2)),
        lambda key: jax.random.uniform(key, (9,)),
        lambda key: jax.random.randint(key, (9,), 0, 100),
        lambda key: jax.random.permutation(key, 9),
        lambda key: jax.random.categorical(key, jnp.arange(3.0), shape=(9,)),
    ],
)
def test_draws_under_vmap_and_jit(draw):
    ours, theirs = jax.random.split(random.key(1), 4), jax.random.split(jax.random.key(1), 4)
    same(jax.jit(jax.vmap(draw))(ours), jax.vmap(draw)(theirs))

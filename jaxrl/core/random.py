"""Threefry keys whose generator is one straight line of code.

On CPU jax lowers its Threefry generator to a rolled loop of some forty tiny kernels, to bound compile time in programs
with large fused draws. In programs with many small draws the opposite holds: unrolled, a draw is one kernel, several
times as fast to compile and to run. The numbers are bit for bit those of ``jax.random.key(seed)``.
"""

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(key: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011) of the counters ``(high, low)``.

    Args:
        key: two 32-bit words, ``uint32[2]``.
        high, low: ``uint32`` of one shape, which is that of both results.
    """
    # A key is computed once and kept. Left to fuse, the generator of a key made by another one would be written out
    # again for each use of its words, and once more for the key before: code that grows with a power of the depth.
    key = jax.lax.optimization_barrier(key)
    words = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY))
    x, y = high + words[0], low + words[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = (y << rotation) | (y >> (32 - rotation))
            y = x ^ y
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def counters(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The index of each element as two words; a single draw is less than 2**32 elements here."""
    size = 1
    for length in shape:
        size *= length
    low = jnp.arange(size, dtype=jnp.uint32).reshape(shape)
    return jnp.zeros_like(low), low


def seed_words(seed: int | jax.Array) -> jax.Array:
    seed = jnp.asarray(seed)
    if seed.dtype.itemsize <= 4:
        return jnp.stack([jnp.zeros((), jnp.uint32), seed.astype(jnp.uint32)])
    return jnp.stack([(seed >> 32).astype(jnp.uint32), seed.astype(jnp.uint32)])


def split_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.stack(threefry(key, *counters(shape)), axis=-1)


def fold_in_words(key: jax.Array, data: int | jax.Array) -> jax.Array:
    return jnp.stack(threefry(key, *seed_words(data)))


def random_words(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    x, y = threefry(key, *counters(shape))
    if bit_width == 64:
        return (x.astype(jnp.uint64) << 32) | y.astype(jnp.uint64)
    return (x ^ y).astype({8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}[bit_width])


IMPLEMENTATION = define_prng_impl(
    key_shape=(2,),
    seed=seed_words,
    split=split_words,
    random_bits=random_words,
    fold_in=fold_in_words,
    name="threefry_unrolled",
    tag="tfu",
)


def key(seed: int) -> jax.Array:
    """A typed key, of the same stream as ``jax.random.key(seed)``."""
    return jax.random.key(seed, impl=IMPLEMENTATION)

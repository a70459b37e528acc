"""A sum tree: draws in proportion to weights that change, in time logarithmic in their number."""

import jax
import jax.numpy as jnp

WIDTH = 16
"""children of a node: few levels, each a row that is summed at once"""

BELOW_ONE = 1 - 2.0**-24


def empty(size: int) -> tuple[jax.Array, ...]:
    """The tree of ``size`` weights of 0: levels ``[rows, WIDTH]`` from the weights up to the root's one row."""
    levels = []
    while True:
        rows = -(-size // WIDTH)
        levels.append(jnp.zeros((rows, WIDTH)))
        if rows == 1:
            return tuple(levels)
        size = rows


def total(tree: tuple[jax.Array, ...]) -> jax.Array:
    """The sum of all weights."""
    return tree[-1].sum()


def weights(tree: tuple[jax.Array, ...], index: jax.Array) -> jax.Array:
    """The weights ``[...]`` at ``index[...]``, which must be within the tree."""
    return tree[0].at[index // WIDTH, index % WIDTH].get(mode="promise_in_bounds")


def replace(tree: tuple[jax.Array, ...], index: jax.Array, weight: jax.Array) -> tuple[jax.Array, ...]:
    """The tree with ``weight[K]`` at ``index[K]``; an index that comes more than once gets the greatest of its weights.

    Sums are made anew from their terms, so that rounding does not add up. Indices at or behind the end are ignored.
    """
    # Greatest rather than last: the order of equal indices in a scatter is not defined.
    at = index // WIDTH, index % WIDTH
    levels = [tree[0].at[at].set(0.0, mode="drop").at[at].max(weight, mode="drop")]
    for level in tree[1:]:
        index = index // WIDTH
        sums = levels[-1].at[index].get(mode="fill", fill_value=0).sum(axis=-1)
        levels.append(level.at[index // WIDTH, index % WIDTH].set(sums, mode="drop"))
    return tuple(levels)


def draw(tree: tuple[jax.Array, ...], key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Indices ``[*shape]`` in proportion to the weights, int32. A weight of 0 is never drawn unless all are 0.

    A node's child is chosen by a uniform number of its own, so that no precision is lost on the way down. At the root
    the numbers are stratified over the last axis of ``shape``, one from each of so many equal parts (Schaul et al.
    2016, appendix B.2.1): over the batch as a whole draws are in proportion, and they vary less than independent ones.
    """
    noise = jax.random.uniform(key, (len(tree), *shape))
    stratified = (jnp.arange(shape[-1]) + noise[0]) / shape[-1]
    index = jnp.zeros(shape, jnp.int32)
    for depth, level in enumerate(reversed(tree)):
        uniform = jnp.minimum(stratified if depth == 0 else noise[depth], BELOW_ONE)
        cumulative = jnp.cumsum(level.at[index].get(mode="promise_in_bounds"), axis=-1)
        # Scaled to the rounded total, which a product with a number below 1 does not reach.
        reached = (uniform * cumulative[..., -1])[..., None] >= cumulative[..., :-1]
        index = index * WIDTH + jnp.sum(reached, axis=-1, dtype=jnp.int32)
    return index

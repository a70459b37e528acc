"""Reductions over an axis that is short and not the last in memory, written out one by one.

XLA makes a scalar loop of such a reduction on CPUs: over the first axis of ``[5, 10000, 5]`` it takes 30 ns a number,
and the same sum written out, which becomes one vectorised loop with whatever makes the numbers, less than 1.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

SHORT = 16
"""up to so many numbers are written out, so that programs stay small"""


def _written_out(pair: Callable[[Any, Any], Any], whole: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, axis: int = 0) -> Any:
        if x.shape[axis] > SHORT:
            return whole(x, axis=axis)
        return functools.reduce(pair, list(jnp.moveaxis(x, axis, 0)))

    return reduced


total = _written_out(jnp.add, jnp.sum)
"""``(x, axis=0)``: the sum"""
least = _written_out(jnp.minimum, jnp.min)
"""``(x, axis=0)``: the minimum"""
greatest = _written_out(jnp.maximum, jnp.max)
"""``(x, axis=0)``: the maximum"""


def place_of_least(x: Any) -> Any:
    """Where the minimum over the first axis is, the first of equal ones."""
    if x.shape[0] > SHORT:
        return x.argmin(axis=0)
    best, place = x[0], jnp.zeros(x.shape[1:], int)
    for i in range(1, x.shape[0]):
        better = x[i] < best
        best, place = jnp.where(better, x[i], best), jnp.where(better, i, place)
    return place

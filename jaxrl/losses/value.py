"""Losses for value functions, of one example."""

import jax
import jax.numpy as jnp


def squared_error(v_t: jax.Array, target_t: jax.Array) -> jax.Array:
    """``(v - target)^2 / 2``, elementwise."""
    return 0.5 * jnp.square(v_t - target_t)


def clipped_squared_error(v_t: jax.Array, old_v_t: jax.Array, target_t: jax.Array, clip) -> jax.Array:
    """The larger of the squared errors of ``v`` and of ``v`` held within ``clip`` of its old value, elementwise."""
    held = old_v_t + jnp.clip(v_t - old_v_t, -clip, clip)
    return jnp.maximum(squared_error(v_t, target_t), squared_error(held, target_t))


def expectile_error(v_t: jax.Array, target_t: jax.Array, expectile: float | jax.Array) -> jax.Array:
    """``|expectile - 1[target < v]| (target - v)^2 / 2``, elementwise: least at the expectile of the targets (Kostrikov
    et al. 2022, eq. 5); half the ``squared_error`` with an expectile of 1/2."""
    return jnp.where(target_t < v_t, 1 - expectile, expectile) * squared_error(v_t, target_t)

"""Policy-gradient losses of one example; the caller adds the batch by ``jax.vmap`` or by broadcasting."""

import jax
import jax.numpy as jnp


def clipped_surrogate(
    log_prob_t: jax.Array, behaviour_log_prob_t: jax.Array, advantage_t: jax.Array, clip
) -> jax.Array:
    """``-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)`` (Schulman et al. 2017, eq. 7), elementwise."""
    ratio = jnp.exp(log_prob_t - behaviour_log_prob_t)
    return -jnp.minimum(ratio * advantage_t, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage_t)


def approximate_kl(log_prob_t: jax.Array, behaviour_log_prob_t: jax.Array) -> jax.Array:
    """``(ratio - 1) - log ratio``: a non-negative estimate of KL(behaviour, current) at behaviour's samples,
    elementwise."""
    log_ratio = log_prob_t - behaviour_log_prob_t
    return jnp.expm1(log_ratio) - log_ratio


def mirror_descent(
    log_prob_t: jax.Array, behaviour_log_prob_t: jax.Array, advantage_t: jax.Array, kl_t: jax.Array, step_size
) -> jax.Array:
    """``-ratio A + KL(new, old) / step_size`` (Tomar et al. 2020, the on-policy objective), elementwise."""
    return kl_t / step_size - jnp.exp(log_prob_t - behaviour_log_prob_t) * advantage_t


def tsallis_log(log_x: jax.Array, index: float | jax.Array) -> jax.Array:
    """``(x^(index - 1) - 1) / (index - 1)`` of ``log x``, elementwise; ``log x`` at ``index = 1``."""
    power = index - 1
    near = jnp.abs(power) < 1e-6
    safe = jnp.where(near, 1.0, power)
    return jnp.where(near, log_x, jnp.expm1(safe * log_x) / safe)


def proximal_cost(
    log_prob: jax.Array,
    old_log_prob: jax.Array,
    temperature: float | jax.Array,
    coefficient: float | jax.Array,
    index: float | jax.Array = 1.0,
) -> jax.Array:
    """``c log_q pi + q (temperature - c) log_q pi_k``, elementwise (Tomar et al. 2020, the off-policy objective).

    Args:
        coefficient: ``c``, of the divergence from ``pi_k``; equal to the temperature it leaves the entropy alone.
        index: ``q`` of the Tsallis logarithm; 1 is the logarithm.
    """
    new = coefficient * tsallis_log(log_prob, index)
    return new + index * (temperature - coefficient) * tsallis_log(old_log_prob, index)

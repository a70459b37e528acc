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

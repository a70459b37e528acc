"""Targets and losses of action values and of their distributions, of one example; the caller adds the batch by
``jax.vmap``.

``_tm1`` belongs to the state that an action was taken in and ``_t`` to its successor; ``discount_t`` is the discount
factor times the transition's, 0 at termination. ``A`` is the number of actions. No gradient is stopped in a target.
"""

import jax
import jax.numpy as jnp


def expected_target(
    r_t: jax.Array, discount_t: jax.Array, q_t: jax.Array, policy_t: jax.Array, bonus_t: jax.Array | float = 0.0
) -> jax.Array:
    """``r + discount sum_a pi(a) (q(a) + bonus(a))``: Q-learning for a greedy ``pi`` and no bonus.

    Args:
        q_t, policy_t: ``[A]``.
        bonus_t: ``[A]``, what a policy is paid beside the value, such as ``-temperature log pi(a)``.
    """
    return r_t + discount_t * jnp.sum(policy_t * (q_t + bonus_t))


def greedy_policy(q_t: jax.Array) -> jax.Array:
    """``[A]``: 1 for the first of the best actions, 0 for the others. Of the online network's ``q_t`` for double
    Q-learning (van Hasselt et al. 2016), of the target network's else."""
    return jax.nn.one_hot(jnp.argmax(q_t), q_t.shape[-1], dtype=q_t.dtype)


def tied_policy(q_t: jax.Array, tolerance: float = 1e-8) -> jax.Array:
    """``[..., A]``: equal probabilities of all actions within ``tolerance`` of the best. Where a utility is flat all
    actions are equally good, and to take the first of them would be a habit that values then describe."""
    best = (q_t >= q_t.max(axis=-1, keepdims=True) - tolerance).astype(q_t.dtype)
    return best / best.sum(axis=-1, keepdims=True)


def munchausen_reward(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    coefficient: float | jax.Array,
    temperature: float | jax.Array,
    low: float | jax.Array,
) -> jax.Array:
    """``coefficient max(temperature log pi(a), low)`` with ``pi = softmax(q / temperature)``: what is added to the
    reward (Vieillard et al. 2020, eq. 1 and section 3).

    Args:
        q_tm1: ``[A]``, of the target network.
        low: not positive; bounds the penalty of an unlikely action.
    """
    return coefficient * jnp.clip(temperature * jax.nn.log_softmax(q_tm1 / temperature)[a_tm1], low, 0.0)


def huber(error: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """``error^2 / 2`` up to ``threshold`` and straight on beyond, elementwise; squared throughout if that is inf."""
    size = jnp.abs(error)
    inner = jnp.minimum(size, threshold)
    slope = jnp.where(size > inner, threshold, 0.0)  # apart from the excess, or an infinite one gives NaN gradients
    return 0.5 * jnp.square(inner) + slope * (size - inner)


def categorical_projection(z_p: jax.Array, probabilities: jax.Array, z_q: jax.Array) -> jax.Array:
    """The law of atoms ``z_p`` on an evenly spaced support ``z_q`` (Bellemare et al. 2017, eq. 7).

    Each atom is shared out between its two neighbours so that its mean stays; what lies beyond the support goes to its
    end, which changes the mean. The projection of least Cramer distance (Rowland et al. 2018, proposition 6).

    Args:
        z_p, probabilities: ``[N]``.
        z_q: ``[M]``, increasing, ``M >= 2``.

    Returns:
        ``[M]``, with the sum of ``probabilities``.
    """
    spacing = (z_q[-1] - z_q[0]) / (z_q.shape[0] - 1)
    distance = jnp.abs(jnp.clip(z_p, z_q[0], z_q[-1])[:, None] - z_q[None, :])
    return probabilities @ jnp.clip(1 - distance / spacing, 0.0, 1.0)


def categorical_cross_entropy(logits_tm1: jax.Array, probabilities_t: jax.Array) -> jax.Array:
    """``-sum_i probabilities_t[i] log softmax(logits_tm1)[i]`` of ``[N]`` each: C51's loss."""
    return -jnp.sum(probabilities_t * jax.nn.log_softmax(logits_tm1))


def midpoints(number: int) -> jax.Array:
    """``(2 i + 1) / (2 N)``: the levels whose quantiles are nearest to a law in Wasserstein-1 distance (Dabney et al.
    2018, lemma 2)."""
    return (jnp.arange(number) + 0.5) / number


def quantile_huber(
    quantiles_tm1: jax.Array, levels_tm1: jax.Array, targets_t: jax.Array, threshold: jax.Array | float
) -> jax.Array:
    """``sum_i mean_j |level_i - [u_ij < 0]| huber(u_ij) / threshold`` with ``u_ij = target_j - quantile_i``.

    The loss of QR-DQN (Dabney et al. 2018, eq. 10) divided by its threshold, as IQN has it (Dabney et al. 2018b,
    eq. 3), so that a small threshold gives quantile regression.

    Args:
        quantiles_tm1, levels_tm1: ``[N]``, and the probabilities of which they are the quantiles.
        targets_t: ``[M]``, samples or quantiles of the target's law.
        threshold: positive.
    """
    error = targets_t[None, :] - quantiles_tm1[:, None]
    below = jax.lax.stop_gradient((error < 0).astype(error.dtype))
    return jnp.sum(jnp.mean(jnp.abs(levels_tm1[:, None] - below) * huber(error, threshold) / threshold, axis=1))

"""What kind of thing an action's value is: a number, or a law of returns as atoms or as quantiles.

A network gives ``[A, K]`` numbers, ``K`` for each action. A space says what their mean is, how the target's law is made
from the successor's, and how far a prediction is from it. All functions are of one example.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.losses.q_learning import (
    categorical_cross_entropy,
    categorical_projection,
    expected_target,
    huber,
    midpoints,
    quantile_huber,
)


class Backup(NamedTuple):
    """What a target is made of, beside the successor's values."""

    r_t: jax.Array
    discount_t: jax.Array
    policy_t: jax.Array
    """``[A]``: probabilities of the successor's actions"""
    bonus_t: jax.Array | None = None
    """``[A]``, paid for each of them; None for nothing"""


class ValueSpace(NamedTuple):
    size: int
    """``K``"""
    mean: Callable[[jax.Array], jax.Array]
    """``outputs[..., A, K] -> q[..., A]``"""
    expectation: Callable[[jax.Array, Callable[[jax.Array], jax.Array]], jax.Array]
    """``(outputs[..., A, K], f) -> E f(return)[..., A]``, for an ``f`` of returns that broadcast to ``[..., A, K]``"""
    target: Callable[[jax.Array, Backup], Any]
    """``(outputs_t[A, K], backup) -> target``"""
    loss: Callable[[jax.Array, Any, jax.Array | None], jax.Array]
    """``(outputs_tm1[K] of the action taken, target, levels[K]) -> loss``; the levels of quantiles that were drawn"""
    error: Callable[[jax.Array, Any, jax.Array], jax.Array]
    """``(outputs_tm1[K], target, loss) -> priority``, the size of the error"""


def scalar(threshold: jax.Array | float) -> ValueSpace:
    """The mean return: ``K = 1``, Huber loss; the priority is the size of the TD error."""

    def target(outputs_t, backup: Backup):
        bonus = 0.0 if backup.bonus_t is None else backup.bonus_t
        return expected_target(backup.r_t, backup.discount_t, outputs_t[:, 0], backup.policy_t, bonus)

    return ValueSpace(
        size=1,
        mean=lambda outputs: outputs[..., 0],
        expectation=lambda outputs, f: f(outputs)[..., 0],  # as if the return were certain
        target=target,
        loss=lambda outputs, target, levels: huber(target - outputs[0], threshold),
        error=lambda outputs, target, loss: jnp.abs(target - outputs[0]),
    )


def categorical(atoms: int, low: jax.Array | float, high: jax.Array | float) -> ValueSpace:
    """C51 (Bellemare et al. 2017): logits of ``atoms`` evenly spaced returns from ``low`` to ``high``.

    The target is the pair of its probabilities ``[K]`` and how far its projection moved its mean, which is 0 while
    the support covers it. The priority is the loss, as in Rainbow (Hessel et al. 2018).
    """
    support = jnp.linspace(0.0, 1.0, atoms) * (high - low) + low

    def target(outputs_t, backup: Backup):
        probabilities = jax.nn.softmax(outputs_t)
        if backup.bonus_t is None:
            law, atoms_t = backup.policy_t @ probabilities, support
        else:  # every action's atoms, shifted by its bonus
            law = (backup.policy_t[:, None] * probabilities).ravel()
            atoms_t = (support[None, :] + backup.bonus_t[:, None]).ravel()
        z_t = backup.r_t + backup.discount_t * atoms_t
        projected = categorical_projection(z_t, law, support)
        return projected, jnp.abs(projected @ support - law @ z_t)

    return ValueSpace(
        size=atoms,
        mean=lambda outputs: jax.nn.softmax(outputs) @ support,
        expectation=lambda outputs, f: (jax.nn.softmax(outputs) * f(support)).sum(axis=-1),
        target=target,
        loss=lambda outputs, target, levels: categorical_cross_entropy(outputs, target[0]),
        error=lambda outputs, target, loss: loss,
    )


def quantiles(number: int, threshold: jax.Array | float) -> ValueSpace:
    """QR-DQN (Dabney et al. 2018): the midpoint quantiles, or the quantiles at the levels that ``loss`` is given, which
    is IQN (Dabney et al. 2018b). The priority is the loss."""

    def target(outputs_t, backup: Backup):
        bonus = 0.0 if backup.bonus_t is None else backup.bonus_t[:, None]
        return backup.r_t + backup.discount_t * (backup.policy_t @ (outputs_t + bonus))

    def loss(outputs, target, levels):
        return quantile_huber(outputs, midpoints(number) if levels is None else levels, target, threshold)

    return ValueSpace(
        size=number,
        mean=lambda outputs: outputs.mean(axis=-1),
        expectation=lambda outputs, f: f(outputs).mean(axis=-1),
        target=target,
        loss=loss,
        error=lambda outputs, target, loss: loss,
    )

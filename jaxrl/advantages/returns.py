"""Returns and advantages of trajectories. Arrays are ``[T, ...]``; ``_t`` belongs to step t, ``_tp1`` to its
successor."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.types import AdvantageTransform, Transition


class ValuedTransitions(NamedTuple):
    """What an advantage estimator needs of a batch, each ``[T, N]``."""

    reward: jax.Array
    discount: jax.Array
    """0 where the episode terminated; the discount factor is not in it"""
    cut: jax.Array
    value: jax.Array
    next_value: jax.Array
    """of the true successor; anything finite where ``discount`` is 0"""


def generalised_advantage(
    r_t: jax.Array,
    discount_t: jax.Array,
    cut_t: jax.Array,
    v_t: jax.Array,
    v_tp1: jax.Array,
    lambda_: float | jax.Array,
) -> jax.Array:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), cut at the ends of episodes.

    ``delta_t = r_t + discount_t v_tp1 - v_t`` and ``A_t = delta_t + discount_t lambda (1 - cut_t) A_{t+1}``. A
    time limit
    bootstraps from the successor's value (``discount_t > 0``) and yet stops the trace (``cut_t = 1``).

    Args:
        r_t, cut_t, v_t, v_tp1: ``[T, ...]``.
        discount_t: ``[T, ...]``, the discount factor included; 0 at termination.
        lambda_: trace decay within [0, 1].

    Returns:
        ``[T, ...]``.

    Example:
        Two steps that pay 1, the second the last of an episode, under values of 0:

        >>> r, discount, cut = jnp.array([1.0, 1.0]), jnp.array([0.5, 0.0]), jnp.array([0.0, 1.0])
        >>> generalised_advantage(r, discount, cut, jnp.zeros(2), jnp.zeros(2), lambda_=1.0).tolist()
        [1.5, 1.0]
    """
    delta_t = r_t + discount_t * v_tp1 - v_t
    decay_t = discount_t * lambda_ * (1 - cut_t)

    def backward(advantage, step):
        delta, decay = step
        advantage = delta + decay * advantage
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta_t[0]), (delta_t, decay_t), reverse=True, unroll=8)[1]


def gae(gamma: float | jax.Array, lambda_: float | jax.Array) -> AdvantageTransform:
    """``generalised_advantage`` in the advantage slot: replaces the advantage by one made from a
    ``ValuedTransitions``."""

    def update(advantage, batch: ValuedTransitions, state):
        del advantage
        return generalised_advantage(
            batch.reward, gamma * batch.discount, batch.cut, batch.value, batch.next_value, lambda_
        ), state

    return AdvantageTransform(lambda: (), update)


def standardise(epsilon: float = 1e-8) -> AdvantageTransform:
    """Mean 0 and deviation 1 over the whole batch."""

    def update(advantage, batch, state):
        del batch
        return (advantage - advantage.mean()) / (advantage.std() + epsilon), state

    return AdvantageTransform(lambda: (), update)


CRITIC_ROWS = 2048
"""observations of one member that the critic looks at together: enough for full speed, and it bounds the memory"""


def values_of(
    critic: Callable[[jax.Array], jax.Array], batch: Transition, min_episode_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Values of the observations of a rollout and of their true successors, in one pass of the critic.

    The successor of step t is the observation of step t + 1, except at the last step and at time limits. Those few
    final observations are gathered into slots behind the rollout's own, instead of a second pass over all successors.

    Args:
        critic: ``obs[K, N, ...] -> value[K, N]``.
        batch: ``[T, N, ...]``.
        min_episode_steps: no episode is truncated before it has this many steps, so an environment has at most
            ``ceil(T / min_episode_steps)`` time limits in a rollout. 1 is always right, and costs the second pass.

    Returns:
        ``value[T, N]`` and ``next_value[T, N]``.
    """
    steps, envs = batch.reward.shape
    slots = -(-steps // min_episode_steps)

    def critic_in_blocks(obs):
        block = max(1, CRITIC_ROWS // envs)
        if jax.tree.leaves(obs)[0].shape[0] <= block:
            return critic(obs)
        return jax.lax.map(lambda row: critic(jax.tree.map(lambda leaf: leaf[None], row))[0], obs, batch_size=block)

    if slots >= steps:
        both = critic_in_blocks(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch.obs, batch.next_obs))
        return both[:steps], both[steps:]
    truncated = batch.cut * batch.discount
    rank = jnp.cumsum(truncated, axis=0) * truncated  # 1, 2, ... at the time limits of each environment, else 0
    index = jnp.stack([jnp.argmax(rank == slot + 1, axis=0) for slot in range(slots)])  # [slots, N]

    def with_slots(obs, next_obs):
        at = index.reshape(index.shape + (1,) * (obs.ndim - 2))
        return jnp.concatenate([obs, next_obs[-1:], jnp.take_along_axis(next_obs, at, axis=0)])

    values = critic_in_blocks(jax.tree.map(with_slots, batch.obs, batch.next_obs))
    value, next_value = values[:steps], values[1 : steps + 1]
    for slot in range(slots):
        next_value = jnp.where(rank == slot + 1, values[steps + 1 + slot], next_value)
    return value, next_value


def estimated(
    critic: Callable[[jax.Array], jax.Array], batch: Transition, estimate: AdvantageTransform, min_episode_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Advantages of a rollout and the values that they are above, both ``[T, N]``; their sum is what the critic
    should have said.

    Args:
        critic, min_episode_steps: see ``values_of``.
        estimate: of a ``ValuedTransitions``, such as ``gae``.
    """
    value, next_value = values_of(critic, batch, min_episode_steps)
    valued = ValuedTransitions(batch.reward, batch.discount, batch.cut, value, next_value)
    return estimate.update(jnp.zeros_like(value), valued, estimate.init())[0], value

"""Which episode a step of a rollout is part of, by what that episode earned."""

import jax
import jax.numpy as jnp


def episode_returns(reward: jax.Array, cut: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For every step what its episode earned within the rollout, not discounted, and whether the episode ended there.

    Args:
        reward, cut: ``[T, N]``; episodes begin with the rollout and after every cut.

    Returns:
        ``[T, N]`` float32 and ``[T, N]`` bool.
    """
    over = (cut > 0).astype(jnp.float32)

    def forward(total, step):
        reward, over = step
        total = total + reward
        return total * (1 - over), total

    _, so_far = jax.lax.scan(forward, jnp.zeros(reward.shape[1:]), (reward, over))

    def backward(carry, step):
        total, ended = carry
        so_far, over = step
        total, ended = jnp.where(over > 0, so_far, total), jnp.maximum(over, ended)
        return (total, ended), (total, ended > 0)

    start = (so_far[-1], jnp.zeros(reward.shape[1:]))
    _, found = jax.lax.scan(backward, start, (so_far, over), reverse=True)
    return found


def in_best_episodes(reward: jax.Array, cut: jax.Array, share: float) -> jax.Array:
    """Whether each step is part of one of the best ``share`` of the episodes that ended, bool ``[T, N]``.

    Where none ended, every environment's rollout counts as one episode.
    """
    total, ended = episode_returns(reward, cut)
    last = jnp.zeros_like(cut, bool).at[-1].set(True)
    any_ended = ended.any()
    counts = jnp.where(any_ended, cut > 0, last)
    threshold = jnp.nanquantile(jnp.where(counts, total, jnp.nan), 1 - share)
    return (total >= threshold) & (ended | ~any_ended)

"""Judging a policy on whole episodes, in fixed shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment


def evaluate(
    policy: Callable[..., Any],
    env: Environment,
    env_params: Any,
    keys: jax.Array,
    episodes: int,
    max_steps: int,
    batch: int | None = None,
    env_params_axes: Any = None,
) -> dict[str, jax.Array]:
    """Mean return and length of ``episodes`` episodes of each of ``M`` members.

    Stops as soon as all episodes of the batch have ended, and after ``max_steps`` in any case.

    Args:
        policy: ``(obs[M, B, ...], keys[M]) -> action[M, B, ...]``.
        keys: ``[M]``; a member's episodes depend on its own key only, and on ``batch`` only through random policies.
        episodes: per member.
        batch: episodes of a member run at once (``B``), a divisor of ``episodes``; all by default. Less memory,
            more time.
        env_params_axes: the member axis of each leaf of ``env_params``, 0 or None; by default all members share them.

    Returns:
        ``evaluation_return[M]`` and ``evaluation_length[M]``.
    """
    batch = batch or episodes
    axes = env_params_axes
    reset = jax.vmap(jax.vmap(env.reset_env, in_axes=(0, None)), in_axes=(0, axes))
    step_env = jax.vmap(jax.vmap(env.step_env, in_axes=(0, 0, 0, None)), in_axes=(0, 0, 0, axes))
    is_truncated = jax.vmap(jax.vmap(env.is_truncated, in_axes=(0, None)), in_axes=(0, axes))
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))

    def one_batch(keys):
        reset_keys, step_keys, act_keys = keys  # of each episode [M, B], and of each member [M]
        obs, env_state = reset(reset_keys, env_params)
        zeros = jnp.zeros(reset_keys.shape)

        def running(carry):
            time, _, _, alive, _, _ = carry
            return (time < max_steps) & jnp.any(alive > 0)

        def step(carry):
            time, obs, env_state, alive, total, length = carry
            action = policy(obs, fold_in(act_keys, time))
            env_keys = jax.vmap(fold_in, in_axes=(0, None))(step_keys, time)
            obs, env_state, reward, terminated, _ = step_env(env_keys, env_state, action, env_params)
            ended = terminated | is_truncated(env_state, env_params)
            # where, not a product: what an environment does after its end may be anything, NaN included
            total = total + jnp.where(alive > 0, reward, 0)
            return time + 1, obs, env_state, alive * (1 - ended), total, length + alive

        start = (jnp.int32(0), obs, env_state, zeros + 1, zeros, zeros)
        *_, total, length = jax.lax.while_loop(running, step, start)
        return total, length

    def keys_of_parts(key):
        """Keys of each part's episodes, ``[parts, B]`` for resets and steps; an episode's are the same in any part."""
        reset_key, step_key, act_key = jax.random.split(key, 3)
        shape = (episodes // batch, batch)
        return (
            jax.random.split(reset_key, episodes).reshape(shape),
            jax.random.split(step_key, episodes).reshape(shape),
            jax.random.split(act_key, episodes // batch),
        )

    parts = jax.vmap(keys_of_parts, out_axes=1)(keys)
    if episodes == batch:
        results = one_batch(jax.tree.map(lambda part: part[0], parts))
    else:
        results = (jnp.moveaxis(part, 0, -1) for part in jax.lax.map(one_batch, parts))
    returns, lengths = (result.reshape(keys.shape[0], -1).mean(axis=1) for result in results)
    return {"evaluation_return": returns, "evaluation_length": lengths}


def returns_of(
    policy: Callable[..., Any], env: Environment, env_params: Any, key: jax.Array, episodes: int
) -> jax.Array:
    """``[episodes]`` returns of one policy, not discounted, all at once and each with a key of its own; made to be
    jitted.

    Args:
        policy: ``(obs[N, ...], key) -> action[N, ...]``.
        env_params: with a time limit.
    """
    keys, limit = jax.random.split(key, episodes), env_params.max_steps_in_episode
    return evaluate(jax.vmap(policy), env, env_params, keys, 1, limit)["evaluation_return"]

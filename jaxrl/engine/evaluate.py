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
) -> dict[str, jax.Array]:
    """Mean return and length of ``episodes`` episodes of each of ``M`` members.

    Stops as soon as all episodes of the batch have ended, and after ``max_steps`` in any case.

    Args:
        policy: ``(obs[M, B, ...], keys[M]) -> action[M, B, ...]``.
        keys: ``[M]``; a member's episodes depend on its own key only.
        episodes: per member.
        batch: episodes of a member run at once (``B``), a divisor of ``episodes``; all by default. Less memory,
        more time.

    Returns:
        ``evaluation_return[M]`` and ``evaluation_length[M]``.
    """
    batch = batch or episodes
    reset = jax.vmap(jax.vmap(env.reset_env, in_axes=(0, None)), in_axes=(0, None))
    step_env = jax.vmap(jax.vmap(env.step_env, in_axes=(0, 0, 0, None)), in_axes=(0, 0, 0, None))
    is_truncated = jax.vmap(jax.vmap(env.is_truncated, in_axes=(0, None)), in_axes=(0, None))
    split = jax.vmap(lambda key, n: jax.random.split(key, n), in_axes=(0, None))

    def one_batch(keys):
        reset_keys, step_keys = jnp.moveaxis(split(keys, 2), 1, 0)
        obs, env_state = reset(split(reset_keys, batch), env_params)
        zeros = jnp.zeros((keys.shape[0], batch))

        def running(carry):
            time, _, _, alive, _, _ = carry
            return (time < max_steps) & jnp.any(alive > 0)

        def step(carry):
            time, obs, env_state, alive, total, length = carry
            act_keys, env_keys = jnp.moveaxis(split(jax.vmap(jax.random.fold_in, (0, None))(step_keys, time), 2), 1, 0)
            action = policy(obs, act_keys)
            obs, env_state, reward, terminated, _ = step_env(split(env_keys, batch), env_state, action, env_params)
            ended = terminated | is_truncated(env_state, env_params)
            # where, not a product: what an environment does after its end may be anything, NaN included
            total = total + jnp.where(alive > 0, reward, 0)
            return time + 1, obs, env_state, alive * (1 - ended), total, length + alive

        start = (jnp.int32(0), obs, env_state, zeros + 1, zeros, zeros)
        *_, total, length = jax.lax.while_loop(running, step, start)
        return total.mean(axis=1), length.mean(axis=1)

    if episodes == batch:
        returns, lengths = one_batch(keys)
    else:
        parts = jnp.moveaxis(split(keys, episodes // batch), 1, 0)
        returns, lengths = (part.mean(axis=0) for part in jax.lax.map(one_batch, parts))
    return {"evaluation_return": returns, "evaluation_length": lengths}

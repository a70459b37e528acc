"""Episodes of one policy, step by step, to be looked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment


class Episode(NamedTuple):
    """What happened in an episode of ``T`` steps; leaves on the host.

    ``ended`` is how: ``terminated``, ``truncated`` by the environment's time limit, or ``stopped`` by the caller's.
    """

    states: Any
    """``[T + 1, ...]``, of the environment, the first and the last included"""
    actions: Any
    """``[T, ...]``"""
    rewards: np.ndarray
    """``[T]``, or ``[T, objectives]``"""
    ended: str

    @property
    def length(self) -> int:
        """``T``."""
        return len(self.rewards)

    @property
    def total(self) -> Any:
        """The return: the sum of the rewards, not discounted; ``[objectives]`` where rewards are vectors."""
        return self.rewards.sum(axis=0)


def episode_recorder(
    policy: Callable[..., Any], env: Environment, env_params: Any, steps: int
) -> Callable[[jax.Array], Episode]:
    """``(key) -> Episode`` of at most ``steps`` steps; compiled at its first call and used again.

    Args:
        policy: ``(obs[N, ...], key) -> action[N, ...]``.
        env: is not reset within the episode.
    """

    def step(carry, _):
        def running(carry):
            obs, state, key, _, _ = carry
            key, act_key, env_key = jax.random.split(key, 3)
            action = jax.tree.map(lambda leaf: leaf[0], policy(jax.tree.map(lambda leaf: leaf[None], obs), act_key))
            obs, state, reward, terminated, _ = env.step_env(env_key, state, action, env_params)
            return (obs, state, key, terminated, env.is_truncated(state, env_params)), (state, action, reward)

        def over(carry):
            shapes = jax.eval_shape(running, carry)[1]
            return carry, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        ended = carry[3] | carry[4]
        carry, happened = jax.lax.cond(ended, over, running, carry)  # one episode, so that this stays a branch
        return carry, (happened, ~ended)

    @jax.jit
    def record(key):
        reset_key, key = jax.random.split(key)
        obs, state = env.reset_env(reset_key, env_params)
        start = (obs, state, key, jnp.bool_(False), jnp.bool_(False))
        (*_, terminated, truncated), (happened, counts) = jax.lax.scan(step, start, length=steps)
        return state, happened, counts.sum(), terminated, truncated

    def recorder(key):
        first, happened, length, terminated, truncated = jax.device_get(record(key))
        states, actions, rewards = jax.tree.map(lambda leaf: leaf[: int(length)], happened)
        states = jax.tree.map(lambda one, others: np.concatenate([one[None], others]), first, states)
        ended = "terminated" if terminated else "truncated" if truncated else "stopped"
        return Episode(states, actions, rewards, ended)

    return recorder


class Together(NamedTuple):
    """``N`` episodes played side by side, ``T`` steps at most; past its end an episode stays where it is."""

    obs: Any
    """``[T + 1, N, ...]``, the first and the last included"""
    running: jax.Array
    """``[T, N]``, 1 where the episode had not ended before the step"""
    total: jax.Array
    """``[N]``, the returns, not discounted"""
    terminated: jax.Array
    """``[N]``, whether it ended other than by a time limit"""


def play_together(
    policy: Callable[..., Any], env: Environment, env_params: Any, key: jax.Array, episodes: int, steps: int
) -> Together:
    """Plays ``episodes`` episodes of at most ``steps`` steps; made to be jitted.

    Args:
        policy: ``(obs[N, ...], key) -> action[N, ...]``.
        env: is not reset within an episode.
    """
    reset_key, key = jax.random.split(key)
    obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(jax.random.split(reset_key, episodes), env_params)
    step_env = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
    is_truncated = jax.vmap(env.is_truncated, in_axes=(0, None))

    def step(carry, key):
        obs, state, running, total, terminated = carry
        act_key, env_key = jax.random.split(key)
        after, state, reward, ended, _ = step_env(
            jax.random.split(env_key, episodes), state, policy(obs, act_key), env_params
        )
        after = jax.tree.map(lambda new, old: jnp.where(expand(running, new) > 0, new, old), after, obs)
        total = total + jnp.where(running > 0, reward, 0)
        terminated = jnp.maximum(terminated, running * ended)
        still = running * (1 - (ended | is_truncated(state, env_params)))
        return (after, state, still, total, terminated), (after, running)

    def expand(running, like):
        return running.reshape(running.shape + (1,) * (like.ndim - 1))

    start = (obs, state, jnp.ones(episodes), jnp.zeros(episodes), jnp.zeros(episodes))
    (_, _, _, total, terminated), (after, running) = jax.lax.scan(step, start, jax.random.split(key, steps))
    seen = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), obs, after)
    return Together(seen, running, total, terminated)

"""One episode of one policy, state by state, to be looked at."""

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

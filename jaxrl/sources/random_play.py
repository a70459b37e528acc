"""Uniformly random actions, and what they earn: a look at an environment before anything is trained."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.core.types import Behaviour
from jaxrl.sources.rollout import rollout


def uniform_policy(space: spaces.Space) -> Callable[..., Any]:
    """``(obs[N, ...], key) -> action[N, ...]``, uniform on the space whatever is observed."""

    def policy(obs, key):
        return jax.vmap(space.sample)(jax.random.split(key, jax.tree.leaves(obs)[0].shape[0]))

    return policy


def random_episodes(
    env: Environment, env_params: Any, num_envs: int = 16, num_steps: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards ``[T, N]`` and ends of episodes ``[T, N]``, bool, under uniformly random discrete actions."""
    actions = env.action_space(env_params).n

    def act(obs, noise):
        del obs
        return jnp.minimum((noise * actions).astype(jnp.int32), actions - 1), {}

    source = rollout(env, env_params, num_envs, num_steps, "fresh")

    def play(key):
        _, batch, _ = source.next(source.init(key), Behaviour(jax.random.uniform, act), key)
        return batch.reward, batch.cut > 0

    reward, cut = jax.jit(play)(jax.random.key(0))
    return np.asarray(reward, float), np.asarray(cut)


def returns_to_go(reward: np.ndarray, cut: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted returns of all steps ``[T, N]`` whose episode ended within them, as a vector; empty if none did."""
    found, running, ended = [], np.zeros(reward.shape[1]), np.zeros(reward.shape[1], bool)
    for r, end in zip(reward[::-1], cut[::-1]):
        running = r + gamma * np.where(end, 0.0, running)
        ended = ended | end
        found.append(running[ended])
    return np.concatenate(found)


def warn_of_returns_outside(env: Environment, env_params: Any, gamma: Any, low: Any, high: Any) -> None:
    """Warns where random play earns discounted returns outside ``low .. high``, with the range that they have.

    Args:
        gamma, low, high: numbers, or vectors of one length for as many variants.
    """
    reward, cut = random_episodes(env, env_params)
    for discount, least, greatest in np.nditer([gamma, low, high]):
        returns = returns_to_go(reward, cut, float(discount))
        if returns.size and (returns.min() < least or returns.max() > greatest):
            warnings.warn(
                f"v_min={float(least):g}, v_max={float(greatest):g}: random play earns discounted returns from"
                f" {returns.min():.4g} to {returns.max():.4g}; the support must hold these and what better play earns",
                stacklevel=3,
            )

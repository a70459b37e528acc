"""Actors whose spread depends on the state, and values of state and action, as off-policy control has them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import FanInDense, orthogonal


class Actor(nn.Module):
    """``outputs`` numbers for each observation: ``[..., outputs]``.

    Attributes:
        torso: makes the torso.
    """

    torso: Callable[[], nn.Module]
    outputs: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        return FanInDense(self.outputs)(self.torso()(obs))


class Experts(nn.Module):
    """The parameters of a mixture of Gaussians for each observation: experts on one torso, and a router that is linear
    in the observation itself.

    Attributes:
        torso: makes the torso.
        components: number of experts, ``K``.
        size: of an action, ``D``.
    """

    torso: Callable[[], nn.Module]
    components: int
    size: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """``logits[..., K]`` of the router, ``mean[..., K, D]`` and ``log_std[..., K, D]``."""
        both = FanInDense(2 * self.components * self.size)(self.torso()(obs))
        mean, log_std = jnp.split(both.reshape(*both.shape[:-1], self.components, 2 * self.size), 2, axis=-1)
        return FanInDense(self.components, name="router")(obs), mean, log_std


class ExpertsAndCritics(nn.Module):
    """Experts with a spread that no state changes, their router, a value of states and one of actions, each on a torso
    of its own but the router, which is linear.

    Attributes:
        torso: makes the torso of experts and of the critic.
        action_torso: makes that of the action's value, of flat observations with the action behind them.
        components: number of experts, ``K``.
        size: of an action, ``D``.
    """

    torso: Callable[[], nn.Module]
    action_torso: Callable[[], nn.Module]
    components: int
    size: int

    def setup(self):
        self.actor_torso, self.critic_torso, self.q_torso = self.torso(), self.torso(), self.action_torso()
        self.actor_head = nn.Dense(self.components * self.size, kernel_init=orthogonal(0.01))
        self.router = nn.Dense(self.components, kernel_init=orthogonal(0.01))
        self.critic_head = nn.Dense(1, kernel_init=orthogonal(1.0))
        self.q_head = nn.Dense(1, kernel_init=orthogonal(1.0))
        self.log_std = self.param("log_std", nn.initializers.zeros, (self.components, self.size))

    def experts(self, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """``logits[..., K]``, ``mean[..., K, D]`` and ``log_std[..., K, D]``."""
        mean = self.actor_head(self.actor_torso(obs))
        mean = mean.reshape(*mean.shape[:-1], self.components, self.size)
        return self.router(obs), mean, jnp.broadcast_to(self.log_std, mean.shape)

    def critic(self, obs: jax.Array) -> jax.Array:
        """``[...]``."""
        return self.critic_head(self.critic_torso(obs))[..., 0]

    def q(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """``[...]``."""
        return self.q_head(self.q_torso(jnp.concatenate([obs, action], axis=-1)))[..., 0]

    def __call__(self, obs: jax.Array, action: jax.Array):
        return self.experts(obs), self.critic(obs), self.q(obs, action)


class Critic(nn.Module):
    """The value of an observation and an action, ``[...]``; of all actions, ``[..., outputs]``, where none is given.

    Attributes:
        torso: makes the torso; given an action, of flat observations with the action behind them.
        outputs: number of discrete actions, 1 for continuous ones.
    """

    torso: Callable[[], nn.Module]
    outputs: int = 1

    @nn.compact
    def __call__(self, obs: jax.Array, action: jax.Array | None = None, dropping: bool = False) -> jax.Array:
        x = obs if action is None else jnp.concatenate([obs, action], axis=-1)
        call: Any = {"dropping": True} if dropping else {}
        values = FanInDense(self.outputs)(self.torso()(x, **call))
        return values if action is None else values[..., 0]

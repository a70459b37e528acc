"""An actor and a critic, on one torso or on two."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import orthogonal


class ActorCritic(nn.Module):
    """``actor(obs)`` gives the policy's outputs and ``critic(obs)`` the value ``[...]``, for any leading axes.

    Attributes:
        torso: makes a fresh torso module.
        outputs: size of the actor's output.
        log_std: whether there is a state-independent log standard deviation beside it; the actor then returns the pair
            ``(mean, log_std)``.
        shared: one torso for both, instead of one each.
    """

    torso: Callable[[], nn.Module]
    outputs: int
    log_std: bool = False
    shared: bool = False

    def setup(self):
        self.actor_torso = self.torso()
        self.critic_torso = self.actor_torso if self.shared else self.torso()
        self.actor_head = nn.Dense(self.outputs, kernel_init=orthogonal(0.01))
        self.critic_head = nn.Dense(1, kernel_init=orthogonal(1.0))
        if self.log_std:
            self.log_deviation = self.param("log_std", nn.initializers.zeros, (self.outputs,))

    def actor(self, obs: jax.Array):
        output = self.actor_head(self.actor_torso(obs))
        return (output, jnp.broadcast_to(self.log_deviation, output.shape)) if self.log_std else output

    def critic(self, obs: jax.Array) -> jax.Array:
        return self.critic_head(self.critic_torso(obs))[..., 0]

    def __call__(self, obs: jax.Array):
        return self.actor(obs), self.critic(obs)


class EncoderCritic(nn.Module):
    """A Gaussian whose spread depends on the state, and a value, each on a torso of its own.

    Attributes:
        actor_torso, critic_torso: make them.
        size: of an action, ``D``.
        prior: start from N(0, I) in every state, exactly, instead of from a spread near ``softplus(0) = 0.69``.
    """

    actor_torso: Callable[[], nn.Module]
    critic_torso: Callable[[], nn.Module]
    size: int
    prior: bool = False

    least, greatest = 1e-3, 10.0
    """standard deviation, the first as an offset too"""

    def setup(self):
        self.of_actor, self.of_critic = self.actor_torso(), self.critic_torso()
        kernel = nn.initializers.zeros if self.prior else orthogonal(0.01)
        raw = math.log(math.expm1(1 - self.least)) if self.prior else 0.0
        self.mean = nn.Dense(self.size, kernel_init=kernel)
        self.spread = nn.Dense(self.size, kernel_init=kernel, bias_init=nn.initializers.constant(raw))
        self.value = nn.Dense(1, kernel_init=orthogonal(1.0))

    def actor(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation, ``[..., D]`` each."""
        features = self.of_actor(obs)
        deviation = jax.nn.softplus(self.spread(features)) + self.least
        return self.mean(features), jnp.log(jnp.clip(deviation, self.least, self.greatest))

    def critic(self, obs: jax.Array) -> jax.Array:
        """``[...]``."""
        return self.value(self.of_critic(obs))[..., 0]

    def __call__(self, obs: jax.Array):
        return self.actor(obs), self.critic(obs)

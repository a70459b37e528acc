"""An actor and a critic, on one torso or on two."""

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

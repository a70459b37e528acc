"""Flow policy optimisation (McAllister et al. 2025): PPO of a flow, whose errors stand for its likelihood."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.ppo import INFINITY, PPO, refuse_likelihoods
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.types import Policy
from jaxrl.losses.policy_gradient import clipped_surrogate
from jaxrl.networks.denoiser import TimeFeatures, denoiser
from jaxrl.networks.torsos import MLP, Activation
from jaxrl.policies.bases import clipped
from jaxrl.policies.denoising import denoisers_of, generative
from jaxrl.policies.flow import ErrorIn, flow, matched, rectified_flow
from jaxrl.policies.networks import value_network
from jaxrl.policies.transforms import on_part

LOG_RATIO_BOUND = 3.0


@struct.dataclass
class FPO(PPO):
    """Every action is stored with random noises and times and the flow's errors there; by how much these fall since is
    the logarithm of PPO's ratio, one for each pair.

    Sizes of networks and step sizes are the authors'; numbers of environments, steps and passes are PPO's here. The
    flow sends its actions clipped into the box.
    """

    clip: float = 0.05
    """The ratio is clipped to 1 - clip .. 1 + clip."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    gamma: float = 0.995
    """Discount factor."""
    entropy_coefficient: float = 0.0
    """Must be 0: a flow has no entropy in closed form."""
    num_pairs: int = static(8)
    """Pairs of noise and time of each action."""
    average_errors: bool = static(False)
    """One ratio of an action, of its mean error over pairs, as the authors' code has it by default."""
    error_in: ErrorIn = static("velocity")
    """What the error is of: the velocity, or the noise that it implies, as the authors' code has it by default."""
    flow_steps: int = static(10)
    """Steps of the flow from noise to an action."""
    base_hidden_sizes: tuple[int, ...] = static((32, 32, 32, 32))
    """Widths of the dense layers of the flow."""
    hidden_sizes: tuple[int, ...] = static((256, 256, 256, 256, 256))
    """Widths of the dense layers of the critic."""
    activation: Activation = static("swish")
    """Nonlinearity of every layer but the heads."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        refuse_likelihoods(self, env, env_params)
        check_within(self, num_pairs=(1, INFINITY), flow_steps=(1, INFINITY))
        check_one_of(self, error_in=("velocity", "noise"))
        super().check(env, env_params)

    def networks(self, env: Environment, env_params: Any) -> tuple[Policy, Callable, Callable | None]:
        """The flow and the critic."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, process = space.shape[0], rectified_flow()
        init, network = denoiser(
            size,
            shape,
            lambda: MLP(self.base_hidden_sizes, self.activation, orthogonal=False),
            lambda: TimeFeatures("octaves", 8, ()),
        )
        base = generative(init, network, process, flow(self.flow_steps), size, rank=len(shape))
        policy = matched(base, denoisers_of(network, process), self.num_pairs, size, self.error_in, len(shape))
        policy = clipped(on_part(policy, "actor"), space.low, space.high)
        value_init, value = value_network(self, env, env_params)

        def init_all(key):
            actor_key, critic_key = jax.random.split(key)
            return policy.init(actor_key) | {"critic": value_init(critic_key)}

        return policy._replace(init=init_all), lambda params, obs: value(params["critic"], obs), None

    def surrogate(self, log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
        """PPO's of each pair, ``[B, num_pairs]``, or of their mean, ``[B, 1]``."""
        fallen = log_prob - old_log_prob
        if self.average_errors:
            fallen = fallen.mean(axis=-1, keepdims=True)
        fallen = jnp.clip(fallen, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
        return clipped_surrogate(fallen, jnp.zeros_like(fallen), advantage[..., None], self.clip)

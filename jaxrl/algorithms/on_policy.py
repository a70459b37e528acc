"""What MDPO and TRPO share: a policy that takes steps on a whole rollout, and a critic of its own beside it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.advantages.returns import estimated, gae, standardise
from jaxrl.core.combine import check_divides, iterate, minibatched, relabel, together
from jaxrl.core.config import check_within, static
from jaxrl.core.descend import descend, with_clipping
from jaxrl.core.scaled import normalised, scaled_rewards
from jaxrl.core.types import Algorithm, Learner, Policy
from jaxrl.losses.value import clipped_squared_error, squared_error
from jaxrl.networks.actor_critic import ActorCritic
from jaxrl.policies.bases import deterministic
from jaxrl.policies.networks import Networks
from jaxrl.sources.rollout import least_truncated_length, rollout

INFINITY = float("inf")


class Labelled(NamedTuple):
    """What the losses look at; leaves ``[T, N, ...]``, or ``[B, ...]`` of a minibatch."""

    obs: Any
    action: Any
    log_prob: jax.Array
    outputs: Any
    """of the policy that acted: the parameters of its distribution"""
    advantage: jax.Array
    """of mean 0 and deviation 1 over the rollout"""
    target: jax.Array
    """of the value: advantage plus old value"""
    value: jax.Array
    """the old value"""


@struct.dataclass(kw_only=True)
class OnPolicy(Networks):
    """The hyperparameters of a policy and a critic that learn from one rollout, for an algorithm to inherit."""

    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimate."""
    value_learning_rate: float = 3e-4
    """Adam's step size for the critic."""
    value_clip: float | None = 0.2
    """The value loss is the larger of that of the value and of the value held this close to the old one; None for
    the plain one."""
    max_grad_norm: float = 0.5
    """Gradients of the critic are scaled down to this global norm, and of a policy that is trained by gradients."""
    num_envs: int = static(8)
    """Environments of each member."""
    num_steps: int = static(256)
    """Steps of each environment in an iteration."""
    value_epochs: int = static(5)
    """Passes of the critic over an iteration's transitions."""
    value_minibatches: int = static(16)
    """Gradient steps of the critic in each pass."""
    normalise_observations: bool = static(False)
    """Standardise observations by their running moments."""
    scale_rewards: bool = static(False)
    """Divide rewards by the running deviation of the discounted return."""

    def check_on_policy(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(
            self,
            **dict.fromkeys(("gamma", "gae_lambda"), (0, 1)),
            **dict.fromkeys(("value_learning_rate", "value_clip", "max_grad_norm"), (0, INFINITY)),
            **dict.fromkeys(("num_envs", "num_steps", "value_epochs", "value_minibatches"), (1, INFINITY)),
        )
        check_divides(self.num_envs * self.num_steps, self.value_minibatches, "value_minibatches")
        self.check_networks(env, env_params)

    def from_rollouts(
        self,
        actor: Learner,
        policy: Policy,
        network: ActorCritic,
        env: Environment,
        env_params: Any,
        parameters: Callable[[Any], Any] = lambda state: state.params,
    ) -> Algorithm:
        """The algorithm whose policy learns by ``actor``, of batches ``Labelled[T, N, ...]``.

        Args:
            parameters: of the policy, from the state of ``actor``.
        """
        shape = env.observation_space(env_params).shape
        estimate, whole = gae(self.gamma, self.gae_lambda), standardise()

        def value(params, obs) -> Any:
            return network.apply(params, obs, method="critic")

        def init(key):
            return network.init(key, jnp.zeros(shape), method="critic")

        def label(state, batch, key):
            del key
            advantage, old = estimated(
                lambda obs: value(state.second.params, obs), batch, estimate, least_truncated_length(env_params)
            )
            standard, _ = whole.update(advantage, batch, whole.init())
            assert policy.outputs is not None
            outputs = policy.outputs(parameters(state.first), batch.obs)
            action, log_prob = batch.extras["policy_action"], batch.extras["log_prob"]
            return Labelled(batch.obs, action, log_prob, outputs, standard, advantage + old, old)

        def value_loss(params, batch: Labelled, key):
            del key
            new = value(params, batch.obs)
            if self.value_clip is None:
                error = squared_error(new, batch.target).mean()
            else:
                error = clipped_squared_error(new, batch.value, batch.target, self.value_clip).mean()
            return error, {"value_loss": error}

        critic = descend(init, value_loss, self.optimiser(self.value_learning_rate), deterministic(init, value))
        critic = minibatched(critic, self.value_epochs, self.value_minibatches)
        learner = relabel(together(actor, critic), label)
        if self.scale_rewards:
            learner = scaled_rewards(learner, self.num_envs, self.gamma)
        if self.normalise_observations:
            learner = normalised(learner, shape)
        return iterate(rollout(env, env_params, self.num_envs, self.num_steps), learner)

    def optimiser(self, learning_rate: Any) -> optax.GradientTransformation:
        """Adam, after clipping."""
        return with_clipping(optax.adam(learning_rate, eps=1e-5), self.max_grad_norm)

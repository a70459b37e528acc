"""Proximal policy optimisation (Schulman et al. 2017)."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.advantages.returns import estimated, gae
from jaxrl.core.combine import check_divides, iterate, minibatched, relabel
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.descend import descend, step_size, with_clipping
from jaxrl.core.scaled import normalised, scaled_rewards
from jaxrl.core.types import Algorithm, Learner, Policy
from jaxrl.errors import InvalidArgument
from jaxrl.losses.policy_gradient import approximate_kl, clipped_surrogate
from jaxrl.losses.value import clipped_squared_error, squared_error
from jaxrl.policies.control import check_bounded
from jaxrl.policies.networks import Networks, actor_critic
from jaxrl.sources.rollout import ResetPolicy, least_truncated_length, rollout

INFINITY = float("inf")


@struct.dataclass
class PPO(Networks):
    """Proximal policy optimisation with clipped ratios, generalised advantages and time limits bootstrapped through."""

    learning_rate: float = 2.5e-4
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimate."""
    clip: float = 0.2
    """The probability ratio is clipped to 1 - clip .. 1 + clip."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm."""
    target_kl: float | None = None
    """An iteration's remaining minibatches are skipped once the approximate KL exceeds this; none by default."""
    num_envs: int = static(4)
    """Environments of each member."""
    num_steps: int = static(128)
    """Steps of each environment in an iteration."""
    num_epochs: int = static(4)
    """Passes over an iteration's transitions."""
    num_minibatches: int = static(4)
    """Gradient steps of each pass."""
    shared_torso: bool = static(False)
    """One torso for actor and critic, instead of one each."""
    clip_value: bool = static(False)
    """Clip the value loss too, to within clip of the old values."""
    normalise_observations: bool = static(False)
    """Standardise observations by their running moments."""
    scale_rewards: bool = static(False)
    """Divide rewards by the running deviation of the discounted return."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""
    reset: ResetPolicy = static("pool")
    """Where new episodes start: fresh, pool or cached; see jaxrl.sources.rollout."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(
            self,
            learning_rate=(0, INFINITY),
            gamma=(0, 1),
            gae_lambda=(0, 1),
            clip=(0, INFINITY),
            entropy_coefficient=(0, INFINITY),
            value_coefficient=(0, INFINITY),
            max_grad_norm=(0, INFINITY),
            target_kl=(0, INFINITY),
            num_envs=(1, INFINITY),
            num_steps=(1, INFINITY),
            num_epochs=(1, INFINITY),
            num_minibatches=(1, INFINITY),
        )
        check_one_of(self, reset=get_args(ResetPolicy))
        check_divides(self.num_envs * self.num_steps, self.num_minibatches)
        self.check_networks(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; the horizon of ``anneal_learning_rate``, which needs it.
        """
        env_params = env.default_params if env_params is None else env_params
        source = rollout(env, env_params, self.num_envs, self.num_steps, self.reset)
        return iterate(source, self.learner(env, env_params, updates))

    def networks(self, env: Environment, env_params: Any) -> tuple[Policy, Callable, Callable | None]:
        """The policy, whose ``init`` makes all parameters; the critic ``(params, obs) -> value``; and what the loss has
        beside PPO's, ``(params, minibatch, key) -> (loss, metrics)``, or None. A subclass may have others."""
        network, policy = actor_critic(self, env, env_params, shared=self.shared_torso)
        return policy, lambda params, obs: network.apply(params, obs, method="critic"), None

    def surrogate(self, log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
        """What the policy's loss is the mean of, ``[B, ...]``, of standardised advantages ``[B]``. A subclass may have
        policies whose log-probabilities are several numbers an action, ``[B, ...]``."""
        return clipped_surrogate(log_prob, old_log_prob, advantage, self.clip)

    def optimiser(self, updates: int | None) -> optax.GradientTransformation:
        """Adam, after clipping; ``updates`` are of the whole run."""
        steps = self.num_epochs * self.num_minibatches
        learning_rate = step_size(self.learning_rate, self.anneal_learning_rate, updates, steps)
        return with_clipping(optax.adam(learning_rate, eps=1e-5), self.max_grad_norm)

    def learner(self, env: Environment, env_params: Any, updates: int | None = None) -> Learner:
        """What learns from a rollout ``Transition[T, N, ...]``; a subclass may put a transform around it."""
        policy, critic, auxiliary = self.networks(env, env_params)
        estimate = gae(self.gamma, self.gae_lambda)

        def label(state, batch, key) -> Minibatch:
            del key
            advantage, value = estimated(
                lambda obs: critic(state.params, obs), batch, estimate, least_truncated_length(env_params)
            )
            return Minibatch(
                batch.obs,
                batch.extras["policy_action"],
                batch.extras["log_prob"],
                advantage,
                advantage + value,
                value if self.clip_value else None,
            )

        def loss(params, batch: Minibatch, key):
            log_prob, entropy = policy.log_prob(params, batch.obs, batch.action, key)
            value = critic(params, batch.obs)
            advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
            policy_loss = self.surrogate(log_prob, batch.log_prob, advantage).mean()
            if batch.value is not None:
                value_loss = clipped_squared_error(value, batch.value, batch.target, self.clip).mean()
            else:
                value_loss = squared_error(value, batch.target).mean()
            entropy = entropy.mean()
            total = policy_loss + self.value_coefficient * value_loss - self.entropy_coefficient * entropy
            metrics = {
                "policy_loss": policy_loss,
                "value_loss": value_loss,
                "entropy": entropy,
                "approximate_kl": approximate_kl(log_prob, batch.log_prob).mean(),
            }
            if auxiliary is None:
                return total, metrics
            more, measured = auxiliary(params, batch, key)
            return total + more, metrics | measured

        stop = None if self.target_kl is None else lambda metrics: metrics["approximate_kl"] > self.target_kl

        learner = descend(policy.init, loss, self.optimiser(updates), policy)
        learner = minibatched(learner, self.num_epochs, self.num_minibatches, stop)
        learner = relabel(learner, label)
        if self.scale_rewards:
            learner = scaled_rewards(learner, self.num_envs, self.gamma)
        if self.normalise_observations:
            learner = normalised(learner, env.observation_space(env_params).shape)
        return learner


def refuse_likelihoods(config: PPO, env: Environment, env_params: Any) -> None:
    """Raises InvalidArgument for what needs actions of a known density, of policies without one."""
    check_bounded(env, env_params)
    for name in ("shared_torso", "squash"):
        if getattr(config, name):
            raise InvalidArgument(name, True, "must be False for a policy that makes actions of noise")
    if np.any(np.asarray(config.entropy_coefficient) != 0):
        raise InvalidArgument("entropy_coefficient", config.entropy_coefficient, "must be 0 without an entropy")
    if config.network != "mlp":
        raise InvalidArgument("network", config.network, "must be 'mlp' for continuous actions")


class Minibatch(NamedTuple):
    """What the loss looks at; leaves ``[B, ...]``."""

    obs: Any
    action: Any
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    """of the value: advantage plus old value"""
    value: jax.Array | None
    """the old value, where it is needed"""

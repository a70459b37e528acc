"""REINFORCE (Williams 1992)."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.advantages.returns import ValuedTransitions, gae
from jaxrl.core.combine import iterate, relabel
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.descend import descend, step_size, with_clipping
from jaxrl.core.scaled import normalised
from jaxrl.core.types import Algorithm
from jaxrl.errors import InvalidArgument
from jaxrl.policies.networks import Networks, actor_critic
from jaxrl.sources.rollout import rollout

INFINITY = float("inf")


@struct.dataclass
class REINFORCE(Networks):
    """The score-function gradient of the return to go, with causality and a baseline, and no critic.

    An iteration simulates ``num_envs`` environments for ``num_steps`` steps and takes one gradient step. Returns end
    with the iteration: nothing stands for what comes after. Where episodes have a fixed length, ``num_steps`` should be
    that length; longer episodes that the iteration cuts are learned from as if they ended there.
    """

    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 1.0
    """Discount factor."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    num_envs: int = static(64)
    """Environments of each member: the trajectories of a gradient step."""
    num_steps: int = static(100)
    """Steps of each environment in an iteration."""
    baseline: Literal["others", "none"] = static("others")
    """What is subtracted from a return: the mean return to go of the other environments at the same step, which is
    independent of the action and so leaves the mean of the gradient as it is; or nothing."""
    normalise_observations: bool = static(False)
    """Standardise observations by their running moments."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(
            self,
            learning_rate=(0, INFINITY),
            gamma=(0, 1),
            entropy_coefficient=(0, INFINITY),
            max_grad_norm=(0, INFINITY),
            num_envs=(1, INFINITY),
            num_steps=(1, INFINITY),
        )
        check_one_of(self, baseline=("others", "none"))
        if self.baseline == "others" and self.num_envs < 2:
            raise InvalidArgument("num_envs", self.num_envs, "must be at least 2 for baseline='others'")
        self.check_networks(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; the horizon of ``anneal_learning_rate``, which needs it.
        """
        env_params = env.default_params if env_params is None else env_params
        _, policy = actor_critic(self, env, env_params, critic=False)
        returns_to_go = gae(self.gamma, 1.0)  # with values of 0

        def label(state, batch, key) -> Scored:
            del state, key
            zeros = jnp.zeros_like(batch.reward)
            valued = ValuedTransitions(batch.reward, batch.discount, batch.cut, zeros, zeros)
            advantage, _ = returns_to_go.update(zeros, valued, ())
            if self.baseline == "others":
                others = advantage.sum(axis=1, keepdims=True) - advantage
                advantage = advantage - others / (self.num_envs - 1)
            return Scored(batch.obs, batch.extras["policy_action"], advantage)

        def loss(params, batch: Scored, key):
            log_prob, entropy = policy.log_prob(params, batch.obs, batch.action, key)
            # the sum over a trajectory, the mean over trajectories
            policy_loss = -jnp.sum(log_prob * batch.advantage) / self.num_envs
            entropy = entropy.mean()
            total = policy_loss - self.entropy_coefficient * entropy
            return total, {"policy_loss": policy_loss, "entropy": entropy}

        learning_rate = step_size(self.learning_rate, self.anneal_learning_rate, updates)
        optimiser = with_clipping(optax.adam(learning_rate), self.max_grad_norm)
        learner = relabel(descend(policy.init, loss, optimiser, policy), label)
        if self.normalise_observations:
            learner = normalised(learner, env.observation_space(env_params).shape)
        return iterate(rollout(env, env_params, self.num_envs, self.num_steps), learner)


class Scored(NamedTuple):
    """What the loss looks at; leaves ``[T, N, ...]``."""

    obs: Any
    action: Any
    advantage: jax.Array

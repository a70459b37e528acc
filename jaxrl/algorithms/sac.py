"""Soft actor-critic (Haarnoja et al. 2018a, 2018b), for continuous and discrete actions (Christodoulou 2019), with the
options of REDQ (Chen et al. 2021), DroQ (Hiraoka et al. 2022) and RLPD (Ball et al. 2023)."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.algorithms.off_policy import INFINITY, OffPolicy, mean_of
from jaxrl.core.alternate import Term, alternate
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.counted import WithTarget, with_target
from jaxrl.core.types import Algorithm, Key, Learner, Metrics
from jaxrl.errors import InvalidArgument
from jaxrl.losses.value import squared_error
from jaxrl.policies.control import Control, control, state_value

COMBINATIONS = {"least": lambda q: q.min(axis=0), "mean": lambda q: q.mean(axis=0), "first": lambda q: q[0]}
"""of values ``[C, ...]``"""


@struct.dataclass
class SAC(OffPolicy):
    """Maximises the return and, weighed by a temperature, the policy's entropy; critics learn from a replay buffer."""

    temperature: float | None = None
    """Weight of the entropy; learned by default, so that the entropy comes to target_entropy."""
    initial_temperature: float = 1.0
    """Where a learned temperature starts."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for the logarithm of the temperature."""
    target_entropy: float | None = None
    """In nats; by default minus the number of dimensions of the action in units in which its box is [-1, 1], or, of
    discrete actions, 0.98 of the greatest."""
    actor_value: Literal["least", "mean", "first"] = static("least")
    """What of the critics' values the actor climbs."""
    target_critics: int | None = static(None)
    """A random subset of so many critics, whose least value is the target (REDQ); all by default."""
    backup_entropy: bool = static(True)
    """Count the entropy of the next action in the target; RLPD does not where rewards are sparse."""
    actor_period: int = static(1)
    """Gradient steps of the critics for each one of actor and temperature; with those of an iteration, as many as REDQ
    and RLPD take."""
    value_network: bool = static(False)
    """Bootstrap from a network of the state's value, whose copy moves slowly, instead of from the critics' copies
    (Haarnoja et al. 2018a)."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        self.check_off_policy(env, env_params)
        check_within(
            self,
            temperature=(0, INFINITY),
            initial_temperature=(1e-6, INFINITY),
            temperature_learning_rate=(0, INFINITY),
            target_critics=(1, self.num_critics),
            actor_period=(1, INFINITY),
        )
        if self.value_network and self.target_critics is not None:
            raise InvalidArgument("target_critics", self.target_critics, "must be None with a value network")
        check_one_of(self, actor_value=tuple(COMBINATIONS))
        space = env.action_space(env_params)
        most = math.log(space.n) if isinstance(space, spaces.Discrete) else INFINITY
        if self.target_entropy is not None and not (np.asarray(self.target_entropy) <= most).all():
            raise InvalidArgument("target_entropy", self.target_entropy, f"must be at most log {space.n} = {most:.4g}")

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; of no use here.
        """
        del updates
        env_params = env.default_params if env_params is None else env_params
        agent, (value_init, value) = self.agent(env, env_params), state_value(self, env, env_params)

        def init(key):
            actor_key, critics_key, value_key = jax.random.split(key, 3)
            params = {"actor": agent.policy.init(actor_key), "critics": agent.critics.init(critics_key)}
            if self.temperature is None:
                params["temperature"] = jnp.log(jnp.asarray(self.initial_temperature, jnp.float32))
            return params | ({"value": value_init(value_key)} if self.value_network else {})

        learner = self.learner(init, agent, self.terms(agent, value, self.entropy_goal(env, env_params)))
        return self.algorithm(learner, env, env_params)

    def learner(self, init: Callable[[Key], Any], agent: Control, terms: dict[str, Term]) -> Learner:
        """What learns from a batch ``Transition[B, ...]``; a subclass may give it other terms or hand it more."""
        learner = alternate(init, terms, agent.policy)
        return with_target(learner, lambda state: state.params[self.slow], self.target_rate)

    def agent(self, env: Environment, env_params: Any) -> Control:
        """Actor and critics; a subclass may have others."""
        return control(self, env, env_params)

    def actor_loss(self, agent: Control) -> Callable[..., tuple[jax.Array, Metrics]]:
        """``(params, batch, key, earlier) -> (loss, metrics)``, with the ``entropy`` that the temperature sees."""

        def loss(params, batch: WithTarget, key, earlier):
            del earlier
            combine = COMBINATIONS[self.actor_value]
            q, log_prob = agent.expected(params["actor"], params["critics"], batch.batch.obs, key, combine)
            return (self.weight(params) * log_prob - q).mean(), {"entropy": -log_prob.mean()}

        return loss

    @property
    def slow(self) -> str:
        """The part whose copy moves slowly."""
        return "value" if self.value_network else "critics"

    def weight(self, params: dict[str, Any]) -> Any:
        """Of the entropy: the temperature, learned or given."""
        return self.temperature if self.temperature is not None else jnp.exp(params["temperature"])

    def terms(self, agent: Control, value: Callable, goal: Any) -> dict[str, Term]:
        """What critics, actor and temperature are trained by, of batches ``WithTarget``.

        Args:
            goal: of the entropy.
        """

        def soft_value(params, critics, obs, key):
            """The least value of the critics at actions of the actor, less the cost of their certainty."""
            q, log_prob = agent.expected(params["actor"], critics, obs, key, COMBINATIONS["least"])
            return q - self.weight(params) * log_prob if self.backup_entropy else q

        def critic_loss(params, batch: WithTarget, key, earlier):
            del earlier
            (obs, action, reward, discount, _, next_obs, _), target = batch
            act_key, subset_key, drop_key = jax.random.split(key, 3)
            if self.value_network:
                v_t = value(target, next_obs)
            else:
                if self.target_critics is not None and self.target_critics < self.num_critics:
                    subset = jax.random.permutation(subset_key, self.num_critics)[: self.target_critics]
                    target = jax.tree.map(lambda leaf: leaf[subset], target)
                v_t = soft_value(params, target, next_obs, act_key)
            target_tm1 = jax.lax.stop_gradient(reward + self.gamma * discount * v_t)
            q_tm1 = agent.critics.values(params["critics"], obs, action, drop_key)
            return squared_error(q_tm1, target_tm1).sum(axis=0).mean(), {"q": q_tm1.mean()}

        def value_loss(params, batch: WithTarget, key, earlier):
            del earlier
            obs = batch.batch.obs
            target = jax.lax.stop_gradient(soft_value(params, params["critics"], obs, key))
            return squared_error(value(params["value"], obs), target).mean(), {}

        def temperature_loss(params, batch, key, earlier):
            del batch, key
            entropy = mean_of(earlier["entropy"])
            return params["temperature"] * (entropy - goal), {"temperature": jnp.exp(params["temperature"])}

        terms = {
            "critics": Term(critic_loss, self.optimiser(self.critic_learning_rate)),
            "actor": Term(self.actor_loss(agent), self.optimiser(self.actor_learning_rate), self.actor_period),
        }
        if self.value_network:
            terms["value"] = Term(value_loss, self.optimiser(self.critic_learning_rate))
        if self.temperature is None:
            optimiser = optax.adam(self.temperature_learning_rate)
            terms["temperature"] = Term(temperature_loss, optimiser, self.actor_period)
        return terms

    def entropy_goal(self, env: Environment, env_params: Any) -> Any:
        """``target_entropy``, or its default on an environment."""
        if self.target_entropy is not None:
            return self.target_entropy
        space = env.action_space(env_params)
        if isinstance(space, spaces.Discrete):
            return 0.98 * math.log(space.n)
        # Log-probabilities are of actions as the environment takes them.
        return jnp.sum(jnp.log((jnp.asarray(space.high) - jnp.asarray(space.low)) / 2) - 1)

"""What SAC, TD3 and their relatives share: replayed transitions, gradient steps interleaved with collecting them."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.core.combine import iterate, relabel, repeated
from jaxrl.core.config import check_within, static
from jaxrl.core.counted import after, restarted
from jaxrl.core.descend import with_clipping
from jaxrl.core.scaled import normalised
from jaxrl.core.types import Algorithm, Average, Learner, Transition
from jaxrl.errors import InvalidArgument
from jaxrl.policies.control import ActorsAndCritics
from jaxrl.policies.exploration import epsilon_greedy
from jaxrl.sources.dataset import load, sampled, with_prior
from jaxrl.sources.replay import replay
from jaxrl.sources.rollout import least_truncated_length, rollout

INFINITY = float("inf")


@struct.dataclass(kw_only=True)
class OffPolicy(ActorsAndCritics):
    """The hyperparameters of off-policy actor-critics, for an algorithm to inherit."""

    gamma: float = 0.99
    """Discount factor."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    max_grad_norm: float = INFINITY
    """Gradients of the actor and of the critics are each scaled down to this global norm."""
    target_rate: float = 0.005
    """How far target networks move at each move; 1 copies."""
    num_envs: int = static(1)
    """Environments of each member."""
    num_steps: int = static(1)
    """Steps of each environment in an iteration."""
    update_to_data: float = static(1.0)
    """Gradient steps for each environment step; those of an iteration must be a whole number."""
    batch_size: int = static(256)
    """Transitions of each gradient step."""
    capacity: int = static(100_000)
    """Transitions that are kept, rounded up to whole iterations."""
    store_successors: bool = static(False)
    """Keep the successor of every step in the buffer, of terminations too, which learning never asks for: for data sets
    that are made of it."""
    learning_starts: int = static(1_000)
    """Environment steps before the first gradient step; until then actions are uniform."""
    restart_every: int | None = static(None)
    """Gradient steps after which networks and optimisers begin anew while the transitions are kept (Nikishin et al.
    2022); never by default."""
    normalise_observations: bool = static(False)
    """Standardise observations by the running moments of what is replayed."""
    reward_offset: float = 0.0
    """Added to every reward that is learned from, prior data included: -1 makes time cost something where only arrival
    is rewarded."""
    prior: str | None = static(None)
    """Folder of a data set that half of every batch is drawn from (RLPD, Ball et al. 2023); see
    jaxrl.sources.dataset."""
    offline: bool = static(False)
    """Learn from the prior data alone, without steps in the environment: as many gradient steps an iteration as with
    it, and learning curves count the rows of their batches."""

    def check_off_policy(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(
            self,
            **dict.fromkeys(("gamma", "target_rate"), (0, 1)),
            **dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "max_grad_norm"), (0, INFINITY)),
            **dict.fromkeys(("num_envs", "num_steps", "batch_size", "restart_every"), (1, INFINITY)),
            learning_starts=(0, INFINITY),
        )
        check_within(self, capacity=(self.batch_size, INFINITY))
        per_iteration = self.update_to_data * self.num_envs * self.num_steps
        if not (per_iteration >= 1 and per_iteration == round(per_iteration)):
            raise InvalidArgument(
                "update_to_data",
                self.update_to_data,
                f"must give a whole number of gradient steps for the num_envs * num_steps ="
                f" {self.num_envs * self.num_steps} environment steps of an iteration, not {per_iteration:g}",
            )
        if self.prior is None and self.offline:
            raise InvalidArgument("prior", None, "must be given to learn offline")
        if self.prior is not None:
            if self.batch_size % 2 and not self.offline:
                raise InvalidArgument("batch_size", self.batch_size, "must be even, for half of it to be prior data")
            load(self.prior, env)
        self.check_actors_and_critics(env, env_params)

    def prior_data(self, env: Environment) -> Transition | None:
        """The transitions ``[rows, ...]`` of ``prior``, as they are stored; None without."""
        return None if self.prior is None else load(self.prior, env).transitions

    def optimiser(self, learning_rate: Any) -> optax.GradientTransformation:
        """Adam, after clipping."""
        return with_clipping(optax.adam(learning_rate), self.max_grad_norm)

    @property
    def updates_per_iteration(self) -> int:
        """Gradient steps of an iteration."""
        return round(self.update_to_data * self.num_envs * self.num_steps)

    def algorithm(self, learner: Learner, env: Environment, env_params: Any) -> Algorithm:
        """The algorithm whose gradient steps ``learner`` makes, of batches ``Transition[batch_size, ...]`` that are
        replayed, or with ``offline`` of the prior data, as many an iteration."""
        steps, prior, updates = self.num_envs * self.num_steps, self.prior_data(env), self.updates_per_iteration
        start = max(0, -(-self.learning_starts // steps) - 1)
        if self.restart_every is not None:
            learner = restarted(learner, self.restart_every)
        learner = relabel(learner, lambda state, batch, key: batch._replace(reward=batch.reward + self.reward_offset))
        learner = repeated(learner, updates)
        if not self.offline:
            learner = epsilon_greedy(
                after(learner, start), env.action_space(env_params), lambda calls: jnp.where(calls < start, 1.0, 0.0)
            )
        if self.normalise_observations:
            learner = normalised(learner, env.observation_space(env_params).shape)
        if self.offline:
            assert prior is not None
            return iterate(sampled(prior, self.batch_size, updates), learner)
        source = replay(
            rollout(env, env_params, self.num_envs, self.num_steps),
            lambda key: learner.behaviour(learner.init(key)),
            self.capacity,
            self.batch_size // (1 if prior is None else 2),
            updates,
            min_episode_steps=1 if self.store_successors else least_truncated_length(env_params),
        )
        return iterate(source if prior is None else with_prior(source, prior), learner)


def mean_of(measured: Any) -> jax.Array:
    """The value of a metric that a term reports, within the update in which it took a step."""
    return measured.total if isinstance(measured, Average) else measured

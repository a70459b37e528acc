"""PQN: Q-learning without replay and without a target network (Gallici et al. 2024)."""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.advantages.returns import generalised_advantage, values_of
from jaxrl.core.combine import check_divides, iterate, minibatched, relabel
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.descend import descend, step_size, with_clipping
from jaxrl.core.types import Algorithm
from jaxrl.errors import InvalidArgument
from jaxrl.losses.value import squared_error
from jaxrl.networks.torsos import Activation
from jaxrl.policies.bases import deterministic, select_action
from jaxrl.policies.exploration import epsilon_greedy, linear_decay
from jaxrl.policies.networks import Torso, check_discrete, q_network
from jaxrl.sources.rollout import ResetPolicy, least_truncated_length, rollout

INFINITY = float("inf")


@struct.dataclass
class PQN(Torso):
    """Parallelised Q-network: lambda-returns of rollouts in many environments, and normalised layers for stability."""

    learning_rate: float = 2.5e-4
    """RAdam's step size."""
    gamma: float = 0.99
    """Discount factor."""
    td_lambda: float = 0.65
    """Trace decay of the returns: 0 for one-step targets, 1 for returns without a bootstrap before an end."""
    epsilon_start: float = 1.0
    """Share of random actions at first."""
    epsilon_end: float = 0.05
    """Share of random actions in the end."""
    exploration_fraction: float = 0.1
    """The share falls linearly over this part of the run."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this global norm."""
    num_envs: int = static(32)
    """Environments of each member."""
    num_steps: int = static(32)
    """Steps of each environment in an iteration."""
    num_epochs: int = static(2)
    """Passes over an iteration's transitions."""
    num_minibatches: int = static(16)
    """Gradient steps of each pass."""
    layer_norm: bool = static(True)
    """Standardise the features of every layer of the torso."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""
    reset: ResetPolicy = static("pool")
    """Where new episodes start: fresh, pool or cached; see jaxrl.sources.rollout."""
    activation: Activation = static("relu", kw_only=True)
    """Nonlinearity of every layer but the heads."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        unit = ("gamma", "td_lambda", "epsilon_start", "epsilon_end", "exploration_fraction")
        least_one = ("num_envs", "num_steps", "num_epochs", "num_minibatches")
        check_within(
            self,
            **dict.fromkeys(unit, (0, 1)),
            **dict.fromkeys(least_one, (1, INFINITY)),
            learning_rate=(0, INFINITY),
            max_grad_norm=(0, INFINITY),
        )
        check_one_of(self, reset=get_args(ResetPolicy))
        check_divides(self.num_envs * self.num_steps, self.num_minibatches)
        check_discrete(env, env_params)
        self.check_torso(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment with discrete actions.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; the horizon of the exploration, which needs it.
        """
        if updates is None:
            raise InvalidArgument("updates", updates, "must be given: exploration falls over a part of the run")
        env_params = env.default_params if env_params is None else env_params
        network = q_network(self, env, env_params, layer_norm=self.layer_norm)
        obs_shape = env.observation_space(env_params).shape

        def init(key):
            return network.init(key, jnp.zeros(obs_shape))

        def action_values(params, obs) -> Any:
            outputs: Any = network.apply(params, obs)
            return outputs[..., 0]

        def act(params, obs):
            return jnp.argmax(action_values(params, obs), axis=-1).astype(jnp.int32)

        def label(state, batch, key) -> Labelled:
            del key
            value, next_value = values_of(
                lambda obs: action_values(state.params, obs).max(axis=-1), batch, least_truncated_length(env_params)
            )
            # With V = max Q, advantage plus value is Peng's Q(lambda), eq. 4 of the paper.
            discount = self.gamma * batch.discount
            advantage = generalised_advantage(batch.reward, discount, batch.cut, value, next_value, self.td_lambda)
            return Labelled(batch.obs, batch.action, advantage + value)

        def loss(params, batch: Labelled, key):
            del key
            q = select_action(action_values(params, batch.obs), batch.action)
            return squared_error(q, batch.target).mean(), {"q": q.mean()}

        per_update = self.num_epochs * self.num_minibatches
        learning_rate = step_size(self.learning_rate, self.anneal_learning_rate, updates, per_update)
        optimiser = with_clipping(optax.radam(learning_rate), self.max_grad_norm)
        decay = linear_decay(self.epsilon_start, self.epsilon_end, self.exploration_fraction, updates)

        learner = descend(init, loss, optimiser, deterministic(init, act))
        learner = minibatched(learner, self.num_epochs, self.num_minibatches)
        learner = relabel(learner, label)
        learner = epsilon_greedy(learner, env.action_space(env_params), decay)
        return iterate(rollout(env, env_params, self.num_envs, self.num_steps, self.reset), learner)


class Labelled(NamedTuple):
    """What the loss looks at; leaves ``[T, N, ...]`` and then ``[B, ...]``."""

    obs: Any
    action: jax.Array
    target: jax.Array

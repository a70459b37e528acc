"""Probabilistic mixture of experts (Ren et al. 2021): SAC and PPO with a policy of several Gaussians, and a router that
learns how often each is best."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.algorithms.ppo import PPO, Minibatch
from jaxrl.algorithms.sac import COMBINATIONS, SAC
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.counted import WithTarget
from jaxrl.core.types import Metrics, Policy
from jaxrl.errors import InvalidArgument
from jaxrl.networks.control import ExpertsAndCritics
from jaxrl.networks.torsos import MLP
from jaxrl.policies.bases import clipped, select_action
from jaxrl.policies.control import Control, check_bounded, mixture_control
from jaxrl.policies.mixture import MixtureOutputs, frequency_loss, mixture, score_loss


@struct.dataclass
class PMOE(SAC):
    """SAC whose policy is a mixture of tanh-Gaussian experts.

    Of the actions that the experts draw in a state, the one of greatest value trains its expert, pathwise, and the
    router is drawn towards having chosen it. Targets and entropies take the log-density of the expert that acted, as
    the authors' code does; ``entropy="mixture"`` takes the mixture's.
    """

    temperature_of_gumbel: float = 1.0
    """Of the relaxed choice of ``router="gumbel"``."""
    num_components: int = static(4)
    """Experts."""
    router: Literal["frequency", "gumbel", "score"] = static("frequency")
    """How the router learns: towards the frequency of being best; pathwise through a straight-through Gumbel-softmax;
    or by the score function, with the router's mean value as the baseline."""
    experts: Literal["best", "all"] = static("best")
    """Which experts learn in a state, with ``router="frequency"``: the best, or all, with equal weight."""
    entropy: Literal["component", "mixture"] = static("component")
    """Whose log-density is the entropy's: the acting expert's, or the mixture's."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(self, num_components=(1, INFINITY), temperature_of_gumbel=(1e-6, INFINITY))
        check_one_of(
            self, router=("frequency", "gumbel", "score"), experts=("best", "all"), entropy=("component", "mixture")
        )
        check_bounded(env, env_params)
        super().check(env, env_params)

    def agent(self, env: Environment, env_params: Any) -> Control:
        """A squashed mixture, and SAC's critics."""
        return mixture_control(self, env, env_params, self.num_components, self.entropy)

    def router_of(self, env: Environment, env_params: Any) -> Callable[[Any, jax.Array], jax.Array]:
        """``(params, obs[..., D]) -> weights[..., K]``: how likely each expert is to act."""
        outputs = self.agent(env, env_params).policy.outputs
        assert outputs is not None
        return lambda params, obs: jax.nn.softmax(outputs(params["actor"], obs).logits)

    def actor_loss(self, agent: Control) -> Callable[..., tuple[jax.Array, Metrics]]:
        """Of experts and router; the experts' actions are valued together."""
        draws, policy, combine = agent.draws, agent.policy, COMBINATIONS[self.actor_value]
        assert draws is not None

        def values(critics, obs, action, key):
            """``[B, K]`` of actions ``[B, K, D]``."""
            rows, experts, size = action.shape
            repeated = jnp.repeat(obs, experts, axis=0)
            q = agent.critics.values(critics, repeated, policy.decode(action.reshape(-1, size)), key)
            return combine(q).reshape(rows, experts)

        def loss(params, batch: WithTarget, key, earlier):
            del earlier
            obs, drop_key, router_key = batch.batch.obs, jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
            drawn = draws(params["actor"], obs, key)
            usage = {"least_used_expert": jax.nn.softmax(drawn.logits).mean(axis=0).min()}
            alpha = self.weight(params)
            if self.router == "gumbel":
                noise = jax.random.gumbel(router_key, drawn.logits.shape)
                soft = jax.nn.softmax((drawn.logits + noise) / self.temperature_of_gumbel)
                hard = jax.nn.one_hot(jnp.argmax(soft, axis=-1), self.num_components)
                choice = soft + jax.lax.stop_gradient(hard - soft)
                action = jnp.sum(choice[..., None] * drawn.action, axis=1, keepdims=True)
                q = values(params["critics"], obs, action, drop_key)[:, 0]
                log_prob = jnp.sum(choice * drawn.log_prob, axis=1)
                return (alpha * log_prob - q).mean(), usage | {"entropy": -log_prob.mean()}
            q = values(params["critics"], obs, drawn.action, drop_key)
            cost = alpha * drawn.log_prob - q
            if self.router == "score":
                expert = drawn.expert
                own = select_action(cost, expert) + score_loss(drawn.logits, cost, expert)
            else:
                expert = best_expert(q, router_key)
                own = select_action(cost, expert) if self.experts == "best" else cost.mean(axis=-1)
                own = own + frequency_loss(drawn.logits, expert)
            return own.mean(), usage | {"entropy": -select_action(drawn.log_prob, expert).mean()}

        return loss


@struct.dataclass
class PMOEPPO(PPO):
    """PPO whose policy is a mixture of Gaussian experts. Ratios are of the mixture's densities, through which the
    router learns as well; and it is drawn towards the expert whose action a value of actions, fitted to the returns,
    likes best."""

    num_components: int = static(5)
    """Experts."""
    q_hidden_sizes: tuple[int, ...] = static((64, 64, 64))
    """Widths of the layers of the action's value."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(self, num_components=(1, INFINITY))
        check_bounded(env, env_params)
        for name in ("shared_torso", "squash"):
            if getattr(self, name):
                raise InvalidArgument(name, True, "must be False for a mixture of experts")
        super().check(env, env_params)
        if self.network != "mlp":
            raise InvalidArgument("network", self.network, "must be 'mlp' for continuous actions")

    def router_of(self, env: Environment, env_params: Any) -> Callable[[Any, jax.Array], jax.Array]:
        """``(params, obs[..., D]) -> weights[..., K]``: how likely each expert is to act."""
        outputs = self.networks(env, env_params)[0].outputs
        assert outputs is not None
        return lambda params, obs: jax.nn.softmax(outputs(params, obs).logits)

    def networks(self, env: Environment, env_params: Any) -> tuple[Policy, Callable, Callable | None]:
        """The mixture, the critic, and the losses of the action's value and of the router."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size = space.shape[0]
        network = ExpertsAndCritics(
            lambda: MLP(self.hidden_sizes, self.activation, len(shape)),
            lambda: MLP(self.q_hidden_sizes, "relu"),
            self.num_components,
            size,
        )

        def apply(params, *inputs, method) -> Any:
            return network.apply(params, *inputs, method=method)

        def outputs(params, obs):
            return MixtureOutputs(*apply(params, obs, method="experts"))

        def init(key):
            return network.init(key, jnp.zeros(shape), jnp.zeros(size))

        policy = clipped(mixture(init, outputs, self.num_components, size), space.low, space.high)

        def auxiliary(params, batch: Minibatch, key):
            noise_key, tie_key = jax.random.split(key)
            fitted = apply(params, batch.obs, policy.decode(batch.action), method="q")
            value_loss = jnp.square(fitted - batch.target).mean()
            out = outputs(params, batch.obs)
            drawn = out.mean + jnp.exp(out.log_std) * jax.random.normal(noise_key, out.mean.shape)
            each = jnp.broadcast_to(batch.obs[..., None, :], (*drawn.shape[:-1], batch.obs.shape[-1]))
            best = best_expert(jax.lax.stop_gradient(apply(params, each, policy.decode(drawn), method="q")), tie_key)
            usage = jax.nn.softmax(out.logits).mean(axis=0).min()
            metrics = {"action_value_loss": value_loss, "least_used_expert": usage}
            return value_loss + frequency_loss(out.logits, best).mean(), metrics

        return policy, lambda params, obs: apply(params, obs, method="critic"), auxiliary


def best_expert(values: jax.Array, key: jax.Array) -> jax.Array:
    """The number of the greatest of ``[..., K]``, int32 ``[...]``; of equal ones any, with the same probability."""
    ties = values == values.max(axis=-1, keepdims=True)
    return jnp.argmax(jnp.where(ties, jax.random.uniform(key, values.shape), -1.0), axis=-1).astype(jnp.int32)

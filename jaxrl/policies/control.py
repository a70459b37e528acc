"""Actors and critics of off-policy control, for continuous and discrete actions behind one set of functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.core.config import check_within, static
from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.errors import InvalidArgument
from jaxrl.networks.control import Actor, Critic, Experts
from jaxrl.networks.torsos import MLP, Activation, MinAtarCNN
from jaxrl.policies.bases import (
    categorical,
    deterministic,
    gaussian,
    into_box,
    log_tanh_slope,
    normal_log_density,
    select_action,
    squash,
)
from jaxrl.policies.mixture import MixtureOutputs, chosen, mixture, mixture_log_prob, route
from jaxrl.policies.networks import Torso

INFINITY = float("inf")


@struct.dataclass(kw_only=True)
class ActorsAndCritics(Torso):
    """The hyperparameters of an actor and of its critics, for an algorithm to inherit."""

    log_std_min: float = -20.0
    """Least log standard deviation of the Gaussian under the tanh."""
    log_std_max: float = 2.0
    """Greatest log standard deviation."""
    num_critics: int = static(2)
    """Critics with weights of their own."""
    layer_norm: bool = static(False)
    """Standardise the features of every layer of the critics."""
    dropout: float = static(0.0)
    """Share of the features of every layer of the critics that is dropped in training (DroQ, Hiraoka et al. 2022)."""
    hidden_sizes: tuple[int, ...] = static((256, 256))
    """Widths of the dense layers."""
    activation: Activation = static("relu")
    """Nonlinearity of every layer but the heads."""

    def check_actors_and_critics(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for networks that do not fit the environment."""
        self.check_torso(env, env_params)
        check_within(self, num_critics=(1, INFINITY), dropout=(0, 1 - 1e-6))
        if (np.asarray(self.log_std_min) > np.asarray(self.log_std_max)).any():
            raise InvalidArgument("log_std_min", self.log_std_min, f"must be at most log_std_max={self.log_std_max}")
        space = env.action_space(env_params)
        if isinstance(space, spaces.Discrete):
            if self.dropout and self.network != "mlp":
                raise InvalidArgument("dropout", self.dropout, f"must be 0 with network='{self.network}'")
            return
        check_bounded(env, env_params)
        if self.network != "mlp":
            raise InvalidArgument("network", self.network, "must be 'mlp' for continuous actions")


def check_bounded(env: Environment, env_params: Any) -> None:
    """Raises InvalidArgument unless actions lie in a box with finite sides."""
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Box):
        raise InvalidArgument("env", env.name, f"must have continuous actions, not {type(space).__name__}")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise InvalidArgument("env", env.name, "must have bounds of its actions, for a tanh to fill")


class Critics(NamedTuple):
    """``C`` action values with weights of their own, as one tree with a leading axis."""

    init: Callable[[Key], PyTree]
    values: Callable[..., Any]
    """``(params, obs[B], action[B], key=None) -> q[C, B]``; with a key in training, for dropout; of all discrete
    actions, ``q[C, B, A]``, where the action is None"""


def torso(config: Torso, env: Environment, env_params: Any, **settings: Any) -> Callable[[], nn.Module]:
    """Makes the torso that an actor has, or, with ``settings`` of its layers, that a critic has."""
    rank = len(env.observation_space(env_params).shape)
    if config.network == "minatar":
        return lambda: MinAtarCNN(config.hidden_sizes, config.activation, rank, settings.get("layer_norm", False))
    return lambda: MLP(config.hidden_sizes, config.activation, rank, orthogonal=False, **settings)


def critics(config: ActorsAndCritics, env: Environment, env_params: Any) -> Critics:
    """Critics that fit an environment."""
    space, obs = env.action_space(env_params), jnp.zeros(env.observation_space(env_params).shape)
    discrete = isinstance(space, spaces.Discrete)
    layers = {"layer_norm": config.layer_norm, "dropout": config.dropout}
    critic = Critic(torso(config, env, env_params, **layers), space.n if discrete else 1)

    def init(key):
        example = (obs,) if discrete else (obs, jnp.zeros(space.shape))
        return jax.vmap(lambda key: critic.init(key, *example))(jax.random.split(key, config.num_critics))

    def all_values(params, obs, action=None, key=None) -> Any:
        if not config.dropout or key is None:
            return jax.vmap(lambda one: critic.apply(one, obs, action))(params)
        keys = jax.random.split(key, jax.tree.leaves(params)[0].shape[0])
        return jax.vmap(lambda one, key: critic.apply(one, obs, action, True, rngs={"dropout": key}))(params, keys)

    def values(params, obs, action, key=None) -> Any:
        if not discrete or action is None:
            return all_values(params, obs, action, key)
        return select_action(all_values(params, obs, None, key), action)

    return Critics(init, values)


def state_value(config: ActorsAndCritics, env: Environment, env_params: Any) -> tuple[Callable, Callable]:
    """The value of observations alone, with the critics' torso: ``(key) -> params`` and ``(params, obs[B]) -> [B]``."""
    obs = jnp.zeros(env.observation_space(env_params).shape)
    critic = Critic(torso(config, env, env_params, layer_norm=config.layer_norm))

    def value(params, obs):
        out: Any = critic.apply(params, obs)
        return out[..., 0]

    return lambda key: critic.init(key, obs), value


class Draws(NamedTuple):
    """An action of each of ``K`` experts, and what the router chose among them."""

    logits: jax.Array
    """``[B, K]``, of the router"""
    action: jax.Array
    """``[B, K, D]``, before the tanh"""
    log_prob: jax.Array
    """``[B, K]``, of what is sent"""
    expert: jax.Array
    """``[B]``"""


class Control(NamedTuple):
    """What losses need to know of an actor and its critics; ``C`` critics, ``B`` observations."""

    policy: Policy
    critics: Critics
    expected: Callable[..., tuple[jax.Array, jax.Array]]
    """``(actor, critics, obs[B], key, combine) -> (q[B], log_prob[B])``: what ``combine`` makes of the critics' values,
    ``[C, ...] -> [...]``, and the log-probability, both of actions of the actor: of one drawn with the key, through
    which they are differentiable, or the exact means over discrete actions"""
    compared: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    """``(actor, reference, obs[B], key) -> (own[B, D], others[B, D])``: log-probabilities of each dimension of the
    actions that ``expected`` draws with the key, under either actor; or their means, ``D = 1``, of discrete ones; None
    for mixtures"""
    draws: Callable[..., Draws] | None = None
    """``(actor, obs[B], key) -> Draws``, of mixtures"""


def control(config: ActorsAndCritics, env: Environment, env_params: Any) -> Control:
    """Actor and critics that fit an environment: a tanh-Gaussian with a spread of its own in every state, or
    a categorical."""
    space, example = env.action_space(env_params), jnp.zeros(env.observation_space(env_params).shape)
    discrete = isinstance(space, spaces.Discrete)
    actor = Actor(torso(config, env, env_params), space.n if discrete else 2 * space.shape[0])
    critic = critics(config, env, env_params)

    def outputs(params, obs) -> Any:
        return actor.apply(params, obs)

    def init(key):
        return actor.init(key, example)

    if discrete:
        return _categorical_control(categorical(init, outputs), outputs, critic)

    def mean_and_log_std(params, obs):
        mean, log_std = jnp.split(outputs(params, obs), 2, axis=-1)
        return mean, jnp.clip(log_std, config.log_std_min, config.log_std_max)

    policy = squash(gaussian(init, mean_and_log_std, space.shape[0]), space.low, space.high)
    return _gaussian_control(policy, mean_and_log_std, (space.high - space.low) / 2, critic)


def _categorical_control(policy: Policy, logits: Callable, critic: Critics) -> Control:
    def log_probs(params, obs):
        return jax.nn.log_softmax(logits(params, obs))

    def expected(actor, critics, obs, key, combine):
        log_pi = log_probs(actor, obs)
        pi, q = jnp.exp(log_pi), combine(critic.values(critics, obs, None, key))
        return jnp.sum(pi * q, axis=-1), jnp.sum(pi * log_pi, axis=-1)

    def compared(actor, reference, obs, key):
        del key
        log_pi = log_probs(actor, obs)
        own, others = (jnp.sum(jnp.exp(log_pi) * log_p, axis=-1) for log_p in (log_pi, log_probs(reference, obs)))
        return own[:, None], others[:, None]

    return Control(policy, critic, expected, compared)


def _gaussian_control(policy: Policy, mean_and_log_std: Callable, half_width: jax.Array, critic: Critics) -> Control:
    def draw(actor, obs, key):
        return policy.sample(actor, obs, policy.noise(key, obs.shape[:1]))

    def expected(actor, critics, obs, key, combine):
        action, log_prob = draw(actor, obs, key)
        return combine(critic.values(critics, obs, policy.decode(action), jax.random.fold_in(key, 1))), log_prob

    def compared(actor, reference, obs, key):
        action, _ = draw(actor, obs, key)  # before the tanh
        log_volume = log_tanh_slope(action) + jnp.log(half_width)

        def log_prob(params):
            mean, log_std = mean_and_log_std(params, obs)
            return normal_log_density((action - mean) * jnp.exp(-log_std), log_std) - log_volume

        return log_prob(actor), log_prob(reference)

    return Control(policy, critic, expected, compared)


def mixture_control(
    config: ActorsAndCritics, env: Environment, env_params: Any, components: int, entropy: str
) -> Control:
    """Critics, and an actor that is a squashed mixture of Gaussians.

    Args:
        components: number of experts.
        entropy: ``"component"`` for log-probabilities under the expert that acted, ``"mixture"`` for the mixture's.
    """
    space, example = env.action_space(env_params), jnp.zeros(env.observation_space(env_params).shape)
    network = Experts(torso(config, env, env_params), components, space.shape[0])
    critic = critics(config, env, env_params)

    def outputs(params, obs):
        out: Any = network.apply(params, obs)
        logits, mean, log_std = out
        return MixtureOutputs(logits, mean, jnp.clip(log_std, config.log_std_min, config.log_std_max))

    def init(key):
        return network.init(key, example)

    policy = squash(mixture(init, outputs, components, space.shape[0]), space.low, space.high)

    def draws(actor, obs, key):
        out, (normal, uniform) = outputs(actor, obs), policy.noise(key, obs.shape[:1])
        action = out.mean + jnp.exp(out.log_std) * normal
        if entropy == "component":
            log_prob = normal_log_density(normal, out.log_std).sum(axis=-1)
        else:
            every = jax.tree.map(lambda leaf: leaf[:, None], out)  # each action under all experts
            log_prob = mixture_log_prob(every, action)
        log_volume = (log_tanh_slope(action) + jnp.log((space.high - space.low) / 2)).sum(axis=-1)
        return Draws(out.logits, action, log_prob - log_volume, route(out.logits, uniform))

    def expected(actor, critics, obs, key, combine):
        drawn = draws(actor, obs, key)
        action = policy.decode(chosen(drawn.action, drawn.expert))
        q = combine(critic.values(critics, obs, action, jax.random.fold_in(key, 1)))
        return q, select_action(drawn.log_prob, drawn.expert)

    return Control(policy, critic, expected, draws=draws)


def tanh_actor(config: ActorsAndCritics, env: Environment, env_params: Any) -> Policy:
    """One action for each observation, in a box by a tanh."""
    space, obs = env.action_space(env_params), jnp.zeros(env.observation_space(env_params).shape)
    actor = Actor(torso(config, env, env_params), space.shape[0])

    def act(params, obs):
        out: Any = actor.apply(params, obs)
        return into_box(out, space.low, space.high)

    return deterministic(lambda key: actor.init(key, obs), act)

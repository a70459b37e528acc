"""Actors and critics of the general algorithms, as their config asks for them and an environment's spaces need them."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.core.config import check_one_of, static
from jaxrl.core.types import Policy
from jaxrl.errors import InvalidArgument
from jaxrl.networks.actor_critic import ActorCritic
from jaxrl.networks.q_network import QNetwork
from jaxrl.networks.torsos import ACTIVATIONS, MLP, Activation, MinAtarCNN
from jaxrl.policies.bases import categorical, clipped, gaussian, squash

TORSOS = {"mlp": MLP, "minatar": MinAtarCNN}


@struct.dataclass(kw_only=True)
class Torso:
    """The hyperparameters of a torso, for an algorithm to inherit; by keyword, so that its own come first."""

    network: Literal["mlp", "minatar"] = static("mlp")
    """Torso: dense layers, or the MinAtar convolution with dense layers behind it."""
    hidden_sizes: tuple[int, ...] = static((64, 64))
    """Widths of the dense layers."""
    activation: Activation = static("tanh")
    """Nonlinearity of every layer but the heads."""

    def check_torso(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for a torso that does not fit the environment."""
        check_one_of(self, network=tuple(TORSOS), activation=tuple(ACTIVATIONS))
        if any(size < 1 for size in self.hidden_sizes):
            raise InvalidArgument("hidden_sizes", self.hidden_sizes, "must be positive widths")
        shape = env.observation_space(env_params).shape
        if self.network == "minatar" and len(shape) != 3:
            raise InvalidArgument("network", self.network, f"needs observations [height, width, channels], not {shape}")


@struct.dataclass(kw_only=True)
class Networks(Torso):
    """The hyperparameters of ``actor_critic``, for an algorithm to inherit; by keyword, so that its own come first."""

    squash: bool = static(False)
    """Continuous actions: tanh of the Gaussian instead of clipping it into the action space."""

    def check_networks(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for networks that do not fit the environment."""
        self.check_torso(env, env_params)
        if self.squash and isinstance(env.action_space(env_params), spaces.Discrete):
            raise InvalidArgument("squash", self.squash, "must be False for an environment with discrete actions")


def actor_critic(
    config: Networks, env: Environment, env_params: Any, critic: bool = True, shared: bool = False
) -> tuple[ActorCritic, Policy]:
    """Networks and policy that fit an environment's spaces.

    Args:
        config: the hyperparameters of the networks.
        critic: the parameters are of an actor and a critic, else of an actor alone.
        shared: one torso for both, instead of one each.
    """
    space = env.action_space(env_params)
    discrete = isinstance(space, spaces.Discrete)
    shape = env.observation_space(env_params).shape
    torso = TORSOS[config.network]
    network = ActorCritic(
        torso=lambda: torso(config.hidden_sizes, config.activation, len(shape)),
        outputs=space.n if discrete else space.shape[0],
        log_std=not discrete,
        shared=shared,
    )

    def init(key):
        return network.init(key, jnp.zeros(shape), method="__call__" if critic else "actor")

    def actor(params, obs) -> Any:
        return network.apply(params, obs, method="actor")

    if discrete:
        return network, categorical(init, actor)
    bounded = squash if config.squash else clipped
    return network, bounded(gaussian(init, actor, space.shape[0]), space.low, space.high)


def value_network(config: Torso, env: Environment, env_params: Any) -> tuple[Callable, Callable]:
    """The value of observations: ``(key) -> params`` and ``(params, obs[...]) -> [...]``."""
    shape, torso = env.observation_space(env_params).shape, TORSOS[config.network]
    network = ActorCritic(lambda: torso(config.hidden_sizes, config.activation, len(shape)), outputs=1)

    def init(key):
        return network.init(key, jnp.zeros(shape), method="critic")

    def value(params, obs) -> Any:
        return network.apply(params, obs, method="critic")

    return init, value


def q_network(
    config: Torso,
    env: Environment,
    env_params: Any,
    size: int = 1,
    head_sizes: tuple[int, ...] = (),
    dueling: bool = False,
    cosines: int | None = None,
    layer_norm: bool = False,
) -> QNetwork:
    """A network of ``size`` numbers for each action of an environment; see ``QNetwork``."""
    shape = env.observation_space(env_params).shape
    torso = TORSOS[config.network]
    return QNetwork(
        torso=lambda: torso(config.hidden_sizes, config.activation, len(shape), layer_norm=layer_norm),
        actions=env.action_space(env_params).n,
        size=size,
        head_sizes=head_sizes,
        activation=config.activation,
        dueling=dueling,
        cosines=cosines,
    )


def check_discrete(env: Environment, env_params: Any) -> None:
    """Raises InvalidArgument unless actions are integers."""
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Discrete):
        raise InvalidArgument("env", env.name, f"must have discrete actions, not {type(space).__name__}")

"""Actors and critics of the general algorithms, as their config asks for them and an environment's spaces need them."""

from typing import Any

import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.core.config import check_one_of
from jaxrl.core.types import Policy
from jaxrl.errors import InvalidArgument
from jaxrl.networks.actor_critic import ActorCritic
from jaxrl.networks.torsos import ACTIVATIONS, MLP, MinAtarCNN
from jaxrl.policies.bases import categorical, clipped, gaussian, squash

TORSOS = {"mlp": MLP, "minatar": MinAtarCNN}


def check_networks(config: Any, env: Environment, env_params: Any) -> None:
    """Raises InvalidArgument for networks that do not fit the environment; see ``actor_critic``."""
    check_one_of(config, network=tuple(TORSOS), activation=tuple(ACTIVATIONS))
    if any(size < 1 for size in config.hidden_sizes):
        raise InvalidArgument("hidden_sizes", config.hidden_sizes, "must be positive widths")
    shape = env.observation_space(env_params).shape
    if config.network == "minatar" and len(shape) != 3:
        raise InvalidArgument("network", config.network, f"needs observations [height, width, channels], not {shape}")
    if config.squash and isinstance(env.action_space(env_params), spaces.Discrete):
        raise InvalidArgument("squash", config.squash, "must be False for an environment with discrete actions")


def actor_critic(
    config: Any, env: Environment, env_params: Any, critic: bool = True, shared: bool = False
) -> tuple[ActorCritic, Policy]:
    """Networks and policy that fit an environment's spaces.

    Args:
        config: has ``network``, ``hidden_sizes``, ``activation`` and ``squash``.
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

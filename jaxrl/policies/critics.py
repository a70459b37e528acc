"""Action values from a network: their laws, and what each law is worth when an action is chosen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from gymnax.environments.environment import Environment

from jaxrl.bellman.utilities import Mean, PiecewiseLinear, Utility, nearness, shortfall, surplus
from jaxrl.core.types import Key, Policy
from jaxrl.envs import stock_of
from jaxrl.losses.q_learning import midpoints, tied_policy
from jaxrl.losses.value_spaces import ValueSpace
from jaxrl.networks.q_network import QNetwork
from jaxrl.policies.bases import categorical, deterministic

UTILITIES: dict[str, Callable[..., Utility]] = {
    "mean": lambda below, above: Mean(),
    "shortfall": lambda below, above: shortfall(),
    "surplus": lambda below, above: surplus(),
    "nearness": lambda below, above: nearness(),
    "piecewise": PiecewiseLinear,
}
"""by name, of the slopes for losses and for gains"""


class Critic(NamedTuple):
    """What a loss and the choice of actions need of the network."""

    init: Callable[[Key], Any]
    outputs: Callable[..., Any]
    """``(params, obs, levels=None) -> [..., A, K]``; IQN's at the midpoint levels by default"""
    worth: Callable[[Any, Any], Any]
    """``(outputs[..., A, K], obs) -> q[..., A]``, by which actions are chosen"""
    values: Callable[[Any, Any], Any]
    """``(params, obs) -> q[..., A]``: ``worth`` of ``outputs``"""
    actions: int


def critic_of(
    network: QNetwork, env: Environment, env_params: Any, space: ValueSpace, utility: Utility | None = None
) -> Critic:
    """The critic that a network of ``space.size`` numbers for each action is.

    Args:
        utility: actions are chosen by its expectation ``E f(stock + return)``, with the stock that the observation
            shows; by the mean return for None. The network learns the law of the return alone in either case.
    """
    implicit = network.cosines is not None
    obs_shape = env.observation_space(env_params).shape
    stock = stock_of(env)

    def outputs(params, obs, levels=None) -> Any:
        if implicit and levels is None:
            rows = obs.shape[: obs.ndim - len(obs_shape)]
            levels = jnp.broadcast_to(midpoints(space.size), (*rows, space.size))
        return network.apply(params, obs, levels)

    def init(key):
        return network.init(key, jnp.zeros(obs_shape), midpoints(space.size) if implicit else None)

    def worth(outputs, obs):
        if utility is None:
            return space.mean(outputs)
        f, earned = utility, stock.read(obs)[..., None, None]
        return space.expectation(outputs, lambda z: f(earned + z))

    return Critic(init, outputs, worth, lambda params, obs: worth(outputs(params, obs), obs), network.actions)


def greedy(critic: Critic, ties: bool = False) -> Policy:
    """The policy that takes the best action, and with ``ties`` any of those that are equally good (``tied_policy``),
    where else it takes the first."""
    if ties:
        return categorical(critic.init, lambda params, obs: jnp.log(tied_policy(critic.values(params, obs))))
    return deterministic(critic.init, lambda params, obs: jnp.argmax(critic.values(params, obs), -1).astype(jnp.int32))

"""What every environment of jaxrl shares: gymnax's `Environment`, and the base of its transforms."""

from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

Environment = environment.Environment
EnvState = environment.EnvState
EnvParams = environment.EnvParams


def strong(tree: Any) -> Any:
    """Give every leaf its own dtype instead of a weak one.

    A Python number in a state (`time=0`) is weakly typed and the stepped state is not, so that a program compiled for a
    state from `reset_env` is compiled again for one from `step_env`.
    """

    def leaf(x):
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.extended):  # typed random keys
            return x
        return jnp.asarray(x, dtype=jnp.result_type(x))

    return jax.tree.map(leaf, tree)


class EnvironmentTransform(Environment):
    """An environment made from another one; whatever a subclass does not override is the inner environment's.

    Args:
        env: the environment to transform, kept as `self.env`.
    """

    def __init__(self, env: Environment):
        super().__init__()
        self.env = env

    @property
    def default_params(self) -> Any:
        """The inner environment's parameters, a pytree."""
        return self.env.default_params

    def reset_env(self, key, params):
        """See `gymnax.environments.environment.Environment.reset_env`."""
        return self.env.reset_env(key, params)

    def step_env(self, key, state, action, params):
        """See `gymnax.environments.environment.Environment.step_env`."""
        return self.env.step_env(key, state, action, params)

    def is_truncated(self, state, params):
        """Whether the episode has reached its time limit, bool scalar."""
        return self.env.is_truncated(state, params)

    def is_terminated(self, state, params):
        """Whether the state is terminal, where the inner environment can tell from the state alone."""
        return self.env.is_terminated(state, params)

    def observe(self, key, state, action, params):
        """The observation of a state."""
        return self.env.observe(key, state, action, params)

    @property
    def name(self) -> str:
        """Name of the inner environment."""
        return self.env.name

    @property
    def num_actions(self) -> int:
        """Number of discrete actions, or of action dimensions."""
        return self.env.num_actions

    def action_space(self, params=None):
        """Space of one action."""
        return self.env.action_space(self.default_params if params is None else params)

    def observation_space(self, params):
        """Space of one observation."""
        return self.env.observation_space(params)

    def state_space(self, params):
        """Space of the inner environment's state, where it declares one."""
        return self.env.state_space(params)

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """`()`, or `(objectives,)` for an environment with vector rewards."""
        return reward_shape(self.env)

    def action_mask(self, obs: jax.Array) -> jax.Array | None:
        """See `jaxrl.envs.action_mask`."""
        return action_mask(self.env, obs)

    @property
    def stock(self) -> Any:
        """See `jaxrl.envs.stock_of`."""
        return stock_of(self.env)

    def check_params(self, params: Any) -> None:
        """Raises what the inner environment raises of parameters that make no sense."""
        check_params(self.env, params)

    @property
    def supports_transition_gradients(self) -> bool:
        """Whether the inner environment's transitions can be differentiated."""
        return self.env.supports_transition_gradients

    @property
    def transition_gradients_enabled(self) -> bool:
        """Whether the inner environment's transitions keep gradients."""
        return self.env.transition_gradients_enabled

    def with_transition_gradients(self):
        """A copy whose transitions keep gradients; ValueError where the inner environment has none."""
        inner = self.env.with_transition_gradients()
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.env = inner
        return copy


def unwrapped(env: Environment) -> Environment:
    """The environment inside all transforms: where its own methods are, such as a probe's `value`."""
    while isinstance(env, EnvironmentTransform):
        env = env.env
    return env


def check_params(env: Environment, params: Any) -> None:
    """Raises what an environment's own `check_params(params)` raises, if it has one: of values that make no sense."""
    check = getattr(env, "check_params", None)
    if check is not None:
        check(params)


def reward_shape(env: Environment) -> tuple[int, ...]:
    """Shape of one reward: `()`, or `(objectives,)` for an environment with vector rewards."""
    return getattr(env, "reward_shape", ())


def action_mask(env: Environment, obs: jax.Array) -> jax.Array | None:
    """Which actions are allowed, read from the observation.

    The mask is part of the observation, so it is where the policy needs it: in a rollout, in a replay buffer and after
    a reset alike.

    Args:
        env: any environment.
        obs: `[..., *observation]`.

    Returns:
        bool `[..., num_actions]`, or None where the environment allows every action always.
    """
    mask = getattr(env, "action_mask", None)
    return None if mask is None else mask(obs)


def stock_of(env: Environment) -> Any:
    """How the stock of past rewards is read from observations and written into them, a `Stock`; None for an environment
    without one. A transform outside `stock/` that changes observations must say how it is done in its own."""
    return getattr(env, "stock", None)


def is_discrete(space: spaces.Space) -> bool:
    """Whether a space is a finite set of integers."""
    return isinstance(space, spaces.Discrete)

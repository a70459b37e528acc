"""Several goals of equal worth, so that an optimal policy may be one of many Gaussians or all of them at once."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvParams, EnvState

GOALS = jnp.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
CORNERS = jnp.array([[0.8, 0.8], [0.8, -0.8], [-0.8, 0.8], [-0.8, -0.8]])


@struct.dataclass
class GoalsParams(EnvParams):
    """Leaves that may be traced.

    Args:
        max_steps_in_episode: the time limit in steps.
        start_std: of the first position, each coordinate.
        noise_std: added to each coordinate in every step.
        action_cost: price of the squared length of an action.
        bonus: paid on arrival.
        radius: within which a goal is reached.
    """

    max_steps_in_episode: int = 30
    start_std: float = 0.1
    noise_std: float = 0.05
    action_cost: float = 0.1
    bonus: float = 10.0
    radius: float = 0.5


@struct.dataclass
class PointState(EnvState):
    """Steps taken and the position ``[2]``."""

    position: Any


class PlanarAction(Environment):
    """Base of environments with an action ``[2]`` in [-1, 1]."""

    @property
    def num_actions(self) -> int:
        """Dimensions of an action."""
        return 2

    def action_space(self, params=None) -> spaces.Box:
        """Box of ``[2]`` in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)


class MultiGoal(PlanarAction):
    """A point in the plane and four goals at a distance of 5 from its start.

    It moves by the action ``[2]`` in [-1, 1] and a little noise. The reward is minus a fifth of the distance to the
    nearest goal, less the cost of the action, and a bonus on arrival, which ends the episode. From the start on, all
    four are worth the same.
    """

    @property
    def default_params(self) -> GoalsParams:
        """As in the class."""
        return GoalsParams()

    @property
    def name(self) -> str:
        """The registered id."""
        return "control/multi-goal-v0"

    def reset_env(self, key, params):
        """Observation ``[2]`` and state."""
        position = params.start_std * jax.random.normal(key, (2,))
        return position, PointState(time=jnp.int32(0), position=position)

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward, whether a goal was reached, and an empty info."""
        action = jnp.clip(action, -1.0, 1.0)
        position = state.position + action + params.noise_std * jax.random.normal(key, (2,))
        distance = jnp.linalg.norm(position - GOALS, axis=-1).min()
        reached = distance < params.radius
        reward = (
            -distance / 5 - params.action_cost * jnp.sum(jnp.square(action)) + jnp.where(reached, params.bonus, 0.0)
        )
        return position, PointState(time=state.time + 1, position=position), reward, reached, {}

    def is_terminated(self, state: Any, params):
        """Within the radius of a goal."""
        return jnp.linalg.norm(state.position - GOALS, axis=-1).min() < params.radius

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[2]``, the position."""
        return spaces.Box(-jnp.inf, jnp.inf, (2,), jnp.float32)


@struct.dataclass
class CornersParams(EnvParams):
    """Leaves that may be traced.

    Args:
        max_steps_in_episode: the time limit in steps.
        width: standard deviation of each hill.
    """

    max_steps_in_episode: int = 1000
    width: float = 0.2


@struct.dataclass
class TwoModesParams(EnvParams):
    """Leaves that may be traced.

    Args:
        max_steps_in_episode: the time limit in steps.
        width: twice the variance of each hill.
    """

    max_steps_in_episode: int = 1000
    width: float = 0.08


class Corners(PlanarAction):
    """One action ``[2]`` in [-1, 1], with a hill at each of four corners: a reward of
    ``max_k exp(-|a - c_k|^2 / (2 w^2))``, ``c_k = (+-0.8, +-0.8)``. Episodes last one step."""

    @property
    def default_params(self) -> CornersParams:
        """As in the class."""
        return CornersParams()

    @property
    def name(self) -> str:
        """The registered id."""
        return "control/corners-v0"

    def reset_env(self, key, params):
        """An observation ``[1]`` that says nothing, and state."""
        return jnp.ones(1), EnvState(time=jnp.int32(0))

    def step_env(self, key, state: Any, action, params):
        """The same observation, state, reward, termination and an empty info."""
        squared = jnp.sum(jnp.square(jnp.clip(action, -1.0, 1.0) - CORNERS), axis=-1).min()
        reward = jnp.exp(-squared / (2 * jnp.square(params.width)))
        return jnp.ones(1), EnvState(time=state.time + 1), reward, jnp.bool_(True), {}

    def is_terminated(self, state: Any, params):
        """After the one step."""
        return state.time > 0

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[1]``."""
        return spaces.Box(0.0, 1.0, (1,), jnp.float32)


class TwoModes(Environment):
    """One action ``[1]`` in [-2, 2], and two narrow hills of the same height: a reward of
    ``exp(-(a - 1)^2 / w) + exp(-(a + 1)^2 / w)``, ``w = 0.08``. Episodes last one step."""

    @property
    def default_params(self) -> TwoModesParams:
        """As in the class."""
        return TwoModesParams()

    @property
    def name(self) -> str:
        """The registered id."""
        return "control/two-modes-v0"

    @property
    def num_actions(self) -> int:
        """Dimensions of an action."""
        return 1

    def action_space(self, params=None) -> spaces.Box:
        """Box of ``[1]`` in [-2, 2]."""
        return spaces.Box(-2.0, 2.0, (1,), jnp.float32)

    def reset_env(self, key, params):
        """An observation ``[1]`` that says nothing, and state."""
        return jnp.ones(1), EnvState(time=jnp.int32(0))

    def payoff(self, action: jax.Array, params) -> jax.Array:
        """The reward of actions ``[...]``, clipped into the box."""
        action = jnp.clip(action, -2.0, 2.0)
        left, right = (jnp.exp(-jnp.square(action - mode) / params.width) for mode in (-1.0, 1.0))
        return left + right

    def step_env(self, key, state: Any, action, params):
        """The same observation, state, reward, termination and an empty info."""
        reward = self.payoff(jnp.reshape(action, ()), params)
        return jnp.ones(1), EnvState(time=state.time + 1), reward, jnp.bool_(True), {}

    def is_terminated(self, state: Any, params):
        """After the one step."""
        return state.time > 0

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[1]``."""
        return spaces.Box(0.0, 1.0, (1,), jnp.float32)

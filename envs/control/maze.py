"""A point in a maze with two shortest ways to the goal, and a walker that knows them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import EnvParams, EnvState
from jaxrl.envs.control.goals import PlanarAction

MAZE = ("#######", "#S....#", "#.###.#", "#.###.#", "#.###.#", "#....G#", "#######")
"""rows from the top: walls ``#``, the start ``S`` and the goal ``G``"""
WALLS = np.array([[cell == "#" for cell in row] for row in MAZE])
"""``[row, column]``"""


def centre_of(mark: str) -> np.ndarray:
    """``(x, y)`` of the middle of the one cell with this mark."""
    ((row, column),) = np.argwhere(np.array([list(row) for row in MAZE]) == mark)
    return np.array([column + 0.5, row + 0.5], np.float32)


START, GOAL = centre_of("S"), centre_of("G")


@struct.dataclass
class MazeParams(EnvParams):
    """Leaves that may be traced.

    Args:
        max_steps_in_episode: the time limit in steps.
        radius: within which of its middle the goal is reached.
    """

    max_steps_in_episode: int = 300
    radius: float = 0.5


@struct.dataclass
class MazeState(EnvState):
    """Steps taken, position ``[2]`` and velocity ``[2]``."""

    position: Any
    velocity: Any


class PointMaze(PlanarAction):
    """A point with inertia in a maze of 7 by 7 cells, and a reward of 1 on arrival at the goal, which ends the episode.

    A cell is a unit square, x counts columns and y rows from the top. From the start, anywhere in one corner, two
    corridors of equal length lead around a block of 3 by 3 walls to the goal in the opposite corner. The action ``[2]``
    in [-1, 1] pushes: ``v <- 0.9 v + 0.1 a``, then ``x <- x + 0.5 v_x``, then ``y <- y + 0.5 v_y``; a move into a wall
    is not made, and its velocity becomes 0. Stands in for AntMaze.
    """

    @property
    def default_params(self) -> MazeParams:
        """As in the class."""
        return MazeParams()

    @property
    def name(self) -> str:
        """The registered id."""
        return "control/point-maze-v0"

    def reset_env(self, key, params):
        """Observation ``[6]`` and state: at rest, anywhere in the cell of the start."""
        position = jnp.asarray(START) + jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)
        state = MazeState(time=jnp.int32(0), position=position, velocity=jnp.zeros(2))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward, whether the goal was reached, and an empty info."""
        velocity = 0.9 * state.velocity + 0.1 * jnp.clip(action, -1.0, 1.0)
        position = state.position
        for axis in range(2):
            moved = position.at[axis].add(0.5 * velocity[axis])
            stopped = in_wall(moved)
            position = jnp.where(stopped, position, moved)
            velocity = velocity.at[axis].multiply(jnp.where(stopped, 0.0, 1.0))
        state = MazeState(time=state.time + 1, position=position, velocity=velocity)
        reached = self.is_terminated(state, params)
        return self.observe(key, state, action, params), state, reached.astype(jnp.float32), reached, {}

    def observe(self, key, state: Any, action, params):
        """Position, velocity and the middle of the goal, ``[6]``."""
        return jnp.concatenate([state.position, state.velocity, jnp.asarray(GOAL)])

    def is_terminated(self, state: Any, params):
        """Within the radius of the goal's middle."""
        return jnp.linalg.norm(state.position - GOAL) < params.radius

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[6]``."""
        low, high = jnp.array([0.0, 0.0, -1.0, -1.0, 0.0, 0.0]), jnp.array([7.0, 7.0, 1.0, 1.0, 7.0, 7.0])
        return spaces.Box(low, high, (6,), jnp.float32)


def in_wall(position: jax.Array) -> jax.Array:
    """Whether a position ``[2]`` lies in a wall, bool ``[]``; a step is too short to pass through one."""
    column, row = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, len(MAZE) - 1)
    return jnp.asarray(WALLS)[row, column]


def walk(obs: jax.Array, down_first: jax.Array) -> jax.Array:
    """The action ``[2]`` of a walker that follows one of the two corridors from corner to corner, bool ``[]``: first
    down and then to the right, or first to the right and then down."""
    position, velocity = obs[:2], obs[2:4]
    # The corner is turned half a cell before its middle; walls do the braking.
    corner = jnp.where(down_first, jnp.array([START[0], GOAL[1]]), jnp.array([GOAL[0], START[1]]))
    turned = jnp.where(down_first, position[1] > GOAL[1] - 0.5, position[0] > GOAL[0] - 0.5)
    return jnp.clip(jnp.where(turned, jnp.asarray(GOAL), corner) - position - 0.5 * velocity, -1.0, 1.0)

"""What brax and MuJoCo Playground share: `reset(rng) -> State`, `step(State, action) -> State`."""

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvParams, EnvState, strong

from jaxrl.errors import UserError


@struct.dataclass
class PhysicsState(EnvState):
    """State of a simulated episode.

    Args:
        time: steps taken, int32 `[]`.
        physics: the simulator's state.
        info: the suite's own bookkeeping between steps; its keys are those of its reset.
    """

    physics: Any = None
    info: Any = None


@struct.dataclass
class PhysicsParams(EnvParams):
    """Parameters of a simulated environment: the time limit in environment steps."""

    max_steps_in_episode: int = 1000


class Physics(Environment[PhysicsState, PhysicsParams]):
    """A brax or Playground environment, without their wrappers.

    The state carries the simulator's state and nothing that a step makes anew (observation, reward, metrics). `done` is
    termination alone; the time limit is `params.max_steps_in_episode` and is truncation.

    Args:
        env: a raw environment with `reset(rng)` and `step(state, action)`.
        name: its name.
        field: the field of its State that holds the simulator's state.
        low, high: bounds of one action dimension, each a float or `[action]`.
        max_steps_in_episode: the time limit in environment steps.
    """

    def __init__(self, env: Any, name: str, field: str, low: Any, high: Any, max_steps_in_episode: int):
        super().__init__()
        self.env, self._name, self._field = env, name, field
        self._low, self._high = low, high
        self._max_steps = max_steps_in_episode

    @property
    def default_params(self) -> PhysicsParams:
        """The time limit."""
        return PhysicsParams(max_steps_in_episode=self._max_steps)

    @property
    def name(self) -> str:
        """The environment's id."""
        return self._name

    @cached_property
    def _template(self) -> Any:
        return jax.eval_shape(self.env.reset, jax.random.key_data(jax.random.key(0)))

    def _observation(self, obs: Any) -> jax.Array:
        if isinstance(obs, dict):
            if "state" not in obs:
                raise UserError(f"{self.name}: observations {sorted(obs)} have no entry 'state'")
            obs = obs["state"]
        return jnp.asarray(obs, jnp.float32)

    def reset_env(self, key, params):
        """Observation `[observation]` and state."""
        # Both suites were written for raw keys and look at the shape of their key.
        start = self.env.reset(jax.random.key_data(key))
        state = PhysicsState(time=0, physics=getattr(start, self._field), info=start.info)
        return self._observation(start.obs), strong(state)

    def step_env(self, key, state, action, params):
        """Observation `[observation]`, state, reward `[]`, terminated `[]` and an empty info."""
        # The other fields are outputs of a step; they have to be there, with their structure, but are not read.
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._template.replace(**{self._field: None}))
        now = blank.replace(**{self._field: state.physics}, info=state.info)
        after = self.env.step(now, jnp.asarray(action, jnp.float32).reshape(self.num_actions))
        state = PhysicsState(time=state.time + 1, physics=getattr(after, self._field), info=after.info)
        reward = jnp.asarray(after.reward, jnp.float32).reshape(())
        return self._observation(after.obs), strong(state), reward, after.done.reshape(()) > 0, {}

    def is_terminated(self, state, params):
        """Not kept in the state: termination is what `step_env` returns."""
        raise TypeError(f"{self.name}: termination is known from the step only; use step_env's `terminated`")

    @property
    def num_actions(self) -> int:
        """Number of action dimensions."""
        return int(self.env.action_size)

    def action_space(self, params=None) -> spaces.Box:
        """Box of `[action]`."""
        low, high = (
            jnp.broadcast_to(jnp.asarray(x, jnp.float32), (self.num_actions,)) for x in (self._low, self._high)
        )
        return spaces.Box(low, high, (self.num_actions,), jnp.float32)

    def observation_space(self, params) -> spaces.Box:
        """Unbounded box of `[observation]`."""
        obs = jax.eval_shape(self._observation, self._template.obs)
        return spaces.Box(-jnp.inf, jnp.inf, obs.shape, jnp.float32)

"""What brax and MuJoCo Playground share: `reset(rng) -> State`, `step(State, action) -> State`."""

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jax.interpreters import partial_eval
from jaxrl.envs.base import Environment, EnvParams, EnvState, strong

from jaxrl.errors import UserError


@struct.dataclass
class PhysicsState(EnvState):
    """State of a simulated episode.

    Args:
        time: steps taken, int32 `[]`.
        carried: the arrays of the simulator's state that a step depends on; `Physics.simulation` is the way back.
    """

    carried: tuple[jax.Array, ...]


@struct.dataclass
class PhysicsParams(EnvParams):
    """Parameters of a simulated environment: the time limit in environment steps."""

    max_steps_in_episode: int = 1000


class Physics(Environment[PhysicsState, PhysicsParams]):
    """A brax or Playground environment, without their wrappers.

    The state carries the arrays on which later steps depend and nothing else: neither what a step makes anew
    (observation, reward, metrics) nor the simulator's intermediate results. For brax's ant on mjx that is 0.7 kB, not
    12, for every environment of every member. `done` is termination alone; the time limit is
    `params.max_steps_in_episode` and is truncation. Transitions keep their gradients, where the simulator has some.

    Args:
        env: a raw environment with `reset(rng)` and `step(state, action)`.
        name: its name.
        field: the field of its State that holds the simulator's state.
        low, high: bounds of one action dimension, each a float or `[action]`.
        max_steps_in_episode: the time limit in environment steps.
        lean: False to carry the whole state of the simulator, for rendering or to look at contacts.
    """

    _supports_transition_gradients = True
    _transition_gradients_enabled = True

    def __init__(self, env: Any, name: str, field: str, low: Any, high: Any, max_steps_in_episode: int, lean: bool):
        super().__init__()
        self.env, self._name, self._field = env, name, field
        self._low, self._high = low, high
        self._max_steps, self.lean = max_steps_in_episode, lean

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

    def _leaves(self, state: Any) -> list[jax.Array]:
        return jax.tree.leaves((getattr(state, self._field), state.info))

    @cached_property
    def _carried(self) -> tuple[bool, ...]:
        """Which of the state's arrays some later observation, reward or termination depends on."""
        leaves = self._leaves(self._template)
        if not self.lean:
            return (True,) * len(leaves)

        def step(leaves, action):
            after = self.env.step(self._state(leaves), action)
            return [after.obs, after.reward, after.done], self._leaves(after)

        jaxpr = jax.make_jaxpr(step)(leaves, jax.ShapeDtypeStruct((self.num_actions,), jnp.float32)).jaxpr
        outputs = len(jaxpr.outvars) - len(leaves)
        carried = [False] * len(leaves)
        while True:  # what is needed for the outputs, for what is needed for the outputs, ...
            used = partial_eval.dce_jaxpr(jaxpr, [True] * outputs + carried)[1][: len(leaves)]
            if all(old or not new for old, new in zip(carried, used)):
                return tuple(carried)
            carried = [old or new for old, new in zip(carried, used)]

    def _state(self, leaves: list[jax.Array]) -> Any:
        # The other fields of the suite's State are outputs of a step: they have to be there, and nothing reads them.
        tree = jax.tree.structure((getattr(self._template, self._field), self._template.info))
        physics, info = jax.tree.unflatten(tree, leaves)
        blank = self._template.replace(**{self._field: None, "info": None})
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank)
        return blank.replace(**{self._field: physics, "info": info})

    def simulation(self, state: PhysicsState) -> Any:
        """The suite's own State, where arrays that are not carried (see `lean`) are zero."""
        arrays = iter(state.carried)
        template = zip(self._leaves(self._template), self._carried)
        return self._state([next(arrays) if carried else jnp.zeros(x.shape, x.dtype) for x, carried in template])

    def _pack(self, time: Any, state: Any) -> PhysicsState:
        arrays = tuple(x for x, carried in zip(self._leaves(state), self._carried) if carried)
        return strong(PhysicsState(time=time, carried=arrays))

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
        return self._observation(start.obs), self._pack(0, start)

    def step_env(self, key, state, action, params):
        """Observation `[observation]`, state, reward `[]`, terminated `[]` and an empty info."""
        after = self.env.step(self.simulation(state), jnp.asarray(action, jnp.float32).reshape(self.num_actions))
        reward = jnp.asarray(after.reward, jnp.float32).reshape(())
        terminated = jnp.asarray(after.done, jnp.float32).reshape(()) > 0
        return self._observation(after.obs), self._pack(state.time + 1, after), reward, terminated, {}

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

"""Jumanji's environments (optional: `pip install 'jaxrl[jumanji]'`)."""

import inspect
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvParams, EnvState, strong
from jumanji import registration, specs
from jumanji.env import Environment as JumanjiEnvironment

from jaxrl.errors import UserError

MAX_ACTIONS = 2**14
"""The most joint actions of a MultiDiscrete space that are numbered as one Discrete space."""

REFUSED = {
    "Connector-v3": "a reward per agent; environments here have one reward",
    "LevelBasedForaging-v0": "a reward per agent; environments here have one reward",
    "SearchAndRescue-v0": "a reward per agent; environments here have one reward",
    "JobShop-v0": f"21^10 joint actions; at most {MAX_ACTIONS} are numbered as one discrete space",
    "MMST-v0": f"36^3 joint actions; at most {MAX_ACTIONS} are numbered as one discrete space",
    "MultiCVRP-v0": "its action is an array of bounded integers, which is neither discrete nor continuous",
}

# Where Jumanji has no time limit: the most steps that the rules allow, so that one is never cut short.
_HORIZONS: dict[str, Callable[[Any], int]] = {
    "BinPack": lambda env: env.generator.max_num_items,
    "CVRP": lambda env: 2 * env.num_nodes,
    "FlatPack": lambda env: env.num_blocks,
    "GraphColoring": lambda env: env.num_nodes,
    "Knapsack": lambda env: env.num_items,
    "Minesweeper": lambda env: env.num_rows * env.num_cols,
    "Sudoku": lambda env: 81,
    "TSP": lambda env: env.num_cities,
}
# The others have no bound, Game2048 among them: reaching the tile takes about a thousand moves.
_UNBOUNDED = 10_000
_NEVER = 2**31 - 1


def names() -> list[str]:
    """Ids of Jumanji's registry that the adapter takes."""
    return sorted(name for name in registration.registered_environments() if name not in REFUSED)


def factory(name: str) -> Callable[..., "Jumanji"]:
    """A function that makes the environment from its settings; its signature lists them.

    Settings are the keyword arguments of the Jumanji class (`generator`, `reward_fn`, `time_limit` ...).
    """
    constructor = registration.load(registration._REGISTRY[name].entry_point)

    def make(**settings):
        return Jumanji(registration.make(name, **settings), f"jumanji/{name}")

    make.__signature__, make.__doc__ = inspect.signature(constructor), constructor.__doc__
    return make


@struct.dataclass
class JumanjiState(EnvState):
    """State of an episode.

    Args:
        time: steps taken, int32 `[]`.
        inner: Jumanji's state, with a raw key.
        cut: whether the last step ended the episode with a discount that is not 0, bool `[]`.
    """

    inner: Any
    cut: jax.Array


@struct.dataclass
class JumanjiParams(EnvParams):
    """Parameters of a Jumanji environment: the time limit in steps."""

    max_steps_in_episode: int = _UNBOUNDED


class Jumanji(Environment[JumanjiState, JumanjiParams]):
    """A Jumanji environment.

    - The observation is one float32 vector: the leaves of Jumanji's observation, each flattened and cast, in the order
      of `jax.tree.leaves`. `structured` is the way back.
    - `action_mask` reads the allowed actions from that vector, where Jumanji's observation has a mask.
    - A MultiDiscrete action is one integer in row-major order (its last part runs fastest), up to `MAX_ACTIONS`.
    - Jumanji reports its own time limit as a termination (discount 0). So that limit is lifted, its number becomes
      `params.max_steps_in_episode`, and reaching it is truncation, as is a last step with a discount above 0. Where
      Jumanji has no limit, the number is the most steps that the rules allow: then the last one terminates as well.

    Args:
        env: from `jumanji.make`. Its `time_limit`, where it has one, is changed.
        name: the environment's id.

    Raises:
        UserError: the action space or the reward is of a kind that is not supported.
    """

    def __init__(self, env: JumanjiEnvironment, name: str):
        super().__init__()
        self.env: Any = env
        self._name = name
        if hasattr(env, "time_limit"):
            self._limit, self.env.time_limit = int(self.env.time_limit), _NEVER
        else:
            self._limit = _HORIZONS.get(type(env).__name__, lambda env: _UNBOUNDED)(env)
        spec = env.action_spec
        if isinstance(spec, specs.DiscreteArray | specs.MultiDiscreteArray):
            self._parts = tuple(int(n) for n in jnp.ravel(spec.num_values))
        else:
            raise UserError(f"{name}: actions of {type(spec).__name__} are not supported, only (Multi)DiscreteArray")
        if math.prod(self._parts) > MAX_ACTIONS:
            raise UserError(f"{name}: {math.prod(self._parts)} joint actions; at most {MAX_ACTIONS} are supported")
        if tuple(env.reward_spec.shape):
            raise UserError(f"{name}: rewards of shape {env.reward_spec.shape}; environments here have one reward")

    @property
    def default_params(self) -> JumanjiParams:
        """The time limit."""
        return JumanjiParams(max_steps_in_episode=self._limit)

    @property
    def name(self) -> str:
        """The environment's id."""
        return self._name

    @cached_property
    def _template(self) -> Any:
        return jax.eval_shape(self.env.reset, jax.random.key_data(jax.random.key(0)))[1].observation

    def _flat(self, observation: Any) -> jax.Array:
        return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(observation)])

    def structured(self, obs: jax.Array) -> Any:
        """Jumanji's observation, with leaves `[..., *leaf]` of its dtypes, from vectors `[..., observation]`."""
        leaves, tree = jax.tree.flatten(self._template)
        ends = [sum(x.size for x in leaves[: i + 1]) for i in range(len(leaves))]
        parts = jnp.split(obs, ends[:-1], axis=-1)
        return jax.tree.unflatten(
            tree, [p.reshape(*obs.shape[:-1], *x.shape).astype(x.dtype) for p, x in zip(parts, leaves)]
        )

    def reset_env(self, key, params):
        """Observation `[observation]` and state."""
        inner, step = self.env.reset(jax.random.key_data(key))
        return self._flat(step.observation), strong(JumanjiState(time=0, inner=inner, cut=jnp.bool_(False)))

    def step_env(self, key, state, action, params):
        """Observation `[observation]`, state, reward `[]`, terminated `[]` and an empty info."""
        spec = self.env.action_spec
        action = jnp.asarray(action, jnp.int32).reshape(())
        if isinstance(spec, specs.MultiDiscreteArray):
            action = jnp.stack(jnp.unravel_index(action, self._parts)).reshape(spec.shape)
        inner, step = self.env.step(state.inner, action.astype(spec.dtype))
        last, stops = step.last(), step.discount == 0
        after = strong(JumanjiState(time=state.time + 1, inner=inner, cut=last & ~stops))
        return self._flat(step.observation), after, jnp.asarray(step.reward, jnp.float32), last & stops, {}

    def is_truncated(self, state, params):
        """Whether the time limit is reached or Jumanji cut the episode, bool `[]`."""
        return state.cut | (state.time >= params.max_steps_in_episode)

    def is_terminated(self, state, params):
        """Not kept in the state: termination is what `step_env` returns."""
        raise TypeError(f"{self.name}: termination is known from the step only; use step_env's `terminated`")

    def action_mask(self, obs: jax.Array) -> jax.Array | None:
        """Allowed actions, bool `[..., num_actions]`, at `[..., observation]`; None where Jumanji has no mask.

        A mask per part `[parts, values]` (one agent each) becomes the mask of all combinations.
        """
        if not hasattr(self._template, "action_mask"):
            return None
        shape = self._template.action_mask.shape
        mask = self.structured(obs).action_mask
        if math.prod(shape) == self.num_actions:
            return mask.reshape(*obs.shape[:-1], self.num_actions)
        if shape != (len(self._parts), self._parts[0]) or len(set(self._parts)) != 1:
            return None
        joint = mask[..., 0, :]
        for part in range(1, len(self._parts)):
            joint = (joint[..., :, None] & mask[..., part, None, :]).reshape(*obs.shape[:-1], -1)
        return joint

    @property
    def num_actions(self) -> int:
        """Number of (joint) actions."""
        return math.prod(self._parts)

    def action_space(self, params=None) -> spaces.Discrete:
        """Discrete."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params) -> spaces.Box:
        """Unbounded box of `[observation]`."""
        size = sum(x.size for x in jax.tree.leaves(self._template))
        return spaces.Box(-jnp.inf, jnp.inf, (size,), jnp.float32)

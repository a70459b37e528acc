"""Construction of solutions as decision processes: the direct one, and the transform to its bisimulation quotient."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvironmentTransform, EnvParams, EnvState, strong, unwrapped
from jaxrl.envs.combinatorial.problem import (
    NOWHERE,
    Instance,
    Problem,
    Remaining,
    Tokens,
    advance,
    allowed,
    node_and_flag,
    permitted,
    reduced,
    tokens,
)

from jaxrl.errors import InvalidArgument


@struct.dataclass
class ConstructionParams(EnvParams):
    """The time limit in steps; instances have theirs in themselves."""

    max_steps_in_episode: int = 100


@struct.dataclass
class DirectState(EnvState):
    """The instance and the partial solution: int32 ``[T]`` actions, ``NOWHERE`` from the next one on."""

    time: Any
    instance: Instance
    actions: Any


@struct.dataclass
class QuotientState(EnvState):
    """The sub-instance that is left to solve, and the steps so far."""

    time: Any
    instance: Instance


class DirectView(NamedTuple):
    """An observation of the direct process taken apart: the whole instance, and where its solution stands."""

    features: jax.Array
    """``[..., n, F]`` of the instance as it was at first"""
    present: jax.Array
    """bool ``[..., n]``, slots that were valid at first"""
    origin: jax.Array
    """bool ``[..., n]``: the last node of the partial solution, which the next step goes on from"""
    destination: jax.Array
    """bool ``[..., n]``"""
    allowed: jax.Array
    """bool ``[..., n, flags]``"""
    order: jax.Array
    """int32 ``[..., n]``: the step in which a node was chosen, from 1 on, 0 for those that were not"""
    flag: jax.Array
    """int32 ``[..., n]``: the flag of that step"""
    budget: jax.Array
    """``[...]``, what is left of it; follows from the others"""


class Construction(Environment):
    """The direct process: states are an instance and a partial solution, actions add a node to it.

    An action is ``slot * flags + flag``. The reward is minus the cost that a step adds, so that a return is minus the
    cost of the solution; an episode ends with the last node that can be added. A solution is feasible whatever is sent:
    an action that is not allowed is taken as the first one that is.

    Observations ``[n, C]`` are taken apart by ``view``. ``make("quotient/...")`` is the quotient.

    Args:
        problem: its functions.
        generate: ``(key) -> Instance``, all with the same number of slots.
        env_id: the registered name.
    """

    def __init__(self, problem: Problem, generate: Callable[[jax.Array], Instance], env_id: str = "combinatorial"):
        super().__init__()
        self.problem, self.generate, self.env_id = problem, generate, env_id
        shapes = jax.eval_shape(lambda key: tokens(problem, generate(key)), jax.random.key(0))
        self.slots, self.feature_size = shapes.features.shape
        self.steps = max(1, self.slots - 2 * problem.path)

    # --- the process -------------------------------------------------------------------------------------------

    def reset_env(self, key, params):
        """Observation and state of a new instance."""
        return self.start(self.generate(key))

    def start(self, instance: Instance) -> tuple[jax.Array, DirectState]:
        """Observation and state of a given instance."""
        actions = jnp.full(self.steps, NOWHERE, jnp.int32)
        state = strong(DirectState(time=jnp.int32(0), instance=instance, actions=actions))
        return self._observation(state), state

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward ``[]``, terminated and an empty info."""
        problem, instance = self.problem, state.instance
        before = reduced(problem, instance, state.actions)
        mask = allowed(problem, before)
        action = jnp.where(jnp.any(mask), permitted(mask, action), NOWHERE)
        state = DirectState(
            time=state.time + 1, instance=instance, actions=state.actions.at[state.time].set(action, mode="drop")
        )
        node, flag = node_and_flag(problem, action)
        done = ~jnp.any(allowed(problem, reduced(problem, instance, state.actions)))
        cost = problem.price(instance, before.remaining.origin, node, flag)
        cost = cost + jnp.where(done, problem.closing(instance, node), 0.0)
        return self._observation(state), state, jnp.where(action >= 0, -cost, 0.0), done, {}

    def is_terminated(self, state: Any, params):
        """Whether the solution is complete."""
        return ~jnp.any(allowed(self.problem, reduced(self.problem, state.instance, state.actions)))

    # --- observations ------------------------------------------------------------------------------------------

    def observe(self, key, state: Any, action, params):
        """The observation of a state."""
        return self._observation(state)

    def _observation(self, state: DirectState) -> jax.Array:
        problem, instance = self.problem, state.instance
        now, slots = reduced(problem, instance, state.actions), jnp.arange(self.slots)
        whole = tokens(problem, instance)
        nodes, flags = node_and_flag(problem, state.actions)
        chosen = (slots[:, None] == nodes) & (state.actions != NOWHERE)
        columns = [
            whole.valid,
            slots == now.remaining.origin,
            whole.destination,
            *jnp.unstack(allowed(problem, now), axis=1),
            jnp.sum(jnp.where(chosen, 1 + jnp.arange(self.steps), 0), axis=1),
            jnp.sum(jnp.where(chosen, flags, 0), axis=1),
            jnp.broadcast_to(now.remaining.budget, self.slots),
        ]
        return joined(whole.features, columns, whole.cost)

    def view(self, obs: jax.Array) -> DirectView:
        """An observation ``[..., n, C]`` taken apart; costs between nodes, where there are some, are its last ``n``
        columns."""
        flags, size = self.problem.flags, self.feature_size
        rest = obs[..., size:]
        marks = rest[..., : 3 + flags] > 0
        order, flag = (rest[..., 3 + flags + i].astype(jnp.int32) for i in range(2))
        return DirectView(
            obs[..., :size], marks[..., 0], marks[..., 1], marks[..., 2], marks[..., 3:], order, flag,
            rest[..., 0, 5 + flags],
        )  # fmt: skip

    def action_mask(self, obs: jax.Array) -> jax.Array:
        """bool ``[..., n * flags]``."""
        return flat(self.view(obs).allowed)

    # --- what gymnax asks for ------------------------------------------------------------------------------------

    @property
    def default_params(self) -> ConstructionParams:
        """A limit that no episode is cut by."""
        return ConstructionParams(max_steps_in_episode=self.steps)

    @property
    def name(self) -> str:
        """The registered id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """``n * flags``."""
        return self.slots * self.problem.flags

    def action_space(self, params=None) -> spaces.Discrete:
        """``n * flags`` numbers."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[n, C]``, unbounded."""
        shape = jax.eval_shape(lambda key: self.reset_env(key, params)[0], jax.random.key(0)).shape
        return spaces.Box(-jnp.inf, jnp.inf, shape, jnp.float32)


class Quotient(EnvironmentTransform):
    """Solves what is left: states are the sub-instance that a partial solution leaves, whatever came before.

    The bisimulation quotient of a construction process (Drakulic et al. 2023): a pure function of its states,
    ``reduce``, that keeps rewards, allowed actions, and so returns and optimal policies. Steps are then taken in the
    quotient alone. Actions are those of the process inside. Observations ``[n, C]`` are taken apart by ``view``.

    Args:
        env: an environment of ``combinatorial/``.

    Raises:
        InvalidArgument: for another environment.

    Example:
        >>> from jaxrl.envs import make
        >>> env = make("quotient/combinatorial/tsp-v0", nodes=5)
        >>> obs, state = env.reset_env(jax.random.key(0), env.default_params)
        >>> env.action_mask(obs).tolist()  # not the origin, slot 0, nor the destination, slot 5
        [False, True, True, True, True, False]
    """

    def __init__(self, env: Environment):
        inner: Any = unwrapped(env)
        if not isinstance(inner, Construction):
            raise InvalidArgument("env", env.name, "must construct a solution, such as combinatorial/tsp-v0")
        super().__init__(env)
        self.construction: Construction = inner
        self.problem, self.slots, self.feature_size = inner.problem, inner.slots, inner.feature_size

    def reduce(self, state: DirectState) -> QuotientState:
        """The state of the quotient that a state of the process inside belongs to."""
        return QuotientState(state.time, reduced(self.problem, state.instance, state.actions))

    def reset_env(self, key, params):
        """Observation and state of a new instance."""
        _, state = self.env.reset_env(key, params)
        state = self.reduce(state)
        return self._observation(state), state

    def start(self, instance: Instance) -> tuple[jax.Array, QuotientState]:
        """Observation and state of a given instance."""
        state = strong(QuotientState(time=jnp.int32(0), instance=instance))
        return self._observation(state), state

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward ``[]``, terminated and an empty info."""
        mask = allowed(self.problem, state.instance)
        instance, reward, done = advance(self.problem, state.instance, permitted(mask, action))
        dead = ~jnp.any(mask)  # nothing fits from the start; else an episode has ended before
        before, after = state.instance.remaining, instance.remaining
        remaining: Remaining = jax.tree.map(lambda x, y: jnp.where(dead, x, y), before, after)
        state = QuotientState(time=state.time + 1, instance=dataclasses.replace(instance, remaining=remaining))
        return self._observation(state), state, jnp.where(dead, 0.0, reward), done | dead, {}

    def is_terminated(self, state: Any, params):
        """Whether nothing can be added."""
        return ~jnp.any(allowed(self.problem, state.instance))

    def is_truncated(self, state, params):
        """Whether the episode has reached its time limit, bool scalar."""
        return state.time >= params.max_steps_in_episode

    def observe(self, key, state: Any, action, params):
        """The observation of a state."""
        return self._observation(state)

    def _observation(self, state: QuotientState) -> jax.Array:
        seen = tokens(self.problem, state.instance)
        columns = [seen.valid, seen.origin, seen.destination, *jnp.unstack(seen.allowed, axis=1)]
        return joined(seen.features, columns, seen.cost)

    def view(self, obs: jax.Array) -> Tokens:
        """An observation ``[..., n, C]`` taken apart: what ``tokens`` makes of the sub-instance."""
        flags, size = self.problem.flags, self.feature_size
        marks = obs[..., size : size + 3 + flags] > 0
        cost = obs[..., size + 3 + flags :] if self.problem.matrix else None
        return Tokens(obs[..., :size], marks[..., 0], marks[..., 1], marks[..., 2], marks[..., 3:], cost)

    def action_mask(self, obs: jax.Array) -> jax.Array:
        """bool ``[..., n * flags]``."""
        return flat(self.view(obs).allowed)

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[n, C]``, unbounded."""
        columns = self.feature_size + 3 + self.problem.flags + self.slots * self.problem.matrix
        return spaces.Box(-jnp.inf, jnp.inf, (self.slots, columns), jnp.float32)

    @property
    def name(self) -> str:
        """The registered id."""
        return f"quotient/{self.env.name}"


def joined(features: jax.Array, columns: list[Any], cost: jax.Array | None) -> jax.Array:
    """Float32 ``[n, C]``: features, columns ``[n]`` and costs side by side."""
    parts = [features, jnp.stack([jnp.asarray(column, jnp.float32) for column in columns], axis=1)]
    return jnp.concatenate([part.astype(jnp.float32) for part in (*parts, *([] if cost is None else [cost]))], axis=1)


def flat(mask: jax.Array) -> jax.Array:
    """``[..., n, flags]`` as ``[..., n * flags]``."""
    return mask.reshape(*mask.shape[:-2], int(np.prod(mask.shape[-2:])))

"""A finite decision process, sampled behind gymnax's API."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.arguments import whole
from jaxrl.envs.base import Environment, EnvParams, EnvState
from jaxrl.envs.tabular.grids import WALL

from jaxrl.bellman.mdp import MDP
from jaxrl.errors import InvalidArgument


@struct.dataclass
class TabularParams(EnvParams):
    """A process of ``S`` states, ``A`` actions and ``n`` outcomes as its sampler wants it; made by ``tables``.

    All fields but the time limit are leaves that may be traced and may differ between members.

    Args:
        max_steps_in_episode: the time limit in steps.
        cumulative: float32 ``[S, A, n]``, the probability of this outcome or one listed before it.
        rewards: float32 ``[S, A, n]``, or ``[S, A, 1]`` where all outcomes earn the same; ``[S, A, n, objectives]`` for
            vectors.
        successors: int32 ``[S, A, n]``.
        start: float32 ``[S]``, the probability to begin in this state or one before it.
        terminal: bool ``[S]``, where episodes end.
    """

    max_steps_in_episode: int = 1000
    cumulative: Any = None
    rewards: Any = None
    successors: Any = None
    start: Any = None
    terminal: Any = None


@struct.dataclass
class TabularState(EnvState):
    """Steps taken and the number of the state, both int32 ``[]``."""

    time: Any
    state: Any


class TabularEnvironment(Environment):
    """Samples a finite decision process.

    An episode terminates on arrival in a state that every action keeps, without reward. What the time limit cuts is
    not terminated. An action that is not allowed does what the first allowed one does.

    Where the process says which actions are allowed, ``action_mask`` reads it from the observation: from the state that
    the observation shows, or, where it shows features, from the ``A`` zeros and ones that then follow them.

    Outcomes are drawn from cumulative probabilities by one uniform number of 23 bits, so that probabilities are exact
    to about 1e-7.

    Args:
        process: a process of ``S`` states; its discount is not used.
        observation: ``"one-hot"``, float32 ``[S]``; ``"index"``, the number of the state, int32 ``[]``; or features of
            all states, ``[S, D]``, of which it is one row.
        arrival_rewards: ``[S, objectives]`` earned on arrival, instead of the rewards of the process, for
            vector rewards.
        layout: rows of a map, for pictures; its cells, but for walls ``#``, are the states, or those of each stage.
        max_steps_in_episode: the time limit.
        env_id: the registered name.

    Raises:
        InvalidArgument: for another kind of observation, features or rewards that do not fit the states or are not
            finite, a map of another number of cells, or a time limit below 1.

    Example:
        >>> from jaxrl.envs.tabular import bit_generator
        >>> env = TabularEnvironment(bit_generator(), observation="index")
        >>> obs, state = env.reset(jax.random.key(0), env.default_params)
        >>> env.step(jax.random.key(1), state, 1, env.default_params)[2].item()
        1.0
    """

    def __init__(
        self,
        process: MDP,
        observation: Any = "one-hot",
        *,
        arrival_rewards: Any = None,
        layout: Sequence[str] | None = None,
        max_steps_in_episode: int = 1000,
        env_id: str = "tabular",
    ):
        super().__init__()
        limit = whole("max_steps_in_episode", max_steps_in_episode, 1)
        if isinstance(observation, str):
            if observation not in ("one-hot", "index"):
                raise InvalidArgument("observation", observation, "must be 'one-hot', 'index' or features [S, D]")
            self.features = None
        else:
            self.features = _per_state("observation", observation, process.states)
        if arrival_rewards is not None:
            arrival_rewards = _per_state("arrival_rewards", arrival_rewards, process.states)
        cells = None if layout is None else len("".join(layout).replace(WALL, ""))
        # One state more than cells is the end of a process in stages.
        if cells is not None and (not cells or process.states % cells not in (0, 1) or process.states < cells):
            raise InvalidArgument("layout", layout, f"must have a cell for each of {process.states} states")
        self.process, self.env_id, self.layout = process, env_id, layout
        self.observation = observation if self.features is None else "features"
        self._reward_shape = () if arrival_rewards is None else arrival_rewards.shape[1:]
        self._params = TabularParams(limit, **tables(process, arrival_rewards=arrival_rewards))

    # --- episodes ----------------------------------------------------------------------------------------------

    def reset_env(self, key, params):
        """Observation and state of a new episode."""
        state = TabularState(time=jnp.int32(0), state=_draw(key, params.start))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward, terminated and an empty info."""
        params = jax.tree.map(jnp.asarray, params)  # arrays of numpy take no traced index
        outcome = _draw(key, params.cumulative[state.state, action])
        # The one reward of all outcomes, where there is only one.
        earned = outcome if params.rewards.shape[2] > 1 else 0
        reward = params.rewards[state.state, action, earned]
        successor = params.successors[state.state, action, outcome]
        state = TabularState(time=state.time + 1, state=successor)
        return self.observe(key, state, action, params), state, reward, params.terminal[successor], {}

    def observe(self, key, state: Any, action, params):
        """The observation of a state."""
        if self.observation == "index":
            return state.state
        if self.features is None:
            return jax.nn.one_hot(state.state, self.process.states)
        features = jnp.asarray(self.features)[state.state]
        if self.process.allowed is None:
            return features
        return jnp.concatenate([features, jnp.asarray(self.process.allowed, jnp.float32)[state.state]])

    def is_terminated(self, state, params):
        """In a state that every action keeps, without reward."""
        return jnp.asarray(params.terminal)[state.state]

    # --- what is asked of all environments -----------------------------------------------------------------------

    def action_mask(self, obs: jax.Array) -> jax.Array | None:
        """bool ``[..., A]``, read from observations; None where the process allows every action everywhere."""
        if self.process.allowed is None:
            return None
        if self.observation == "features":
            return obs[..., -self.process.actions :] > 0.5
        state = obs if self.observation == "index" else jnp.argmax(obs, axis=-1)
        return jnp.asarray(self.process.allowed)[state]

    def check_params(self, params: TabularParams) -> None:
        """Raises InvalidArgument for parameters of another shape, or that are no distributions or states."""
        for name in ("cumulative", "rewards", "successors", "start", "terminal"):
            shape, expected = np.shape(getattr(params, name)), np.shape(getattr(self._params, name))
            if shape != expected:
                raise InvalidArgument(f"the shape of {name}", shape, f"must be {expected}, that of the environment's")
        for name in ("cumulative", "start"):
            rising = np.asarray(getattr(params, name))
            if (rising[..., 0] < 0).any() or (np.diff(rising) < 0).any() or (rising[..., -1] != 1).any():
                raise InvalidArgument(name, "rows", "must rise from at least 0 to 1; see jaxrl.envs.tabular.tables")
        successors = np.asarray(params.successors)
        if successors.min() < 0 or successors.max() >= self.process.states:
            raise InvalidArgument("successors", "states", f"must be within 0 .. {self.process.states - 1}")

    @property
    def default_params(self) -> TabularParams:
        """Those of the process that the environment was made with."""
        return self._params

    @property
    def name(self) -> str:
        """The registered id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """``A``."""
        return self.process.actions

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """``()``, or ``(objectives,)``."""
        return self._reward_shape

    def action_space(self, params=None) -> spaces.Discrete:
        """The numbers of the actions."""
        return spaces.Discrete(self.process.actions)

    def observation_space(self, params) -> spaces.Space:
        """Discrete for numbers of states, else a Box."""
        if self.observation == "index":
            return spaces.Discrete(self.process.states)
        if self.features is None:
            return spaces.Box(0.0, 1.0, (self.process.states,), jnp.float32)
        low, high, size = float(self.features.min()), float(self.features.max()), self.features.shape[1]
        if self.process.allowed is None:
            return spaces.Box(low, high, (size,), jnp.float32)
        return spaces.Box(min(low, 0.0), max(high, 1.0), (size + self.process.actions,), jnp.float32)


def tables(process: MDP, outcomes: int | None = None, arrival_rewards: Any = None) -> dict[str, np.ndarray]:
    """What ``TabularParams`` has of a process, by the names of its fields.

    Args:
        process: dense or sparse.
        outcomes: length of the lists of outcomes, at least the process's; lists are filled up with what never happens.
        arrival_rewards: ``[S, objectives]`` instead of the rewards of the process.

    Raises:
        InvalidArgument: for fewer outcomes than the process has, or outcomes between states.
    """
    if process.between is not None:
        raise InvalidArgument("process", "outcomes between states", "must be of outcomes that lead to a state each")
    process = process.as_sparse()
    needed = process.outcomes
    outcomes = whole("outcomes", needed if outcomes is None else outcomes, needed)
    p, successors, rewards = (np.asarray(x) for x in (process.probabilities, process.successors, process.rewards))
    if arrival_rewards is not None:
        rewards = np.asarray(arrival_rewards)[successors]
    if process.allowed is not None:
        state = np.arange(process.states)[:, None]
        instead = np.where(process.allowed, np.arange(process.actions), np.argmax(process.allowed, axis=1)[:, None])
        p, successors, rewards = (values[state, instead] for values in (p, successors, rewards))
    stays = (successors == np.arange(process.states)[:, None, None]) | (p == 0)
    nothing = (rewards == 0).reshape(*rewards.shape[:3], -1).all(axis=-1) | (p == 0)
    more = (0, outcomes - needed)
    if rewards.shape[2] > 1 or arrival_rewards is not None:
        rewards = np.pad(rewards, ((0, 0), (0, 0), more, *[(0, 0)] * (rewards.ndim - 3)))
    return {
        "cumulative": _cumulative(np.pad(p, ((0, 0), (0, 0), more))),
        "rewards": np.asarray(rewards, np.float32),
        "successors": np.asarray(np.pad(successors, ((0, 0), (0, 0), more)), np.int32),
        "start": _cumulative(np.asarray(process.start)),
        "terminal": (stays & nothing).all(axis=(1, 2)),
    }


def variants(processes: Sequence[MDP], arrival_rewards: Any = None) -> dict[str, np.ndarray]:
    """Processes as members of one program: ``train(..., env_variants=variants(processes))``.

    The environment to train in is one of the one process among them whose lists of outcomes are the longest, so that
    all fit it.

    Args:
        processes: ``C`` processes of equally many states and actions, with the same actions allowed.
        arrival_rewards: as the environment has them.

    Returns:
        For each field of ``TabularParams`` but the time limit its values ``[C, *shape]``.

    Raises:
        InvalidArgument: for none, or for processes of different sizes or allowed actions.
    """
    if not processes:
        raise InvalidArgument("processes", list(processes), "must be at least one")
    first = processes[0]
    lists = [process.as_sparse() for process in processes]
    for i, process in enumerate(processes):
        size, expected = (process.states, process.actions), (first.states, first.actions)
        if size != expected:
            raise InvalidArgument(f"processes[{i}]", size, f"must have the first one's states and actions: {expected}")
        if (process.allowed is None) != (first.allowed is None) or not np.array_equal(
            np.asarray(process.allowed), np.asarray(first.allowed)
        ):
            raise InvalidArgument(f"processes[{i}]", "allowed", "must allow the same actions as the first")
    outcomes = max(process.outcomes for process in lists)
    each = [tables(process, outcomes, arrival_rewards) for process in lists]
    width = max(table["rewards"].shape[2] for table in each)
    for table in each:
        shape = (*table["rewards"].shape[:2], width, *table["rewards"].shape[3:])
        table["rewards"] = np.broadcast_to(table["rewards"], shape)
    return {name: np.stack([table[name] for table in each]) for name in each[0]}


def _draw(key: jax.Array, cumulative: jax.Array) -> jax.Array:
    """The number of an outcome, int32 ``[]``, of cumulative probabilities ``[n]``."""
    return jnp.sum(cumulative <= jax.random.uniform(key), dtype=jnp.int32)


def _cumulative(probabilities: np.ndarray) -> np.ndarray:
    """float32 ``[..., n]``. Exactly 1 from the last outcome on that can happen, so that no later one is ever drawn."""
    possible_later = np.flip(np.cumsum(np.flip(probabilities, -1), -1), -1) - probabilities > 0
    cumulative = np.cumsum(probabilities, axis=-1)
    return np.where(possible_later, np.minimum(cumulative, 1.0), 1.0).astype(np.float32)


def _per_state(name: str, values: Any, states: int) -> np.ndarray:
    """Numbers of all states, float32 ``[S, D]``."""
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise InvalidArgument(name, type(values).__name__, "must be an array of numbers") from None
    if array.ndim != 2 or len(array) != states or not array.shape[1]:
        raise InvalidArgument(f"the shape of {name}", array.shape, f"must be [{states}, D]")
    if not np.isfinite(array).all():
        raise InvalidArgument(name, float(array[~np.isfinite(array)][0]), "not finite")
    return array

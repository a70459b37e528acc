"""gymnax's own environments with the types and the spaces that they promise."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxrl.envs.base import EnvironmentTransform, strong


class Gymnax(EnvironmentTransform):
    """A gymnax environment with stable types, true spaces and no info.

    Dynamics, rewards and random numbers are gymnax's. What changes, because gymnax 1.0.1 is not of one mind:

    - rewards are float32 scalars (UmbrellaChain's and BernoulliBandit's are int32), flags are bool scalars;
    - observations in a Box are float32 (FourRooms returns int32; Catch declares int32 and returns float32);
    - no leaf of the state is weakly typed, and it has one dtype from reset on;
    - actions of any integer or float dtype are accepted, in the space's shape or one that reshapes to it;
    - `max_steps_in_episode` is an int (BernoulliBandit's is 100.0);
    - the observation spaces of MemoryChain, UmbrellaChain, MetaMaze, GaussianBandit and BernoulliBandit contain their
      observations;
    - info is empty: its keys differ between environments and its values are metrics no algorithm here reads.

    Args:
        env: an environment from `gymnax.make`.
    """

    @property
    def default_params(self):
        """gymnax's parameters, with a time limit that is an int."""
        params = self.env.default_params
        return dataclasses.replace(params, max_steps_in_episode=int(params.max_steps_in_episode))

    def _observation(self, obs, params):
        if isinstance(self.observation_space(params), spaces.Box):
            return jnp.asarray(obs, jnp.float32)
        return strong(obs)

    def reset_env(self, key, params):
        """Observation `[*observation]` and state."""
        obs, state = self.env.reset_env(key, params)
        return self._observation(obs, params), strong(state)

    def step_env(self, key, state, action, params):
        """Observation `[*observation]`, state, reward `[]`, terminated `[]` and an empty info."""
        space = self.env.action_space(params)
        action = jnp.asarray(action, space.dtype).reshape(space.shape)
        obs, state, reward, terminated, _ = self.env.step_env(key, state, action, params)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        terminated = jnp.asarray(terminated, jnp.bool_).reshape(())
        return self._observation(obs, params), strong(state), reward, terminated, {}

    def is_truncated(self, state, params):
        """Whether the episode has reached its time limit, bool scalar."""
        return jnp.asarray(self.env.is_truncated(state, params), jnp.bool_).reshape(())

    def observation_space(self, params):
        """The space that the observations lie in; a Box is float32."""
        correct = _SPACES.get(type(self.env).__name__)
        space = correct(self.env, params) if correct else self.env.observation_space(params)
        if isinstance(space, spaces.Box):
            return spaces.Box(space.low, space.high, tuple(space.shape), jnp.float32)
        return space


def _box(low: list, high: list) -> spaces.Box:
    lowest, highest = (jnp.stack([jnp.asarray(x, jnp.float32) for x in bound]) for bound in (low, high))
    return spaces.Box(lowest, highest, lowest.shape, jnp.float32)


def _memory_chain(env: Any, params: Any) -> spaces.Box:
    # time left, query, context; declared to be at least 0, but the context is -1 or 1.
    n = env.num_bits
    return _box([-_ROUNDING, 0.0] + n * [-1.0], [1.0, max(n - 1, 0)] + n * [1.0])


def _umbrella_chain(env: Any, params: Any) -> spaces.Box:
    return spaces.Box(-_ROUNDING, 1.0, (3 + env.n_distractor,), jnp.float32)


def _time(normalised, steps, low=-1.0, high=1.0, t_max=100) -> tuple[jax.Array, jax.Array]:
    """Bounds of a time entry that is `time` or, where normalised, runs from `low` at 0 to `high` at `t_max`."""
    end = (high - low) * steps / t_max + low
    return jnp.where(normalised, jnp.minimum(low, end), 0.0), jnp.where(normalised, jnp.maximum(low, end), steps)


def _meta_maze(env: Any, params: Any) -> spaces.Box:
    # field of view, last action, last reward (declared to be at most 1, but 10 at the goal), time.
    early, late = _time(params.normalize_time, params.max_steps_in_episode)
    reward = jnp.abs(params.reward) + jnp.abs(params.punishment)
    n = env.rf_size**2 + env.num_actions
    return _box(n * [0.0] + [-reward, early], n * [1.0] + [reward, late])


def _gaussian_bandit(env: Any, params: Any) -> spaces.Box:
    # last reward (normal, so unbounded; declared non-negative), last action, time (declared as if never normalised).
    early, late = _time(params.normalize_time, params.max_steps_in_episode)
    return _box([-jnp.inf, 0.0, 0.0, early], [jnp.inf, 1.0, 1.0, late])


def _bernoulli_bandit(env: Any, params: Any) -> spaces.Box:
    early, late = _time(
        params.normalize_time, params.max_steps_in_episode, params.min_lim, params.max_lim, params.t_max
    )
    return _box([0.0, 0.0, 0.0, early], [1.0, 1.0, 1.0, late])


# "1 - time / length" ends a float32 rounding below zero.
_ROUNDING = 1e-6
_SPACES = {
    "MemoryChain": _memory_chain,
    "UmbrellaChain": _umbrella_chain,
    "MetaMaze": _meta_maze,
    "GaussianBandit": _gaussian_bandit,
    "BernoulliBandit": _bernoulli_bandit,
}

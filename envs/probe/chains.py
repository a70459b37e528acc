"""Probes of several steps: discounting, the two ways an episode can end, and a fault on the way."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxrl.envs.base import EnvState
from jaxrl.envs.probe.base import Probe, ProbeParams


class Discount(Probe):
    """Two steps whatever the actions: observation 0 and reward 0, then observation 1 and reward r, then termination.

    V(0) = discount r and V(1) = r. The final observation is 1 again. Fails where the discount is missing, applied
    twice or not cut at the termination.
    """

    low = 0.0

    def reset_env(self, key, params):
        """Observation `[1]` and state."""
        return jnp.zeros((1,)), EnvState(time=jnp.int32(0))

    def step_env(self, key, state, action, params):
        """Reward 0, then r and termination."""
        last = state.time == 1
        reward = jnp.where(last, params.reward, 0.0).astype(jnp.float32)
        return jnp.ones((1,)), EnvState(time=state.time + 1), reward, last, {}

    def is_terminated(self, state, params):
        """After two steps."""
        return state.time >= 2

    def value(self, obs, discount, params):
        """discount r at 0, r at 1."""
        return params.reward * jnp.where(obs[0] > 0.5, 1.0, discount)


@struct.dataclass
class CycleParams(ProbeParams):
    """As ProbeParams, and:

    Args:
        period: k, the number of states.
    """

    period: int = 4


class Cycle(Probe):
    """k states in a ring, reward r at every step whatever the action; observation phase / k with phase = time mod k."""

    low = 0.0
    Params = CycleParams

    def observation(self, time, params) -> jax.Array:
        """Phase over period, `[1]`."""
        return jnp.reshape((time % params.period) / params.period, (1,)).astype(jnp.float32)

    def reset_env(self, key, params):
        """Observation `[1]` and state: phase 0."""
        state = EnvState(time=jnp.int32(0))
        return self.observation(state.time, params), state

    def step_env(self, key, state, action, params):
        """The next phase, with reward r."""
        state = EnvState(time=state.time + 1)
        reward = jnp.asarray(params.reward, jnp.float32)
        return self.observation(state.time, params), state, reward, self.is_terminated(state, params), {}


class Terminates(Cycle):
    """After one round of the ring, k = 4 steps, the episode terminates.

    V(phase) = r (1 - discount^(k - phase)) / (1 - discount). Same observations, rewards and episode length as
    `Truncates`, the final observation (phase 0) included; only the flag differs, and with it every value.
    """

    def is_terminated(self, state, params):
        """After k steps."""
        return state.time >= params.period

    def value(self, obs, discount, params):
        """r (1 - discount^(k - phase)) / (1 - discount)."""
        phase = obs[0] * params.period
        return params.reward * (1 - discount ** (params.period - phase)) / (1 - discount)


@struct.dataclass
class TruncatesParams(CycleParams):
    """As CycleParams, with a time limit of one round."""

    max_steps_in_episode: int = 4


class Truncates(Cycle):
    """After `max_steps_in_episode` = k = 4 steps a time limit cuts the episode, which would have gone round for ever.

    V(phase) = r / (1 - discount) for every phase, whatever the time limit. The final observation (phase 0) is a state
    in which every episode acts, so its value is learnt. Fails where a time limit is taken for a termination: the values
    are then those of `Terminates`.
    """

    Params = TruncatesParams

    def is_terminated(self, state, params):
        """Never."""
        return jnp.zeros_like(state.time, jnp.bool_)

    def value(self, obs, discount, params):
        """r / (1 - discount)."""
        return jnp.asarray(params.reward / (1 - discount), jnp.float32)


@struct.dataclass
class FaultyParams(CycleParams):
    """As CycleParams, and:

    Args:
        fault_step: the step of the episode, counted from 1, that goes wrong; -1 for never.
        fault_probability: the share of episodes in which it does, drawn at reset.
        fault_value: what appears: nan, inf or -inf.
        fault_reward: whether it appears in the reward.
        fault_obs: whether it appears in the observation.
    """

    max_steps_in_episode: int = 100
    fault_step: int = -1
    fault_probability: float = 1.0
    fault_value: float = float("nan")
    fault_reward: bool = True
    fault_obs: bool = False


@struct.dataclass
class FaultyState(EnvState):
    """Steps taken and whether this episode has a fault, bool `[]`."""

    faulty: jax.Array


class Faulty(Cycle):
    """`Truncates` with a time limit of 100 steps, until its parameters say that it turns non-finite.

    For the guard that freezes a member whose numbers are no longer finite. V = r / (1 - discount) without a fault.
    """

    low, high = -jnp.inf, jnp.inf
    Params = FaultyParams

    def reset_env(self, key, params):
        """Observation `[1]` and state."""
        state = FaultyState(time=jnp.int32(0), faulty=jax.random.bernoulli(key, params.fault_probability))
        return self.observation(state.time, params), state

    def step_env(self, key, state, action, params):
        """The next phase, or the fault."""
        state = state.replace(time=state.time + 1)
        fault = state.faulty & (state.time == params.fault_step)
        value = jnp.asarray(params.fault_value, jnp.float32)
        reward = jnp.where(fault & params.fault_reward, value, jnp.asarray(params.reward, jnp.float32))
        obs = self.observation(state.time, params)
        obs = jnp.where(fault & params.fault_obs, value, obs)
        return obs, state, reward, self.is_terminated(state, params), {}

    def is_terminated(self, state, params):
        """Never."""
        return jnp.zeros_like(state.time, jnp.bool_)

    def value(self, obs, discount, params):
        """r / (1 - discount)."""
        return jnp.asarray(params.reward / (1 - discount), jnp.float32)

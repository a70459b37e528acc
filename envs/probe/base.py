"""What the probes share."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvParams, EnvState


@struct.dataclass
class ProbeParams(EnvParams):
    """Parameters of a probe, all of them leaves that may be traced.

    Args:
        max_steps_in_episode: the time limit in steps.
        reward: r, the size of the reward.
    """

    max_steps_in_episode: int = 1000
    reward: float = 1.0


class Probe(Environment):
    """Base of the probes: spaces, names and the time limit.

    Args:
        continuous: whether the action is a Box of `[1]` in [-1, 1] instead of one of two integers. Only for probes in
            which the action has no effect, so that learners of either kind can be tested on them.
    """

    actions = 2
    observations = 1
    low, high = -1.0, 1.0
    Params = ProbeParams

    def __init__(self, continuous: bool = False):
        super().__init__()
        self.continuous = continuous

    @property
    def default_params(self) -> ProbeParams:
        """The class's parameters."""
        return self.Params()

    @property
    def name(self) -> str:
        """The registered id."""
        return f"probe/{type(self).__name__.lower()}-v0"

    @property
    def num_actions(self) -> int:
        """Number of discrete actions, or 1 dimension."""
        return 1 if self.continuous else self.actions

    def action_space(self, params=None) -> spaces.Space:
        """Discrete, or a Box of `[1]`."""
        if self.continuous:
            return spaces.Box(-1.0, 1.0, (1,), jnp.float32)
        return spaces.Discrete(self.actions)

    def observation_space(self, params) -> spaces.Box:
        """Box of `[observations]`."""
        return spaces.Box(self.low, self.high, (self.observations,), jnp.float32)

    def value(self, obs: jax.Array, discount: float, params: Any) -> jax.Array:
        """Exact value of the optimal policy at an observation `[observations]`; `[]`, or `reward_shape`."""
        raise TypeError(f"{self.name} states no value")


class OneStep(Probe):
    """An episode of one step: an observation, an action, a reward, termination.

    Subclasses say how the observation is drawn and what the reward is.
    """

    def draw(self, key: jax.Array, params: Any) -> jax.Array:
        """The observation `[observations]` of a new episode."""
        return jnp.ones((self.observations,), jnp.float32)

    def payoff(self, obs: jax.Array, action: Any, params: Any) -> jax.Array:
        """The reward of an action."""
        raise TypeError(f"{self.name} states no reward")

    def reset_env(self, key, params):
        """Observation `[observations]` and state."""
        obs = self.draw(key, params)
        return obs, OneStepState(time=jnp.int32(0), obs=obs)

    def step_env(self, key, state, action, params):
        """The last observation is the first one again; the episode has terminated."""
        reward = jnp.asarray(self.payoff(state.obs, action, params), jnp.float32)
        state = state.replace(time=state.time + 1)
        return state.obs, state, reward, jnp.bool_(True), {}

    def is_terminated(self, state, params):
        """After the one step."""
        return state.time > 0


@struct.dataclass
class OneStepState(EnvState):
    """Steps taken and the episode's observation `[observations]`."""

    obs: jax.Array

"""A decoder between an agent and an environment: the agent's action is a latent."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvironmentTransform, strong

from jaxrl.errors import InvalidArgument
from jaxrl.policies.bases import into_box


@struct.dataclass
class DecodedParams:
    """Leaves that may be traced, so that another decoder runs in the same program.

    Args:
        max_steps_in_episode: the time limit in steps, whatever ``inner`` says.
        inner: parameters of the environment inside.
        decoder: parameters of the decoder.
    """

    max_steps_in_episode: int
    inner: Any
    decoder: Any


@struct.dataclass
class LatentState:
    """The state inside, and the observation that the next latent is decoded by."""

    inner: Any
    obs: jax.Array

    @property
    def time(self) -> Any:
        """Steps of the episode."""
        return self.inner.time


class DecodeActions(EnvironmentTransform):
    """Takes latents ``z[D]`` and sends the environment ``tanh(decoder(params, obs, z))``, stretched to its box.

    All else is the environment's, so that an agent of any kind learns in the space of latents, and none of its
    gradients passes through the decoder.

    Args:
        env: with actions in a Box ``[D]`` with finite sides.
        decoder: ``(params, obs[*O], latent[D]) -> action[D]``, before the tanh.
        params: of the decoder, as ``default_params`` has them.
        bound: latents lie within ``-bound .. bound``; by default anywhere.

    Raises:
        InvalidArgument: for an environment or a bound that do not fit.

    Example:
        >>> from jaxrl.envs import make
        >>> env = DecodeActions(make("probe/target-v0"), lambda scale, obs, latent: scale * latent, 2.0)
        >>> params = env.default_params
        >>> obs, state = env.reset_env(jax.random.key(0), params)
        >>> env.sent(params, obs, jnp.array([0.5])).tolist() == jnp.tanh(jnp.array([1.0])).tolist()
        True
    """

    def __init__(
        self,
        env: Environment,
        decoder: Callable[[Any, jax.Array, jax.Array], jax.Array],
        params: Any = None,
        bound: float = np.inf,
    ):
        super().__init__(env)
        space = env.action_space(env.default_params)
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise InvalidArgument("env", env.name, "must have continuous actions, a vector")
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise InvalidArgument("env", env.name, "must have bounds of its actions, for a tanh to fill")
        if not bound > 0:
            raise InvalidArgument("bound", bound, "must be above 0")
        self.decoder, self.decoder_params, self.bound = decoder, params, bound

    @property
    def default_params(self) -> DecodedParams:
        """The inner environment's, and those of the decoder."""
        return self.params(self.env.default_params, self.decoder_params)

    @staticmethod
    def params(inner: Any, decoder: Any) -> DecodedParams:
        """The parameters of this environment, of those of the environment inside and of the decoder."""
        return DecodedParams(inner.max_steps_in_episode, inner, decoder)

    def sent(self, params: DecodedParams, obs: jax.Array, latent: jax.Array) -> jax.Array:
        """The action that the environment inside gets for a latent, ``[..., *O], [..., D] -> [..., D]``."""
        space: Any = self.env.action_space(params.inner)
        return into_box(self.decoder(params.decoder, obs, latent), space.low, space.high)

    def reset_env(self, key, params):
        """Observation ``[*O]`` and state."""
        obs, inner = self.env.reset_env(key, _inner(params))
        return obs, strong(LatentState(inner, obs))

    def step_env(self, key, state, action, params):
        """Observation, state, reward, terminated and info of the environment inside, for a latent ``action[D]``."""
        sent = self.sent(params, state.obs, action)
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, sent, _inner(params))
        return obs, LatentState(inner, obs), reward, terminated, info

    def is_truncated(self, state, params):
        """Whether the episode has reached its time limit, bool scalar."""
        return self.env.is_truncated(state.inner, _inner(params))

    def is_terminated(self, state, params):
        """Whether the state is terminal, where the inner environment can tell from the state alone."""
        return self.env.is_terminated(state.inner, _inner(params))

    def observe(self, key, state, action, params):
        """The observation of a state."""
        return self.env.observe(key, state.inner, action, _inner(params))

    def action_space(self, params=None) -> spaces.Box:
        """Box of latents ``[D]``."""
        size = (self.num_actions,)
        bound = jnp.full(size, self.bound, jnp.float32)
        return spaces.Box(-bound, bound, size, jnp.float32)

    @property
    def num_actions(self) -> int:
        """``D``."""
        space: Any = self.env.action_space(self.env.default_params)
        return space.shape[0]

    def observation_space(self, params):
        """Space of one observation."""
        return self.env.observation_space(params.inner)

    def check_params(self, params: Any) -> None:
        """Raises what the inner environment raises of parameters that make no sense."""
        super().check_params(params.inner)


def _inner(params: DecodedParams) -> Any:
    return params.inner.replace(max_steps_in_episode=params.max_steps_in_episode)

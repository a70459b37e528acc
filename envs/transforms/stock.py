"""A stock of past rewards as a part of the state and of what an agent sees of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.arguments import positive, within
from jaxrl.envs.base import Environment, EnvironmentTransform, action_mask, reward_shape, strong

from jaxrl.errors import InvalidArgument

MOST_GROWTH = 1e6
"""by how much a stock may have grown at the time limit if it is shown as it is"""


@struct.dataclass
class StockState:
    """The state inside, and float32 ``[]`` the stock, which is never clipped."""

    inner: Any
    stock: jax.Array

    @property
    def time(self) -> Any:
        """Steps of the episode."""
        return self.inner.time


class Stock(NamedTuple):
    """How a learner reads and writes the stock in observations, ``[..., *observation]``."""

    gamma: float
    """the discount that the stock is made with"""
    low: float
    """with ``high`` the range of the stocks that decisions are to be learnt for: what is shown, or where that has no
    bounds what episodes start from"""
    high: float
    read: Callable[[jax.Array], jax.Array]
    """``obs -> stock[...]``, as it is shown but in units of reward"""
    write: Callable[[jax.Array, jax.Array], jax.Array]
    """``(obs, stock[...]) -> obs``, that of the same state with another stock; leading axes are broadcast"""


def next_stock(stock: Any, reward: Any, gamma: Any) -> Any:
    """``(stock + reward) / gamma``: then ``c_0 + sum_{t<n} gamma^t r_t = gamma^n c_n``, so that from any step on the
    stock and the return to come are a scaled version of the first stock and the whole return."""
    return (stock + reward) / gamma


class AugmentStock(EnvironmentTransform):
    """Puts what has been earned into the state, for objectives of the whole return.

    The stock is ``c' = (c + reward) / gamma``, from a first one that is uniform in ``[low, high]``; the environment
    is otherwise as it was. An observation gets one more number, or an image one more channel that is constant: the
    stock, clipped into ``clip`` and divided by ``scale``. Clipping is for what is shown only. Where every return from
    now on lies within ``[least, greatest]``, a utility that is linear on either side of 0 ranks actions for a stock
    below ``-greatest`` as it does at ``-greatest``, and above ``-least`` as at ``-least``, so that ``clip=(-greatest,
    -least)`` takes nothing away.

    For one first stock, as in a test, give it as ``low`` and ``high``.

    Args:
        env: with one reward, and observations in a Box of one axis or more.
        gamma: discount factor, above 0; that of the learner.
        low, high: range of first stocks.
        scale: what the shown stock is divided by.
        clip: least and greatest shown stock; None for all, which is refused where stocks become too large to be shown.

    Raises:
        InvalidArgument: for an environment or values that do not fit.

    Example:
        >>> from jaxrl.envs import make
        >>> env = make("stock/tabular/two-coin-v0", gamma=0.5, low=-2, high=-2, scale=4)
        >>> obs, state = env.reset_env(jax.random.key(0), env.default_params)
        >>> obs.tolist(), state.stock.item()
        ([1.0, 0.0, 0.0, -0.5], -2.0)
        >>> _, state, reward, _, _ = env.step_env(jax.random.key(0), state, 0, env.default_params)
        >>> state.stock.item() == (-2 + reward.item()) / 0.5
        True
    """

    def __init__(
        self,
        env: Environment,
        gamma: float = 0.99,
        low: float = 0.0,
        high: float = 0.0,
        scale: float = 1.0,
        clip: tuple[float, float] | None = None,
    ):
        super().__init__(env)
        space = env.observation_space(env.default_params)
        if not isinstance(space, spaces.Box) or not space.shape:
            raise InvalidArgument("env", env.name, "must have observations in a Box, such as observation='one-hot'")
        if reward_shape(env):
            raise InvalidArgument("env", env.name, "must have one reward")
        self.gamma, self.scale = positive("gamma", within("gamma", gamma, 0, 1)), positive("scale", scale)
        self.low, self.high = within("low", low), within("high", high)
        if self.low > self.high:
            raise InvalidArgument("low", low, f"must not be above high={high}")
        self.clip = None if clip is None else _pair(clip)
        limit = env.default_params.max_steps_in_episode
        if self.clip is None and self.gamma < 1 and -limit * np.log(self.gamma) > np.log(MOST_GROWTH):
            allowed = f"must be given: in {limit} steps with gamma={gamma} a stock may grow {MOST_GROWTH:g}-fold"
            raise InvalidArgument("clip", clip, allowed)
        self._axes = len(space.shape)

    def reset_env(self, key, params):
        """Observation and state, with a stock drawn anew."""
        stock_key, key = jax.random.split(key)
        obs, inner = self.env.reset_env(key, params)
        stock = jax.random.uniform(stock_key, (), jnp.float32, self.low, self.high)
        return self._write(obs, stock, True), strong(StockState(inner, stock))

    def step_env(self, key, state, action, params):
        """Observation, state, reward, terminated and info; all random numbers are those of the environment inside."""
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        stock = next_stock(state.stock, reward, self.gamma)
        return self._write(obs, stock, True), StockState(inner, stock), reward, terminated, info

    def is_truncated(self, state, params):
        """Whether the episode has reached its time limit, bool scalar."""
        return self.env.is_truncated(state.inner, params)

    def is_terminated(self, state, params):
        """Whether the state is terminal, where the inner environment can tell from the state alone."""
        return self.env.is_terminated(state.inner, params)

    def observe(self, key, state, action, params):
        """The observation of a state."""
        return self._write(self.env.observe(key, state.inner, action, params), state.stock, True)

    def action_mask(self, obs):
        """See ``jaxrl.envs.action_mask``."""
        return action_mask(self.env, obs[..., :-1])

    def observation_space(self, params) -> spaces.Box:
        """That of the environment inside, with the range of what is shown of the stock."""
        inner: Any = self.env.observation_space(params)
        least, greatest = (-np.inf, np.inf) if self.clip is None else self.clip
        low, high = (
            self._append(jnp.broadcast_to(jnp.asarray(bound, jnp.float32), inner.shape), jnp.float32(shown))
            for bound, shown in ((inner.low, least / self.scale), (inner.high, greatest / self.scale))
        )
        return spaces.Box(low, high, low.shape, jnp.float32)

    @property
    def stock(self) -> Stock:
        """See ``jaxrl.envs.stock_of``."""
        low, high = (self.low, self.high) if self.clip is None else self.clip
        corner = (Ellipsis, *[0] * (self._axes - 1), -1)
        return Stock(self.gamma, low, high, lambda obs: obs[corner] * self.scale, self._write)

    @property
    def name(self) -> str:
        """The registered id."""
        return f"stock/{self.env.name}"

    def _write(self, obs: jax.Array, stock: jax.Array, new: bool = False) -> jax.Array:
        """Shows a stock, in place of the one that is there already unless it is ``new``."""
        shown = stock if self.clip is None else jnp.clip(stock, *self.clip)
        return self._append(obs if new else obs[..., :-1], shown / self.scale)

    def _append(self, obs: jax.Array, shown: jax.Array) -> jax.Array:
        column = shown.reshape(*shown.shape, *[1] * self._axes)
        leading = jnp.broadcast_shapes(obs.shape[:-1], column.shape[:-1])
        return jnp.concatenate([jnp.broadcast_to(x, (*leading, x.shape[-1])) for x in (obs, column)], axis=-1)


def _pair(clip: Any) -> tuple[float, float]:
    try:
        least, greatest = clip
    except (TypeError, ValueError):
        raise InvalidArgument("clip", clip, "must be a pair, the least and the greatest stock that is shown") from None
    least, greatest = within("clip", least), within("clip", greatest)
    if not least < greatest:
        raise InvalidArgument("clip", clip, "must be a pair that increases")
    return least, greatest

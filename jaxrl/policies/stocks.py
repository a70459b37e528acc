"""What an agent that knows its stock of past rewards does beside acting: it learns of other stocks from what happened,
and chooses the one to start from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.types import Key, PyTree, Transition
from jaxrl.envs.transforms import Stock, next_stock
from jaxrl.errors import InvalidArgument


def with_stocks(batch: Transition, stock: Stock, now: jax.Array) -> Transition:
    """The same transitions from other stocks, which change neither rewards nor successors.

    Args:
        batch: ``[B, ...]``; of n-step returns too, where ``discount`` is what is left of ``gamma^(n - 1)``.
        now: ``[..., B]`` stocks at ``obs``.

    Returns:
        ``[..., B, ...]``. At terminations, which nothing follows, the successor's stock means nothing.
    """
    kept = jnp.where(batch.discount > 0, stock.gamma * batch.discount, 1.0)
    later = next_stock(now, batch.reward, kept)
    rest = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*now.shape[:-1], *leaf.shape)), batch)
    return rest._replace(obs=stock.write(batch.obs, now), next_obs=stock.write(batch.next_obs, later))


def with_edits(batch: Transition, stock: Stock, edits: int, key: Key) -> Transition:
    """``[(1 + edits) B, ...]``: the transitions ``[B, ...]``, and each of them from so many stocks drawn uniformly from
    those that decisions are learnt for (stock editing, Pires et al. 2025)."""
    now = jax.random.uniform(key, (edits, *batch.reward.shape), minval=stock.low, maxval=stock.high)
    edited = with_stocks(batch, stock, now)
    return jax.tree.map(
        lambda real, made: jnp.concatenate([real[None], made]).reshape(-1, *real.shape[1:]), batch, edited
    )


class Start(NamedTuple):
    """The stock that a policy should start from."""

    value: jax.Array
    """of the objective, as the critic sees it"""
    stock: jax.Array


def best_start(
    values: Callable[[PyTree, Any], jax.Array],
    params: PyTree,
    obs: jax.Array,
    stock: Stock,
    starts: Any,
    level: float = 1.0,
    optimistic: bool = False,
) -> Start:
    """The search over first stocks that makes a risk measure of an expected utility:
    ``max_c -c + E f(c + return) / level`` (Rockafellar and Uryasev 2000).

    With ``shortfall`` that is the CVaR at ``level``, and with ``surplus``, as the least instead of the greatest, the
    mean of the best ``level``. With a ``level`` of 1 here and slopes ``(1 - w) / level + w`` below and ``w`` above it
    is ``w`` times the mean and ``1 - w`` times the CVaR. Can be vmapped over ``params``.

    Args:
        values: the critic's, ``(params, obs) -> [..., A]``.
        obs: ``[E, ...]`` first observations with whatever stock, over which values are averaged.
        starts: ``[C]`` stocks to choose from, within the range that the agent has learnt of.
        level: within (0, 1].
        optimistic: take the least.

    Raises:
        InvalidArgument: for starts outside that range, or another level.
    """
    starts = np.asarray(starts, np.float32)
    if starts.ndim != 1 or not starts.size or starts.min() < stock.low or starts.max() > stock.high:
        raise InvalidArgument("starts", starts, f"must be a list of stocks within [{stock.low:g}, {stock.high:g}]")
    if not 0 < level <= 1:
        raise InvalidArgument("level", level, "must be within (0, 1]")

    def objective(start):
        worth = values(params, stock.write(obs, jnp.broadcast_to(start, (len(obs),)))).max(axis=-1).mean()
        return worth / level - start

    found = jax.vmap(objective)(starts)
    best = jnp.argmin(found) if optimistic else jnp.argmax(found)
    return Start(found[best], jnp.asarray(starts)[best])

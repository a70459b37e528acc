"""Demand processes: what customers ask for, whatever the policy does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln


class Demand(NamedTuple):
    """A demand process of ``K`` stores, as pure functions.

    Attributes:
        start: ``(key, params) -> state``, which stays the same through an episode.
        draw: ``(key, state, times[...], params) -> demand[..., K]``, where time 0 is the first period of the episode.
            Earlier times are its history.
        calendar: ``(state, time, params) -> features[C]`` of a period, or None.
        features: ``C``.
        periods: how many are recorded, where demand is replayed from data; else None.
    """

    start: Callable[[jax.Array, Any], Any]
    draw: Callable[[jax.Array, Any, jax.Array, Any], jax.Array]
    calendar: Callable[[Any, jax.Array, Any], jax.Array] | None = None
    features: int = 0
    periods: int | None = None


def memoryless(key: jax.Array, params: Any) -> tuple[()]:
    """The state of a process that has none."""
    del key, params
    return ()


def poisson(largest: int = 64) -> Demand:
    """Independent Poisson demand with means ``params.demand_mean[K]``, by inverse transform sampling.

    Args:
        largest: demand above is not drawn; far in the tail of the largest mean.
    """

    def draw(key, state, times, params):
        mean = params.demand_mean
        counts = jnp.arange(largest, dtype=jnp.float32)
        log_mass = counts * jnp.log(mean[:, None]) - mean[:, None] - gammaln(counts + 1)
        cumulative = jnp.cumsum(jnp.exp(log_mass), axis=-1)
        cumulative = cumulative / cumulative[..., -1:]  # rounded masses miss 1, and the rest would be the largest count
        uniform = jax.random.uniform(key, (*times.shape, *mean.shape))
        return jnp.sum(uniform[..., None] >= cumulative, axis=-1, dtype=jnp.float32)

    return Demand(memoryless, draw)


def normal(clipped: bool = True) -> Demand:
    """Normal demand with means ``params.demand_mean[K]``, deviations ``params.demand_std[K]`` and one correlation
    ``params.demand_correlation`` within [0, 1] between any two stores; independent over time.

    Args:
        clipped: negative demand counts as none.
    """

    def draw(key, state, times, params):
        mean, std = params.demand_mean, params.demand_std
        noise = jax.random.normal(key, (*times.shape, mean.shape[0] + 1))
        common = jnp.sqrt(params.demand_correlation) * noise[..., :1]
        demand = mean + std * (common + jnp.sqrt(1 - params.demand_correlation) * noise[..., 1:])
        return jnp.maximum(demand, 0) if clipped else demand

    return Demand(memoryless, draw)


def replay(periods: int, features: int = 0) -> Demand:
    """What was sold in reality, ``params.sales[products, K, periods]``: each episode is one product, from period
    ``params.first_period`` on, with the calendar ``params.calendar[periods, features]``.

    Periods past the last one repeat it; a time limit within the data keeps that from happening.
    """

    def start(key, params):
        return jax.random.randint(key, (), 0, params.sales.shape[0])

    def draw(key, product, times, params):
        return params.sales[product].T[jnp.clip(params.first_period + times, 0, periods - 1)]

    def calendar(product, time, params):
        return params.calendar[jnp.clip(params.first_period + time, 0, periods - 1)]

    return Demand(start, draw, calendar, features, periods)

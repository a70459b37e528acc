"""Chunks: several actions in a row as one, for policies that choose them together (Zhao et al. 2023)."""

import jax
import jax.numpy as jnp

from jaxrl.core.types import Transition
from jaxrl.errors import InvalidArgument


def chunks(batch: Transition, horizon: int, gamma: float | jax.Array) -> Transition:
    """Every run of ``horizon`` steps of ``Transition[T, N, ...]`` as one transition, ``[T - horizon + 1, N, ...]``.

    Its action has those of the run one after the other, ``[..., horizon * D]``. Its reward is their discounted sum up
    to the end of the episode; ``discount``, ``cut`` and ``next_obs`` are those of the last step before it, the discount
    times ``gamma^(m - 1)`` after ``m`` steps, so that ``reward + gamma * discount * V(next_obs)`` is its target.
    ``extras["whole"]`` is 1 where no episode ends before the last step; else later actions are of another episode.
    With a horizon of 1 it is the batch.
    """
    length = batch.reward.shape[0]
    if not 1 <= horizon <= length:
        raise InvalidArgument("horizon", horizon, f"must be within [1, {length}], the steps of the batch")
    windows = jnp.arange(length - horizon + 1)[:, None] + jnp.arange(horizon)  # [W, h]

    def of_run(leaf):
        return jnp.moveaxis(jnp.asarray(leaf)[windows], 1, 0)  # [h, W, N, ...]

    cut = of_run(batch.cut)
    running = jnp.cumprod(jnp.concatenate([jnp.ones_like(cut[:1]), 1 - cut[:-1]]), axis=0)  # [h, W, N]
    powers = jnp.asarray(gamma) ** jnp.arange(horizon)
    powers = powers.reshape(-1, *[1] * (cut.ndim - 1))
    last = running.sum(axis=0).astype(jnp.int32) - 1  # [W, N]

    def at_last(leaf):
        index = last.reshape(1, *last.shape, *[1] * (leaf.ndim - last.ndim))
        return jnp.take_along_axis(of_run(leaf), index, axis=0)[0]

    action = jnp.moveaxis(of_run(batch.action), 0, -2)
    return Transition(
        obs=jax.tree.map(lambda leaf: leaf[: length - horizon + 1], batch.obs),
        action=action.reshape(*action.shape[:-2], -1),
        reward=(powers * running * of_run(batch.reward)).sum(axis=0),
        discount=at_last(batch.discount) * jnp.asarray(gamma) ** last,
        cut=at_last(batch.cut),
        next_obs=jax.tree.map(at_last, batch.next_obs),
        extras={"whole": running[-1]},
    )

"""Supervised training on data that are all there: epochs, a held-out share, and an early end."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl.core.combine import keep, shuffle, take_rows
from jaxrl.core.descend import TrainState
from jaxrl.core.types import Key, PyTree
from jaxrl.errors import InvalidArgument


class Fitted(NamedTuple):
    """What training ended with."""

    params: PyTree
    """of least loss on the rows held out, before the first epoch included"""
    loss: jax.Array
    """that loss, ``[]``"""
    epochs: jax.Array
    """passes over the data, int32 ``[]``"""


def held_out_rows(rows: int, share: float) -> int:
    """How many of ``rows`` are held out: the nearest to ``share``, at least one, and not all."""
    return max(1, min(round(share * rows), rows - 1))


def check_batch(rows: int, share: float, batch_size: int, name: str = "batch_size") -> None:
    """Raises InvalidArgument unless a batch, of the argument ``name``, is within the rows that are trained on."""
    trained = rows - held_out_rows(rows, share)
    if rows < 2 or not 1 <= batch_size <= trained:
        raise InvalidArgument(name, batch_size, f"must be at least 1 and at most the {trained} rows trained on")


def fit(
    params: PyTree,
    loss: Callable[[PyTree, PyTree, Key], jax.Array],
    data: PyTree,
    key: Key,
    optimiser: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    share: float = 0.1,
    patience: int | None = None,
) -> Fitted:
    """Trains ``params`` on the rows of ``data``, a random ``share`` of them held out.

    An epoch is one pass over the others, shuffled, in batches; rows that are left over wait for the next. What is held
    out is seen after every epoch with the same random numbers. Made to be jitted; under ``vmap`` every member ends by
    itself.

    Args:
        params: where training begins.
        loss: ``(params, rows, key) -> []``, a mean over rows.
        data: leaves ``[rows, ...]``.
        epochs: at most.
        patience: epochs without a new least loss after which training ends; None for never.

    Raises:
        InvalidArgument: for a batch larger than what is trained on.
    """
    rows = jax.tree.leaves(data)[0].shape[0]
    check_batch(rows, share, batch_size)
    held = held_out_rows(rows, share)
    batches, parts = (rows - held) // batch_size, max(1, held // batch_size)
    split_key, held_key, epoch_key = jax.random.split(key, 3)
    order = shuffle(split_key, rows)
    trained, held_out = order[held:], order[:held]

    def judge(params):
        """In parts, since all at once may be more than a batch needs."""
        index = held_out[: parts * (held // parts)].reshape(parts, -1)
        inputs = (index, jax.random.split(held_key, parts))
        return jax.lax.map(lambda each: loss(params, take_rows(data, each[0]), each[1]), inputs).mean()

    def step(state, inputs):
        index, key = inputs
        gradient = jax.grad(loss)(state.params, take_rows(data, index), key)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimiser_state), None

    def epoch(carry):
        state, best, since = carry
        order_key, step_key = jax.random.split(jax.random.fold_in(epoch_key, best.epochs + since))
        index = trained[shuffle(order_key, rows - held)][: batches * batch_size].reshape(batches, batch_size)
        state, _ = jax.lax.scan(step, state, (index, jax.random.split(step_key, batches)))
        value, done = judge(state.params), best.epochs + since + 1
        better = value < best.loss
        best = keep(~better, best, Fitted(state.params, value, done))
        return state, best, done - best.epochs

    def going_on(carry):
        _, best, since = carry
        within = best.epochs + since < epochs
        return within if patience is None else within & (since < patience)

    # Counted as the epochs until the best and those since, of which the end is a function.
    start = (TrainState(params, optimiser.init(params)), Fitted(params, judge(params), jnp.int32(0)), jnp.int32(0))
    _, best, since = jax.lax.while_loop(going_on, epoch, start)
    return best._replace(epochs=best.epochs + since)

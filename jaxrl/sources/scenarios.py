"""Scenarios of a simulation: a key each, from which whoever simulates draws the start and all noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.combine import shuffle
from jaxrl.core.types import Key, Shared, Source
from jaxrl.errors import InvalidArgument


class ScenariosState(NamedTuple):
    key: Key
    """of the whole set"""
    batches: Shared
    """drawn so far"""


def scenarios(batch_size: int, horizon: int, number: int | None = None) -> Source:
    """Batches of scenarios, as keys ``[B]``: a fixed set in a new order every epoch, or new ones for ever.

    A scenario is its key, so a set takes no memory however long its traces are, and whatever is drawn from a key is the
    same in every epoch.

    Args:
        batch_size: ``B``.
        horizon: periods that each is simulated for, which count as environment steps.
        number: size of the set, a multiple of ``batch_size``; None for new scenarios in every batch.

    Raises:
        InvalidArgument: for sizes below one, or a set that does not divide into batches.
    """
    for name, size in (("batch_size", batch_size), ("horizon", horizon)):
        if size < 1:
            raise InvalidArgument(name, size, "must be at least 1")
    if number is not None and (number < batch_size or number % batch_size):
        raise InvalidArgument("number", number, f"must be a multiple of batch_size={batch_size}")

    def init(key: Key) -> ScenariosState:
        return ScenariosState(key, Shared(jnp.int32(0)))

    def next_batch(state: ScenariosState, behaviour, key: Key):
        count = state.batches.value
        if number is None:
            keys = jax.random.split(key, batch_size)
        else:
            set_key, order_key = jax.random.split(state.key)
            epoch, part = jnp.divmod(count, number // batch_size)
            order = shuffle(jax.random.fold_in(order_key, epoch), number).reshape(-1, batch_size)
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(set_key, order[part])
        return ScenariosState(state.key, Shared(count + 1)), keys, {}

    return Source(init, next_batch, batch_size * horizon)

"""Combinators: an algorithm is ``iterate(source, learner)`` and a paper is a transform of one of the two.

Each states its law; ``tests/core/test_combine.py`` tests them. Those that count calls are in ``counted``, those that
rescale what is learned from in ``scaled``.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.types import Algorithm, AlgorithmState, Average, Key, Learner, Metrics, PyTree, Shared, Source
from jaxrl.errors import InvalidArgument


def iterate(source: Source, learner: Learner) -> Algorithm:
    """The algorithm that alternates one batch of ``source`` and one update of ``learner``.

    Law: ``n`` updates are the fold of ``source.next`` and ``learner.update`` over ``n`` keys, and nothing else: the
    state after them depends on the initial key alone.

    Example:
        A source of ones, and a learner that adds up its batches:

        >>> from jaxrl.core.types import Learner, Source
        >>> ones = Source(lambda key: (), lambda state, behaviour, key: (state, jnp.ones(3), {}), steps=3)
        >>> add = Learner(
        ...     init=lambda key: jnp.float32(0),
        ...     update=lambda total, batch, key: (total + batch.sum(), {}),
        ...     behaviour=lambda total: None,
        ...     policy=lambda total, obs, key, greedy: None,
        ... )
        >>> algorithm = iterate(ones, add)
        >>> state, metrics = algorithm.update(algorithm.init(jax.random.key(0)))
        >>> float(state.learner)
        3.0
    """

    def init(key: Key) -> AlgorithmState:
        source_key, learner_key, key = jax.random.split(key, 3)
        return AlgorithmState(source.init(source_key), learner.init(learner_key), key)

    def update(state: AlgorithmState) -> tuple[AlgorithmState, Metrics]:
        collect_key, learn_key, key = jax.random.split(state.key, 3)

        behaviour = learner.behaviour(state.learner)
        source_state, batch, source_metrics = source.next(state.source, behaviour, collect_key)
        learner_state, learner_metrics = learner.update(state.learner, batch, learn_key)
        return AlgorithmState(source_state, learner_state, key), source_metrics | learner_metrics

    def policy(state: AlgorithmState, obs, key, greedy=True):
        return learner.policy(state.learner, obs, key, greedy)

    return Algorithm(init, update, policy, source.steps)


def shuffle(key: Key, size: int) -> jax.Array:
    """A random permutation of ``0 .. size - 1``, int32.

    Random bits with the index in their low end make one sort of one array do, 6 times as fast on a CPU as
    ``jax.random.permutation``. Its 20 or more random bits tie rarely; larger sizes take the exact way.
    """
    index_bits = max(1, math.ceil(math.log2(size)))
    if index_bits > 12:
        return jax.random.permutation(key, size)
    low = jnp.uint32(2**index_bits - 1)
    tagged = (jax.random.bits(key, (size,), jnp.uint32) & ~low) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(tagged) & low).astype(jnp.int32)


def take_rows(batch: PyTree, index: jax.Array) -> PyTree:
    """``leaf[index]`` for every leaf, as one gather per dtype: gathers are paid by the row, not by the byte.

    Args:
        batch: leaves ``[B, ...]``.
        index: ``[K]`` integers within ``0 .. B - 1``; not checked.
    """
    leaves, structure = jax.tree.flatten(batch)
    by_dtype: dict = {}
    for position, leaf in enumerate(leaves):
        by_dtype.setdefault(leaf.dtype, []).append(position)
    taken = list(leaves)
    for positions in by_dtype.values():
        widths = [math.prod(leaves[p].shape[1:]) for p in positions]
        packed = jnp.concatenate([leaves[p].reshape(leaves[p].shape[0], -1) for p in positions], axis=1)
        rows = packed.at[index].get(mode="promise_in_bounds")
        start = 0
        for position, width in zip(positions, widths):
            taken[position] = rows[:, start : start + width].reshape(index.shape + leaves[position].shape[1:])
            start += width
    return jax.tree.unflatten(structure, taken)


def minibatched(
    learner: Learner,
    epochs: int,
    minibatches: int,
    stop: Callable[[Metrics], jax.Array] | None = None,
) -> Learner:
    """Passes over a batch ``[T, N, ...]`` ``epochs`` times, in ``minibatches`` equal shuffled parts
    ``[T*N/minibatches, ...]``.

    Laws: one update sees every row exactly ``epochs`` times; with one epoch and one minibatch it is ``learner`` on the
    flattened, shuffled batch; once ``stop(metrics)`` is true nothing changes for the rest of the call, but for
    ``Shared`` counters, which count on.

    Args:
        stop: of the metrics of a minibatch; true discards that minibatch's update and all later ones of this call.

    Raises:
        InvalidArgument: when tracing, if the batch does not divide into ``minibatches``.
    """

    def update(state, batch, key):
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
        size = jax.tree.leaves(flat)[0].shape[0]
        check_divides(size, minibatches)

        def step(carry, inputs):
            state, stopped = carry
            updated, metrics = learner.update(state, *inputs)
            if stop is None:
                return (updated, stopped), metrics
            stopped = stopped | stop(metrics)
            return (keep(stopped, state, updated), stopped), metrics | {"stopped": stopped.astype(jnp.float32)}

        def epoch(carry, inputs):
            order, keys = inputs
            rows = take_rows(flat, order)
            parts = jax.tree.map(lambda leaf: leaf.reshape(minibatches, -1, *leaf.shape[1:]), rows)
            return jax.lax.scan(step, carry, (parts, keys))

        # All randomness is drawn before the loops: a generator inside a loop of small steps is slow.
        order_key, step_key = jax.random.split(key)
        orders = jax.vmap(lambda key: shuffle(key, size))(jax.random.split(order_key, epochs))
        keys = jax.random.split(step_key, (epochs, minibatches))
        (state, _), metrics = jax.lax.scan(epoch, (state, jnp.bool_(False)), (orders, keys))
        return state, jax.tree.map(jnp.mean, metrics)

    return learner._replace(update=update)


def keep(condition: jax.Array, old: PyTree, new: PyTree) -> PyTree:
    """``old`` where ``condition`` holds, else ``new``; ``Shared`` leaves are always new; else members would differ."""

    def pick(new, old):
        return new if isinstance(new, Shared) else jnp.where(condition, old, new)

    return jax.tree.map(pick, new, old, is_leaf=lambda node: isinstance(node, Shared))


def check_divides(batch_size: int, minibatches: int, name: str = "num_minibatches") -> None:
    """Raises InvalidArgument unless ``minibatches``, the argument ``name``, equal parts make up ``batch_size``."""
    if batch_size % minibatches:
        raise InvalidArgument(
            name, minibatches, f"must divide the batch of num_steps * num_envs = {batch_size} transitions"
        )


def repeated(learner: Learner, times: int, stacked: tuple[str, ...] = ()) -> Learner:
    """Updates ``times`` times, on the parts of a batch whose leaves have a leading axis of that length.

    Laws: ``repeated(learner, 1)`` on ``batch[None]`` is ``learner`` on ``batch``; ``repeated(learner, n)`` is the fold
    of ``learner.update`` over the ``n`` parts. Metrics are averaged, but for those named in ``stacked``, which get a
    leading axis ``[times, ...]``.
    """

    def update(state, batch, key):
        keys = key[None] if times == 1 else jax.random.split(key, times)

        def step(state, part):
            return learner.update(state, *part)

        state, metrics = jax.lax.scan(step, state, (batch, keys))
        return state, {
            name: each if name in stacked else jax.tree.map(jnp.mean, each) for name, each in metrics.items()
        }

    return learner._replace(update=update)


def held(learner: Learner, times: int) -> Learner:
    """Updates ``times`` times on one and the same batch.

    Laws: ``held(learner, 1)`` is ``learner``; its metrics are averages over the updates.
    """

    def update(state, batch, key):
        if times == 1:
            return learner.update(state, batch, key)
        keys = jax.random.split(key, times)
        state, metrics = jax.lax.scan(lambda state, key: learner.update(state, batch, key), state, keys)
        return state, jax.tree.map(jnp.mean, metrics)

    return learner._replace(update=update)


def as_averages(metrics: Metrics) -> dict[str, Average]:
    """Every metric as ``Average``; a scalar counts once."""
    return {
        name: value if isinstance(value, Average) else Average(jnp.asarray(value, jnp.float32), jnp.float32(1))
        for name, value in metrics.items()
    }


def update_if(
    condition: jax.Array, update: Callable[..., tuple[PyTree, Metrics]], state: PyTree, batch: PyTree, key: Key
) -> tuple[PyTree, Metrics]:
    """``update(state, batch, key)`` where ``condition`` holds, else the state as it is and metrics that weigh nothing.

    Args:
        condition: ``[]``, of what all members share: a branch then, and not a select.
    """

    def run(state):
        state, metrics = update(state, batch, key)
        return state, as_averages(metrics)

    def skip(state):
        shapes = jax.eval_shape(run, state)[1]
        return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    return jax.lax.cond(condition, run, skip, state)


def on_inner(learner: Learner, init, update) -> Learner:
    """A learner with the behaviour of ``learner``, whose state is kept in the field ``inner`` of the new one."""
    return Learner(
        init,
        update,
        lambda state: learner.behaviour(state.inner),
        lambda state, obs, key, greedy: learner.policy(state.inner, obs, key, greedy),
    )


def relabel(learner: Learner, label: Callable[[PyTree, PyTree, Key], PyTree]) -> Learner:
    """Updates on ``label(state, batch, key)`` instead of ``batch``, for instance on advantages instead of rewards.

    Laws: with a ``label`` that returns the batch it is ``learner`` (the key of the update is its own either way);
    ``relabel(relabel(learner, g), f)`` labels with ``f`` first.
    """

    def update(state, batch, key):
        label_key = jax.random.fold_in(key, 1)
        return learner.update(state, label(state, batch, label_key), key)

    return learner._replace(update=update)


class TogetherState(NamedTuple):
    first: PyTree
    second: PyTree


def together(first: Learner, second: Learner) -> Learner:
    """Two learners of one batch, such as of a policy and of its critic; behaves as ``first``.

    Laws: either one's updates are those that it would make alone; metrics of both, ``first``'s where names agree.
    """

    def init(key):
        first_key, second_key = jax.random.split(key)
        return TogetherState(first.init(first_key), second.init(second_key))

    def update(state, batch, key):
        first_key, second_key = jax.random.split(key)
        first_state, first_metrics = first.update(state.first, batch, first_key)
        second_state, second_metrics = second.update(state.second, batch, second_key)
        return TogetherState(first_state, second_state), second_metrics | first_metrics

    return Learner(
        init,
        update,
        lambda state: first.behaviour(state.first),
        lambda state, *asked: first.policy(state.first, *asked),
    )


def layers(state: PyTree) -> Iterator[PyTree]:
    """The state of a learner and those within it, down to the one that has the parameters."""
    yield state
    while hasattr(state, "inner"):
        state = state.inner
        yield state

"""Experience replay: a ring of transitions around a rollout, from which batches are drawn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.combine import on_inner
from jaxrl.core.types import Behaviour, Key, Learner, PyTree, Shared, Source, Transition
from jaxrl.errors import InvalidArgument
from jaxrl.sources import sum_tree

PRIORITY_FLOOR = 1e-6
"""added to every priority, so that a transition with an error of 0 can still be drawn"""


class Prioritised(NamedTuple):
    """Proportional prioritisation (Schaul et al. 2016): transition i is drawn with probability p_i^a / sum_j p_j^a."""

    exponent: float | jax.Array = 0.6
    """a; 0 draws uniformly"""
    importance: float | jax.Array | Callable[[jax.Array], jax.Array] = 0.4
    """b of the weights (1 / (n P(i)))^b, or a function of the number of batches so far"""


class Feedback(NamedTuple):
    """What a learner tells a prioritised buffer: new priorities of transitions it was given, ``[...]`` each."""

    index: jax.Array
    """as in the batch's ``extras["index"]``"""
    priority: jax.Array
    """not negative, such as the size of the TD error"""


class Ring(NamedTuple):
    """``L`` steps of ``N`` environments; row ``t`` of every leaf is one step, and the oldest is written over."""

    obs: PyTree
    """``[L + F + 1, N, ...]``: the ring itself; behind it ``F`` rows of final observations, of which an environment
    fills the next at each time limit; behind them the successor of the newest step. With successors stored at every
    step ``[2 L, N, ...]``, the second half of them."""
    successor: jax.Array | None
    """``[L, N]``: the row of ``obs`` that has the successor; None with successors stored at every step"""
    finals: jax.Array | None
    """``[N]``: how many final observations each environment has stored, modulo ``F``"""
    steps: dict[str, PyTree]
    """``[L, N, ...]``: action, reward, discount, cut and extras"""


class Weights(NamedTuple):
    tree: tuple[jax.Array, ...]
    """of ``priority^a`` by ``slot * N + environment``, 0 where nothing is written"""
    greatest: jax.Array
    """priority so far, at least 1: that of what the learner has not seen yet"""


class ReplayState(NamedTuple):
    calls: Shared
    """of ``next``, from which the place in the ring and how full it is follow for all members alike"""
    source: PyTree
    ring: Ring
    weights: Weights | None


def replay(
    source: Source,
    behaviour: Callable[[Key], Behaviour],
    capacity: int,
    batch_size: int,
    batches: int | None = None,
    n_step: int = 1,
    gamma: float | jax.Array = 1.0,
    prioritised: Prioritised | None = None,
    min_episode_steps: int = 1,
) -> Source:
    """Keeps the last ``capacity`` transitions of ``source`` and yields random ones, ``Transition[batch_size, ...]``.

    Each call adds one batch ``[T, N, ...]`` of the source and draws with replacement from all that is written, the
    newest included. Where the place in the ring is, and how much of it is filled, is the same for all members: writes
    are slices at an unbatched index, in place, and cost of a call does not depend on the capacity.

    With ``n_step > 1`` a transition stands for up to n steps: ``reward`` is ``sum_{k<m} gamma^k r_{t+k}``, ``discount``
    is ``gamma^(m-1)`` times that of the last step, ``next_obs`` and ``cut`` are those of the last step, so that
    ``reward + gamma discount V(next_obs)`` is the m-step target. ``m`` is n, or fewer where the episode ends by
    termination or time limit or the newest step is reached: at the ring's seam a return is shorter, never mixed.

    Observations are kept in their own dtype, and once: successors are read from the next row. What is not there is
    kept beside: the successor of the newest step, and those of time limits, ``ceil(L / min_episode_steps)`` rows of
    them. At a termination, which nothing follows, ``next_obs`` repeats the last step's observation. Where episodes may
    be so short that this saves nothing, successors are stored at every step, those of terminations too.

    With ``prioritised``, ``extras`` has ``index`` and ``importance``, the importance weights divided by the greatest
    one of the batch. New transitions get the greatest priority so far; priorities that the learner reports as
    ``behaviour.feedback`` are taken over before the next batch is added.

    Args:
        source: yields ``Transition[T, N, ...]``, such as a rollout.
        behaviour: ``(key) -> Behaviour`` of the learner, of which only the shapes of what it stores matter.
        capacity: transitions, rounded up to whole batches of the source.
        batch_size: transitions drawn together, ``B``.
        batches: how many such batches, as a leading axis ``[batches, B, ...]``; without one for None.
        n_step: ``n``.
        gamma: discount factor within the ``n`` steps.
        min_episode_steps: no episode is truncated before it has so many steps. 1 is always right.

    Raises:
        InvalidArgument: for sizes below one, or a capacity below ``batch_size`` or ``n_step`` steps.
    """
    for name, size in (("batch_size", batch_size), ("n_step", n_step), ("min_episode_steps", min_episode_steps)):
        if size < 1:
            raise InvalidArgument(name, size, "must be at least 1")
    if batches is not None and batches < 1:
        raise InvalidArgument("batches", batches, "must be at least 1")
    if capacity < batch_size:
        raise InvalidArgument("capacity", capacity, f"must be at least batch_size={batch_size}")

    def shapes_of(key):
        return source.next(source.init(key), behaviour(key), key)[1]

    shapes = jax.eval_shape(shapes_of, jax.eval_shape(lambda: jax.random.key(0)))
    steps, envs = shapes.reward.shape
    length = -(-capacity // (steps * envs)) * steps
    if length < n_step:
        raise InvalidArgument("capacity", capacity, f"must be at least n_step * num_envs = {n_step * envs}")
    finals = -(-length // min_episode_steps)
    stored = finals >= length  # the next observation at every step
    newest_row = length + finals
    shape = (batch_size,) if batches is None else (batches, batch_size)

    def init(key: Key) -> ReplayState:
        def zeros(rows, leaf):
            return jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype)

        ring = Ring(
            obs=jax.tree.map(lambda leaf: zeros(2 * length if stored else newest_row + 1, leaf), shapes.obs),
            successor=None if stored else jnp.zeros((length, envs), jnp.int32),
            finals=None if stored else jnp.zeros(envs, jnp.int32),
            steps=jax.tree.map(lambda leaf: zeros(length, leaf), stored_per_step(shapes)),
        )
        weights = None if prioritised is None else Weights(sum_tree.empty(length * envs), jnp.float32(1))
        return ReplayState(Shared(jnp.int32(0)), source.init(key), ring, weights)

    def write(ring: Any, batch: Transition, start: jax.Array) -> Ring:
        """``batch`` in rows ``start .. start + T - 1``."""

        def put(rows, new, at=start):
            return jax.lax.dynamic_update_slice_in_dim(rows, new, at, axis=0)

        obs = jax.tree.map(put, ring.obs, batch.obs)
        kept = jax.tree.map(put, ring.steps, stored_per_step(batch))
        if stored:
            obs = jax.tree.map(lambda rows, new: put(rows, new, length + start), obs, batch.next_obs)
            return Ring(obs, None, None, kept)
        obs = jax.tree.map(lambda rows, new: put(rows, new[-1:], newest_row), obs, batch.next_obs)
        truncated = (batch.cut > 0) & (batch.discount > 0)
        before = ring.finals + jnp.cumsum(truncated, axis=0) - truncated
        final_row = length + before % finals
        env = jnp.broadcast_to(jnp.arange(envs), truncated.shape)
        beyond = jnp.where(truncated, final_row, newest_row + 1)  # where nothing is written
        obs = jax.tree.map(lambda rows, new: rows.at[beyond, env].set(new, mode="drop"), obs, batch.next_obs)
        row = (start + jnp.arange(steps))[:, None]
        follows = jnp.where(truncated, final_row, jnp.where(batch.cut > 0, row, (row + 1) % length))
        return Ring(obs, put(ring.successor, follows), (ring.finals + truncated.sum(axis=0)) % finals, kept)

    def read(ring: Ring, index: jax.Array, newest: jax.Array) -> Transition:
        """The transitions that begin at ``index = row * N + environment``, ``[...]``."""
        row, env = index // envs, index % envs

        def at(rows, row):
            return rows.at[row, env].get(mode="promise_in_bounds")

        reward, last = at(ring.steps["reward"], row), row
        factor, ahead = jnp.ones_like(reward), (newest - row) % length
        going_on = at(ring.steps["cut"], row) == 0
        for k in range(1, n_step):
            # Of what lies behind an end or the newest step nothing counts, whatever it is.
            following = (row + k) % length
            going_on &= k <= ahead
            factor = jnp.where(going_on, factor * gamma, factor)
            reward = reward + jnp.where(going_on, factor * at(ring.steps["reward"], following), 0)
            last = jnp.where(going_on, following, last)
            going_on &= at(ring.steps["cut"], following) == 0
        cut = at(ring.steps["cut"], last)
        if stored:
            next_row = length + last
        else:
            next_row = jnp.where((last == newest) & (cut == 0), newest_row, at(ring.successor, last))
        return Transition(
            obs=jax.tree.map(lambda rows: at(rows, row), ring.obs),
            action=jax.tree.map(lambda rows: at(rows, row), ring.steps["action"]),
            reward=reward,
            discount=factor * at(ring.steps["discount"], last),
            cut=cut,
            next_obs=jax.tree.map(lambda rows: at(rows, next_row), ring.obs),
            extras=jax.tree.map(lambda rows: at(rows, row), ring.steps["extras"]),
        )

    def reweigh(weights: Weights, feedback: Feedback | None, new: jax.Array) -> Weights:
        """Takes over what the learner says, and gives the ``new`` transitions the greatest priority so far.

        Both at once: a write to the tree after a read of it would copy the tree. Where a new transition is in the place
        of one the learner speaks of, its priority is the greater one, which the tree keeps.
        """
        assert prioritised is not None
        index, priority = (jnp.zeros(0, jnp.int32), jnp.zeros(0)) if feedback is None else map(jnp.ravel, feedback)
        greatest = jnp.maximum(weights.greatest, priority.max(initial=0))
        index = jnp.concatenate([index, new])
        priority = jnp.concatenate([priority, jnp.broadcast_to(greatest, new.shape)])
        return Weights(
            sum_tree.replace(weights.tree, index, (priority + PRIORITY_FLOOR) ** prioritised.exponent), greatest
        )

    def next_batch(state: ReplayState, behaviour: Behaviour, key: Key):
        collect_key, draw_key = jax.random.split(key)
        source_state, batch, metrics = source.next(state.source, behaviour, collect_key)

        # Counted in calls, so that nothing overflows.
        calls = state.calls.value
        filled = jnp.minimum(calls + 1, length // steps)
        start = calls % (length // steps) * steps
        ring = write(state.ring, batch, start)
        count, newest = filled * steps * envs, start + steps - 1

        weights = state.weights
        if weights is None or prioritised is None:
            index = jax.random.randint(draw_key, shape, 0, count)
            drawn = read(ring, index, newest)
        else:
            weights = reweigh(weights, behaviour.feedback, start * envs + jnp.arange(steps * envs))
            index = sum_tree.draw(weights.tree, draw_key, shape)
            probability = sum_tree.weights(weights.tree, index) / sum_tree.total(weights.tree)
            exponent = prioritised.importance(calls) if callable(prioritised.importance) else prioritised.importance
            importance = (count * probability) ** -exponent
            drawn = read(ring, index, newest)
            extras = {"index": index, "importance": importance / importance.max(axis=-1, keepdims=True)}
            drawn = drawn._replace(extras=drawn.extras | extras)
        return ReplayState(Shared(calls + 1), source_state, ring, weights), drawn, metrics

    return Source(init, next_batch, source.steps)


def forgotten(state: ReplayState, when: jax.Array) -> ReplayState:
    """A buffer of which nothing that was written is drawn any more, where ``when`` holds; it costs no copy.

    Args:
        when: ``[]``, bool, the same for all members.

    Raises:
        TypeError: for a prioritised buffer, whose priorities are not forgotten.
    """
    if state.weights is not None:
        raise TypeError("a prioritised buffer cannot forget")
    return state._replace(calls=Shared(jnp.where(when, 0, state.calls.value)))


def contents(state: ReplayState, num_steps: int) -> Transition:
    """All that a buffer holds, ``[R, N, ...]`` in the order in which it happened, as numpy arrays.

    ``next_obs`` is as ``replay`` with one step has it: at a termination the last observation, where successors are not
    stored at every step.

    Args:
        num_steps: ``T`` of the batches ``[T, N, ...]`` that were written.
    """
    ring = jax.tree.map(np.asarray, state.ring)
    length, envs = ring.steps["reward"].shape
    written, env = int(state.calls.value) * num_steps, np.arange(envs)
    rows = np.arange(max(0, written - length), written)[:, None] % length
    if ring.successor is None:
        next_rows = np.broadcast_to(length + rows, (len(rows), envs))
    else:
        next_rows = ring.successor[rows[:, 0]]
        last = len(jax.tree.leaves(ring.obs)[0]) - 1
        next_rows[-1:] = np.where(ring.steps["cut"][rows[-1:, 0]] == 0, last, next_rows[-1:])
    kept = jax.tree.map(lambda leaf: leaf[rows[:, 0]], ring.steps)
    return Transition(
        obs=jax.tree.map(lambda leaf: leaf[rows[:, 0]], ring.obs),
        next_obs=jax.tree.map(lambda leaf: leaf[next_rows, env], ring.obs),
        **kept,
    )


def stored_per_step(batch: Any) -> dict[str, PyTree]:
    """What a transition has beside its observations."""
    return {name: getattr(batch, name) for name in ("action", "reward", "discount", "cut", "extras")}


class PrioritisingState(NamedTuple):
    feedback: Feedback
    inner: PyTree


def prioritising(learner: Learner, shape: tuple[int, ...]) -> Learner:
    """Tells a prioritised buffer, with the next behaviour, the metric ``priority`` of the last batch's transitions.

    Laws: parameters and all other metrics are those of ``learner``, which does not report ``priority`` any more; before
    the first update nothing is told.

    Args:
        learner: reports ``priority``, of ``shape``.
        shape: of the batch's ``extras["index"]``.
    """
    nothing = Feedback(jnp.full(shape, 2**31 - 1, jnp.int32), jnp.zeros(shape))  # beyond any buffer, so ignored

    def init(key):
        return PrioritisingState(nothing, learner.init(key))

    def update(state, batch, key):
        inner, metrics = learner.update(state.inner, batch, key)
        rest = {name: metric for name, metric in metrics.items() if name != "priority"}
        feedback = Feedback(batch.extras["index"], metrics["priority"].astype(jnp.float32))
        return PrioritisingState(feedback, inner), rest

    def behaviour(state):
        return learner.behaviour(state.inner)._replace(feedback=state.feedback)

    return on_inner(learner, init, update)._replace(behaviour=behaviour)

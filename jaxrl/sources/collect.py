"""Whole episodes of a policy as rows of a data set."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnax.environments.environment import Environment

from jaxrl.core.types import Behaviour, Key, Transition
from jaxrl.errors import InvalidArgument
from jaxrl.sources.rollout import rollout

NUM_ENVS = 128
CHUNK = 64
"""steps of all environments between two looks of the host"""


class Episodes(NamedTuple):
    """Steps in the order of their episodes: transitions ``[rows, ...]`` and numbers of episodes ``[rows]``, from 0 on,
    on the host."""

    transitions: Transition
    episode: np.ndarray

    def returns(self) -> np.ndarray:
        """Of the episodes that ended, not discounted, in their order."""
        ended = np.zeros(self.episode.max(initial=-1) + 1, bool)
        ended[self.episode[np.asarray(self.transitions.cut) > 0]] = True
        return np.bincount(self.episode, weights=self.transitions.reward, minlength=len(ended))[ended]


def collector(
    policy: Callable[..., Any], env: Environment, env_params: Any, num_envs: int = NUM_ENVS
) -> Callable[..., Episodes]:
    """``(params, key, rows, progress=None) -> Episodes``: whole episodes with ``rows`` steps or a few more.

    Compiled once, for parameters of one shape. Episodes are numbered by their starts, and the first ones that have
    ``rows`` steps together are kept, long ones included whatever time they take: stopping at a step instead would
    leave out who lives longer.

    Law: with the same key, fewer rows are the first episodes of more.

    Args:
        policy: ``(params, obs[N, ...], key) -> action[N, ...]``.
        env: an environment whose episodes end.
        num_envs: how many are stepped at once; others make other episodes of one key.

    Raises:
        InvalidArgument: for rows below one.
    """
    source = rollout(env, env_params, num_envs, CHUNK)
    start = jax.jit(source.init)

    @jax.jit
    def advance(state, params, key):
        behaviour = Behaviour(keys, lambda obs, key: (policy(params, obs, key), {}))
        state, batch, _ = source.next(state, behaviour, key)
        return state, batch

    def collect(
        params: Any, key: Key, rows: int, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Episodes:
        if rows < 1:
            raise InvalidArgument("rows", rows, "must be at least 1")
        start_key, key = jax.random.split(key)
        state, chunks = start(start_key), []
        while True:
            state, batch = advance(state, params, jax.random.fold_in(key, len(chunks)))
            chunks.append(jax.device_get(batch))
            taken = len(chunks) * source.steps
            progress(min(taken, rows), rows)
            if taken >= rows:
                kept = until(np.concatenate([chunk.cut for chunk in chunks]), rows)
                if kept is not None:
                    return in_episodes(jax.tree.map(lambda *parts: np.concatenate(parts), *chunks), kept)

    return collect


def keys(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """A key for each step: the noise of a behaviour that draws its own."""
    return jax.random.split(key, shape[0])


def numbered(cut: np.ndarray) -> np.ndarray:
    """``[T, N]``: which episode a step is of, numbered by their starts and then by environments.

    Args:
        cut: ``[T, N]``; episodes begin with the first step and after every cut.
    """
    first = np.ones(cut.shape, bool)
    first[1:] = cut[:-1] > 0
    number = np.full(cut.shape, -1)
    number[first] = np.arange(first.sum())
    return np.maximum.accumulate(number, axis=0)


def until(cut: np.ndarray, rows: int) -> int | None:
    """How many first episodes have ``rows`` steps together; None if one of them has not ended yet."""
    number = numbered(cut)
    ended = np.zeros(number.max() + 1, bool)
    ended[number[cut > 0]] = True
    whole = len(ended) if ended.all() else int(ended.argmin())
    steps = np.cumsum(np.bincount(number.ravel())[:whole])
    return int(np.searchsorted(steps, rows)) + 1 if whole and steps[-1] >= rows else None


def in_episodes(batch: Transition, kept: int | None = None) -> Episodes:
    """Steps ``[T, N, ...]`` as rows, episode by episode; the last ones may not have ended.

    Args:
        kept: only the first so many episodes.
    """
    number = numbered(np.asarray(batch.cut)).ravel()
    order = np.argsort(number, kind="stable")
    if kept is not None:
        order = order[: np.searchsorted(number[order], kept)]
    rows = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:])[order], batch)
    return Episodes(rows, number[order])


def joined(*parts: Episodes) -> Episodes:
    """The episodes of several collections, those of the first one first."""
    counts = [part.episode.max(initial=-1) + 1 for part in parts]
    numbers = [part.episode + sum(counts[:index]) for index, part in enumerate(parts)]
    rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.transitions for part in parts))
    return Episodes(rows, np.concatenate(numbers))

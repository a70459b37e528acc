"""Several solutions of each instance, drawn from a network and scored again: see ``envs/combinatorial/groups.py``."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxrl.core.types import PyTree
from jaxrl.envs.combinatorial.groups import allowed_in, each, onward, visits
from jaxrl.envs.combinatorial.problem import NOWHERE, Instance, Problem
from jaxrl.policies.bases import categorical

GroupScorer: TypeAlias = Callable[[PyTree, Instance], jax.Array]
"""``(params, group[B, k]) -> logits[B, k, n, flags]``, those of actions that are not allowed ``IMPOSSIBLE``"""

CHOICE = categorical(lambda key: None, lambda params, logits: logits)
"""of an action by its logits"""


def draw(
    problem: Problem, score: GroupScorer, params: PyTree, group: Instance, first: jax.Array, noise: jax.Array
) -> jax.Array:
    """Solutions int32 ``[B, k, T]``, ``NOWHERE`` from their ends on.

    Args:
        group: at its start.
        first: int32 ``[B, k]``, see ``Start``.
        noise: uniform, ``[B, k, T]``.
    """

    def step(remaining, inputs):
        noise, first = inputs
        now = dataclasses.replace(group, remaining=remaining)
        action, _ = CHOICE.sample(None, flat(score(params, now)), noise)
        action = jnp.where(first == NOWHERE, action, first)
        action = jnp.where(allowed_in(problem, now).any(axis=(-2, -1)), action, NOWHERE)
        return each(lambda *one: onward(problem, *one), now, action), action

    noise = jnp.moveaxis(noise, -1, 0)
    firsts = jnp.full(noise.shape, NOWHERE, jnp.int32).at[0].set(first)
    _, actions = jax.lax.scan(step, group.remaining, (noise, firsts))
    return jnp.moveaxis(actions, 0, -1)


def log_probs(
    problem: Problem, score: GroupScorer, params: PyTree, group: Instance, first: jax.Array, actions: jax.Array
) -> jax.Array:
    """``[B, k]``: of solutions ``[B, k, T]`` the log-probability of all that was left to the policy.

    The steps are not taken again but scored side by side, as ``k * T`` partial solutions.
    """
    _, k, steps = actions.shape
    visited = each(lambda *one: visits(problem, *one), group, actions)  # [B, k, T, ...]
    merged = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0], k * steps, *leaf.shape[3:]), visited)
    side_by_side = dataclasses.replace(
        group, destination=jnp.repeat(group.destination, steps, axis=1), remaining=merged
    )
    logits = flat(score(params, side_by_side)).reshape(*actions.shape, -1)
    chosen, _ = CHOICE.log_prob(None, logits, jnp.maximum(actions, 0), None)
    left = (actions != NOWHERE).at[..., 0].min(first == NOWHERE)
    return jnp.sum(jnp.where(left, chosen, 0.0), axis=-1)


def flat(logits: jax.Array) -> jax.Array:
    """``[..., n, flags]`` as ``[..., n * flags]``."""
    return logits.reshape(*logits.shape[:-2], -1)

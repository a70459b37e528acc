"""Kernels of all actions of a state within one budget."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.bellman.nature import (
    Limits,
    Nature,
    gain_over,
    least_value,
    mass_below,
    named,
    rounding,
    worst_outcome,
    zero_elsewhere,
)
from jaxrl.bellman.short import greatest, total

HALVINGS = 50
"""of the interval in which the value of a state is searched for"""


@struct.dataclass
class SRectangularL1(Nature):
    """Kernels of all actions of a state within one budget, ``sum_a ||q_a - p_a||_1 <= budget`` (Wiesemann et al. 2013).

    The best policy may have to mix actions. Its value is the least ``u`` for which the budget does not suffice to bring
    every action below ``u`` (Ho et al. 2018), found by bisection; the probabilities are the actions' multipliers.

    Args:
        budget: at least 0, ``[]`` or ``[S]``.
    """

    budget: Any
    name: str = named("SRectangularL1")
    kind = "set"
    rectangular = "s"
    limits: ClassVar[Limits] = {"budget": (0, np.inf)}

    def respond_jointly(self, p, z, allowed=None) -> tuple[Any, Any, Any]:
        """The value ``[...]`` of a state whose actions have outcomes ``p, z [n, ..., A]``, the policy ``[..., A]`` that
        attains it, and kernels ``[n, ..., A]`` that hold every policy to it.

        Args:
            allowed: bool ``[..., A]``; all by default.
        """
        may = p > 0
        lowest = least_value(z, may)
        gain = gain_over(z, lowest, may)  # by how much a unit of mass moved lowers the mean
        mean = total(p * zero_elsewhere(z, may))
        better = gain * p  # in all, mass that is worth moving
        ahead = total(better) - mass_below(better, zero_elsewhere(z, may)) - better
        if allowed is not None:
            mean, lowest = (jnp.where(allowed, x, -jnp.inf) for x in (mean, lowest))
        budget = jnp.asarray(self.budget, p.dtype)

        def taken(level):
            """Mass ``[n, ..., A]`` to move so that no action's mean is above ``level[...]``."""
            need = jnp.maximum(mean - level[..., None], 0)
            return jnp.clip(need - ahead, 0, better) / jnp.where(better > 0, gain, 1)

        def halved(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            enough = 2 * total(total(taken(middle)), -1) <= budget
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        bracket = jax.lax.stop_gradient((greatest(lowest, -1), greatest(mean, -1)))
        _, level = jax.lax.fori_loop(0, HALVINGS, halved, bracket)
        # the budget reaches the floor, where one action cannot be lowered at all
        floor = greatest(lowest, -1)
        level = jnp.where(2 * total(total(taken(floor)), -1) <= budget, floor, level)
        moved = taken(level)
        weights = p - moved + worst_outcome(z, may) * total(moved)
        # the gain of the unit that each action would give up next: the adversary is indifferent between actions
        need = jnp.maximum(mean - level[..., None], 0)
        slack = rounding(p) * (1 + total(jnp.abs(better)))
        next_gain = greatest(jnp.where((ahead <= need + slack) & (need + slack < ahead + better), gain, 0))
        active = mean >= level[..., None] - slack
        stuck = active & (lowest >= level[..., None] - slack)
        share = jnp.where(active & (next_gain > 0), 1 / jnp.where(next_gain > 0, next_gain, 1), 0)
        share = jnp.where(stuck.any(axis=-1, keepdims=True), stuck, share)
        policy = share / share.sum(axis=-1, keepdims=True)
        return level, policy, weights

    def respond_to(self, p, z, policy) -> tuple[Any, Any]:
        """The value ``[...]`` of a policy ``[..., A]`` and the kernels ``[n, ..., A]`` that are worst for it: the
        budget is spent where a unit of mass costs the policy most."""
        may = p > 0
        known = zero_elsewhere(z, may)
        gain = policy * gain_over(z, least_value(z, may), may)
        flat = jnp.moveaxis(gain, -1, 1).reshape(-1, *gain.shape[1:-1])
        mass = p * (1 - worst_outcome(z, may))
        spread = jnp.moveaxis(mass, -1, 1).reshape(flat.shape)
        ahead = total(spread) - mass_below(spread, flat) - spread
        moved = jnp.clip(jnp.asarray(self.budget, p.dtype) / 2 - ahead, 0, spread)
        moved = jnp.moveaxis(moved.reshape(p.shape[0], p.shape[-1], *p.shape[1:-1]), 1, -1)
        weights = p - moved + worst_outcome(z, may) * total(moved)
        return (policy * total(weights * known)).sum(axis=-1), weights

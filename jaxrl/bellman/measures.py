"""Risk measures of one step's outcomes."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.bellman.nature import (
    Limits,
    Nature,
    concrete,
    mass_below,
    mixture,
    named,
)
from jaxrl.bellman.sets import KLPenalty
from jaxrl.errors import InvalidArgument


@struct.dataclass
class CVaR(Nature):
    """The mean of the worst share ``level`` of the outcomes, one step at a time: *nested*, not that of the return.

    Args:
        level: within (0, 1]; 1 is the mean.
    """

    level: Any
    name: str = named("CVaR")
    kind = "risk"
    limits: ClassVar[Limits] = {"level": (0, 1)}
    above_zero: ClassVar[tuple[str, ...]] = ("level",)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return mixture(_tail(p, mass_below(p, z), self.level), z)


@struct.dataclass
class Entropic(Nature):
    """``-log E exp(-aversion z) / aversion``, one step at a time, with the same aversion at every step.

    Equal to ``KLPenalty(1 / aversion)``. The entropic risk of a discounted *return* is another thing: its aversion
    shrinks with the discount from step to step (``solve(..., horizon=...)`` with ``aversion`` of each stage).

    Args:
        aversion: above 0.
    """

    aversion: Any
    name: str = named("Entropic")
    kind = "risk"
    mixes = False
    above_zero: ClassVar[tuple[str, ...]] = ("aversion",)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return KLPenalty(1 / jnp.asarray(self.aversion)).respond(p, z)


@struct.dataclass
class Spectral(Nature):
    """A mixture of ``CVaR``, one step at a time.

    Args:
        levels: ``[k]`` within (0, 1].
        shares: ``[k]``, at least 0, of sum 1.
    """

    levels: Any
    shares: Any
    name: str = named("Spectral")
    kind = "risk"
    limits: ClassVar[Limits] = {"levels": (0, 1), "shares": (0, 1)}
    of_all_states = ("levels", "shares")
    above_zero: ClassVar[tuple[str, ...]] = ("levels",)

    def __post_init__(self):
        super().__post_init__()
        if concrete(self.shares):
            shares, levels = np.asarray(self.shares, float), np.asarray(self.levels, float)
            if shares.shape != levels.shape or shares.ndim != 1 or abs(shares.sum() - 1) > 1e-6:
                allowed = f"must be one for each level, {levels.tolist()}, of sum 1"
                raise InvalidArgument("shares", shares.tolist(), allowed)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        below = mass_below(p, z)
        levels, shares = jnp.asarray(self.levels, p.dtype), jnp.asarray(self.shares, p.dtype)
        parts = jax.vmap(lambda level, share: share * _tail(p, below, level))(levels, shares)
        return mixture(parts.sum(axis=0), z)


def _tail(p, below, level):
    """Weights of the worst share ``level``."""
    return jnp.clip(level - below, 0, p) / level

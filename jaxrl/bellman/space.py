"""What is known of the return: its mean, or its law on fixed atoms, as quantiles, or as particles.

A space of laws says how a law with many atoms is brought back to ``N`` of them after a backup; see ``project``.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy
from flax import struct

from jaxrl.bellman.nature import concrete, named
from jaxrl.core.config import static
from jaxrl.errors import InvalidArgument


class Law(NamedTuple):
    """Laws of returns: atoms and their probabilities."""

    atoms: Any
    """``[..., N]``"""
    weights: Any
    """``[..., N]``, of sum 1; an atom of weight 0 is none"""

    def mean(self) -> Any:
        """``[...]``"""
        return self.expectation(lambda x: x)

    def expectation(self, function: Callable[[Any], Any]) -> Any:
        """``[...]``: the mean of ``function(atoms)``."""
        np = _module(self)
        return (self.weights * np.where(self.weights > 0, function(self.atoms), 0)).sum(axis=-1)

    def quantile(self, level: Any) -> Any:
        """``[...]``: the least atom up to which there is a probability of at least ``level``, within (0, 1]."""
        np = _module(self)
        atoms, weights = in_order(self)
        reached = np.cumsum(weights, axis=-1) >= level - 8 * np.finfo(weights.dtype).eps
        return np.take_along_axis(atoms, reached.argmax(axis=-1)[..., None], axis=-1)[..., 0]

    def cvar(self, level: Any) -> Any:
        """``[...]``: the mean of the worst ``level`` of the outcomes, within (0, 1]."""
        np = _module(self)
        atoms, weights = in_order(self)
        taken = np.clip(level - (np.cumsum(weights, axis=-1) - weights), 0, weights)
        return (taken * np.where(taken > 0, atoms, 0)).sum(axis=-1) / level


def wasserstein(one: Law, other: Law) -> Any:
    """``[...]``: the Wasserstein-1 distance, the area between the distribution functions."""
    np = _module(one)
    atoms = np.concatenate([one.atoms, other.atoms], axis=-1)
    masses = np.concatenate([one.weights, -other.weights], axis=-1)
    order = np.argsort(atoms, axis=-1)
    atoms, masses = (np.take_along_axis(x, order, axis=-1) for x in (atoms, masses))
    return (np.abs(np.cumsum(masses, axis=-1))[..., :-1] * np.diff(atoms, axis=-1)).sum(axis=-1)


def in_order(law: Law) -> Law:
    """Atoms in order, those of weight 0 last, in the greatest one's place."""
    np = _module(law)
    greatest = np.where(law.weights > 0, law.atoms, -np.inf).max(axis=-1, keepdims=True)
    atoms = np.where(law.weights > 0, law.atoms, greatest)
    order = np.argsort(atoms, axis=-1, stable=True)
    return Law(*(np.take_along_axis(x, order, axis=-1) for x in (atoms, law.weights)))


def _module(law: Law) -> Any:
    """numpy for what is numpy's, which stays in double precision."""
    return numpy if isinstance(law.atoms, numpy.ndarray) else jnp


class Space:
    """Base of the spaces."""

    keeps_means: ClassVar[bool] = True
    """a projection leaves means as they are, within the support"""

    @property
    def is_scalar(self) -> bool:
        """Whether only a number is known of each return."""
        return False

    def project(self, law: Law) -> Law:
        """A law ``[..., M]`` brought to the ``N`` atoms of the space."""
        raise NotImplementedError

    def point(self, values: Any) -> Law:
        """Laws ``[..., N]`` of returns that are sure ``[...]``."""
        values = jnp.asarray(values)[..., None]
        return self.project(Law(values, jnp.ones_like(values)))


@struct.dataclass
class Scalar(Space):
    """The mean return."""

    name: str = named("Scalar")

    @property
    def is_scalar(self) -> bool:
        """It is."""
        return True


@struct.dataclass
class Categorical(Space):
    """Probabilities of given returns (Bellemare et al. 2017, Rowland et al. 2018).

    A projection shares each atom out between the two neighbours among the given ones, so that its mean stays; what lies
    beyond them goes to the end. The expectation of a function with Lipschitz constant ``L`` moves by at most ``L / 2``
    times the widest gap.

    Args:
        atoms: ``[N]``, increasing, at least two.
    """

    atoms: Any
    name: str = named("Categorical")

    def __post_init__(self):
        if not concrete(self.atoms):
            return
        given = numpy.asarray(self.atoms, float)
        if given.shape[-1:] < (2,) or not numpy.isfinite(given).all() or (numpy.diff(given, axis=-1) <= 0).any():
            raise InvalidArgument("atoms", self.atoms, "must be at least two finite returns in increasing order")

    def project(self, law):
        """See ``Space.project``."""
        support = jnp.asarray(self.atoms, law.atoms.dtype)
        number = len(support)
        shape = jnp.broadcast_shapes(law.atoms.shape, law.weights.shape)
        rows = [jnp.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in law]

        def one(atoms, weights):
            place = jnp.clip(jnp.searchsorted(support, atoms, side="right", method="scan_unrolled") - 1, 0, number - 2)
            low, high = support[place], support[place + 1]
            share = jnp.clip((atoms - low) / (high - low), 0, 1) * weights
            return jnp.zeros(number, weights.dtype).at[place].add(weights - share).at[place + 1].add(share)

        weights = jax.vmap(one)(*rows).reshape(*shape[:-1], number)
        return Law(jnp.broadcast_to(support, weights.shape), weights)


@struct.dataclass
class Quantiles(Space):
    """``N`` returns of equal probability, the quantiles at the levels ``(2 i + 1) / (2 N)`` (Dabney et al. 2018).

    A projection is the nearest such law in Wasserstein-1 distance; means move.

    Args:
        number: ``N``, at least 1.
    """

    number: int = static(128)
    name: str = named("Quantiles")
    keeps_means = False

    def __post_init__(self):
        _check_number(self.number)

    def project(self, law):
        """See ``Space.project``."""
        atoms, weights = in_order(law)
        below = jnp.cumsum(weights, axis=-1)
        levels = (jnp.arange(self.number, dtype=below.dtype) + 0.5) / self.number
        flat = below.reshape(-1, below.shape[-1])
        place = jax.vmap(lambda row: jnp.searchsorted(row, levels, side="left"))(flat)
        place = jnp.minimum(place, below.shape[-1] - 1).reshape(*below.shape[:-1], self.number)
        atoms = jnp.take_along_axis(atoms, place, axis=-1)
        return Law(atoms, jnp.full(atoms.shape, 1 / self.number, below.dtype))


@struct.dataclass
class Particles(Space):
    """Up to ``N`` returns with their probabilities: exact while a law has no more of them.

    Where there are more, the ``N - 1`` widest gaps between neighbours stay, and what lies between two of them becomes
    one return, its mean.

    Args:
        number: ``N``, at least 1.
    """

    number: int = static(128)
    name: str = named("Particles")

    def __post_init__(self):
        _check_number(self.number)

    def project(self, law):
        """See ``Space.project``."""
        shape = jnp.broadcast_shapes(law.atoms.shape, law.weights.shape)
        atoms, weights = in_order(Law(*(jnp.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in law)))
        number, found = self.number, shape[-1]
        if found <= number:
            spare = [(0, 0), (0, number - found)]
            atoms, weights = jnp.pad(atoms, spare, mode="edge"), jnp.pad(weights, spare)
            return Law(*(x.reshape(*shape[:-1], number) for x in (atoms, weights)))

        def one(atoms, weights):
            gaps = jnp.diff(atoms)
            # what rounding may have told apart is one return
            gaps = jnp.where(gaps > 64 * jnp.finfo(atoms.dtype).eps * jnp.abs(atoms[1:]), gaps, 0)
            widest = jax.lax.top_k(gaps, number - 1)[1]
            cut = jnp.zeros(found - 1, jnp.int32).at[widest].set(1) * (gaps > 0)
            group = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(cut)])
            mass = jnp.zeros(number, weights.dtype).at[group].add(weights)
            # around the group's first atom, which is exact where all of its atoms are equal
            first = jnp.full(number, atoms[-1]).at[group].min(atoms)
            above = jnp.zeros(number, weights.dtype).at[group].add(weights * (atoms - first[group]))
            return first + above / jnp.where(mass > 0, mass, 1), mass

        return Law(*(x.reshape(*shape[:-1], number) for x in jax.vmap(one)(atoms, weights)))


def _check_number(number: Any) -> None:
    if not isinstance(number, int | numpy.integer) or number < 1:
        raise InvalidArgument("number", number, "must be a whole number, at least 1")

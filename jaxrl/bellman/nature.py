"""Who chooses the next state: chance, an adversary within a set of kernels, or chance as an averse mind sees it.

A nature answers ``respond(p, z)``: for outcomes of nominal probabilities ``p`` and values ``z`` (reward and discounted
value of the successor) it gives the value of facing them and the weights by which it mixes them. Axis 0 holds the
``n`` outcomes; further axes are batched, and a nature's numbers broadcast against them. So

    nature.respond(p[n], z[n])                 one action in one state
    nature.respond(p[n, S, A], z[n, S, A])     all of a process, with a radius ``[]`` or ``[S, A]``

Values are differentiable in ``z``, ``p`` and the nature's numbers: where the response is searched for, its multipliers
are held fixed, which by the envelope theorem leaves the derivative as it is; that with respect to ``z`` is the weights.

Every response is monotone in ``z`` and moves with it (``respond(p, z + c)`` is the value plus ``c``), but for the
relaxed ``Lp``, which is not monotone. Adversaries minimise; ``Optimistic`` turns any of them around.

Sources: Iyengar 2005 and Nilim and El Ghaoui 2005 for the sets; Ho, Petrik and Wiesemann 2018, 2021 for L1; Artzner et
al. 1999, Rockafellar and Uryasev 2000, Acerbi 2002 for risk measures.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from jaxrl.bellman.short import least, place_of_least, total
from jaxrl.core.config import check_within
from jaxrl.errors import InvalidArgument

PAIRWISE = 8
"""up to so many outcomes are ordered by comparing all pairs instead of being sorted"""

Support = Literal["nominal", "all"]
Limits: TypeAlias = dict[str, tuple[float, float]]


def named(name: str) -> Any:
    """A static field with the class's name: jax takes trees of different dataclasses with equal fields for equal,
    and now and then runs the program of one for the other."""
    return struct.field(pytree_node=False, default=name, repr=False)


class Response(NamedTuple):
    """What a nature does with outcomes."""

    value: Any
    """``[...]``"""
    weights: Any
    """``[n, ...]``, of sum 1"""


class WithLimits:
    """A dataclass whose numbers are checked as soon as they can be looked at."""

    limits: ClassVar[Limits] = {}
    """closed bounds of its numbers"""
    above_zero: ClassVar[tuple[str, ...]] = ()
    """those that must not be 0"""
    of_all_states: ClassVar[tuple[str, ...]] = ()
    """those that are arrays, and not because states differ in them"""

    def __post_init__(self):
        def known(name):
            return concrete(getattr(self, name, None))

        check_within(self, **{name: bounds for name, bounds in self.limits.items() if known(name)})
        for name in filter(known, self.above_zero):
            if not (np.asarray(getattr(self, name)) > 0).all():
                raise InvalidArgument(name, getattr(self, name), "must be above 0")


class Nature(WithLimits):
    """Base of all natures."""

    kind: ClassVar[str] = "nominal"
    """``nominal``, ``set`` (a worst case of kernels), ``risk`` (a nested risk measure) or ``best`` (a best case)"""
    dominant: ClassVar[bool] = False
    """the worst kernel of the set is worst for every increasing functional of the outcomes, not for their mean alone"""
    monotone: ClassVar[bool] = True
    """a larger ``z`` never gives a smaller value"""
    rectangular: ClassVar[Literal["sa", "s"]] = "sa"
    """whether each action of a state has its own budget, or all of a state's actions share one"""
    mixes: ClassVar[bool] = True
    """its value is the mean under its weights, which are probabilities: it can mix laws too"""

    limits: ClassVar[Limits] = {"radius": (0, np.inf)}

    def respond(self, p: Any, z: Any) -> Response:
        """The value ``[...]`` of outcomes with probabilities ``p[n, ...]`` and values ``z[n, ...]``, and the weights
        ``[n, ...]`` that give it."""
        raise NotImplementedError

    def guess(self, p: Any) -> Any:
        """Where the search for the response to ``p[n, ...]`` starts if nothing is known; None if there is no search."""
        del p
        return None

    def respond_from(self, p: Any, z: Any, guess: Any) -> tuple[Response, Any]:
        """``respond`` with a search that starts at a guess, and what it found: the guess for values near these. Only
        the time depends on the guess."""
        return self.respond(p, z), guess

    @property
    def needs_all_states(self) -> bool:
        """Whether mass may go to states without a listed outcome, so that only a dense process will do."""
        return getattr(self, "support", "nominal") == "all"


@struct.dataclass
class Nominal(Nature):
    """Chance: the expectation."""

    name: str = named("Nominal")

    def respond(self, p, z):
        """The mean."""
        return mixture(p, z)


# --- natures of natures -----------------------------------------------------------------------------------------------


@struct.dataclass
class Optimistic(Nature):
    """The best case instead of the worst: ``-respond(p, -z)``.

    Args:
        nature: a set or a risk measure.
    """

    nature: Any
    name: str = named("Optimistic")
    kind = "best"

    @property
    def monotone(self) -> bool:
        """As of the nature turned around."""
        return self.nature.monotone

    @property
    def needs_all_states(self) -> bool:
        """As of the nature turned around."""
        return self.nature.needs_all_states

    @property
    def mixes(self) -> bool:
        """As of the nature turned around."""
        return self.nature.mixes

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return self.respond_from(p, z, self.guess(p))[0]

    def guess(self, p):
        """As of the nature turned around."""
        return self.nature.guess(p)

    def respond_from(self, p, z, guess):
        """See ``Nature.respond_from``."""
        (value, weights), guess = self.nature.respond_from(p, -z, guess)
        return Response(-value, weights), guess


@struct.dataclass
class WorstOf(Nature):
    """The worst value of a nested risk measure over a set of kernels, ``inf_P risk_P(z)``.

    For sets with a kernel that is worst for every increasing functional: the measure is taken under that one.

    Args:
        kernels: a set with ``dominant``.
        risk: a nested risk measure.
    """

    kernels: Any
    risk: Any
    name: str = named("WorstOf")
    kind = "set"

    @property
    def needs_all_states(self) -> bool:
        """As of the set."""
        return self.kernels.needs_all_states

    @property
    def mixes(self) -> bool:
        """As of the measure."""
        return self.risk.mixes

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return self.risk.respond(self.kernels.respond(p, z).weights, z)


# --- shared by all kinds of natures -----------------------------------------------------------------------------------


def mass_below(mass: Any, z: Any) -> Any:
    """``[n, ...]``: the mass ``[n, ...]`` of the outcomes that come before each in the order of ``z[n, ...]``, ties in
    their own order."""
    n = z.shape[0]
    # The compiler may compute values twice and round them differently, so that of equal ones each could come before the
    # other. Their last bits are left out of the comparison.
    double = z.dtype == jnp.float64
    z = jax.lax.reduce_precision(jax.lax.stop_gradient(z), 11 if double else 8, 44 if double else 19)
    if n <= PAIRWISE:
        below = [jnp.zeros_like(mass[0] + z[0]) for _ in range(n)]
        for i in range(n):
            for j in range(i + 1, n):
                later = z[j] < z[i]  # j comes before i
                below[i] += jnp.where(later, mass[j], 0)
                below[j] += jnp.where(later, 0, mass[i])
        return jnp.stack(below)
    order = jnp.argsort(z, axis=0, stable=True)
    place = jnp.argsort(order, axis=0, stable=True)
    shape = jnp.broadcast_shapes(mass.shape, z.shape)
    ordered = jnp.take_along_axis(jnp.broadcast_to(mass, shape), jnp.broadcast_to(order, shape), axis=0)
    return jnp.take_along_axis(jnp.cumsum(ordered, axis=0) - ordered, jnp.broadcast_to(place, shape), axis=0)


def reachable(p, support):
    """Which outcomes may get mass."""
    return p > 0 if support == "nominal" else jnp.ones_like(p, bool)


def zero_elsewhere(z, may):
    """Values, 0 where there is no outcome."""
    return jnp.where(may, z, 0)


def least_value(z, may):
    """The least value that there is an outcome of."""
    return least(jnp.where(may, z, jnp.inf))


def worst_outcome(z, may):
    """``[n, ...]`` 1 at the first of the worst outcomes, else 0."""
    at = place_of_least(jnp.where(may, z, jnp.inf))
    return (at == jnp.arange(z.shape[0]).reshape(-1, *(1,) * (z.ndim - 1))).astype(z.dtype)


def gain_over(z, lowest, may):
    """How far values are above the lowest; what may be rounding counts as nothing."""
    above = jnp.where(may, z - lowest, 0)
    return jnp.where(above > rounding(z) * jnp.where(may, jnp.abs(z), 0), above, 0)


def rounding(like):
    """What rounding may add to a number of size 1."""
    return 16 * jnp.finfo(like.dtype).eps


def mixture(weights, z) -> Response:
    """The mean of values under weights."""
    return Response(total(weights * jnp.where(weights != 0, z, 0)), weights)


def with_numbers_of_states(part: Any, change: Callable[[Any], Any]) -> Any:
    """A nature or a greedy rule with its numbers of each state, ``[S, ...]``, changed."""

    def changed(name, value):
        if hasattr(value, "__dataclass_fields__"):
            return with_numbers_of_states(value, change)
        return change(value) if np.ndim(value) and name not in getattr(part, "of_all_states", ()) else value

    names = [field.name for field in dataclasses.fields(part)]
    return dataclasses.replace(part, **{name: changed(name, getattr(part, name)) for name in names})


def concrete(value: Any) -> bool:
    """Whether a number can be looked at: not while a program is traced or a tree is put together."""
    if isinstance(value, list | tuple):
        return all(map(concrete, value))
    numbers = isinstance(value, int | float | np.ndarray | np.generic | jax.Array)
    return numbers and not isinstance(value, Tracer)

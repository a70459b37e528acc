"""Sets of kernels, and penalties on how far a kernel is from the nominal one."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.bellman.nature import (
    Limits,
    Nature,
    Response,
    Support,
    concrete,
    gain_over,
    least_value,
    mass_below,
    mixture,
    named,
    reachable,
    rounding,
    worst_outcome,
    zero_elsewhere,
)
from jaxrl.bellman.short import greatest, place_of_least, total
from jaxrl.core.config import static
from jaxrl.errors import InvalidArgument

SEARCH_STEPS = 100
"""at most, of a search for a multiplier"""
STEPS_TOGETHER = 3
"""of the search, that all rows take together: near a guess most need no more"""
BLOCK = 4096
"""rows that then go on together"""


# --- sets whose worst kernel is worst for every increasing functional -------------------------------------------------


@struct.dataclass
class L1(Nature):
    """Kernels within ``||q - p||_1 <= radius``: mass ``radius / 2`` goes from the best outcomes to the worst one.

    Args:
        radius: at least 0; 2 reaches every kernel.
        support: ``nominal``: only outcomes of positive probability may get mass; ``all``: every state may.
    """

    radius: Any
    support: Support = static("nominal")
    name: str = named("L1")
    kind = "set"
    dominant = True

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return _moved(p, z, self.radius / 2, self.support)


@struct.dataclass
class TV(Nature):
    """Kernels within a total variation distance, ``||q - p||_1 / 2 <= radius``: ``L1`` of twice the radius.

    Args:
        radius: at least 0; 1 reaches every kernel.
        support: as in ``L1``.
    """

    radius: Any
    support: Support = static("nominal")
    name: str = named("TV")
    kind = "set"
    dominant = True

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return _moved(p, z, self.radius, self.support)


@struct.dataclass
class LInf(Nature):
    """Kernels within ``|q_i - p_i| <= radius`` for every outcome.

    Args:
        radius: at least 0; 1 reaches every kernel.
        support: as in ``L1``.
    """

    radius: Any
    support: Support = static("nominal")
    name: str = named("LInf")
    kind = "set"
    dominant = True

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = reachable(p, self.support)
        lowest = jnp.maximum(p - self.radius, 0)
        room = jnp.where(may, jnp.minimum(p + self.radius, 1) - lowest, 0)
        missing = 1 - total(lowest)
        return mixture(lowest + jnp.clip(missing - mass_below(room, z), 0, room), z)


@struct.dataclass
class Contamination(Nature):
    """Kernels ``(1 - share) p + share q`` with any ``q``.

    Args:
        share: within [0, 1].
        support: as in ``L1``.
    """

    share: Any
    support: Support = static("nominal")
    name: str = named("Contamination")
    kind = "set"
    dominant = True
    limits: ClassVar[Limits] = {"share": (0, 1)}

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return mixture((1 - self.share) * p + self.share * worst_outcome(z, reachable(p, self.support)), z)


# --- other sets -------------------------------------------------------------------------------------------------------


@struct.dataclass
class KL(Nature):
    """Kernels within ``KL(q || p) <= radius``: exponentially tilted, ``q ~ p exp(-theta z)``.

    ``theta`` is found by Newton's method on ``sqrt(KL)``, which is nearly linear in it, within a bracket.

    Args:
        radius: at least 0. A row with one outcome has no other kernel.
    """

    radius: Any
    name: str = named("KL")
    kind = "set"

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return self.respond_from(p, z, self.guess(p))[0]

    def guess(self, p):
        """``[...]``: ``theta`` times the span of the outcomes, 0 where it is not known."""
        return jnp.zeros(p.shape[1:], p.dtype)

    def respond_from(self, p, z, guess):
        """See ``Nature.respond_from``."""
        may = p > 0
        lowest = least_value(z, may)
        above = gain_over(z, lowest, may)
        span = greatest(above)
        flat = span <= 0
        scale = 1 / jnp.where(flat, 1, span)
        scaled = above * scale
        at_lowest = jnp.where(may & (scaled <= 0), p, 0)
        pinned = total(at_lowest)
        radius = jnp.asarray(self.radius, p.dtype)
        # the worst outcome alone is within reach
        saturated = pinned >= jnp.exp(-radius)
        free = ~(flat | saturated | (radius <= 0))
        found = jax.lax.stop_gradient(jnp.where(free, _tilt(p, scaled, radius, free, guess), 0))
        theta = jnp.where(free, found * jax.lax.stop_gradient(scale), 1)
        tilted = p * jnp.exp(-theta * above)
        norm = total(tilted)
        value = lowest - (jnp.log(norm) + radius) / theta
        pinned_weights = jnp.where(saturated & ~flat, at_lowest / pinned, p)
        weights = jnp.where(free, tilted / norm, pinned_weights)
        value = jnp.where(free, value, total(pinned_weights * zero_elsewhere(z, may)))
        return Response(value, weights), found


@struct.dataclass
class ChiSquare(Nature):
    """Kernels within ``sum (q - p)^2 / p <= radius`` (not half of it).

    ``q = p (alpha - beta z)`` on the worst outcomes and 0 on the others. Every number of worst outcomes gives one such
    kernel; the best of those that are kernels is the answer.

    Args:
        radius: at least 0.
    """

    radius: Any
    name: str = named("ChiSquare")
    kind = "set"

    def respond(self, p, z):
        """See ``Nature.respond``."""

        def slope(mass, variance):
            excess = 1 + self.radius - 1 / mass
            varies = (variance > 0) & (excess > 0)
            ratio = jnp.where(varies, jnp.maximum(excess, 0) / jnp.where(varies, variance, 1), 0)
            return jnp.where(varies, jnp.sqrt(jnp.where(varies, ratio, 1)), 0), excess >= -rounding(p)

        return _quadratic(p, z, slope, lambda chi_square: 0)


@struct.dataclass
class Wasserstein(Nature):
    """Kernels within a Wasserstein-1 distance: mass is carried from outcome ``i`` to ``j`` at ``costs[i, j]`` a unit.

    The multiplier of the budget is found by bisection, and the plans on both sides of it are mixed so that they spend
    the budget exactly.

    Args:
        radius: at least 0.
        costs: ``[n, n]``, at least 0, 0 on the diagonal.
        support: as in ``L1``.
    """

    radius: Any
    costs: Any
    support: Support = static("nominal")
    name: str = named("Wasserstein")
    kind = "set"
    limits: ClassVar[Limits] = {"radius": (0, np.inf), "costs": (0, np.inf)}
    of_all_states = ("costs",)

    def __post_init__(self):
        super().__post_init__()
        if concrete(self.costs) and np.any(np.diagonal(self.costs)):
            raise InvalidArgument("costs", np.diagonal(self.costs).tolist(), "must be 0 on the diagonal")

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = reachable(p, self.support)
        n, batch = p.shape[0], (1,) * (z.ndim - 1)
        costs = jnp.asarray(self.costs, p.dtype).reshape(n, n, *batch)
        fixed = jax.lax.stop_gradient(jnp.where(may, z, jnp.inf))
        outcomes = jnp.arange(n).reshape(n, 1, *batch)

        def plan(price):
            """Where each outcome's mass goes at a price of transport, the cheaper of equally good places."""
            total = fixed[None] + price * costs
            best = total.min(axis=1, keepdims=True)
            goes = jnp.where(total <= best, costs, jnp.inf).argmin(axis=1)
            paid = jnp.take_along_axis(jnp.broadcast_to(costs, total.shape), goes[:, None], axis=1)[:, 0]
            return goes, (p * paid).sum(axis=0)

        def weights(goes):
            return jnp.where(goes[None] == outcomes, p[None], 0).sum(axis=1)

        positive = jnp.where(costs > 0, costs, jnp.inf).min()
        highest = 1 + 2 * (jnp.where(may, fixed, -jnp.inf).max(axis=0) - fixed.min(axis=0)) / positive

        def halved(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            spends = plan(middle)[1] > self.radius
            return jnp.where(spends, middle, low), jnp.where(spends, high, middle)

        low, high = jax.lax.fori_loop(0, SEARCH_STEPS, halved, (jnp.zeros_like(highest), highest))
        (much, much_cost), (little, little_cost) = plan(low), plan(high)
        affordable = much_cost <= self.radius  # at no price at all
        gap = jnp.where(affordable, 1, much_cost - little_cost)
        share = jnp.where(affordable, 1, jnp.clip((self.radius - little_cost) / jnp.where(gap > 0, gap, 1), 0, 1))
        return mixture(share * weights(much) + (1 - share) * weights(little), z)


@struct.dataclass
class Lp(Nature):
    """The *relaxed* ball ``||q - p||_order <= radius`` with ``sum q = 1`` in which ``q`` may be negative (Kumar et al.
    2022): a lower bound on the worst case, and equal to it where no weight of the answer is negative.

    The value is ``p z - radius kappa(z)`` with ``kappa(z) = min_w ||z - w||_dual``, the deviation from the centre of
    ``z`` in the dual norm: half the span for order 1, the standard deviation times ``sqrt(n)`` for 2, the sum of the
    upper half less that of the lower half for infinity. Not monotone in ``z``, so iterations carry no bounds but those
    of a contraction.

    Args:
        radius: at least 0.
        order: at least 1, or infinity.
        support: which outcomes the ball is about, as in ``L1``.
    """

    radius: Any
    order: float = static(2.0)
    support: Support = static("all")
    name: str = named("Lp")
    kind = "set"
    mixes = False
    monotone = False
    limits: ClassVar[Limits] = {"radius": (0, np.inf), "order": (1, np.inf)}

    def respond(self, p, z):
        """See ``Nature.respond``; weights may be negative."""
        may = reachable(p, self.support)
        known = zero_elsewhere(z, may)
        high, low = jnp.where(may, z, -jnp.inf).max(axis=0), least_value(z, may)
        if self.order == 1:
            direction = (worst_outcome(-z, may) - worst_outcome(z, may)) / 2
        elif np.isinf(self.order):
            rank, count = mass_below(may.astype(p.dtype), known), may.sum(axis=0)
            direction = jnp.where(may, jnp.sign(rank - (count - 1) / 2), 0)
        else:
            dual = self.order / (self.order - 1)

            def halved(_, bracket):
                bottom, top = bracket
                middle = (bottom + top) / 2
                off = known - middle
                pull = jnp.where(may, jnp.sign(off) * jnp.abs(off) ** (dual - 1), 0).sum(axis=0)
                return jnp.where(pull > 0, middle, bottom), jnp.where(pull > 0, top, middle)

            bottom, top = jax.lax.fori_loop(0, SEARCH_STEPS, halved, jax.lax.stop_gradient((low, high)))
            off = jnp.where(may, known - jax.lax.stop_gradient((bottom + top) / 2), 0)
            size = jnp.where(high > low, jnp.abs(off), 1)
            norm = (size**dual).sum(axis=0) ** (1 / dual)
            direction = jnp.where(high > low, jnp.sign(off) * (size / norm) ** (dual - 1), 0)
        return mixture(p - self.radius * jax.lax.stop_gradient(direction), known)


# --- penalties instead of radii ---------------------------------------------------------------------------------------


@struct.dataclass
class TVPenalty(Nature):
    """``min_q q z + price ||q - p||_1 / 2``: the mean of the outcomes, each at most ``price`` above the worst.

    Args:
        price: at least 0.
        support: as in ``L1``.
    """

    price: Any
    support: Support = static("nominal")
    name: str = named("TVPenalty")
    kind = "set"
    mixes = False
    limits: ClassVar[Limits] = {"price": (0, np.inf)}

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = reachable(p, self.support)
        limit = least_value(z, may) + self.price
        stays = jnp.where(z <= limit, p, 0)
        weights = stays + worst_outcome(z, may) * (1 - total(stays))
        return Response(total(p * jnp.minimum(zero_elsewhere(z, may), limit)), weights)


@struct.dataclass
class KLPenalty(Nature):
    """``min_q q z + price KL(q || p) = -price log E exp(-z / price)``.

    Args:
        price: above 0.
    """

    price: Any
    name: str = named("KLPenalty")
    kind = "set"
    mixes = False
    above_zero: ClassVar[tuple[str, ...]] = ("price",)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = p > 0
        lowest = least_value(z, may)
        tilted = p * jnp.exp(-jnp.where(may, z - lowest, 0) / self.price)
        norm = total(tilted)
        return Response(lowest - self.price * jnp.log(norm), tilted / norm)


@struct.dataclass
class ChiSquarePenalty(Nature):
    """``min_q q z + price sum (q - p)^2 / p``.

    Args:
        price: above 0.
    """

    price: Any
    name: str = named("ChiSquarePenalty")
    kind = "set"
    mixes = False
    above_zero: ClassVar[tuple[str, ...]] = ("price",)

    def respond(self, p, z):
        """See ``Nature.respond``."""

        def slope(mass, variance):
            return jnp.broadcast_to(1 / (2 * jnp.asarray(self.price, p.dtype)), mass.shape), mass > 0

        return _quadratic(p, z, slope, lambda chi_square: self.price * chi_square)


# --- shared parts -----------------------------------------------------------------------------------------------------


def _moved(p, z, mass, support) -> Response:
    """The mean after ``mass`` has gone from the best outcomes to the worst."""
    may = reachable(p, support)
    worst = worst_outcome(z, may)
    mass = jnp.minimum(mass, 1 - total(worst * p))
    above = total(p) - mass_below(p, jnp.where(may, z, jnp.inf)) - p
    return mixture(p - jnp.clip(mass - above, 0, p) + mass * worst, z)


def _tilt(p, v, radius, free, guess):
    """The ``x`` with ``KL(p exp(-x v) / norm || p) = radius``, for ``v`` within [0, 1], 0 and 1 attained.

    All rows take a few steps together; those that need more go on by themselves, ``BLOCK`` at a time.
    """
    p, v, radius, guess = jax.lax.stop_gradient((p, v, jnp.where(free, radius, 1.0), guess))
    shape, rows = free.shape, free.size
    if rows <= BLOCK:
        return _search(p, v, radius, free, guess, SEARCH_STEPS)[0]
    p, v = (jnp.broadcast_to(x, (len(x), *shape)).reshape(-1, rows) for x in (p, v))
    radius, free, guess = (jnp.broadcast_to(x, shape).reshape(rows) for x in (radius, free, guess))

    def finished(search):
        x, found = search
        (left,) = jnp.nonzero(~found, size=BLOCK, fill_value=rows)  # beyond the last row if fewer are left
        own = (a.at[..., left].get(mode="fill", fill_value=0) for a in (p, v, radius, free, x))
        exact, _ = _search(*own, steps=SEARCH_STEPS)
        return x.at[left].set(exact, mode="drop"), found.at[left].set(True, mode="drop")

    start = _search(p, v, radius, free, guess, STEPS_TOGETHER)
    return jax.lax.while_loop(lambda search: ~search[1].all(), finished, start)[0].reshape(shape)


def _search(p, v, radius, free, guess, steps):
    """``x``, and whether it is found: Newton's method on ``sqrt(KL)`` within a bracket. It stops when ``x`` changes by
    a share that is the square root of its own error, whose square is the value's."""
    target = jnp.sqrt(2 * radius)
    accuracy = 3e-4 if p.dtype == jnp.float64 else 1e-2

    def unfinished(search):
        step, _, _, _, found = search
        return (step < steps) & ~found.all()

    def improved(search):
        step, x, low, high, _ = search
        tilted = p * jnp.exp(-x * v)
        norm, first, second = total(tilted), total(tilted * v), total(tilted * v * v)
        share = 1 / norm
        mean = first * share
        variance = second * share - mean**2
        root = jnp.sqrt(2 * jnp.maximum(-x * mean - jnp.log(norm), 0))
        low, high = jnp.where(root < target, x, low), jnp.where(root < target, high, x)
        newton = x + (target - root) * root / jnp.maximum(x * variance, jnp.finfo(p.dtype).tiny)
        inside = (newton >= low) & (newton <= high) & (root > 0)  # 0 where rounding hides it: no slope to go by
        new = jnp.where(inside, newton, jnp.sqrt(low * high))
        return step + 1, new, low, high, ~free | (jnp.abs(new - x) <= accuracy * x)

    mean = total(p * v)
    start = target / jnp.sqrt(jnp.maximum(total(p * (v - mean) ** 2), jnp.finfo(p.dtype).eps))
    # No variance within [0, 1] is above 1/4, so that KL is at most x^2 / 8.
    low, high = 2 * target, jnp.full_like(start, 1e15 if p.dtype == jnp.float64 else 1e7)
    start = jnp.clip(jnp.where(guess > 0, guess, start), low, high)
    _, x, _, _, found = jax.lax.while_loop(unfinished, improved, (0, start, low, high, ~free))
    return x, found


def _quadratic(p, z, slope, penalty) -> Response:
    """The least mean over ``q = p (alpha - beta z)`` on the worst outcomes and 0 on the others, for all numbers of
    them, plus a penalty on ``sum (q - p)^2 / p``; ``slope(mass, variance) -> beta, feasible``."""
    may = p > 0
    lowest = jax.lax.stop_gradient(least_value(z, may))
    u = jnp.where(may, z - lowest, 0)
    order = jnp.where(may, u, jnp.inf)
    moments = jnp.stack([jnp.ones_like(p), p, p * u, p * u * u], axis=1)
    # up to each outcome, itself included
    rank, mass, first, second = jnp.moveaxis(mass_below(moments, order[:, None]) + moments, 1, 0)
    safe = jnp.where(may, mass, 1)
    mean = first / safe
    squares = second - first * mean
    beta, feasible = slope(safe, jnp.where(squares > rounding(p) * second, squares, 0))
    alpha = (1 + beta * first) / safe
    chi_square = alpha * alpha * mass - 2 * alpha * beta * first + beta * beta * second - 1
    value = alpha * first - beta * second + penalty(chi_square)
    scale = rounding(p) * (1 + alpha)
    value = jnp.where(may & feasible & (alpha - beta * u >= -scale), value, jnp.inf)
    best = place_of_least(value)[None]
    a, b, last = (jnp.take_along_axis(x, best, axis=0)[0] for x in (alpha, beta, rank))
    inside = may & (rank <= last)
    weights = jnp.where(inside, p * jnp.maximum(a - b * u, 0), 0)
    return Response(lowest + jnp.take_along_axis(value, best, axis=0)[0], weights)

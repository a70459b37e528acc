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

from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from jaxrl.core.config import static
from jaxrl.errors import InvalidArgument

PAIRWISE = 8
"""up to so many outcomes are ordered by comparing all pairs, which is several times faster than to sort them"""
SEARCH_STEPS = 100
"""at most, of a search for a multiplier; Newton's needs under ten"""

Support = Literal["nominal", "all"]


def _tag(name: str) -> Any:
    """A static field with the class's name: jax takes trees of different dataclasses with equal fields for equal,
    and now and then runs the program of one for the other."""
    return struct.field(pytree_node=False, default=name, repr=False)


class Response(NamedTuple):
    """What a nature does with outcomes."""

    value: Any
    """``[...]``"""
    weights: Any
    """``[n, ...]``, of sum 1"""


class Nature:
    """Base of all natures."""

    kind: ClassVar[str] = "nominal"
    """``nominal``, ``set`` (a worst case of kernels), ``risk`` (a nested risk measure) or ``best`` (a best case)"""
    dominant: ClassVar[bool] = False
    """the worst kernel of the set is worst for every increasing functional of the outcomes, not for their mean alone"""
    monotone: ClassVar[bool] = True
    """a larger ``z`` never gives a smaller value"""
    rectangular: ClassVar[Literal["sa", "s"]] = "sa"
    """whether each action of a state has its own budget, or all of a state's actions share one"""

    def respond(self, p: Any, z: Any) -> Response:
        """The value ``[...]`` of outcomes with probabilities ``p[n, ...]`` and values ``z[n, ...]``, and the weights
        ``[n, ...]`` that give it."""
        raise NotImplementedError

    @property
    def needs_all_states(self) -> bool:
        """Whether mass may go to states without a listed outcome, so that only a dense process will do."""
        return getattr(self, "support", "nominal") == "all"


@struct.dataclass
class Nominal(Nature):
    """Chance: the expectation."""

    name: str = _tag("Nominal")

    def respond(self, p, z):
        """The mean."""
        return _mixed(p, z)


# --- sets whose worst kernel is worst for every increasing functional ---------------------------------------------


@struct.dataclass
class L1(Nature):
    """Kernels within ``||q - p||_1 <= radius``: mass ``radius / 2`` goes from the best outcomes to the worst one.

    Args:
        radius: at least 0; 2 reaches every kernel.
        support: ``nominal``: only outcomes of positive probability may get mass; ``all``: every state may.
    """

    radius: Any
    support: Support = static("nominal")
    name: str = _tag("L1")
    kind = "set"
    dominant = True

    def __post_init__(self):
        _at_least("radius", self.radius, 0)

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
    name: str = _tag("TV")
    kind = "set"
    dominant = True

    def __post_init__(self):
        _at_least("radius", self.radius, 0)

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
    name: str = _tag("LInf")
    kind = "set"
    dominant = True

    def __post_init__(self):
        _at_least("radius", self.radius, 0)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = _may(p, self.support)
        least = jnp.maximum(p - self.radius, 0)
        room = jnp.where(may, jnp.minimum(p + self.radius, 1) - least, 0)
        missing = 1 - least.sum(axis=0)
        return _mixed(least + jnp.clip(missing - mass_below(room, z), 0, room), z)


@struct.dataclass
class Contamination(Nature):
    """Kernels ``(1 - share) p + share q`` with any ``q``.

    Args:
        share: within [0, 1].
        support: as in ``L1``.
    """

    share: Any
    support: Support = static("nominal")
    name: str = _tag("Contamination")
    kind = "set"
    dominant = True

    def __post_init__(self):
        _within("share", self.share, 0, 1)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return _mixed((1 - self.share) * p + self.share * _worst(z, _may(p, self.support)), z)


# --- other sets ----------------------------------------------------------------------------------------------------


@struct.dataclass
class KL(Nature):
    """Kernels within ``KL(q || p) <= radius``: exponentially tilted, ``q ~ p exp(-theta z)``.

    ``theta`` is found by Newton's method on ``sqrt(KL)``, which is nearly linear in it, within a bracket.

    Args:
        radius: at least 0. A row with one outcome has no other kernel.
    """

    radius: Any
    name: str = _tag("KL")
    kind = "set"

    def __post_init__(self):
        _at_least("radius", self.radius, 0)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = p > 0
        lowest = _lowest(z, may)
        above = jnp.where(may, z - lowest, 0)
        span = above.max(axis=0)
        flat = span <= 0
        scaled = above / jnp.where(flat, 1, span)
        at_lowest = jnp.where(may & (scaled <= 0), p, 0)
        pinned = at_lowest.sum(axis=0)
        radius = jnp.asarray(self.radius, p.dtype)
        # the worst outcome alone is within reach
        saturated = radius >= -jnp.log(pinned)
        free = ~(flat | saturated | (radius <= 0))
        theta = _tilt(p, scaled, radius, free) / jnp.where(flat, 1, span)
        theta = jax.lax.stop_gradient(jnp.where(free, theta, 1))
        tilted = p * jnp.exp(-theta * above)
        total = tilted.sum(axis=0)
        value = lowest - (jnp.log(total) + radius) / theta
        pinned_weights = jnp.where(saturated & ~flat, at_lowest / pinned, p)
        weights = jnp.where(free, tilted / total, pinned_weights)
        return Response(jnp.where(free, value, (pinned_weights * _finite(z, may)).sum(axis=0)), weights)


@struct.dataclass
class ChiSquare(Nature):
    """Kernels within ``sum (q - p)^2 / p <= radius`` (not half of it).

    ``q = p (alpha - beta z)`` on the worst outcomes and 0 on the others. Every number of worst outcomes gives one such
    kernel; the best of those that are kernels is the answer.

    Args:
        radius: at least 0.
    """

    radius: Any
    name: str = _tag("ChiSquare")
    kind = "set"

    def __post_init__(self):
        _at_least("radius", self.radius, 0)

    def respond(self, p, z):
        """See ``Nature.respond``."""

        def slope(mass, variance):
            excess = 1 + self.radius - 1 / mass
            varies = (variance > 0) & (excess > 0)
            ratio = jnp.where(varies, jnp.maximum(excess, 0) / jnp.where(varies, variance, 1), 0)
            return jnp.where(varies, jnp.sqrt(jnp.where(varies, ratio, 1)), 0), excess >= -_tiny(p)

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
    name: str = _tag("Wasserstein")
    kind = "set"

    def __post_init__(self):
        _at_least("radius", self.radius, 0)
        _at_least("costs", self.costs, 0)
        if _concrete(self.costs) and np.any(np.diagonal(self.costs)):
            raise InvalidArgument("costs", np.diagonal(self.costs).tolist(), "must be 0 on the diagonal")

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = _may(p, self.support)
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
        return _mixed(share * weights(much) + (1 - share) * weights(little), z)


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
    name: str = _tag("Lp")
    kind = "set"
    monotone = False

    def __post_init__(self):
        _at_least("radius", self.radius, 0)
        _at_least("order", self.order, 1)

    def respond(self, p, z):
        """See ``Nature.respond``; weights may be negative."""
        may = _may(p, self.support)
        known = _finite(z, may)
        high, low = jnp.where(may, z, -jnp.inf).max(axis=0), _lowest(z, may)
        if self.order == 1:
            direction = (_worst(-z, may) - _worst(z, may)) / 2
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
        return _mixed(p - self.radius * jax.lax.stop_gradient(direction), known)


# --- penalties instead of radii ------------------------------------------------------------------------------------


@struct.dataclass
class TVPenalty(Nature):
    """``min_q q z + price ||q - p||_1 / 2``: the mean of the outcomes, each at most ``price`` above the worst.

    Args:
        price: at least 0.
        support: as in ``L1``.
    """

    price: Any
    support: Support = static("nominal")
    name: str = _tag("TVPenalty")
    kind = "set"

    def __post_init__(self):
        _at_least("price", self.price, 0)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = _may(p, self.support)
        limit = _lowest(z, may) + self.price
        stays = jnp.where(z <= limit, p, 0)
        weights = stays + _worst(z, may) * (1 - stays.sum(axis=0))
        return Response((p * jnp.minimum(_finite(z, may), limit)).sum(axis=0), weights)


@struct.dataclass
class KLPenalty(Nature):
    """``min_q q z + price KL(q || p) = -price log E exp(-z / price)``.

    Args:
        price: above 0.
    """

    price: Any
    name: str = _tag("KLPenalty")
    kind = "set"

    def __post_init__(self):
        _positive("price", self.price)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        may = p > 0
        lowest = _lowest(z, may)
        tilted = p * jnp.exp(-jnp.where(may, z - lowest, 0) / self.price)
        total = tilted.sum(axis=0)
        return Response(lowest - self.price * jnp.log(total), tilted / total)


@struct.dataclass
class ChiSquarePenalty(Nature):
    """``min_q q z + price sum (q - p)^2 / p``.

    Args:
        price: above 0.
    """

    price: Any
    name: str = _tag("ChiSquarePenalty")
    kind = "set"

    def __post_init__(self):
        _positive("price", self.price)

    def respond(self, p, z):
        """See ``Nature.respond``."""

        def slope(mass, variance):
            return jnp.broadcast_to(1 / (2 * jnp.asarray(self.price, p.dtype)), mass.shape), mass > 0

        return _quadratic(p, z, slope, lambda chi_square: self.price * chi_square)


# --- nested risk ---------------------------------------------------------------------------------------------------


@struct.dataclass
class CVaR(Nature):
    """The mean of the worst share ``level`` of the outcomes, one step at a time: *nested*, not that of the return.

    Args:
        level: within (0, 1]; 1 is the mean.
    """

    level: Any
    name: str = _tag("CVaR")
    kind = "risk"

    def __post_init__(self):
        _positive("level", self.level)
        _within("level", self.level, 0, 1)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return _mixed(_tail(p, mass_below(p, z), self.level), z)


@struct.dataclass
class Entropic(Nature):
    """``-log E exp(-aversion z) / aversion``, one step at a time, with the same aversion at every step.

    Equal to ``KLPenalty(1 / aversion)``. The entropic risk of a discounted *return* is another thing: its aversion
    shrinks with the discount from step to step (``solve(..., horizon=...)`` with ``aversion`` of each stage).

    Args:
        aversion: above 0.
    """

    aversion: Any
    name: str = _tag("Entropic")
    kind = "risk"

    def __post_init__(self):
        _positive("aversion", self.aversion)

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
    name: str = _tag("Spectral")
    kind = "risk"

    def __post_init__(self):
        _positive("levels", self.levels)
        _within("levels", self.levels, 0, 1)
        _at_least("shares", self.shares, 0)
        if _concrete(self.shares):
            shares, levels = np.asarray(self.shares, float), np.asarray(self.levels, float)
            if shares.shape != levels.shape or shares.ndim != 1 or abs(shares.sum() - 1) > 1e-6:
                allowed = f"must be one for each level, {levels.tolist()}, of sum 1"
                raise InvalidArgument("shares", shares.tolist(), allowed)

    def respond(self, p, z):
        """See ``Nature.respond``."""
        below = mass_below(p, z)
        levels, shares = jnp.asarray(self.levels, p.dtype), jnp.asarray(self.shares, p.dtype)
        parts = jax.vmap(lambda level, share: share * _tail(p, below, level))(levels, shares)
        return _mixed(parts.sum(axis=0), z)


# --- natures of natures --------------------------------------------------------------------------------------------


@struct.dataclass
class Optimistic(Nature):
    """The best case instead of the worst: ``-respond(p, -z)``.

    Args:
        nature: a set or a risk measure.
    """

    nature: Any
    name: str = _tag("Optimistic")
    kind = "best"

    @property
    def monotone(self) -> bool:
        """As of the nature turned around."""
        return self.nature.monotone

    @property
    def needs_all_states(self) -> bool:
        """As of the nature turned around."""
        return self.nature.needs_all_states

    def respond(self, p, z):
        """See ``Nature.respond``."""
        value, weights = self.nature.respond(p, -z)
        return Response(-value, weights)


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
    name: str = _tag("WorstOf")
    kind = "set"

    @property
    def needs_all_states(self) -> bool:
        """As of the set."""
        return self.kernels.needs_all_states

    def respond(self, p, z):
        """See ``Nature.respond``."""
        return self.risk.respond(self.kernels.respond(p, z).weights, z)


@struct.dataclass
class SRectangularL1(Nature):
    """Kernels of all actions of a state within one budget, ``sum_a ||q_a - p_a||_1 <= budget`` (Wiesemann et al. 2013).

    The best policy may have to mix actions. Its value is the least ``u`` for which the budget does not suffice to bring
    every action below ``u`` (Ho et al. 2018), found by bisection; the probabilities are the actions' multipliers.

    Args:
        budget: at least 0, ``[]`` or ``[S]``.
    """

    budget: Any
    name: str = _tag("SRectangularL1")
    kind = "set"
    rectangular = "s"

    def __post_init__(self):
        _at_least("budget", self.budget, 0)

    def respond_jointly(self, p, z, allowed=None) -> tuple[Any, Any, Any]:
        """The value ``[...]`` of a state whose actions have outcomes ``p, z [n, ..., A]``, the policy ``[..., A]`` that
        attains it, and kernels ``[n, ..., A]`` that hold every policy to it.

        Args:
            allowed: bool ``[..., A]``; all by default.
        """
        may = p > 0
        lowest = _lowest(z, may)
        gain = _above(z, lowest, may)  # by how much a unit of mass moved lowers the mean
        mean = (p * _finite(z, may)).sum(axis=0)
        better = gain * p  # in all, mass that is worth moving
        ahead = better.sum(axis=0) - mass_below(better, _finite(z, may)) - better
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
            enough = 2 * taken(middle).sum(axis=(0, -1)) <= budget
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        bracket = jax.lax.stop_gradient((lowest.max(axis=-1), mean.max(axis=-1)))
        _, level = jax.lax.fori_loop(0, SEARCH_STEPS // 2, halved, bracket)
        # the budget reaches the floor, where one action cannot be lowered at all
        floor = lowest.max(axis=-1)
        level = jnp.where(2 * taken(floor).sum(axis=(0, -1)) <= budget, floor, level)
        moved = taken(level)
        weights = p - moved + _worst(z, may) * moved.sum(axis=0)
        # the gain of the unit that each action would give up next: the adversary is indifferent between actions
        need = jnp.maximum(mean - level[..., None], 0)
        slack = _tiny(p) * (1 + jnp.abs(better).sum(axis=0))
        next_gain = jnp.where((ahead <= need + slack) & (need + slack < ahead + better), gain, 0).max(axis=0)
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
        known = _finite(z, may)
        gain = policy * _above(z, _lowest(z, may), may)
        flat = jnp.moveaxis(gain, -1, 1).reshape(-1, *gain.shape[1:-1])
        mass = p * (1 - _worst(z, may))
        spread = jnp.moveaxis(mass, -1, 1).reshape(flat.shape)
        ahead = spread.sum(axis=0) - mass_below(spread, flat) - spread
        moved = jnp.clip(jnp.asarray(self.budget, p.dtype) / 2 - ahead, 0, spread)
        moved = jnp.moveaxis(moved.reshape(p.shape[0], p.shape[-1], *p.shape[1:-1]), 1, -1)
        weights = p - moved + _worst(z, may) * moved.sum(axis=0)
        return (policy * (weights * known).sum(axis=0)).sum(axis=-1), weights


# --- shared parts --------------------------------------------------------------------------------------------------


def mass_below(mass: Any, z: Any) -> Any:
    """``[n, ...]``: the mass ``[n, ...]`` of the outcomes that come before each in the order of ``z[n, ...]``, ties in
    their own order."""
    n = z.shape[0]
    # The compiler may compute values twice and round them differently, so that of equal ones each would be before the
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


def _may(p, support):
    """Which outcomes may get mass."""
    return p > 0 if support == "nominal" else jnp.ones_like(p, bool)


def _finite(z, may):
    """Values, 0 where there is no outcome."""
    return jnp.where(may, z, 0)


def _lowest(z, may):
    return jnp.where(may, z, jnp.inf).min(axis=0)


def _worst(z, may):
    """``[n, ...]`` 1 at the first of the worst outcomes, else 0."""
    at = jnp.where(may, z, jnp.inf).argmin(axis=0)
    return (at == jnp.arange(z.shape[0]).reshape(-1, *(1,) * (z.ndim - 1))).astype(z.dtype)


def _above(z, lowest, may):
    """How far values are above the lowest; what may be rounding counts as nothing."""
    above = jnp.where(may, z - lowest, 0)
    return jnp.where(above > _tiny(z) * jnp.where(may, jnp.abs(z), 0), above, 0)


def _tiny(like):
    return 16 * jnp.finfo(like.dtype).eps


def _mixed(weights, z) -> Response:
    """The mean of values under weights."""
    return Response((weights * jnp.where(weights != 0, z, 0)).sum(axis=0), weights)


def _moved(p, z, mass, support) -> Response:
    """The mean after ``mass`` has gone from the best outcomes to the worst."""
    may = _may(p, support)
    worst = _worst(z, may)
    mass = jnp.minimum(mass, 1 - (worst * p).sum(axis=0))
    above = p.sum(axis=0) - mass_below(p, jnp.where(may, z, jnp.inf)) - p
    return _mixed(p - jnp.clip(mass - above, 0, p) + mass * worst, z)


def _tail(p, below, level):
    """Weights of the worst share ``level``."""
    return jnp.clip(level - below, 0, p) / level


def _tilt(p, v, radius, free):
    """The ``x`` with ``KL(p exp(-x v) / norm || p) = radius``, for ``v`` within [0, 1], 0 and 1 attained."""
    p, v, radius = jax.lax.stop_gradient((p, v, radius))
    radius = jnp.where(free, radius, 1.0)
    target = jnp.sqrt(2 * radius)
    accuracy = 1e-7 if p.dtype == jnp.float64 else 1e-3  # the value's error is of its square

    def divergence(x):
        tilted = p * jnp.exp(-x * v)
        total = tilted.sum(axis=0)
        mean = (tilted * v).sum(axis=0) / total
        variance = (tilted * (v - mean) ** 2).sum(axis=0) / total
        return jnp.maximum(-x * mean - jnp.log(total), 0), variance

    def unfinished(search):
        step, _, _, _, change = search
        return (step < SEARCH_STEPS) & (jnp.where(free, change, 0) > accuracy).any()

    def improved(search):
        step, x, low, high, _ = search
        reached, variance = divergence(x)
        root = jnp.sqrt(2 * reached)
        low, high = jnp.where(root < target, x, low), jnp.where(root < target, high, x)
        newton = x + (target - root) * root / jnp.maximum(x * variance, jnp.finfo(p.dtype).tiny)
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, jnp.sqrt(low * high))
        return step + 1, new, low, high, jnp.abs(new - x) / x

    mean = (p * v).sum(axis=0)
    start = target / jnp.sqrt(jnp.maximum((p * (v - mean) ** 2).sum(axis=0), jnp.finfo(p.dtype).eps))
    low, high = jnp.full_like(start, 1e-9), jnp.full_like(start, 1e15 if p.dtype == jnp.float64 else 1e7)
    start = jnp.clip(start, 2 * low, high / 2)
    return jax.lax.while_loop(unfinished, improved, (0, start, low, high, jnp.ones_like(start)))[1]


def _quadratic(p, z, slope, penalty) -> Response:
    """The least mean over ``q = p (alpha - beta z)`` on the worst outcomes and 0 on the others, for all numbers of
    them, plus a penalty on ``sum (q - p)^2 / p``; ``slope(mass, variance) -> beta, feasible``."""
    may = p > 0
    lowest = jax.lax.stop_gradient(_lowest(z, may))
    u = jnp.where(may, z - lowest, 0)
    order = jnp.where(may, u, jnp.inf)
    moments = jnp.stack([jnp.ones_like(p), p, p * u, p * u * u], axis=1)
    # up to each outcome, itself included
    rank, mass, first, second = jnp.moveaxis(mass_below(moments, order[:, None]) + moments, 1, 0)
    safe = jnp.where(may, mass, 1)
    mean = first / safe
    squares = second - first * mean
    beta, feasible = slope(safe, jnp.where(squares > _tiny(p) * second, squares, 0))
    alpha = (1 + beta * first) / safe
    chi_square = alpha * alpha * mass - 2 * alpha * beta * first + beta * beta * second - 1
    value = alpha * first - beta * second + penalty(chi_square)
    scale = _tiny(p) * (1 + alpha)
    value = jnp.where(may & feasible & (alpha - beta * u >= -scale), value, jnp.inf)
    best = value.argmin(axis=0)[None]
    a, b, last = (jnp.take_along_axis(x, best, axis=0)[0] for x in (alpha, beta, rank))
    inside = may & (rank <= last)
    weights = jnp.where(inside, p * jnp.maximum(a - b * u, 0), 0)
    return Response(lowest + jnp.take_along_axis(value, best, axis=0)[0], weights)


def _concrete(value: Any) -> bool:
    """Whether a number can be looked at: not while a program is traced or a tree is put together."""
    if isinstance(value, list | tuple):
        return all(map(_concrete, value))
    numbers = isinstance(value, int | float | np.ndarray | np.generic | jax.Array)
    return numbers and not isinstance(value, Tracer)


def _refuse(name: str, value: Any, fits: bool, allowed: str):
    if not fits:
        raise InvalidArgument(name, value, allowed)


def _at_least(name: str, value: Any, low: float):
    if _concrete(value):
        _refuse(name, value, bool((np.asarray(value) >= low).all()), f"must be at least {low}")


def _positive(name: str, value: Any):
    if _concrete(value):
        _refuse(name, value, bool((np.asarray(value) > 0).all()), "must be above 0")


def _within(name: str, value: Any, low: float, high: float):
    if _concrete(value):
        fits = bool(((np.asarray(value) >= low) & (np.asarray(value) <= high)).all())
        _refuse(name, value, fits, f"must be within [{low}, {high}]")

"""What a return is worth: utilities, whose expectation is maximised instead of the mean return.

An expected utility ``E f(X)`` is linear in mixtures of laws, so that what is best for every outcome is best for their
mixture; medians, quantiles, variances and the CVaR of a law are not, and no backup of laws maximises them (CVaR is
reached through ``shortfall`` and a search over the first stock, see ``jaxrl.bellman.stock``).

Two more properties decide which problems a utility fits. With a discount below 1 it must order laws of ``X`` as it
orders those of ``discount X``; without an end it must be Lipschitz, or the values of ever longer horizons need not
approach that of the infinite one (Pires et al. 2025).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.bellman.nature import Limits, WithLimits, concrete, named
from jaxrl.core.config import static
from jaxrl.errors import InvalidArgument


class Utility(WithLimits):
    """Base of the utilities: called with returns ``[...]``, or with vectors of returns ``[..., m]`` if it is one of
    several kinds of reward, it answers what they are worth, ``[...]``."""

    degree: ClassVar[float | None] = 1.0
    """``k`` with ``f(g x) = g^k f(x)`` for every ``g > 0``, so that a discount changes no order; None if none has it"""
    needs_stock: ClassVar[bool] = True
    """which action is best depends on what has been earned, even without a discount"""
    of_vectors: ClassVar[bool] = False
    """whether it is of several kinds of reward"""

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError

    def slope(self) -> Any:
        """The Lipschitz constant, or None."""
        return None


@struct.dataclass
class Mean(Utility):
    """``f(x) = x``: the expected return."""

    name: str = named("Mean")
    needs_stock = False

    def __call__(self, x):
        return x

    def slope(self):
        """See ``Utility.slope``."""
        return 1.0


@struct.dataclass
class PiecewiseLinear(Utility):
    """``f(x) = below min(x, 0) + above max(x, 0)``.

    ``shortfall``, ``surplus`` and ``nearness`` are cases of it. ``below = (1 - w) / level + w`` and ``above = w`` give
    ``w`` times the mean and ``1 - w`` times the CVaR at ``level``, after the search over the first stock.

    Args:
        below: slope for losses.
        above: slope for gains.
    """

    below: Any
    above: Any
    name: str = named("PiecewiseLinear")
    limits: ClassVar[Limits] = {"below": (-np.inf, np.inf), "above": (-np.inf, np.inf)}

    def __call__(self, x):
        return self.below * jnp.minimum(x, 0) + self.above * jnp.maximum(x, 0)

    def slope(self):
        """See ``Utility.slope``."""
        return jnp.maximum(jnp.abs(jnp.asarray(self.below)), jnp.abs(jnp.asarray(self.above)))


def shortfall() -> PiecewiseLinear:
    """``min(x, 0)``: what is missing to 0; the inner problem of CVaR."""
    return PiecewiseLinear(1.0, 0.0)


def surplus() -> PiecewiseLinear:
    """``max(x, 0)``: the inner problem of the optimistic CVaR."""
    return PiecewiseLinear(0.0, 1.0)


def nearness() -> PiecewiseLinear:
    """``-|x|``: to hit a return, with its negative as the first stock."""
    return PiecewiseLinear(1.0, -1.0)


@struct.dataclass
class AtLeastZero(Utility):
    """``1{x >= 0}``: the probability to reach a return. Not Lipschitz: for finite horizons only."""

    name: str = named("AtLeastZero")
    degree = 0.0

    def __call__(self, x):
        return jnp.where(jnp.asarray(x) >= 0, 1.0, 0.0)


@struct.dataclass
class Exponential(Utility):
    """``(1 - exp(-aversion x)) / aversion``: the static entropic risk of the return. Without a discount only, and then
    the best action does not depend on what has been earned.

    Args:
        aversion: not 0; negative to seek risk.
    """

    aversion: Any
    name: str = named("Exponential")
    degree = None
    needs_stock = False
    limits: ClassVar[Limits] = {"aversion": (-np.inf, np.inf)}

    def __post_init__(self):
        super().__post_init__()
        if concrete(self.aversion) and not np.all(self.aversion):
            raise InvalidArgument("aversion", self.aversion, "must not be 0; that is Mean()")

    def __call__(self, x):
        return -jnp.expm1(-self.aversion * x) / self.aversion


@struct.dataclass
class NegativeNorm(Utility):
    """``-||x||_order`` of several kinds of reward, to keep each near its set point: homeostasis.

    Args:
        order: at least 1.
    """

    order: Any = 1.0
    name: str = named("NegativeNorm")
    of_vectors = True
    limits: ClassVar[Limits] = {"order": (1, np.inf)}

    def __call__(self, x):
        return -((jnp.abs(x) ** self.order).sum(axis=-1) ** (1 / self.order))

    def slope(self):
        """See ``Utility.slope``: in the same norm."""
        return 1.0


@struct.dataclass
class Budgeted(Utility):
    """``x_1 - price max(x_2, 0)``: reward, and a cost that is paid for beyond a budget, whose negative is the second
    kind's first stock.

    Args:
        price: of a unit of cost beyond the budget, at least 0.
    """

    price: Any
    name: str = named("Budgeted")
    of_vectors = True
    limits: ClassVar[Limits] = {"price": (0, np.inf)}

    def __call__(self, x):
        return x[..., 0] - self.price * jnp.maximum(x[..., 1], 0)

    def slope(self):
        """See ``Utility.slope``: in the sum of the differences."""
        return jnp.maximum(1.0, jnp.asarray(self.price))


@struct.dataclass
class Custom(Utility):
    """A function of one's own.

    Args:
        function: elementwise, in ``jax.numpy``.
        lipschitz: its Lipschitz constant, or None if it has none.
        homogeneous: ``k`` with ``f(g x) = g^k f(x)`` for every ``g > 0``, or None if there is none.
    """

    function: Callable[[Any], Any] = struct.field(pytree_node=False)
    lipschitz: Any = None
    homogeneous: float | None = static(None)
    name: str = named("Custom")

    @property
    def degree(self) -> float | None:
        """As it was said."""
        return self.homogeneous

    def __call__(self, x):
        return self.function(x)

    def slope(self):
        """See ``Utility.slope``."""
        return self.lipschitz

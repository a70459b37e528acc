"""The Bellman backup: its slots, and the transforms that fill them or refuse to.

    q(s, a) = nature( reward + discount * value(successor) )        v(s) = greedy( q(s, .) )

With ``distributional(space)`` a value is a law of returns, and what nature and greedy rule compare is its expected
utility; see ``jaxrl.bellman.laws``.

``bellman(robust(KL(0.1)), regularise(0.5))`` is a backup whose transitions an adversary chooses within a
Kullback-Leibler ball and whose policy pays for its entropy. Slots are independent, so the order of the transforms does
not matter. Pairs that are not defined are refused here, with the reason.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from flax import struct

from jaxrl.bellman.greedy import FixedPolicy, Greedy, HardMax, Regularised
from jaxrl.bellman.nature import Nature, Nominal, Optimistic, WorstOf
from jaxrl.bellman.space import Scalar, Space
from jaxrl.bellman.utilities import Mean, Utility
from jaxrl.core.chain import chain
from jaxrl.core.config import static
from jaxrl.errors import InvalidArgument, UserError


@struct.dataclass
class Backup:
    """What a sweep over the states does.

    Args:
        nature: who chooses the next state.
        greedy: how actions are chosen.
        space: what is known of returns.
        utility: what a return is worth, where its law is known.
        average: whether the long-run average of rewards is the objective instead of their discounted sum.
    """

    nature: Any = struct.field(default_factory=Nominal)
    greedy: Any = struct.field(default_factory=HardMax)
    space: Any = struct.field(default_factory=Scalar)
    utility: Any = struct.field(default_factory=Mean)
    average: bool = static(False)


BackupTransform: TypeAlias = Callable[[Backup], Backup]


class UndefinedComposition(UserError):
    """Two transforms that do not go together, with the reason."""


def bellman(*transforms: BackupTransform) -> Backup:
    """The nominal backup with transforms applied to it.

    Raises:
        UndefinedComposition: for transforms that do not go together.

    Example:
        >>> from jaxrl.bellman import L1, bellman, robust
        >>> bellman(robust(L1(0.2))).nature
        L1(radius=0.2, support='nominal')
    """
    backup = chain(*transforms)(Backup())
    if backup.space.is_scalar and not isinstance(backup.utility, Mean):
        raise UndefinedComposition(
            f"utility({_name(backup.utility)}) of a backup of means: E f(X) does not follow from E X; add "
            "distributional(space), or let jaxrl.bellman.solve_with_stock work on expected utilities alone"
        )
    return backup


def robust(kernels: Nature) -> BackupTransform:
    """The worst case over a set of kernels, rectangular: each state and action (or state) on its own.

    With a nested risk measure it is the worst value of that measure over the set.
    """
    _expect("kernels", kernels, "set")

    def transform(backup):
        nature = backup.nature
        if nature.kind == "set":
            raise UndefinedComposition(
                f"robust({_name(kernels)}) of a backup with {_name(nature)}: two sets of kernels; make them one"
            )
        if nature.kind == "best":
            raise UndefinedComposition(_BOTH_WAYS)
        if nature.kind == "risk":
            return _consistent(dataclasses.replace(backup, nature=_worst_of(kernels, nature)))
        return _consistent(dataclasses.replace(backup, nature=kernels))

    return transform


def risk(measure: Nature) -> BackupTransform:
    """A risk measure of one step's outcomes, nested over the steps: ``CVaR``, ``Entropic`` or ``Spectral``.

    This is not the risk of the return, which no backup of values alone gives.
    """
    _expect("measure", measure, "risk")

    def transform(backup):
        nature = backup.nature
        if nature.kind == "risk":
            raise UndefinedComposition(
                f"risk({_name(measure)}) of a backup with {_name(nature)}: a number has no risk; mix them by Spectral"
            )
        if nature.kind == "best":
            raise UndefinedComposition(_BOTH_WAYS)
        if nature.kind == "set":
            return _consistent(dataclasses.replace(backup, nature=_worst_of(nature, measure)))
        return _consistent(dataclasses.replace(backup, nature=measure))

    return transform


def optimistic(kernels: Nature) -> BackupTransform:
    """The best case over a set of kernels, as for confidence sets; ``optimistic(CVaR(level))`` is the mean of the best
    share of the outcomes."""
    _expect("kernels", kernels, "set", "risk")
    if kernels.rectangular == "s":
        raise UndefinedComposition(
            f"optimistic({_name(kernels)}): policy and kernel would both maximise, so that one action of a state gets "
            "all its budget: take a set for each action"
        )

    def transform(backup):
        if backup.nature.kind != "nominal":
            raise UndefinedComposition(_BOTH_WAYS)
        return _consistent(dataclasses.replace(backup, nature=Optimistic(kernels)))

    return transform


def regularise(temperature: Any, reference: Any = None) -> BackupTransform:
    """Policies pay ``temperature KL(policy || reference)``, or without a reference are paid for their entropy.

    Args:
        temperature: above 0, in units of the reward.
        reference: ``[S, A]`` probabilities.
    """
    return _with_greedy(Regularised(temperature, None if reference is None else np.asarray(reference)))


def follow(policy: Any) -> BackupTransform:
    """The values of a policy, ``[S, A]`` probabilities or ``[S]`` integers, instead of the best ones."""
    return _with_greedy(FixedPolicy(np.asarray(policy)))


def distributional(space: Space) -> BackupTransform:
    """Laws of returns instead of their means, on the atoms of ``Categorical``, ``Quantiles`` or ``Particles``."""
    if not isinstance(space, Space) or space.is_scalar:
        raise InvalidArgument("space", space, "must be a space of laws such as Categorical(atoms) or Quantiles(128)")

    def transform(backup):
        if not backup.space.is_scalar:
            raise UndefinedComposition(
                f"distributional({_name(space)}) of a backup with {_name(backup.space)}: laws are kept in one way only"
            )
        return _consistent(dataclasses.replace(backup, space=space))

    return transform


def utility(function: Utility) -> BackupTransform:
    """The expected utility of the return instead of its mean. It needs laws, see ``distributional``, and most utilities
    a stock in the state, see ``jaxrl.bellman.stock``."""
    if isinstance(function, Nature):
        raise UndefinedComposition(
            f"utility({_name(function)}): the risk of a whole return is no expected utility, and no backup maximises "
            "it; use jaxrl.bellman.solve_cvar, or risk(...) for the risk of each step"
        )
    if not isinstance(function, Utility):
        raise InvalidArgument(
            "function",
            function,
            "must be a utility such as shortfall() or Custom(function): medians, quantiles and "
            "variances are none, since the best of each outcome need not be the best of their mixture",
        )

    def transform(backup):
        if not isinstance(backup.utility, Mean):
            raise UndefinedComposition(
                f"utility({_name(function)}) of a backup with {_name(backup.utility)}: a return has one worth; add the "
                "functions"
            )
        return _consistent(dataclasses.replace(backup, utility=function))

    return transform


def average_reward() -> BackupTransform:
    """The long-run average reward a step instead of the discounted sum; the process's discount is not used.

    ``solve`` then gives the gain and relative values. It needs a process with one gain: whatever the policy, the states
    that recur are connected.
    """

    def transform(backup):
        return _consistent(dataclasses.replace(backup, average=True))

    return transform


_BOTH_WAYS = (
    "an optimistic and a pessimistic nature in one backup: the best case over centres of the worst cases around them "
    "bounds the true robust value on neither side, unless the truth is among the centres; solve both and compare"
)


def _with_greedy(greedy: Greedy) -> BackupTransform:
    def transform(backup):
        if not isinstance(backup.greedy, HardMax):
            raise UndefinedComposition(
                f"{_name(greedy)} of a backup with {_name(backup.greedy)}: a policy can be chosen in one way only"
            )
        return _consistent(dataclasses.replace(backup, greedy=greedy))

    return transform


def _consistent(backup: Backup) -> Backup:
    """Checks what depends on more than one slot."""
    nature, greedy = backup.nature, backup.greedy
    if nature.rectangular == "s" and isinstance(greedy, Regularised):
        raise UndefinedComposition(
            f"regularise with {_name(nature)}: policy and kernel of a state are chosen together, and their regularised "
            "game has no closed form; take a set for each action, such as L1"
        )
    if backup.average and not nature.monotone:
        raise UndefinedComposition(
            f"average_reward with {_name(nature)}: relative values need a backup that is monotone and moves with its "
            "argument, and this relaxation is not monotone"
        )
    if not backup.space.is_scalar:
        if backup.average:
            raise UndefinedComposition(
                "average_reward with distributional: an endless sum of rewards has no law; use a discount or a horizon"
            )
        if not nature.mixes:
            raise UndefinedComposition(
                f"distributional with {_name(nature)}: its value is more than a mean under its weights, and what it "
                "adds is no outcome of any law; take a set such as KL, or CVaR"
            )
    if isinstance(greedy, Regularised) and not isinstance(backup.utility, Mean):
        raise UndefinedComposition(
            f"regularise with utility({_name(backup.utility)}): the divergence is paid in rewards, and a reward has "
            "no worth of its own"
        )
    if backup.utility.of_vectors:
        raise UndefinedComposition(
            f"utility({_name(backup.utility)}) of laws, which are of one kind of reward: use "
            "jaxrl.bellman.solve_with_stock"
        )
    return backup


def _worst_of(kernels: Nature, measure: Nature) -> Nature:
    if not kernels.dominant:
        raise UndefinedComposition(
            f"robust({_name(kernels)}) with risk({_name(measure)}): the worst kernel for the mean is not the worst for "
            "the measure; sets with one kernel that is worst for all: L1, TV, LInf, Contamination"
        )
    return WorstOf(kernels, measure)


def _expect(argument: str, nature: Any, *kinds: str) -> None:
    words = {"set": "a set of kernels such as L1(0.1)", "risk": "a risk measure such as CVaR(0.5)"}
    if not isinstance(nature, Nature) or nature.kind not in kinds:
        raise InvalidArgument(argument, nature, f"must be {' or '.join(words[kind] for kind in kinds)}")


def _name(part: Any) -> str:
    return type(part).__name__

"""Dynamic programming of laws and stocks against known values: ``python -m experiments.reproduce.distributional_dp``.

All checks are exact: a number that is computed, beside the same number to the digits that are known of it, or the
largest difference between two numbers that a theorem says are equal, beside 0. Takes about a minute.
"""

import sys
from collections.abc import Iterable

from experiments.reproduce.known import reproduce_known
from experiments.reproduce.table import Row, exact

INTRODUCTION = (
    "Best values of functionals of the whole return, on processes small enough to list every policy, and relations "
    "between them, for which the reference is 0 and ours the largest difference. All in float64."
)

TWO_COINS = {0.25: -2.0, 0.5: -1.0, 0.75: 0.0, 0.9: 0.555556, 1.0: 1.0}
"""best CVaR of the two-coin process by level"""
ROBUST_TWO_COINS = {0.0: 0.0, 0.1: -0.266667, 0.2: -0.533333, 0.3: -0.666667}
"""the same at 3/4, where the second coin's probability is uncertain by so much"""
GAMBLE_CHAIN = {0.1: 0.542, 0.5: 0.9772}
GAMBLE_CHAIN_LAW = {-4.42: 0.1, 0.44: 0.1, 2.762: 0.2, 3.342: 0.6}
"""of the best policy at level 1/2"""
DIGITS = 1.5e-6


def two_coins() -> Iterable[Row]:
    """Best CVaR, static, with a discount, against an adversary, and nested."""
    import numpy as np
    from jaxrl.envs.tabular import two_coin

    from jaxrl.bellman import L1, CVaR, bellman, risk, robust, solve, solve_cvar

    stocks = np.arange(-6.0, 6.0)
    for level, value in TWO_COINS.items():
        found = solve_cvar(two_coin(), level, stocks, horizon=2)
        yield exact(f"two coins: best CVaR at {level:g}", found.value, value, DIGITS)
        if level == 0.75:
            yield exact("two coins: stock to start from at 0.75", found.stock, -2, 0)
    for doubt, value in ROBUST_TWO_COINS.items():
        radius = np.array([[0, 0], [0, 2 * doubt], [0, 0]])
        found = solve_cvar(two_coin(), 0.75, stocks, bellman(robust(L1(radius))), horizon=2)
        yield exact(f"two coins: best CVaR at 0.75, second coin within {doubt:g} of a half", found.value, value, DIGITS)
    discounted = solve_cvar(two_coin(discount=0.9), 0.75, np.linspace(-6, 6, 121), horizon=2)
    yield exact("two coins, discount 0.9: best CVaR at 0.75", discounted.value, -0.0666667, 1e-7)
    nested = solve(two_coin(), bellman(risk(CVaR(0.75))), horizon=2).value[0, 0]
    yield exact("two coins: nested CVaR at 0.75", nested, -1 / 3, 1e-9)


def every_policy() -> Iterable[Row]:
    """The law of each policy of the two-coin process."""
    import numpy as np
    from jaxrl.envs.tabular import two_coin

    from jaxrl.bellman import law_of_return

    known = {("safe", "safe"): -2 / 3, ("safe", "risky"): 0.0, ("risky", "safe"): -1.0, ("risky", "risky"): -1 / 3}
    for (after_win, after_loss), value in known.items():

        def decide(state, stock, stage, after_win=after_win, after_loss=after_loss):
            risky = state == 1 and (after_win if stock > 0 else after_loss) == "risky"
            return np.array([0.0, 1.0] if risky else [1.0, 0.0])

        law = law_of_return(two_coin(), decide, 2)
        name = f"two coins: CVaR at 0.75, {after_win} after the win, {after_loss} after the loss"
        yield exact(name, law.cvar(0.75), value, 1e-9)


def gamble_chain() -> Iterable[Row]:
    """Best CVaR of the gamble chain, and the law that has it."""
    import numpy as np
    from jaxrl.envs.tabular import gamble_chain

    from jaxrl.bellman import law_of_return, solve_cvar

    stocks = np.round(np.arange(-11, 9, 0.002), 10)
    for level, value in GAMBLE_CHAIN.items():
        found = solve_cvar(gamble_chain(), level, stocks, horizon=3)
        yield exact(f"gamble chain: best CVaR at {level:g}", found.value, value, 1e-9)
    yield exact("gamble chain: stock to start from at 0.5", found.stock, -3.342, 1e-9)
    law = law_of_return(gamble_chain(), found.solution.decide, 3, found.stock)
    for atom, probability in GAMBLE_CHAIN_LAW.items():
        ours = law.weights[np.isclose(law.atoms, atom)].sum()
        yield exact(f"gamble chain: probability of a return of {atom:g} at 0.5", ours, probability, 1e-9)


def requested_returns() -> Iterable[Row]:
    """How near to a requested return one can come, and where value iteration fails."""
    import numpy as np
    from jaxrl.envs.tabular import bit_generator, two_coin

    from jaxrl.bellman import AtLeastZero, nearness, solve_with_stock

    stocks = np.arange(-6.0, 6.0)
    found = solve_with_stock(two_coin(), nearness(), stocks, horizon=2)
    yield exact("two coins: mean distance to a return of 1", -found.value[0, 0, 5], 1.5, 1e-9)
    play = found.decide(1, 1.0, 1).argmax(), found.decide(1, -3.0, 1).argmax()
    yield exact(
        "two coins: to hit 1, actions other than safe after the win and risky after the loss", play != (0, 1), 0, 0
    )
    stocks = np.arange(-3.0, 1.125, 0.125)
    found = solve_with_stock(bit_generator(), nearness(), stocks)
    away = np.maximum(np.maximum(stocks, -2 - stocks), 0)
    difference = np.abs(found.value[0] + away).max()
    yield exact("bit generator: distance to a return, from that to [0, 2]", difference, 0, 1e-8)
    for horizon in (1, 20):
        step = solve_with_stock(bit_generator(), AtLeastZero(), [-4.0, -3.0, -2.0, -1.0, 0.0], horizon=horizon)
        yield exact(f"bit generator: probability of 2 after {horizon} sweeps, for ever 1", step.value[0, 0, 2], 0, 0)


def relations() -> Iterable[Row]:
    """What laws and values have in common."""
    import numpy as np
    from jaxrl.envs.tabular import gamble_chain, riverswim, two_coin

    from jaxrl.bellman import (
        L1,
        Categorical,
        CVaR,
        Entropic,
        Exponential,
        Mean,
        Particles,
        SRectangularL1,
        bellman,
        distributional,
        regularise,
        risk,
        robust,
        solve,
        solve_with_stock,
        utility,
    )

    swim = riverswim("craam")
    atoms = Categorical(np.linspace(0, 1e5, 101))
    for name, *transforms in (
        ("nominal",),
        ("L1 0.1", robust(L1(0.1))),
        ("s-rectangular L1 0.2", robust(SRectangularL1(0.2))),
        ("nested CVaR 0.5", risk(CVaR(0.5))),
        ("L1 0.1 and entropy", robust(L1(0.1)), regularise(10.0)),
    ):
        values = solve(swim, bellman(*transforms), tolerance=1e-14).value
        laws = solve(swim, bellman(*transforms, distributional(atoms)), tolerance=1e-14)
        yield exact(f"RiverSwim, {name}: means of laws against values", np.abs(laws.value - values).max(), 0, 1e-8)
    stocks = np.linspace(-4, 4, 17)
    with_stock = solve_with_stock(gamble_chain(), Mean(), stocks, tolerance=1e-13)
    alone = solve(gamble_chain(), tolerance=1e-13)
    difference = np.abs(with_stock.value - alone.value[:, None] - stocks).max()
    yield exact("gamble chain: mean with a stock against mean and stock", difference, 0, 1e-9)
    exponential = bellman(distributional(Particles(8)), utility(Exponential(0.3)))
    certain = -np.log1p(-0.3 * solve(two_coin(), exponential, horizon=2).value[0, 0]) / 0.3
    nested = solve(two_coin(), bellman(risk(Entropic(0.3))), horizon=2).value[0, 0]
    yield exact("two coins: static against nested entropic risk without discount", abs(certain - nested), 0, 1e-9)


if __name__ == "__main__":
    sys.exit(
        reproduce_known(
            "distributional_dp",
            __doc__,
            "Distributional dynamic programming",
            INTRODUCTION,
            (two_coins, every_policy, gamble_chain, requested_returns, relations),
        )
    )

"""Finite robust dynamic programming against known values: ``python -m experiments.reproduce.tabular_robust_dp``.

All checks are exact: a number that is computed, beside the same number to the digits that are known of it, or the
largest difference between two numbers that a theorem says are equal, beside 0. Takes about a minute.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from experiments.reproduce.known import reproduce_known
from experiments.reproduce.table import Row, exact

INTRODUCTION = (
    "Responses of adversaries and risk measures on one row, values and average rewards of finite processes, and "
    "relations between them, for which the reference is 0 and ours the largest difference. All in float64."
)


def respond(nature: Any, p: Any, z: Any) -> Any:
    """The value of outcomes to a nature, in float64."""
    import jax
    import numpy as np

    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda nature, p, z: nature.respond(p, z).value)(nature, p, z))


def named(transforms: Sequence[Any]) -> str:
    """The nature that transforms make, without what is usual."""
    from jaxrl.bellman import bellman

    return str(bellman(*transforms).nature).replace(", support='nominal'", "").replace("Nominal()", "nominal")


# --- known numbers ------------------------------------------------------------------------------------------------


def operators() -> Iterable[Row]:
    """What natures make of one row."""
    from experiments.reproduce import tabular_known as known

    for kind, values in known.OPERATORS:
        for number, value in values.items():
            ours = respond(kind(number), known.P, known.Z)
            yield exact(f"one row, {kind.__name__} {number}", ours, value, known.OPERATORS_TOLERANCE)
    for level, value in known.CRAAM_CVAR.items():
        ours = respond(known.CVaR(level), *known.CRAAM_ROW)
        yield exact(f"another row, CVaR {level}", ours, value, known.OPERATORS_TOLERANCE)


def joint_operators() -> Iterable[Row]:
    """What adversaries make of two actions, within one budget and with a budget for each."""
    import jax

    from experiments.reproduce import tabular_known as known
    from jaxrl.bellman import L1, SRectangularL1

    for budget, value in known.S_RECTANGULAR.items():
        with jax.enable_x64(True):
            ours = float(SRectangularL1(budget).respond_jointly(*known.PAIR)[0])
            alone = float(L1(budget).respond(*known.PAIR).value.max())
        yield exact(f"two actions, one L1 budget {budget}", ours, value, known.OPERATORS_TOLERANCE)
        reference = known.BEST_OF_EACH_ALONE[budget]
        yield exact(f"two actions, L1 {budget} each", alone, reference, known.OPERATORS_TOLERANCE)


def processes() -> Iterable[Row]:
    """Values of RiverSwim, machine replacement and inventory."""
    from jaxrl.envs.tabular import inventory, machine_replacement, riverswim

    from experiments.reproduce import tabular_known as known
    from jaxrl.bellman import bellman, solve

    swim, machine = riverswim("craam").as_dense(), machine_replacement().as_dense()
    for transforms, states, values in known.RIVERSWIM:
        found = solve(swim, bellman(*transforms)).value
        for state, value in zip(states, values):
            yield exact(f"RiverSwim, {named(transforms)}: V({state})", found[state], value, known.RIVERSWIM_TOLERANCE)
    transform, actions = known.RIVERSWIM_ACTIONS
    found = solve(swim, bellman(transform)).actions
    yield exact(f"RiverSwim, {named([transform])}: states with another action", (found != actions).sum(), 0, 0)
    for transforms, values in known.MACHINE:
        found = solve(machine, bellman(*transforms)).value
        for state, value in zip(known.MACHINE_STATES, values):
            name = f"machine replacement, {named(transforms)}: V({state})"
            yield exact(name, found[state], value, known.MACHINE_TOLERANCE)
    found = solve(inventory())
    for stock, value in known.INVENTORY.items():
        yield exact(f"inventory: V({stock})", found.value[stock], value, known.INVENTORY_TOLERANCE)
    wrong = (found.actions[: len(known.INVENTORY_ORDERS)] != known.INVENTORY_ORDERS).sum()
    yield exact("inventory: stocks below 12 with another order", wrong, 0, 0)


def average_rewards() -> Iterable[Row]:
    """Average rewards a step."""
    from experiments.reproduce import tabular_known as known
    from jaxrl.bellman import average_reward, bellman, solve

    for (title, process), transforms, gain in known.GAINS:
        found = solve(process().as_dense(), bellman(average_reward(), *transforms), tolerance=1e-9).gain
        tolerance = known.GAINS_TOLERANCE * abs(gain)
        yield exact(f"average reward, {title}, {named(transforms)}", found, gain, tolerance)


def small_processes() -> Iterable[Row]:
    """The worst and the best case of processes whose outcomes share a successor, or are chosen once."""
    from experiments.reproduce import tabular_known as known
    from jaxrl.bellman import L1, bellman, optimistic, robust, solve

    for title, process, values in (
        ("coin", known.coin(), known.COIN),
        ("five states", known.five_states(), known.FIVE_STATES),
    ):
        for radius, *references in values:
            for word, transform, reference in zip(("worst", "best"), (robust, optimistic), references):
                found = solve(process, bellman(transform(L1(radius)))).value[0]
                yield exact(f"{title}, L1 {radius}: {word} case", found, reference, 1e-8)


def two_coins() -> Iterable[Row]:
    """The risk of the return of two coins, and the risk of each step nested."""
    import numpy as np
    from jaxrl.envs.tabular import two_coin

    from experiments.reproduce import tabular_known as known
    from jaxrl.bellman import CVaR, Entropic, LInf, bellman, risk, robust, solve, solve_cvar

    check = partial(exact, tolerance=known.TWO_COINS_TOLERANCE)
    aversion, discount = known.TWO_COINS_ENTROPIC
    process = two_coin(discount=discount)
    nested = solve(process, bellman(risk(Entropic(aversion))), horizon=2).value[0, 0]
    static = solve(process, lambda t: bellman(risk(Entropic(aversion * discount**t))), horizon=2).value[0, 0]
    yield check("two coins, entropic risk, nested", nested, known.TWO_COINS_NESTED_ENTROPIC)
    yield check("two coins, entropic risk of the return", static, known.TWO_COINS_STATIC_ENTROPIC)
    level = known.TWO_COINS_LEVEL
    nested = solve(two_coin(), bellman(risk(CVaR(level))), horizon=2).value[0, 0]
    yield check(f"two coins, CVaR {level}, nested", nested, known.TWO_COINS_NESTED_CVAR)
    for radius, value in known.TWO_COINS_STATIC_CVAR.items():
        radii = np.zeros((3, 2))
        radii[1] = radius  # of the second coin only
        found = solve_cvar(two_coin(), level, range(-6, 6), bellman(robust(LInf(radii))), horizon=2)
        yield check(f"two coins, CVaR {level} of the return, second coin within {radius}", found.value, value)


# --- relations ----------------------------------------------------------------------------------------------------


def relations() -> Iterable[Row]:
    """Numbers that must be equal, and orders that must hold, on machine replacement and on random rows."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jaxrl.envs.tabular import machine_replacement, riverswim

    from jaxrl.bellman import (
        KL,
        L1,
        TV,
        Categorical,
        CVaR,
        Entropic,
        KLPenalty,
        Lp,
        SRectangularL1,
        bellman,
        distributional,
        robust,
        solve,
    )

    machine = machine_replacement().as_dense()

    def at(*natures):
        return solve(machine, bellman(*map(robust, natures))).value

    def zero(name, difference, tolerance=1e-8):
        return exact(f"relation, {name}", float(np.max(difference)), 0, tolerance)

    nominal, some, more = at(), at(L1(0.2)), at(L1(0.3))
    yield zero("radius 0 is nominal", np.abs(at(L1(0.0)) - nominal))
    yield zero("L1 of twice the radius is TV", np.abs(at(TV(0.1)) - some))
    yield zero("values fall with the radius: greatest rise", np.maximum(more - some, some - nominal).clip(min=0))
    yield zero("support all is no better: greatest gain", (at(L1(0.2, "all")) - some).clip(min=0))
    yield zero("one budget for all actions is no worse: greatest loss", (some - at(SRectangularL1(0.2))).clip(min=0))
    relaxed = at(Lp(0.05, 1.0)) - at(L1(0.05, "all"))
    yield zero("the relaxed ball is a lower bound: greatest excess", relaxed.clip(min=0))
    with jax.enable_x64(True):
        z = jnp.moveaxis(machine.rewards + machine.discount * some[None, None], -1, 0)
        kernel = L1(0.2).respond(jnp.moveaxis(jnp.asarray(machine.probabilities), -1, 0), z).weights
    worst = replace(machine, probabilities=np.moveaxis(np.asarray(kernel), 0, -1))
    yield zero("the worst kernel, solved as a process of its own", np.abs(solve(worst).value - some), 1e-6)
    rng = np.random.default_rng(0)
    p, z = rng.dirichlet(np.ones(5), 1000).T, rng.normal(size=(5, 1000))
    averse, paid = respond(Entropic(0.7), p, z), respond(KLPenalty(1 / 0.7), p, z)
    yield zero("entropic risk is a KL penalty", np.abs(averse - paid), 1e-12)
    mixed = 0.7 * respond(CVaR(0.7), p, z) + 0.3 * z.min(axis=0)
    yield zero("TV is CVaR and the worst case", np.abs(respond(TV(0.3), p, z) - mixed), 1e-12)
    yield zero("a large KL ball is the worst case", np.abs(respond(KL(100.0), p, z) - z.min(axis=0)), 1e-12)
    swim, worst = riverswim("craam").as_dense(), robust(L1(0.1))
    laws = distributional(Categorical(np.linspace(0, 1e5, 101)))
    means, values = (solve(swim, bellman(worst, *more), tolerance=1e-13).value for more in ([laws], []))
    yield zero("RiverSwim, means of worst laws", np.abs(means - values))


if __name__ == "__main__":
    sys.exit(
        reproduce_known(
            "tabular_robust_dp",
            __doc__,
            "Robust dynamic programming",
            INTRODUCTION,
            (operators, joint_operators, processes, average_rewards, small_processes, two_coins, relations),
        )
    )

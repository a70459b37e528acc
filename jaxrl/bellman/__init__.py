"""Dynamic programming on finite Markov decision processes, as a Bellman backup with slots and transforms of it.

mdp = dense_mdp(probabilities, rewards, discount=0.9)
solve(mdp)                                                     # the nominal values
solve(mdp, bellman(robust(KL(0.1)), regularise(0.5)))          # against an adversary, paying for determinism
solve_many(mdp, [bellman(robust(L1(x))) for x in radii])       # the price of robustness, as one program
solve(mdp, bellman(distributional(Categorical(atoms))))        # the laws of returns
solve_cvar(mdp, 0.1, stocks)                                   # the best worst tenth of the returns
"""

from jaxrl.bellman.backup import (
    Backup,
    UndefinedComposition,
    average_reward,
    bellman,
    distributional,
    follow,
    optimistic,
    regularise,
    risk,
    robust,
    utility,
)
from jaxrl.bellman.mdp import MDP, dense_mdp, sparse_mdp, stack
from jaxrl.bellman.measures import CVaR, Entropic, Spectral
from jaxrl.bellman.nature import Nominal, Optimistic, Response
from jaxrl.bellman.s_rectangular import SRectangularL1
from jaxrl.bellman.sets import (
    KL,
    L1,
    TV,
    ChiSquare,
    ChiSquarePenalty,
    Contamination,
    KLPenalty,
    LInf,
    Lp,
    TVPenalty,
    Wasserstein,
)
from jaxrl.bellman.solve import Solution, solve, solve_many
from jaxrl.bellman.space import Categorical, Law, Particles, Quantiles, wasserstein
from jaxrl.bellman.stock import (
    StartingStock,
    StockSolution,
    law_of_return,
    solve_cvar,
    solve_optimistic_cvar,
    solve_with_stock,
)
from jaxrl.bellman.utilities import (
    AtLeastZero,
    Budgeted,
    Custom,
    Exponential,
    Mean,
    NegativeNorm,
    PiecewiseLinear,
    Utility,
    nearness,
    shortfall,
    surplus,
)

__all__ = [
    "KL",
    "L1",
    "MDP",
    "TV",
    "AtLeastZero",
    "Backup",
    "Budgeted",
    "CVaR",
    "Categorical",
    "ChiSquare",
    "ChiSquarePenalty",
    "Contamination",
    "Custom",
    "Entropic",
    "Exponential",
    "KLPenalty",
    "LInf",
    "Law",
    "Lp",
    "Mean",
    "NegativeNorm",
    "Nominal",
    "Optimistic",
    "Particles",
    "PiecewiseLinear",
    "Quantiles",
    "Response",
    "SRectangularL1",
    "Solution",
    "Spectral",
    "StartingStock",
    "StockSolution",
    "TVPenalty",
    "UndefinedComposition",
    "Utility",
    "Wasserstein",
    "average_reward",
    "bellman",
    "dense_mdp",
    "distributional",
    "follow",
    "law_of_return",
    "nearness",
    "optimistic",
    "regularise",
    "risk",
    "robust",
    "shortfall",
    "solve",
    "solve_cvar",
    "solve_many",
    "solve_optimistic_cvar",
    "solve_with_stock",
    "sparse_mdp",
    "stack",
    "surplus",
    "utility",
    "wasserstein",
]

"""Dynamic programming on finite Markov decision processes, as a Bellman backup with slots and transforms of it.

mdp = dense_mdp(probabilities, rewards, discount=0.9)
solve(mdp)                                                     # the nominal values
solve(mdp, bellman(robust(KL(0.1)), regularise(0.5)))          # against an adversary, paying for determinism
solve_many(mdp, [bellman(robust(L1(x))) for x in radii])       # the price of robustness, as one program
"""

from jaxrl.bellman.backup import (
    Backup,
    UndefinedComposition,
    average_reward,
    bellman,
    follow,
    optimistic,
    regularise,
    risk,
    robust,
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

__all__ = [
    "KL",
    "L1",
    "MDP",
    "TV",
    "Backup",
    "CVaR",
    "ChiSquare",
    "ChiSquarePenalty",
    "Contamination",
    "Entropic",
    "KLPenalty",
    "LInf",
    "Lp",
    "Nominal",
    "Optimistic",
    "Response",
    "SRectangularL1",
    "Solution",
    "Spectral",
    "TVPenalty",
    "UndefinedComposition",
    "Wasserstein",
    "average_reward",
    "bellman",
    "dense_mdp",
    "follow",
    "optimistic",
    "regularise",
    "risk",
    "robust",
    "solve",
    "solve_many",
    "sparse_mdp",
    "stack",
]

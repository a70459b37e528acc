"""Known values of natures and of finite processes, to the digits that are known; the tests hold them too.

Where no source is named they were computed by independent linear programmes, one-dimensional searches and linear
solves. Natures may only move mass to outcomes of positive probability unless they say ``all``; in processes where they
may move it everywhere an arrival that the nominal kernel excludes earns 0.
"""

import numpy as np
from jaxrl.envs.tabular import machine_replacement, riverswim

from jaxrl.bellman import (
    KL,
    L1,
    MDP,
    TV,
    ChiSquare,
    ChiSquarePenalty,
    Contamination,
    CVaR,
    Entropic,
    KLPenalty,
    LInf,
    SRectangularL1,
    TVPenalty,
    Wasserstein,
    risk,
    robust,
    sparse_mdp,
)

# --- one action in one state -------------------------------------------------------------------------------------

P, Z = np.array([0.4, 0.3, 0.1, 0.2]), np.array([1.0, 2.0, 5.0, 4.0])
"""probabilities and values of four outcomes"""


def wasserstein(radius: float) -> Wasserstein:
    """The ball in which outcome ``i`` is ``|i - j|`` away from ``j``."""
    return Wasserstein(radius, np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(float))


# L1 0, 1 and 2 are in CRAAM's tests as well.
OPERATORS = [
    (L1, {0: 2.3, 0.2: 1.9, 0.5: 1.45, 1: 1.1, 2: 1}),
    (TV, {0.1: 1.9, 0.25: 1.45, 0.5: 1.1, 1: 1}),
    (LInf, {0.05: 2.0, 0.1: 1.7, 0.3: 1.3}),
    (KL, {0: 2.3, 0.01: 2.1032095, 0.1: 1.7096203, 0.5: 1.1711412, 1: 1}),
    (ChiSquare, {0: 2.3, 0.01: 2.1582255, 0.1: 1.8516698, 0.5: 1.3179148, 1: 1.1155871, 2: 1}),
    (wasserstein, {0: 2.3, 0.1: 2.0, 0.5: 1.6, 1: 1.1}),
    (Contamination, {0.1: 2.17, 0.3: 1.91}),
    (CVaR, {0.1: 1, 0.25: 1, 0.5: 1.2, 0.75: 1.6, 1: 2.3}),
    (Entropic, {0.1: 2.2030849, 1: 1.6497950, 5: 1.1822500}),
    (TVPenalty, {0.5: 1.3, 1: 1.6, 2: 1.9, 10: 2.3}),
    (KLPenalty, {0.5: 1.4092080, 1: 1.6497950, 2: 1.8922031, 10: 2.2030849}),
    (ChiSquarePenalty, {0.5: 1.5571429, 1: 1.8111111, 2: 2.04875, 10: 2.24975}),
]
OPERATORS_TOLERANCE = 6e-8

# CRAAM's tests: levels of CVaR and their values.
CRAAM_ROW = np.array([0.1, 0.2, 0.3, 0.1, 0.3]), np.array([4.0, 5.0, 1.0, 2.0, -1.0])
CRAAM_CVAR = {0.5: -0.2, 0.6: 0, 1.0: 1.6}

# --- two actions within one budget -------------------------------------------------------------------------------

PAIR = np.stack([P, np.full(4, 0.25)], axis=-1), np.stack([Z, [0.0, 3.0, 2.0, 6.0]], axis=-1)
S_RECTANGULAR = {0: 2.75, 0.2: 2.24, 0.5: 1.8833333, 1: 1.3833333}
BEST_OF_EACH_ALONE = {0: 2.75, 0.2: 2.15, 0.5: 1.45, 1: 1.1}
"""where each action gets the whole budget"""

# --- processes: by transform of the backup -----------------------------------------------------------------------

EVERY_STATE = list(range(6))
RIVERSWIM = [  # CRAAM's version, discount 0.9
    ([], EVERY_STATE, [1530.963997, 2097.987700, 3064.028083, 4520.866761, 6680.874750, 9875.275469]),
    ([robust(L1(0.1))], EVERY_STATE, [593.081134, 856.672749, 1395.571162, 2339.164060, 3944.948270, 6661.729138]),
    ([robust(L1(0.2))], EVERY_STATE, [163.819565, 254.830435, 487.413769, 990.782531, 2044.586032, 4234.270662]),
    ([robust(L1(0.5))], EVERY_STATE, [50, 45, 40.5, 36.45, 83.490479, 598.308230]),
    ([robust(L1(0.1, "all"))], [0, 5], [469.033077, 5961.628693]),
    ([robust(SRectangularL1(0.1))], EVERY_STATE,
     [593.081134, 856.672749, 1395.571162, 2339.164060, 3944.948270, 6661.729138]),
    ([robust(SRectangularL1(0.2))], EVERY_STATE,
     [163.819565, 254.830435, 487.413769, 990.782531, 2044.586032, 4234.270662]),
    ([risk(CVaR(0.5))], EVERY_STATE, [50, 45, 40.5, 36.45, 32.805, 29.5245]),
]  # fmt: skip
RIVERSWIM_TOLERANCE = 2e-6
RIVERSWIM_ACTIONS = robust(L1(0.5)), [0, 0, 0, 0, 1, 1]

MACHINE_STATES = [0, 6, 8, 9]
MACHINE = [  # discount 0.8
    ([], [-1.766580, -12.880655, -8.933287, -1.822156]),
    ([robust(L1(0.1))], [-2.359093, -15.257206, -10.396095, -2.394320]),
    ([robust(L1(0.2))], [-3.066213, -17.914878, -12.032526, -3.048788]),
    ([robust(L1(0.2, "all"))], [-7.091349, -20.663492, -14.781139, -7.171708]),
    ([robust(KL(0.1))], [-4.677756, -24.684416, -16.575209, -4.465526]),
    ([robust(ChiSquare(0.1))], [-3.599528, -20.363605, -13.827110, -3.508945]),
    ([robust(Contamination(0.1, "all"))], [-6.192699, -18.564829, -13.309147, -6.322641]),
    ([risk(CVaR(0.5))], [-8.288213, -37.994894, -26.456433, -7.026974]),
    ([risk(Entropic(0.1))], [-4.663872, -41.401705, -15.839687, -4.052004]),
    ([robust(SRectangularL1(0.2))], [-3.010929, -17.887722, -12.005369, -3.008053]),
]
MACHINE_TOLERANCE = 1.5e-6

RIVERSWIM_OSBAND, RIVERSWIM_CRAAM = ("Osband's RiverSwim", lambda: riverswim("osband")), ("RiverSwim", riverswim)
MACHINE_REPLACEMENT = "machine replacement", machine_replacement
GAINS = [  # average rewards a step
    (RIVERSWIM_OSBAND, [], 0.4286224338),
    (RIVERSWIM_OSBAND, [robust(L1(0.05))], 0.3707445559),
    (RIVERSWIM_OSBAND, [robust(L1(0.1))], 0.309375),
    (RIVERSWIM_OSBAND, [robust(L1(0.2))], 0.1824284880),
    (RIVERSWIM_OSBAND, [robust(L1(0.05, "all"))], 0.2956550740),
    (RIVERSWIM_OSBAND, [robust(L1(0.1, "all"))], 0.1989283322),
    (RIVERSWIM_OSBAND, [robust(L1(0.2, "all"))], 0.0820425308),
    (RIVERSWIM_CRAAM, [], 668.8073395),
    (MACHINE_REPLACEMENT, [], -0.7139849624),
    (MACHINE_REPLACEMENT, [robust(L1(0.1))], -0.9460002793),
    (MACHINE_REPLACEMENT, [robust(L1(0.2))], -1.2139112903),
]
GAINS_TOLERANCE = 1e-8
"""relative"""

INVENTORY = {0: 127.814920, 1: 132.814920, 10: 179.745029}
"""by stock"""
INVENTORY_TOLERANCE = 1.5e-6
INVENTORY_ORDERS = [12, 11, 10, 9, 8, 0, 0, 0, 0, 0, 0, 0]

# CRAAM's tests, discount 0.9: radius of L1, worst and best value.


def coin() -> MDP:
    """One state whose only action earns 1 or 2 with equal probability."""
    return sparse_mdp([[[0, 0]]], [[[0.5, 0.5]]], [[[1.0, 2.0]]], discount=0.9)


def five_states() -> MDP:
    """State 0 chooses between the states 1, 2 and the states 3, 4, which earn 2, 3 and 1, 4 for ever."""
    successors = [[[1, 2], [3, 4]], *([[s, s], [s, s]] for s in (1, 2, 3, 4))]
    rewards = [[0, 0], [2, 2], [3, 3], [1, 1], [4, 4]]
    return sparse_mdp(successors, np.full((5, 2, 2), 0.5), rewards, discount=0.9)


COIN = [(0, 15, 15), (0.5, 12.5, 17.5), (1, 10, 20), (2, 10, 20)]
FIVE_STATES = [(0, 22.5, 22.5), (0.5, 20.25, 29.25), (1, 18, 36), (2, 18, 36)]

# Two coins: the risk of the return, static and nested, by discount.
TWO_COINS_ENTROPIC = 0.3, 0.9
"""risk aversion and discount"""
TWO_COINS_NESTED_ENTROPIC, TWO_COINS_STATIC_ENTROPIC = -0.177523, -0.131186
TWO_COINS_LEVEL = 0.75
TWO_COINS_NESTED_CVAR = -1 / 3
TWO_COINS_STATIC_CVAR = {0: 0.0, 0.1: -0.266667, 0.2: -0.533333, 0.3: -0.666667}
"""by how far an adversary may move the probability that the second coin wins"""
TWO_COINS_TOLERANCE = 1e-6

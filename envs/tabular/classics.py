"""Processes on which robust and average-reward methods are compared: RiverSwim, machine replacement, inventory, the
gambler's ruin, and random ones."""

from collections.abc import Mapping

import numpy as np
from jaxrl.envs.arguments import whole, within
from jaxrl.envs.tabular.outcomes import merged

from jaxrl.bellman.mdp import MDP, dense_mdp, sparse_mdp
from jaxrl.errors import InvalidArgument, unknown

DEMAND = {0: 0.1, 2: 0.5, 3: 0.1, 4: 0.1, 5: 0.1, 30: 0.1}
"""probabilities of demand in units a period, as in the tests of RiskMDPs.jl"""


def riverswim(version: str = "craam", discount: float = 0.9) -> MDP:
    """Six states in a row; swimming to the right is slow and pays at the far end only.

    Action 0 goes one state to the left surely, and stays in state 0. Action 1, to the right, depends on the version:

    | version | state 0: stay, right | 1 .. 4: left, stay, right | state 5: left, stay | rewards |
    | --- | --- | --- | --- | --- |
    | craam | .7, .3 | .1, .6, .3 | .7, .3 | 5 for action 0 in state 0; 10,000 for *staying* in state 5 by action 1 |
    | osband | .4, .6 | .05, .6, .35 | .4, .6 | .005 for action 0 in state 0; 1 for action 1 in state 5 |

    The first is the one of the library CRAAM, the second that of the work on exploration, whose optimal average reward
    is 0.4286.

    Raises:
        InvalidArgument: for another version, or a discount outside (0, 1].
    """
    versions = {
        "craam": ((0.7, 0.3), (0.1, 0.6, 0.3), (0.7, 0.3)),
        "osband": ((0.4, 0.6), (0.05, 0.6, 0.35), (0.4, 0.6)),
    }
    if version not in versions:
        raise unknown("version", version, versions)
    first, middle, last = versions[version]
    p, r = np.zeros((6, 2, 6)), np.zeros((6, 2, 6))
    for s in range(6):
        p[s, 0, max(s - 1, 0)] = 1
    p[0, 1, :2] = first
    for s in range(1, 5):
        p[s, 1, s - 1 : s + 2] = middle
    p[5, 1, 4:] = last
    if version == "craam":
        r[0, 0, 0], r[5, 1, 5] = 5, 10_000
    else:
        r[0, 0], r[5, 1] = 0.005, 1
    return dense_mdp(p, r, discount)


def machine_replacement(discount: float = 0.8) -> MDP:
    """A machine that wears out in states 0 .. 7, with two kinds of repair, 8 (long) and 9 (short); 10 states.

    Rewards are earned on arrival: -20 in the broken state 7, -10 in 8, -2 in 9, and none elsewhere or where a
    transition is not possible. Action 0 waits, action 1 repairs. The numbers are those of CRAAM's file, after Delage
    and Mannor (2010).

    Raises:
        InvalidArgument: for a discount outside (0, 1].
    """
    p = np.zeros((10, 2, 10))
    for s in range(7):
        p[s, 0, [s, s + 1]] = 0.2, 0.8
        p[s, 1, [s + 1, 8, 9]] = 0.3, 0.1, 0.6
    p[7, 0, 7] = p[8, 0, 8] = p[9, 1, 9] = 1
    p[9, 0, [9, 0]] = 0.2, 0.8
    p[7, 1, [7, 8, 9]] = 0.3, 0.1, 0.6
    p[8, 1, [8, 9]] = 0.4, 0.6
    arrival = np.array([0.0] * 7 + [-20, -10, -2])
    return dense_mdp(p, np.where(p > 0, arrival, 0.0), discount)


def inventory(
    capacity: int = 100,
    max_order: int = 50,
    demand: Mapping[int, float] = DEMAND,
    price: float = 16.0,
    purchase: float = 5.0,
    delivery: float = 2.0,
    holding: float = 0.3,
    discount: float = 0.8,
) -> MDP:
    """One product and random demand, which is lost where it is not met.

    The state is the stock, 0 .. ``capacity``, and the action the order, 0 .. ``max_order``, of which those that fit are
    allowed. The order arrives, demand is met as far as there is stock, and what is left is the next state. The start is
    without stock. With the defaults, from RiskMDPs.jl's tests, it is best to order up to 12 when 4 or less is left.

    Args:
        demand: units to their probabilities.
        price, purchase: of a unit sold, and of one ordered.
        delivery: the cost of an order of any size above 0.
        holding: the cost of a unit left at the end of a period.

    Raises:
        InvalidArgument: for sizes below 1, demand that is no distribution over whole units, or a discount outside
            (0, 1].
    """
    whole("capacity", capacity, 1)
    whole("max_order", max_order, 1)
    for units in demand:
        whole("demand", units, 0)
    units, chances = np.array(list(demand)), np.array(list(demand.values()), float)
    if not demand or (chances < 0).any() or abs(chances.sum() - 1) > 1e-6:
        raise InvalidArgument("demand", dict(demand), "must be units and their probabilities, which sum to 1")
    stock, order = np.ogrid[: capacity + 1, : max_order + 1]
    allowed = stock + order <= capacity
    available = np.minimum(stock + order, capacity)[..., None]
    left = np.maximum(available - units, 0)
    rewards = price * (available - left) - (purchase * order + delivery * (order > 0))[..., None] - holding * left
    lists = merged(left, np.broadcast_to(chances, left.shape), rewards)
    return sparse_mdp(*lists, discount, allowed=allowed)


def gamblers_ruin(
    target: int = 10, win: float = 0.7, capital: int = 5, on_arrival: bool = False, discount: float = 0.95
) -> MDP:
    """Bets on a coin until nothing or ``target`` is left; the state is the capital, 0 .. ``target``.

    The action is the bet, 0 .. ``target - 1``, and at most the capital. It is won with probability ``win`` and lost
    otherwise; what goes beyond the target is not paid out. Both ends are absorbing.

    Args:
        target: of the capital.
        win: the probability that a bet is won.
        capital: at the start.
        on_arrival: whether the target pays 1 once, so that undiscounted values are probabilities of reaching it. By
            default it pays 1 for every step there, as in MDPs.jl, so that it is not an end.

    Raises:
        InvalidArgument: for a target below 1, a probability outside [0, 1], a capital outside [0, target], or a
            discount outside (0, 1].
    """
    whole("target", target, 1)
    within("win", win, 0, 1)
    within("capital", whole("capital", capital, 0), 0, target)
    have, bet = np.ogrid[: target + 1, :target]
    allowed = bet <= have
    ended = ((have == 0) | (have == target)) & (bet >= 0)
    after = np.stack([np.minimum(have + bet, target), np.maximum(have - bet, 0)], axis=-1)
    after = np.where(ended[..., None], have[..., None], after)
    if on_arrival:
        rewards = ((after == target) & (have < target)[..., None]).astype(float)
    else:
        rewards = np.broadcast_to((have == target)[..., None], after.shape).astype(float)
    lists = merged(after, np.broadcast_to([win, 1 - win], after.shape), rewards)
    return sparse_mdp(*lists, discount, allowed=allowed, start=np.eye(target + 1)[capital])


def garnet(
    seed: int | np.random.Generator = 0,
    states: int = 100,
    actions: int = 4,
    branching: int = 5,
    rewards: tuple[float, float] = (0, 10),
    integers: bool = True,
    discount: float = 0.95,
) -> MDP:
    """A random process (Archibald et al. 1995): each action of each state has a few successors.

    Successors are a uniformly random set, their probabilities exponential weights over their sum, which is uniform over
    all distributions, and rewards are drawn for each state and action. Time and memory grow with ``S * A * branching``.

    Args:
        seed: or a generator of numpy, which is drawn from.
        states, actions: ``S`` and ``A``.
        branching: successors of an action, all different.
        rewards: least and greatest.
        integers: whether rewards are integers, both ends included, instead of real numbers.

    Raises:
        InvalidArgument: for sizes below 1, more successors than states, a least reward above the greatest, or a
            discount outside (0, 1].

    Example:
        >>> garnet(0, states=10_000, actions=2, branching=3).successors.shape
        (10000, 2, 3)
    """
    for name, size in (("states", states), ("actions", actions), ("branching", branching)):
        whole(name, size, 1)
    if branching > states:
        raise InvalidArgument("branching", branching, f"must be at most the number of states, {states}")
    low, high = rewards
    if not low <= high or not np.isfinite([low, high]).all() or (integers and (low % 1 or high % 1)):
        raise InvalidArgument("rewards", rewards, "must be a least and a greatest one, whole if integers=True")
    draw = np.random.default_rng(seed)
    successors = np.empty((states, actions, branching), np.int32)
    # Floyd's way to draw a set without a list of all states: a state already in the set is replaced by the newest one.
    for place, newest in enumerate(range(states - branching, states)):
        drawn = draw.integers(newest + 1, size=(states, actions), dtype=np.int32)
        taken = (successors[..., :place] == drawn[..., None]).any(axis=-1)
        successors[..., place] = np.where(taken, newest, drawn)
    weights = draw.exponential(size=successors.shape)
    size = (states, actions)
    earned = draw.integers(int(low), int(high) + 1, size=size) if integers else draw.uniform(low, high, size=size)
    return sparse_mdp(successors, weights / weights.sum(axis=-1, keepdims=True), earned, discount)

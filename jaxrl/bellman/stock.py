"""A stock of past rewards as a part of the state, for objectives of the whole return that no backup of means reaches.

The stock is ``c' = (c + reward) / discount``, so that ``c_0 + sum_t discount^t reward_t`` is ``discount^n`` times what
``c_n`` and the rewards from there on come to: whoever maximises ``E f(stock + return)`` for an ``f`` that scaling does
not change has one problem at every step (Bauerle and Ott 2011; Pires et al. 2025). Here the stock is on a grid. Stocks
between two of its points are worth what the points are worth in proportion; beyond its ends, where no return can change
the sign of ``c + return``, a unit of stock is worth as much as ``f`` says.

    solve_with_stock(mdp, nearness(), stocks)           the policies that hit each requested return, -stock
    solve_cvar(mdp, 0.75, stocks)                       the policy with the best mean of the worst three quarters
"""

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.bellman.backup import Backup, UndefinedComposition
from jaxrl.bellman.greedy import FixedPolicy
from jaxrl.bellman.laws import check_laws, range_of_returns
from jaxrl.bellman.mdp import MDP
from jaxrl.bellman.nature import with_numbers_of_states
from jaxrl.bellman.solve import Solution, check_support, solve
from jaxrl.bellman.space import Law
from jaxrl.bellman.utilities import Mean, PiecewiseLinear, Utility, shortfall, surplus
from jaxrl.errors import InvalidArgument

TIE = 1e-9
"""by how much a starting stock must be better than the one before it"""


class StockSolution(NamedTuple):
    """What ``solve_with_stock`` found; ``C`` is the number of stocks, or for ``m`` kinds of reward ``C_1, .., C_m``. A
    stage comes first where there is a horizon."""

    stocks: tuple[np.ndarray, ...]
    """the grid of each kind of reward"""
    value: np.ndarray
    """``[S, C]`` the best ``E f(c + return)``"""
    policy: np.ndarray
    """``[S, C, A]`` probabilities"""
    q: np.ndarray
    """``[S, C, A]`` what each action is worth"""
    law: Law | None
    """``[S, C, N]`` the laws of ``c + return``, if they were asked for"""
    solution: Solution
    """of the process whose states are pairs, with its bounds"""
    decide: Callable[..., np.ndarray]
    """``(state, stock, stage=0) -> [A]``: the policy at any stock, by looking one step ahead"""


def solve_with_stock(
    mdp: MDP,
    utility: Utility,
    stocks: Any,
    backup: Backup | None = None,
    *,
    horizon: int | None = None,
    rewards: Any = None,
    **options: Any,
) -> StockSolution:
    """The policies that maximise ``E f(stock + return)``, for every state and every stock of a grid.

    Without laws in the backup only expected utilities are kept, which is exact for every grid that stocks do not leave
    between two points. With ``distributional(space)`` the laws of ``stock + return`` are kept as well.

    Args:
        utility: ``f``.
        stocks: ``[C]`` increasing; for several kinds of reward a sequence of them.
        backup: nature, greedy rule and space; nominal by default. An adversary sees the stock.
        horizon: as of ``solve``; the discount must be below 1 without it.
        rewards: ``[S, A, n, m]``, several kinds of reward instead of the process's own.
        options: of ``solve``.

    Raises:
        InvalidArgument: for stocks that do not increase, or rewards whose shape does not fit.
        UndefinedComposition: for a utility that a discount or an endless horizon rules out, or that needs no stock.

    Warns:
        UserWarning: if the stocks do not cover those from which a return can still change the sign.

    Example:
        >>> from jaxrl.bellman import nearness, solve_with_stock, sparse_mdp
        >>> bits = sparse_mdp([[[0], [0]]], [[[1.0], [1.0]]], [[[0.0], [1.0]]], discount=0.5)
        >>> found = solve_with_stock(bits, nearness(), [-3.0, -2.0, -1.0, 0.0, 1.0])  # returns 0 to 2 can be had
        >>> (found.value[0].round(6) + 0).tolist()
        [-1.0, 0.0, 0.0, 0.0, -1.0]
    """
    backup = Backup() if backup is None else backup
    if not isinstance(backup.utility, Mean):
        raise InvalidArgument("backup", backup, "must not hold a utility: it is an argument here")
    if horizon is None and not mdp.discount < 1:
        raise InvalidArgument("discount", float(mdp.discount), "must be below 1, unless there is a horizon")
    backup = dataclasses.replace(backup, utility=utility)
    grids, rewards = _grids(mdp, utility, stocks, rewards)
    laws = not backup.space.is_scalar
    if laws and utility.of_vectors:
        raise UndefinedComposition("distributional with several kinds of reward: laws are of one kind; drop the space")
    check_support(mdp, backup)
    if utility.degree is None:
        raise UndefinedComposition(
            f"{type(utility).__name__} with a stock: scaling changes its order of laws; drop the stock if its best "
            "policy needs none, as that of Exponential, which is for solve(mdp, bellman(distributional(space), "
            "utility(...)), horizon=...)"
        )
    with jax.enable_x64(True):
        augmented, worth = _augmented(mdp, None if laws else utility, grids, rewards)
    check_laws(augmented, backup, horizon, "policy_iteration" if laws else "value_iteration")
    _warn_of_uncovered(mdp, utility, grids, rewards, horizon, backup.nature.needs_all_states)
    used = backup if laws else dataclasses.replace(backup, utility=Mean())
    count = augmented.states // mdp.states
    parts = {
        name: with_numbers_of_states(getattr(used, name), lambda x: np.repeat(np.asarray(x), count, axis=0))
        for name in ("nature", "greedy")
    }
    used = dataclasses.replace(used, **parts)
    found = solve(augmented, used, horizon=horizon, initial=worth, **options)
    shape = (mdp.states, *(len(grid) for grid in grids))

    def by_stock(x, trailing=0):
        leading = x.shape[: x.ndim - trailing - 1]
        return x.reshape(*leading, *shape, *x.shape[x.ndim - trailing :])

    value = by_stock(found.value)
    law = None if found.law is None else jax.tree.map(lambda x: by_stock(x, 1), found.law)
    decide = _lookahead(mdp, backup, grids, rewards, value, horizon)
    return StockSolution(grids, value, by_stock(found.policy, 1), by_stock(found.q, 1), law, found, decide)


class StartingStock(NamedTuple):
    """A risk measure of the return, and the policy that is best for it."""

    value: float
    """of the measure"""
    stock: float
    """from which the policy starts; minus it is the return that the measure is centred on"""
    error: float
    """how much better another stock between the grid's points may be"""
    solution: StockSolution
    """of every state and stock; ``solution.decide`` is the policy"""


def solve_cvar(mdp: MDP, level: float, stocks: Any, backup: Backup | None = None, **options: Any) -> StartingStock:
    """The best CVaR of the return: the mean of its worst ``level``, over policies that know what they have earned.

    ``CVaR = max_c0 { -c0 + E min(c0 + return, 0) / level }`` (Rockafellar and Uryasev 2000), with the inner problem
    solved for all starting stocks at once. With ``robust`` in the backup it is the worst over kernels.

    Args:
        level: within (0, 1].
        stocks, backup, options: as of ``solve_with_stock``; the start is the process's.

    Raises:
        InvalidArgument: for a level outside (0, 1], else as ``solve_with_stock``.

    Example:
        >>> from jaxrl.bellman import solve_cvar
        >>> from jaxrl.envs.tabular import two_coin
        >>> round(solve_cvar(two_coin(), 0.75, range(-6, 6), horizon=2).value, 6) + 0
        0.0
    """
    return _outer(mdp, level, shortfall(), stocks, backup, max, **options)


def solve_optimistic_cvar(
    mdp: MDP, level: float, stocks: Any, backup: Backup | None = None, **options: Any
) -> StartingStock:
    """The best mean of the best ``level`` of the return: ``min_c0 { -c0 + max E max(c0 + return, 0) / level }``.

    The policy from the stock itself may not have this value where two policies are equally good for it: one from a
    stock nearby, or a coin between the two, has. See ``solve_cvar`` for the arguments.
    """
    return _outer(mdp, level, surplus(), stocks, backup, min, **options)


def _outer(mdp, level, utility: PiecewiseLinear, stocks, backup, choose, **options) -> StartingStock:
    if not 0 < level <= 1:
        raise InvalidArgument("level", level, "must be within (0, 1]")
    if "rewards" in options:
        raise InvalidArgument("rewards", "given", "must be the process's own: a risk measure is of one kind of reward")
    found = solve_with_stock(mdp, utility, stocks, backup, **options)
    (grid,) = found.stocks
    value = found.value if options.get("horizon") is None else found.value[0]
    worth = -grid + np.asarray(mdp.start) @ value / level
    best = choose(worth)
    place = int(np.argmax(np.abs(worth - best) <= TIE * max(1, abs(best))))
    error = float(np.diff(grid).max() / 2 * max(1, 1 / level - 1))
    return StartingStock(float(worth[place]), float(grid[place]), error, found)


def law_of_return(
    mdp: MDP, decide: Callable[..., np.ndarray], horizon: int, stock: Any = 0.0, state: int | None = None
) -> Law:
    """The exact law of the return of a policy that knows its stock, by following every history.

    The number of histories grows with the horizon; those of one state and one return so far are taken together.

    Args:
        decide: ``(state, stock, stage) -> [A]`` probabilities, as of ``StockSolution``.
        stock: the first.
        state: the first; the process's start by default.

    Returns:
        the returns in increasing order, without the stock.
    """
    mdp = mdp.as_sparse()
    p, successors, rewards = (np.asarray(x) for x in (mdp.probabilities, mdp.successors, mdp.rewards))
    rewards, discount = np.broadcast_to(rewards, p.shape), float(mdp.discount)
    start = np.asarray(mdp.start) if state is None else np.eye(mdp.states)[state]
    histories = {(int(s), float(stock), 0.0): float(start[s]) for s in np.flatnonzero(start)}
    for stage in range(horizon):
        following: dict[tuple[int, float, float], float] = {}
        for (s, c, earned), probability in histories.items():
            policy = decide(s, c, stage)
            for a in np.flatnonzero(policy):
                for j in np.flatnonzero(p[s, a]):
                    reward = float(rewards[s, a, j])
                    key = (
                        int(successors[s, a, j]),
                        round((c + reward) / discount, 10),
                        round(earned + discount**stage * reward, 10),
                    )
                    following[key] = following.get(key, 0.0) + probability * float(policy[a] * p[s, a, j])
        histories = following
    returns: dict[float, float] = {}
    for (_, _, earned), probability in histories.items():
        returns[earned] = returns.get(earned, 0.0) + probability
    atoms = np.array(sorted(returns))
    return Law(atoms, np.array([returns[atom] for atom in atoms]))


# --- the process of pairs -----------------------------------------------------------------------------------------


def _grids(mdp: MDP, utility: Utility, stocks: Any, rewards: Any) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The grid of each kind of reward, and rewards ``[S, A, n, m]``."""
    shape = np.shape(mdp.probabilities)
    if utility.of_vectors != (rewards is not None):
        name = type(utility).__name__
        allowed = f"must be [S, A, n, m] for {name}" if utility.of_vectors else f"must not be given for {name}"
        raise InvalidArgument("rewards", None if rewards is None else np.shape(rewards), allowed)
    given = np.broadcast_to(mdp.rewards, shape)[..., None] if rewards is None else np.asarray(rewards, float)
    if given.ndim != 4 or not np.isfinite(given).all():
        raise InvalidArgument("rewards", given.shape, f"must be finite, {[*shape, 'm']}")
    try:
        given = np.broadcast_to(given, (*shape, given.shape[-1]))
    except ValueError:
        raise InvalidArgument("rewards", given.shape, f"must be {[*shape, 'm']}") from None
    kinds = stocks if rewards is not None else [stocks]
    if len(kinds) != given.shape[-1]:
        raise InvalidArgument("stocks", f"{len(kinds)} grids", f"must be one for each of {given.shape[-1]} rewards")
    grids = tuple(np.asarray(list(grid), float) for grid in kinds)
    for grid in grids:
        if grid.ndim != 1 or len(grid) < 2 or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
            raise InvalidArgument("stocks", grid.tolist(), "must be at least two finite numbers in increasing order")
    return grids, given


def _augmented(
    mdp: MDP, utility: Utility | None, grids: Sequence[np.ndarray], rewards: np.ndarray
) -> tuple[MDP, np.ndarray]:
    """The process whose states are pairs of a state and a stock, and what each stock is worth by itself, ``[S C]``.

    It pays nothing on the way, and what the stock is worth in the end; beyond the grid's ends it pays the difference.

    Args:
        utility: of the stock; None for the stock itself, whose laws are kept.
    """
    states, count = mdp.states, int(np.prod([len(grid) for grid in grids]))
    mesh = np.stack([x.ravel() for x in np.meshgrid(*grids, indexing="ij")], axis=-1)  # [C, m]
    after = (mesh[None, :, None, None] + np.asarray(rewards)[:, None]) / float(mdp.discount)  # [S, C, A, n, m]
    corners, shares, beyond = _between(utility, grids, after)
    if mdp.is_dense:
        successors = np.broadcast_to(np.arange(states), np.shape(mdp.probabilities))
    else:
        successors = np.asarray(mdp.successors)
    successors = successors[:, None, ..., None] * count + corners

    def of_pairs(x):
        x = np.broadcast_to(np.asarray(x)[:, None], (states, count, *np.shape(x)[1:]))
        return x.reshape(-1, *x.shape[2:])

    # what f is scaled by in a step, where only its expectation is kept
    discount = float(mdp.discount) ** (1.0 if utility is None else utility.degree or 0.0)
    worth = np.asarray(mesh[:, 0] if utility is None else utility(mesh if utility.of_vectors else mesh[:, 0]), float)
    start = np.zeros((states, count))
    start[:, np.abs(mesh).sum(axis=-1).argmin()] = mdp.start
    augmented = MDP(
        probabilities=of_pairs(mdp.probabilities),
        rewards=(discount * beyond).reshape(states * count, *beyond.shape[2:]),
        successors=successors.reshape(states * count, *successors.shape[2:]).astype(np.int32),
        discount=np.float64(discount),
        allowed=None if mdp.allowed is None else of_pairs(mdp.allowed),
        start=start.ravel(),
        between=shares.reshape(states * count, *shares.shape[2:]),
    )
    return augmented, np.tile(worth, states)


def _between(utility: Utility | None, grids: Sequence[np.ndarray], stocks: np.ndarray) -> tuple[Any, Any, Any]:
    """For stocks ``[..., m]``: the points of the grid around each and their shares, ``[..., 2^m]``, and what it is
    worth more than the nearest stock within the grid, ``[...]``."""
    low, share = [], []
    for grid, stock in zip(grids, np.moveaxis(stocks, -1, 0)):
        place = np.clip(np.searchsorted(grid, stock, side="right") - 1, 0, len(grid) - 2)
        within = np.clip(stock, grid[0], grid[-1])
        low.append(place)
        share.append((within - grid[place]) / (grid[place + 1] - grid[place]))
    sizes = [len(grid) for grid in grids]
    corners, shares = [], []
    for sides in itertools.product((0, 1), repeat=len(grids)):
        corner, weight = np.zeros(stocks.shape[:-1], int), np.ones(stocks.shape[:-1])
        for side, place, part, size in zip(sides, low, share, sizes):
            corner = corner * size + place + side
            weight = weight * (part if side else 1 - part)
        corners.append(corner)
        shares.append(weight)
    nearest = np.stack([np.clip(stocks[..., i], grid[0], grid[-1]) for i, grid in enumerate(grids)], axis=-1)
    if utility is None:
        beyond = (stocks - nearest)[..., 0]
    else:
        worth = [np.asarray(utility(x if utility.of_vectors else x[..., 0]), float) for x in (stocks, nearest)]
        beyond = worth[0] - worth[1]
    return np.stack(corners, axis=-1), np.stack(shares, axis=-1), beyond


def _lookahead(mdp: MDP, backup: Backup, grids, rewards, value: np.ndarray, horizon: int | None) -> Callable:
    """``StockSolution.decide``."""
    probabilities, discount = np.asarray(mdp.probabilities), float(mdp.discount)
    utility = backup.utility
    scale = discount ** (utility.degree or 0.0)

    def decide(state: int, stock: Any, stage: int = 0) -> np.ndarray:
        ahead = value if horizon is None else value[stage + 1]
        after = (np.asarray(stock, float) + rewards[state]) / discount  # [A, n, m]
        corners, shares, beyond = _between(utility, grids, after)
        successors = np.arange(mdp.states) if mdp.is_dense else np.asarray(mdp.successors)[state]
        flat = ahead.reshape(mdp.states, -1)
        worth = (shares * flat[np.broadcast_to(successors, corners.shape[:-1])[..., None], corners]).sum(axis=-1)
        z = jnp.asarray(scale * (worth + beyond)).T[:, None]  # [n, 1, A]
        p = jnp.asarray(probabilities[state]).T[:, None]
        nature, greedy = (
            with_numbers_of_states(part, lambda x: np.asarray(x)[state : state + 1])
            for part in (backup.nature, backup.greedy)
        )
        allowed = None if mdp.allowed is None else jnp.asarray(mdp.allowed)[state : state + 1]
        if nature.rectangular == "s" and not isinstance(greedy, FixedPolicy):
            policy = nature.respond_jointly(p, z, allowed)[1]
        else:
            q = (p * z).sum(axis=0) if nature.rectangular == "s" else nature.respond(p, z).value
            policy = greedy.choose(q, allowed).policy
        return np.asarray(policy[0])

    def in_double(*arguments, **keywords):
        with jax.enable_x64(True):
            return decide(*arguments, **keywords)

    return in_double


def _warn_of_uncovered(mdp, utility, grids, rewards, horizon, all_states) -> None:
    """Warns of a grid whose ends the sign of ``stock + return`` can still cross."""
    if isinstance(utility, Mean):
        return
    for kind, grid in enumerate(grids):
        own = dataclasses.replace(mdp, rewards=rewards[..., kind])
        low, high = range_of_returns(own, horizon, np.zeros(mdp.states), all_states)
        if grid[0] > -high + TIE or grid[-1] < -low - TIE:
            which = f" of reward {kind}" if len(grids) > 1 else ""
            warnings.warn(
                f"stocks{which} from {grid[0]:g} to {grid[-1]:g} do not cover [{-high:.6g}, {-low:.6g}], where a "
                "return can still change the sign of the sum: values near the ends are off",
                stacklevel=4,
            )

"""Prices on a grid: an option to exercise and a position to trade, with the stage as a part of the state.

The continuous problems are those of the code to arXiv:2501.02087 (QRSRM); each function says how its prices are made
finite.
"""

import numpy as np
from jaxrl.envs.arguments import positive, whole, within
from scipy.stats import binom

from jaxrl.bellman.mdp import MDP, sparse_mdp
from jaxrl.errors import InvalidArgument


def american_option(
    decisions: int = 10,
    years: float = 1.0,
    drift: float = -0.3,
    volatility: float = 0.3,
    strike: float = 1.0,
    price: float = 1.0,
    refinement: int = 4,
    discount: float = 1.0,
) -> MDP:
    """When to exercise a put on a price that follows a geometric Brownian motion.

    Action 0 waits for the next price, action 1 exercises, which pays ``max(strike - price, 0)`` and ends; the last of
    the decisions exercises whatever the action.

    The logarithm of the price is a walk on a lattice. Between two decisions it makes ``refinement`` steps, each of
    ``h = volatility * sqrt(3 * years / decisions / refinement)`` up, none or down with probabilities 1/6, 2/3 and 1/6
    beside the drift, so that its first five moments over the whole time are those of the normal distribution. The
    lattice grows with the stages and is cut nowhere.

    ``american_option_features`` has price and stage of each state; the last state is the end.

    Args:
        decisions: how often it can be exercised.
        years: the time of that many periods.
        drift, volatility: of the price, a year.
        strike: what it can be sold for.
        price: at the start.
        refinement: steps of the lattice between two decisions; ``2 * refinement + 1`` outcomes.

    Raises:
        InvalidArgument: for a count below 1, times and prices that are not positive, a volatility below 0, or a
            discount outside (0, 1].
    """
    prices, stage, level = _lattice(decisions, years, drift, volatility, price, refinement)
    positive("strike", strike)
    end, outcomes = len(prices), 2 * refinement + 1
    step = np.array([1.0])
    for _ in range(refinement):
        step = np.convolve(step, [1 / 6, 2 / 3, 1 / 6])
    last = stage == decisions - 1
    following = _first(stage + 1, refinement)[:, None] + level[:, None] + np.arange(outcomes)
    successors = np.full((end + 1, 2, outcomes), end)
    successors[:-1, 0] = np.where(last[:, None], end, following)
    probabilities = np.zeros(successors.shape)
    probabilities[..., 0] = 1
    probabilities[:-1, 0] = np.where(last[:, None], probabilities[:-1, 0], step)
    payoff = np.maximum(strike - prices, 0)
    rewards = np.zeros((end + 1, 2))
    rewards[:-1, 0], rewards[:-1, 1] = np.where(last, payoff, 0), payoff
    return sparse_mdp(successors, probabilities, rewards, discount)


def american_option_features(
    decisions: int = 10,
    years: float = 1.0,
    drift: float = -0.3,
    volatility: float = 0.3,
    price: float = 1.0,
    refinement: int = 4,
) -> np.ndarray:
    """``[S, 2]`` price, and share of the decisions that have been made, of the states of ``american_option``; 0 and 1
    at the end."""
    prices, stage, _ = _lattice(decisions, years, drift, volatility, price, refinement)
    return np.concatenate([np.stack([prices, stage / decisions], axis=-1), [[0.0, 1.0]]])


def trading(
    periods: int = 10,
    years: float = 1.0,
    reversion: float = 2.0,
    mean_price: float = 1.0,
    volatility: float = 1.0,
    trades: int = 21,
    max_trade: float = 2.0,
    max_position: float = 10.0,
    cost: float = 0.005,
    penalty: float = 0.5,
    prices: int = 11,
    discount: float = 1.0,
) -> MDP:
    """Buying and selling at a price that reverts to its mean (an Ornstein-Uhlenbeck process).

    A trade of ``u`` units at price ``s`` earns ``-s u - cost u**2``; then the price moves. After the last period the
    position ``q`` is worth ``q s - penalty q**2`` at the new price. The start is without a position, at the mean price.

    The price is a chain of ``prices`` states (Rouwenhorst 1995): ``prices - 1`` bits that each keep their value with
    probability ``(1 + exp(-reversion * period)) / 2``, the price being linear in the number of bits set. Mean and
    variance of the next price given this one are those of the continuous process exactly; the price stays within
    ``sqrt(prices - 1)`` stationary standard deviations of its mean. Positions are multiples of the least trade up to
    ``max_position``, and trades that lead beyond it are not allowed. Without an aversion to risk, 10 units are never
    exceeded; the continuous problem has no limit.

    ``trading_features`` has price, position and stage of each state; the last state is the end.

    Args:
        periods: number of trades.
        years: the time that they take.
        reversion, mean_price, volatility: of the price, a year.
        trades: number of actions, evenly spaced within [-max_trade, max_trade]; odd, so that 0 is one of them.
        max_position: greatest position, bought or sold, in units; a multiple of the least trade.
        cost: of a trade, times its square.
        penalty: of the last position, times its square.
        prices: number of prices; odd, so that the mean is one of them.

    Raises:
        InvalidArgument: for counts that are not positive or are even where they must be odd, times, rates and sizes
            that are not positive, a position that is no multiple of the least trade, or a discount outside (0, 1].
    """
    stage, position, level = _holdings(periods, max_trade, trades, max_position, prices)
    price, chances = _reverting(positive("years", years) / periods, reversion, mean_price, volatility, prices)
    end = len(stage)
    trade = np.linspace(-max_trade, max_trade, trades)
    unit = trade[1] - trade[0]
    limit = round(max_position / unit)
    after = position[:, None] + np.arange(trades) - trades // 2
    allowed = np.abs(after) <= limit
    after = np.clip(after, -limit, limit)
    last = (stage == periods - 1)[:, None, None]
    following = ((stage[:, None] + 1) * (2 * limit + 1) + after + limit) * prices
    successors = np.full((end + 1, trades, prices), end)
    successors[:-1] = np.where(last, end, following[..., None] + np.arange(prices))
    probabilities = np.zeros(successors.shape)
    probabilities[:-1] = chances[level][:, None]
    probabilities[-1, :, 0] = 1
    rewards = np.zeros(successors.shape)
    held = after[..., None] * unit
    final = held * price - penalty * held**2
    rewards[:-1] = (-price[level][:, None] * trade - cost * trade**2)[..., None] + np.where(last, final, 0)
    start = np.zeros(end + 1)
    start[limit * prices + prices // 2] = 1
    allowed = np.concatenate([allowed, np.ones((1, trades), bool)])
    return sparse_mdp(successors, probabilities, rewards, discount, allowed=allowed, start=start)


def trading_features(
    periods: int = 10,
    years: float = 1.0,
    reversion: float = 2.0,
    mean_price: float = 1.0,
    volatility: float = 1.0,
    trades: int = 21,
    max_trade: float = 2.0,
    max_position: float = 10.0,
    prices: int = 11,
) -> np.ndarray:
    """``[S, 3]`` price, position and share of the periods that are over, of the states of ``trading``; the end has 0, 0
    and 1."""
    stage, position, level = _holdings(periods, max_trade, trades, max_position, prices)
    price, _ = _reverting(positive("years", years) / periods, reversion, mean_price, volatility, prices)
    held = position * 2 * max_trade / (trades - 1)
    return np.concatenate([np.stack([price[level], held, stage / periods], axis=-1), [[0.0, 0.0, 1.0]]])


def _lattice(
    decisions: int, years: float, drift: float, volatility: float, price: float, refinement: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Price, stage and number within the stage, from the lowest price, of the lattice's points ``[S - 1]``."""
    whole("decisions", decisions, 1)
    whole("refinement", refinement, 1)
    positive("years", years)
    positive("price", price)
    within("volatility", volatility, 0)
    within("drift", drift)
    period = years / decisions
    sizes = 2 * refinement * np.arange(decisions) + 1
    stage = np.repeat(np.arange(decisions), sizes)
    level = np.arange(len(stage)) - _first(stage, refinement)
    step = volatility * np.sqrt(3 * period / refinement)
    logarithm = (drift - volatility**2 / 2) * period * stage + step * (level - refinement * stage)
    return price * np.exp(logarithm), stage, level


def _first(stage: np.ndarray, refinement: int) -> np.ndarray:
    """The first state of a stage, whose predecessors have 1, 1 + 2 refinement, 1 + 4 refinement ... points."""
    return stage + refinement * stage * (stage - 1)


def _holdings(
    periods: int, max_trade: float, trades: int, max_position: float, prices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stage, position in least trades and number of the price, of all states but the end ``[S - 1]``."""
    whole("periods", periods, 1)
    positive("max_trade", max_trade)
    positive("max_position", max_position)
    for name, count in (("trades", trades), ("prices", prices)):
        if whole(name, count, 3) % 2 == 0:
            raise InvalidArgument(name, count, "must be odd")
    unit = 2 * max_trade / (trades - 1)
    limit = round(max_position / unit)
    if abs(limit * unit - max_position) > 1e-9 * max_position or limit < 1:
        raise InvalidArgument("max_position", max_position, f"must be a multiple of the least trade, {unit:g}")
    grid = np.meshgrid(np.arange(periods), np.arange(-limit, limit + 1), np.arange(prices), indexing="ij")
    stage, position, level = (values.reshape(-1) for values in grid)
    return stage, position, level


def _reverting(
    period: float, reversion: float, mean: float, volatility: float, prices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prices ``[P]`` and their kernel ``[P, P]`` over one period."""
    positive("reversion", reversion)
    positive("volatility", volatility)
    within("mean_price", mean)
    bits = prices - 1
    count = np.arange(prices)
    price = mean + volatility / np.sqrt(2 * reversion) * (2 * count - bits) / np.sqrt(bits)
    keep = (1 + np.exp(-reversion * period)) / 2
    kernel = np.zeros((prices, prices))
    for up in count:
        stayed, rose = binom.pmf(np.arange(up + 1), up, keep), binom.pmf(np.arange(bits - up + 1), bits - up, 1 - keep)
        kernel[up] = np.convolve(stayed, rose)
    return price, kernel

"""Objectives of the whole return, by a stock of past rewards, against known answers and against all histories."""

import warnings

import numpy as np
import pytest
from jaxrl.envs.tabular import bit_generator, gamble_chain, two_coin

from jaxrl.bellman import (
    L1,
    AtLeastZero,
    Budgeted,
    Categorical,
    Exponential,
    Law,
    Mean,
    NegativeNorm,
    Particles,
    UndefinedComposition,
    average_reward,
    bellman,
    distributional,
    law_of_return,
    nearness,
    regularise,
    robust,
    shortfall,
    solve,
    solve_cvar,
    solve_optimistic_cvar,
    solve_with_stock,
    sparse_mdp,
    utility,
)
from jaxrl.errors import InvalidArgument

WHOLE = np.arange(-6.0, 6.0)


def best_over_histories(mdp, state, horizon, worth, earned=0.0, factor=1.0, rewards=None):
    """The best ``E worth(return)`` of policies that know everything, by recursion over all histories."""
    if not horizon:
        return worth(earned)
    rewards = np.broadcast_to(mdp.rewards, mdp.probabilities.shape) if rewards is None else rewards
    values = []
    for action in range(mdp.actions):
        value = 0.0
        for j in np.flatnonzero(mdp.probabilities[state, action]):
            so_far = earned + factor * rewards[state, action, j]
            successor, after = int(mdp.successors[state, action, j]), factor * float(mdp.discount)
            value += mdp.probabilities[state, action, j] * best_over_histories(
                mdp, successor, horizon - 1, worth, so_far, after, rewards
            )
        values.append(value)
    return max(values)


# --- known answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "value", "stock"), [(0.75, 0, -2), (0.25, -2, None), (0.5, -1, None), (0.9, 0.555556, None), (1, 1, None)]
)
def test_cvar_of_two_coins(level, value, stock):
    found = solve_cvar(two_coin(), level, WHOLE, horizon=2)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert stock in (None, found.stock)
    law = law_of_return(two_coin(), found.solution.decide, 2, found.stock)
    assert law.cvar(level) == pytest.approx(value, abs=1e-6)


def test_cvar_of_two_coins_with_a_discount():
    found = solve_cvar(two_coin(discount=0.9), 0.75, np.linspace(-6, 6, 121), horizon=2)
    assert (found.value, found.stock) == (pytest.approx(-0.0666667, abs=1e-6), pytest.approx(-2))


def test_every_policy_of_two_coins_and_the_best_blind_one():
    def cvar(after_win, after_loss):
        def decide(state, stock, stage):
            dare = after_win if stock > 0 else after_loss
            return np.array([1 - dare, dare]) if state == 1 else np.array([1.0, 0.0])

        return law_of_return(two_coin(), decide, 2).cvar(0.75)

    values = [cvar(a, b) for a in (0, 1) for b in (0, 1)]
    np.testing.assert_allclose(values, [-2 / 3, 0, -1, -1 / 3], atol=1e-12)
    blind = max(cvar(dare, dare) for dare in np.linspace(0, 1, 101))
    assert blind == pytest.approx(-1 / 3)
    assert solve_cvar(two_coin(), 0.75, WHOLE, horizon=2).value > blind + 0.3


@pytest.mark.parametrize(("doubt", "value"), [(0.1, -0.266667), (0.2, -0.533333), (0.3, -0.666667)])
def test_an_adversary_who_sees_the_stock(doubt, value):
    """The second coin's probability is within [.5 - doubt, .5 + doubt]."""
    radius = np.array([[0, 0], [0, 2 * doubt], [0, 0]])
    found = solve_cvar(two_coin(), 0.75, WHOLE, bellman(robust(L1(radius))), horizon=2)
    assert found.value == pytest.approx(value, abs=1e-6)


def test_a_requested_return_of_two_coins():
    found = solve_with_stock(two_coin(), nearness(), WHOLE, horizon=2)
    assert found.value[0, 0, WHOLE == -1] == pytest.approx(-1.5)
    assert found.decide(1, 1.0, 1).argmax() == 0  # won: 2 - 1
    assert found.decide(1, -3.0, 1).argmax() == 1


@pytest.mark.parametrize(("discount", "spacing"), [(0.5, 0.125), (0.75, 0.02)])
def test_every_return_that_bits_can_make(discount, spacing):
    most = 1 / (1 - discount)
    stocks = np.arange(-most - 1, 1 + spacing, spacing)
    found = solve_with_stock(bit_generator(discount), nearness(), stocks)
    away = np.maximum(np.maximum(stocks, -most - stocks), 0)
    np.testing.assert_allclose(found.value[0], -away, atol=1e-3 if discount > 0.5 else 1e-8)
    if discount == 0.5:  # play 1 if at least 1 is missing: the binary digits
        for wanted in (0.3, 1.4, 1.9):
            assert found.decide(0, -wanted).argmax() == int(wanted >= 1)


def test_a_step_is_reached_for_ever_and_not_in_any_number_of_steps():
    """Always 1 comes to exactly 2, but no finite number of digits does: value iteration from 0 never sees it."""
    for horizon in (1, 5, 20):
        found = solve_with_stock(bit_generator(), AtLeastZero(), [-4.0, -3.0, -2.0, -1.0, 0.0], horizon=horizon)
        assert found.value[0, 0, 2] == 0
    assert (found.value[0, 0, 3:] == 1).all()
    with pytest.raises(UndefinedComposition, match="not Lipschitz"):
        solve_with_stock(bit_generator(), AtLeastZero(), [-4.0, 0.0])


def test_cvar_of_the_gamble_chain():
    stocks = np.round(np.arange(-11, 9, 0.002), 10)
    assert solve_cvar(gamble_chain(), 0.1, stocks, horizon=3).value == pytest.approx(0.542)
    found = solve_cvar(gamble_chain(), 0.5, stocks, horizon=3)
    assert (found.value, found.stock) == (pytest.approx(0.9772), pytest.approx(-3.342))
    law = law_of_return(gamble_chain(), found.solution.decide, 3, found.stock)
    known = {-4.42: 0.1, 0.44: 0.1, 2.762: 0.2, 3.342: 0.6}
    assert dict(zip(law.atoms.round(6).tolist(), law.weights.round(9).tolist())) == known
    coarse = solve_cvar(gamble_chain(), 0.5, np.arange(-11, 9, 0.5), horizon=3)
    assert coarse.error == 0.25
    assert 0 < found.value - coarse.value <= coarse.error


# --- against all histories -----------------------------------------------------------------------------------------


def test_optimistic_cvar_is_that_of_the_best_policy():
    level, spacing = 0.3, 0.02
    stocks = np.round(np.arange(-11, 9, spacing), 10)
    found = solve_optimistic_cvar(gamble_chain(), level, stocks, horizon=3)
    tops = -stocks[(stocks > -9) & (stocks < 3)]
    worth = [best_over_histories(gamble_chain(), 0, 3, lambda x, b=b: max(x - b, 0)) for b in tops]
    assert found.value == pytest.approx((tops + np.array(worth) / level).min(), abs=1e-6)
    nearby = [law_of_return(gamble_chain(), found.solution.decide, 3, found.stock + x) for x in (-spacing, spacing)]
    best_shares = [-Law(-law.atoms, law.weights).cvar(level) for law in nearby]
    assert max(best_shares) == pytest.approx(found.value)


def test_several_kinds_of_reward():
    """Two kinds to be kept near a set point, and a cost within a budget."""
    rng = np.random.default_rng(0)
    process = sparse_mdp(
        rng.integers(0, 3, (3, 2, 2)), rng.dirichlet(np.ones(2), size=(3, 2)), np.zeros((3, 2)), discount=1.0
    )
    rewards = rng.integers(0, 3, (3, 2, 2, 2)).astype(float)
    grids = [np.arange(-8.0, 8.0)] * 2
    for f in (NegativeNorm(1.0), NegativeNorm(2.0), Budgeted(1.5)):
        found = solve_with_stock(process, f, grids, horizon=3, rewards=rewards)
        assert found.value.shape == (4, 3, 16, 16)
        for stock in ((-2, -3), (-3, -1)):
            exact = best_over_histories(process, 1, 3, lambda x, f=f: float(f(x)), np.array(stock, float), 1.0, rewards)
            assert found.value[0, 1, stock[0] + 8, stock[1] + 8] == pytest.approx(exact, abs=1e-6)


def test_utilities_of_a_discounted_return():
    process = gamble_chain()
    stocks = np.round(np.arange(-11, 9, 0.01), 10)
    for f in (nearness(), shortfall()):
        found = solve_with_stock(process, f, stocks, horizon=3)
        for stock in (-3.0, -1.0, 0.5):
            exact = best_over_histories(process, 0, 3, lambda x, f=f: float(f(x)), stock)
            assert found.value[0, 0, np.isclose(stocks, stock)] == pytest.approx(exact, abs=0.01)


# --- what follows from what ----------------------------------------------------------------------------------------


def test_the_mean_needs_no_stock():
    found = solve_with_stock(gamble_chain(), Mean(), np.linspace(-4, 4, 17))
    plain = solve(gamble_chain())
    np.testing.assert_allclose(found.value, plain.value[:, None] + np.linspace(-4, 4, 17), atol=1e-6)
    assert (found.policy == plain.policy[:, None]).all()


def test_laws_of_the_sum_have_the_utilities_found_without_them():
    alone = solve_with_stock(two_coin(), shortfall(), WHOLE, horizon=2)
    for space in (Categorical(np.arange(-12.0, 12.0)), Particles(6)):
        found = solve_with_stock(two_coin(), shortfall(), WHOLE, bellman(distributional(space)), horizon=2)
        np.testing.assert_allclose(found.value, alone.value, atol=1e-12)
    assert found.law.atoms.shape == (3, 3, 12, 6)
    at_start = {round(float(a), 6): float(w) for a, w in zip(found.law.atoms[0, 0, 4], found.law.weights[0, 0, 4]) if w}
    assert at_start == {-5: 0.25, -1: 0.25, 0: 0.5}  # from a stock of -2: 2 - 2, then safe; -2 - 2, then 3 or -1


def test_a_soft_policy_between_stocks():
    backup = bellman(regularise(0.5))
    found = solve_with_stock(two_coin(), nearness(), WHOLE, backup, horizon=2)
    np.testing.assert_allclose(found.decide(1, -3.0, 1), found.policy[1, 1, 3], atol=1e-9)


# --- bad input -----------------------------------------------------------------------------------------------------


def test_bad_input_is_named():
    with pytest.raises(InvalidArgument, match="level=0"):
        solve_cvar(two_coin(), 0.0, WHOLE, horizon=2)
    for stocks in ([1.0], [1.0, 1.0], [0.0, np.inf]):
        with pytest.raises(InvalidArgument, match="stocks"):
            solve_with_stock(two_coin(), nearness(), stocks, horizon=2)
    with pytest.raises(InvalidArgument, match="rewards"):
        solve_with_stock(two_coin(), NegativeNorm(), [WHOLE, WHOLE], horizon=2)
    with pytest.raises(InvalidArgument, match="rewards"):
        solve_with_stock(two_coin(), nearness(), WHOLE, horizon=2, rewards=np.zeros((3, 2, 2, 1)))
    with pytest.raises(InvalidArgument, match="one for each of 2 rewards"):
        solve_with_stock(two_coin(), NegativeNorm(), [WHOLE], horizon=2, rewards=np.zeros((3, 2, 2, 2)))
    held = bellman(distributional(Particles(4)), utility(shortfall()))
    with pytest.raises(InvalidArgument, match="must not hold a utility"):
        solve_with_stock(two_coin(), nearness(), WHOLE, held, horizon=2)
    with pytest.raises(InvalidArgument, match="dense process"):
        solve_with_stock(two_coin(), nearness(), WHOLE, bellman(robust(L1(0.1, "all"))), horizon=2)
    with pytest.raises(InvalidArgument, match="discount"):
        solve_with_stock(two_coin(), nearness(), WHOLE)
    with pytest.raises(UndefinedComposition, match="best policy needs none"):
        solve_with_stock(two_coin(), Exponential(0.3), WHOLE, horizon=2)
    with pytest.raises(UndefinedComposition, match="average_reward"):
        solve_with_stock(two_coin(), nearness(), WHOLE, bellman(average_reward()), horizon=2)


def test_stocks_that_do_not_cover_what_matters():
    with pytest.warns(UserWarning, match=r"do not cover \[-5, 3\]"):
        solve_with_stock(two_coin(), nearness(), [-3.0, 0.0, 3.0], horizon=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_with_stock(two_coin(), nearness(), WHOLE, horizon=2)

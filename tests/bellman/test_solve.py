"""Solutions of processes with known values, and what all backups and methods have in common."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.tabular import gamblers_ruin, garnet, inventory, machine_replacement, riverswim, two_coin

from experiments.reproduce import tabular_known as known
from jaxrl.bellman import (
    KL,
    L1,
    TV,
    Backup,
    ChiSquare,
    Contamination,
    CVaR,
    Entropic,
    Lp,
    SRectangularL1,
    UndefinedComposition,
    average_reward,
    bellman,
    dense_mdp,
    follow,
    optimistic,
    regularise,
    risk,
    robust,
    solve,
    solve_many,
    sparse_mdp,
)
from jaxrl.bellman.solve import _first, backup_sweep
from jaxrl.errors import InvalidArgument


def backup_of(transform):
    return bellman() if transform is None else bellman(transform)


@pytest.fixture(scope="module")
def swim():
    return riverswim("craam").as_dense()


@pytest.fixture(scope="module")
def machine():
    return machine_replacement().as_dense()


@pytest.mark.parametrize(("transforms", "states", "value"), known.RIVERSWIM)
def test_riverswim(swim, transforms, states, value):
    found = solve(swim, bellman(*transforms))
    np.testing.assert_allclose(found.value[states], value, atol=known.RIVERSWIM_TOLERANCE)
    assert found.converged
    assert found.bound <= 1e-10 * np.abs(found.value).max()
    assert len(found.history) == found.iterations


def test_riverswim_policy(swim):
    transform, actions = known.RIVERSWIM_ACTIONS
    assert solve(swim, bellman(transform)).actions.tolist() == actions


@pytest.mark.parametrize(("transforms", "value"), known.MACHINE)
def test_machine_replacement(machine, transforms, value):
    found = solve(machine, bellman(*transforms)).value[known.MACHINE_STATES]
    np.testing.assert_allclose(found, value, atol=known.MACHINE_TOLERANCE)


@pytest.mark.parametrize(("process", "transforms", "gain"), known.GAINS)
def test_gains(process, transforms, gain):
    _, make = process
    found = solve(make().as_dense(), bellman(average_reward(), *transforms), tolerance=1e-9)
    assert float(found.gain) == pytest.approx(gain, rel=known.GAINS_TOLERANCE)
    assert found.value[0] == 0


def test_inventory():
    found = solve(inventory())
    stocks, values = list(known.INVENTORY), list(known.INVENTORY.values())
    np.testing.assert_allclose(found.value[stocks], values, atol=known.INVENTORY_TOLERANCE)
    assert found.actions[: len(known.INVENTORY_ORDERS)].tolist() == known.INVENTORY_ORDERS


@pytest.mark.parametrize(
    ("process", "values"), [(known.coin, known.COIN), (known.five_states, known.FIVE_STATES)], ids=["coin", "five"]
)
def test_outcomes_that_share_a_successor(process, values):
    for radius, worst, best in values:
        assert solve(process(), bellman(robust(L1(radius)))).value[0] == pytest.approx(worst, abs=1e-8)
        assert solve(process(), bellman(optimistic(L1(radius)))).value[0] == pytest.approx(best, abs=1e-8)


def test_a_search_that_starts_where_the_last_sweep_s_ended_changes_no_value():
    transform = optimistic(KL(0.1))
    process = garnet(2, states=1000, actions=5, branching=5)
    nature = bellman(transform).nature
    with jax.enable_x64(True):
        p, r, successors = (
            jnp.moveaxis(x, -1, 0) for x in (process.probabilities, process.rewards, process.successors)
        )
        cold = jax.jit(lambda v: nature.respond(p, r + process.discount * v[successors]).value.max(axis=-1))
        value = solve(process, bellman(transform)).value
        np.testing.assert_allclose(cold(jnp.asarray(value)), value, atol=1e-8)
        first = solve(process, bellman(transform), horizon=3).value
        for stage in range(3):
            np.testing.assert_allclose(cold(jnp.asarray(first[stage + 1])), first[stage], atol=1e-9)


# --- methods -------------------------------------------------------------------------------------------------------

SOLVED = [
    None,
    robust(L1(0.2)),
    robust(KL(0.05)),
    robust(SRectangularL1(0.3)),
    regularise(0.5),
    risk(CVaR(0.7)),
    optimistic(L1(0.2)),
]


@pytest.mark.parametrize("transform", SOLVED, ids=lambda t: str(backup_of(t).nature) + str(backup_of(t).greedy)[:9])
def test_all_methods_agree(machine, transform):
    backup = backup_of(transform)
    by_values = solve(machine, backup)
    for method in ("policy_iteration", "modified_policy_iteration"):
        found = solve(machine, backup, method=method)
        assert found.converged
        assert found.iterations < by_values.iterations
        np.testing.assert_allclose(found.value, by_values.value, atol=1e-7)
    few = solve(machine, backup, precision="float32")
    np.testing.assert_allclose(few.value, by_values.value, rtol=1e-3)
    assert few.value.dtype == np.float32


def test_bounds_hold_at_every_iteration(machine):
    exact = solve(machine, bellman(robust(KL(0.1)))).value
    for tolerance in (1.0, 1e-1, 1e-2, 1e-4):
        found = solve(machine, bellman(robust(KL(0.1))), tolerance=tolerance)
        assert np.abs(found.value - exact).max() <= found.bound + 1e-9
    with pytest.warns(UserWarning, match="1 of 1 processes not solved"):
        assert not solve(machine, max_iterations=3).converged


def test_sparse_and_dense_are_the_same():
    process = garnet(0, states=40, actions=3, branching=4)
    for transforms in ([], [robust(L1(0.2))], [robust(KL(0.1))], [regularise(1.0)], [robust(SRectangularL1(0.4))]):
        sparse, dense = (solve(p, bellman(*transforms)) for p in (process, process.as_dense()))
        np.testing.assert_allclose(sparse.value, dense.value, rtol=1e-9)
        np.testing.assert_allclose(sparse.policy, dense.policy, atol=1e-5)


def test_a_policy_is_worth_what_it_earns(machine):
    found = solve(machine)
    evaluated = solve(machine, bellman(follow(found.policy)))
    np.testing.assert_allclose(evaluated.value, found.value, atol=1e-8)
    lazy = solve(machine, bellman(follow(np.zeros(10, int)))).value
    p, r = np.asarray(machine.probabilities)[:, 0], np.asarray(machine.expected_rewards())[:, 0]
    np.testing.assert_allclose(lazy, np.linalg.solve(np.eye(10) - 0.8 * p, r), atol=1e-8)
    robustly = solve(machine, bellman(robust(SRectangularL1(0.2))))
    held = solve(machine, bellman(robust(SRectangularL1(0.2)), follow(robustly.policy)))
    np.testing.assert_allclose(held.value, robustly.value, atol=1e-6)


def test_the_worst_kernel_solved_as_a_process_of_its_own(machine):
    with jax.enable_x64(True):
        value = solve(machine, bellman(robust(L1(0.2)))).value
        z = jnp.moveaxis(machine.rewards + machine.discount * value[None, None], -1, 0)
        kernel = L1(0.2).respond(jnp.moveaxis(jnp.asarray(machine.probabilities), -1, 0), z).weights
    worst = dataclasses.replace(machine, probabilities=np.moveaxis(np.asarray(kernel), 0, -1))
    np.testing.assert_allclose(solve(worst).value, value, atol=1e-6)


def test_relations_between_sets(machine):
    at = lambda *transforms: solve(machine, bellman(*transforms)).value  # noqa: E731
    values = [at(robust(L1(x))) for x in (0.0, 0.1, 0.3, 0.9)]
    assert all((more <= less + 1e-9).all() for less, more in itertools.pairwise(values))
    np.testing.assert_allclose(values[0], at(), atol=1e-8)
    assert (at(robust(L1(0.2, "all"))) <= at(robust(L1(0.2))) + 1e-9).all()
    assert (at(robust(SRectangularL1(0.2))) >= at(robust(L1(0.2))) - 1e-9).all()
    assert (at(robust(Lp(0.05, 1.0))) <= at(robust(L1(0.05, "all"))) + 1e-9).all()
    np.testing.assert_allclose(at(robust(TV(0.1))), at(robust(L1(0.2))), atol=1e-9)
    np.testing.assert_allclose(at(robust(L1(2.0)), risk(CVaR(0.5))), at(robust(L1(2.0))), atol=1e-8)


# --- laws ----------------------------------------------------------------------------------------------------------

LAWS = [
    [],
    [robust(L1(0.3))],
    [robust(KL(0.2))],
    [robust(SRectangularL1(0.4))],
    [risk(CVaR(0.4)), robust(L1(0.2))],
    [robust(Contamination(0.1)), regularise(0.7)],
    [optimistic(ChiSquare(0.3)), regularise(0.7, np.full((30, 3), 1 / 3))],
    [robust(L1(0.2)), follow(np.full((30, 3), 1 / 3))],
]


@pytest.mark.parametrize("transforms", LAWS, ids=lambda t: str(len(t)) + str(bellman(*t).nature)[:20])
def test_backups_are_monotone_contractions_that_move_with_their_argument(transforms):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        process = jax.tree.map(jnp.asarray, garnet(1, states=30, actions=3, branching=4, discount=0.9))
        sweep = jax.jit(lambda v: _first(backup_sweep(process, bellman(*transforms)), v))
        for _ in range(5):
            v, w = (jnp.asarray(rng.normal(size=30)) for _ in range(2))
            np.testing.assert_allclose(sweep(v + 2.5), sweep(v) + 0.9 * 2.5, atol=1e-9)
            assert (sweep(jnp.maximum(v, w)) >= sweep(v) - 1e-9).all()
            assert jnp.abs(sweep(v) - sweep(w)).max() <= 0.9 * jnp.abs(v - w).max() + 1e-9


# --- many ----------------------------------------------------------------------------------------------------------


def test_many_are_each_as_alone(machine):
    backups = [bellman(robust(KL(x))) for x in (0.0, 0.05, 0.4)]
    together = solve_many(machine, backups)
    assert together.value.shape == (3, 10)
    for i, backup in enumerate(backups):
        alone = solve(machine, backup)
        np.testing.assert_allclose(together.value[i], alone.value, atol=1e-9)
        assert together.iterations[i] == alone.iterations
    processes = [garnet(seed, states=20, actions=3, branching=4) for seed in range(3)]
    together = solve_many(processes)
    for i, process in enumerate(processes):
        np.testing.assert_allclose(together.value[i], solve(process).value, rtol=1e-9)
    pairs = solve_many(processes, [bellman(robust(L1(x))) for x in (0.1, 0.2, 0.3)])
    np.testing.assert_allclose(pairs.value[2], solve(processes[2], bellman(robust(L1(0.3)))).value, rtol=1e-9)


# --- finite horizons -----------------------------------------------------------------------------------------------


def test_horizon():
    """A gambler with as many bets as he likes wins at most what one with few does, and less than for ever."""
    process = gamblers_ruin()
    values = [solve(process, horizon=h).value[0] for h in (1, 5, 400)]
    assert (values[0] <= values[1] + 1e-12).all()
    assert (values[1] <= values[2] + 1e-12).all()
    np.testing.assert_allclose(values[2], solve(process).value, atol=1e-6)
    found = solve(process, horizon=3)
    assert (found.value.shape, found.policy.shape) == ((4, 11), (3, 11, process.actions))
    assert (found.value[3] == 0).all()


def test_entropic_risk_of_the_return_shrinks_its_aversion_from_stage_to_stage():
    aversion, discount = known.TWO_COINS_ENTROPIC
    process = two_coin(discount=discount)
    nested = solve(process, bellman(risk(Entropic(aversion))), horizon=2).value[0, 0]
    static = solve(process, lambda t: bellman(risk(Entropic(aversion * discount**t))), horizon=2).value[0, 0]
    assert nested == pytest.approx(known.TWO_COINS_NESTED_ENTROPIC, abs=known.TWO_COINS_TOLERANCE)
    assert static == pytest.approx(known.TWO_COINS_STATIC_ENTROPIC, abs=known.TWO_COINS_TOLERANCE)
    brute = min_over_policies(aversion, discount)
    assert static == pytest.approx(brute, abs=1e-9)


def min_over_policies(aversion, discount):
    """The best entropic risk of the two-coin return, over all policies that know the first coin."""
    best = -np.inf
    for after_win in (0, 1):
        for after_loss in (0, 1):
            mean = 0.0
            for first, risky in ((2, after_win), (-2, after_loss)):
                for second in (3, -1) if risky else (0, 0):
                    mean += 0.25 * np.exp(-aversion * (first + discount * second))
            best = max(best, -np.log(mean) / aversion)
    return best


def test_nested_cvar_of_two_coins():
    found = solve(two_coin(), bellman(risk(CVaR(known.TWO_COINS_LEVEL))), horizon=2)
    assert found.value[0, 0] == pytest.approx(known.TWO_COINS_NESTED_CVAR, abs=1e-9)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([robust(L1(0.1)), robust(KL(0.1))], "two sets of kernels"),
        ([robust(KL(0.1)), risk(CVaR(0.5))], "not the worst for the measure"),
        ([risk(CVaR(0.5)), robust(ChiSquare(0.1))], "not the worst for the measure"),
        ([risk(CVaR(0.5)), risk(Entropic(1.0))], "a number has no risk"),
        ([robust(L1(0.1)), optimistic(L1(0.1))], "bounds the true robust value on neither side"),
        ([optimistic(L1(0.1)), robust(L1(0.1))], "bounds the true robust value on neither side"),
        ([optimistic(L1(0.1)), risk(CVaR(0.5))], "bounds the true robust value on neither side"),
        ([robust(SRectangularL1(0.1)), regularise(1.0)], "chosen together"),
        ([regularise(1.0), robust(SRectangularL1(0.1))], "chosen together"),
        ([regularise(1.0), follow([0])], "in one way only"),
        ([average_reward(), robust(Lp(0.1))], "not monotone"),
        ([robust(Lp(0.1)), average_reward()], "not monotone"),
    ],
)
def test_undefined_compositions_say_why(transforms, words):
    with pytest.raises(UndefinedComposition, match=words):
        bellman(*transforms)


def test_order_of_transforms_does_not_matter():
    assert bellman(robust(L1(0.1)), regularise(0.5)) == bellman(regularise(0.5), robust(L1(0.1)))
    assert bellman(robust(L1(0.1)), risk(CVaR(0.5))) == bellman(risk(CVaR(0.5)), robust(L1(0.1)))


ONE = dense_mdp(np.ones((1, 1, 1)), [0.0], discount=0.9)
TWO_CHAINS = dense_mdp([[[1.0, 0.0]], [[0.0, 1.0]]], [0.0, 1.0], discount=0.9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: solve(ONE, method="newton"), "method='newton'"),
        (lambda: solve(ONE, tolerance=0.0), "tolerance=0.0"),
        (lambda: solve(ONE, max_iterations=0), "max_iterations=0"),
        (lambda: solve(ONE, horizon=0), "horizon=0"),
        (lambda: solve(ONE, initial=[0.0, 1.0]), "initial"),
        (lambda: solve(ONE, precision="float16"), "precision"),
        (lambda: solve(dataclasses.replace(ONE, discount=1.0)), "discount=1.0"),
        (lambda: solve(ONE.as_sparse(), bellman(robust(L1(0.1, "all")))), "support='all'"),
        (lambda: solve(TWO_CHAINS, bellman(average_reward())), "multichain"),
        (lambda: solve(ONE, lambda t: Backup()), "backup"),
        (lambda: solve_many(ONE), "mdps, backups"),
        (lambda: solve_many([ONE, TWO_CHAINS]), r"processes\[1\]"),
        (lambda: solve_many(ONE, [bellman(), bellman(robust(L1(0.1)))]), r"backups\[1\]"),
        (lambda: solve(ONE, bellman(follow([[0.5, 0.5]]))), "the shape of policy"),
        (lambda: solve(ONE, bellman(regularise(1.0, [[0.5, 0.5]]))), "the shape of reference"),
        (lambda: regularise(1.0, [[0.5, 0.6]]), r"reference\[0\]"),
        (lambda: solve(ONE, bellman(robust(L1([0.1, 0.2])))), "nature"),
        (lambda: solve(ONE, bellman(robust(L1(np.zeros((3, 2)))))), "nature"),
        (lambda: robust(CVaR(0.5)), "kernels"),
        (lambda: risk(L1(0.5)), "measure"),
        (lambda: regularise(0.0), "temperature=0.0"),
        (lambda: follow([[0.5, 0.6]]), r"policy\[0\]"),
        (lambda: dense_mdp([[[0.5, 0.4]], [[0.0, 1.0]]], [0.0, 1.0]), r"the sum of probabilities\[0, 0\]=0.9"),
        (lambda: dense_mdp([[[1.5, -0.5]], [[0.0, 1.0]]], [0.0, 1.0]), r"probabilities\[0, 0, 1\]=-0.5"),
        (lambda: dense_mdp([[[1.0]]], [np.nan]), r"rewards\[0\]=nan"),
        (lambda: dense_mdp([[[1.0]]], [0.0], discount=1.5), "discount=1.5"),
        (lambda: dense_mdp([[[1.0]]], [0.0], allowed=[[False]]), r"allowed\[0\]"),
        (lambda: sparse_mdp([[[3]]], [[[1.0]]], [[0.0]]), "successors=3"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises((InvalidArgument, UndefinedComposition), match=words):
        call()


def test_average_under_policy_iteration_is_refused():
    with pytest.raises(UndefinedComposition, match="policy_iteration"):
        solve(riverswim("osband"), bellman(average_reward()), method="policy_iteration")


def test_a_state_that_can_be_left_for_ever_is_no_second_gain():
    """Transient states are fine; a state that a policy may stay in although others leave it is not."""
    leaving = dense_mdp([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 1.0])
    assert solve(leaving, bellman(average_reward())).gain == pytest.approx(1.0)
    staying = dense_mdp([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]], [2.0, 1.0])
    with pytest.raises(InvalidArgument, match="multichain"):
        solve(staying, bellman(average_reward()))
    assert solve(staying, bellman(average_reward(), follow([1, 0]))).gain == pytest.approx(1.0)

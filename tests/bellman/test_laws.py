"""Laws of returns: their spaces, what a backup does to them, and which compositions are not defined."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.tabular import garnet, riverswim, two_coin

from jaxrl.bellman import (
    KL,
    L1,
    AtLeastZero,
    Budgeted,
    Categorical,
    CVaR,
    Entropic,
    Exponential,
    KLPenalty,
    Law,
    Lp,
    Mean,
    Particles,
    PiecewiseLinear,
    Quantiles,
    SRectangularL1,
    UndefinedComposition,
    average_reward,
    bellman,
    distributional,
    follow,
    nearness,
    optimistic,
    regularise,
    risk,
    robust,
    shortfall,
    solve,
    solve_many,
    utility,
    wasserstein,
)
from jaxrl.bellman.laws import law_sweep
from jaxrl.bellman.utilities import Custom
from jaxrl.errors import InvalidArgument

PROCESS = garnet(3, states=6, actions=3, branching=3, discount=0.8)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def random_law(seed, *shape):
    rng = np.random.default_rng(seed)
    return Law(rng.normal(size=shape), rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


distance = jax.jit(wasserstein)


@jax.jit
def project(space, law):
    return space.project(law)


# --- laws and their spaces -----------------------------------------------------------------------------------------


def test_statistics_of_a_law():
    law = Law(np.array([4.0, 5, 1, 2, -1]), np.array([0.1, 0.2, 0.3, 0.1, 0.3]))
    assert law.mean() == pytest.approx(1.6)
    assert [law.quantile(level) for level in (0.3, 0.31, 0.6, 0.7, 1.0)] == [-1, 1, 1, 2, 5]
    assert [law.cvar(level) for level in (0.5, 0.6, 1.0)] == pytest.approx([-0.2, 0.0, 1.6])
    shifted = Law(law.atoms + 2, law.weights)
    assert wasserstein(law, shifted) == pytest.approx(2)
    nothing_more = Law(np.append(law.atoms, 100), np.append(law.weights, 0.0))
    assert (nothing_more.cvar(1.0), nothing_more.quantile(1.0)) == (pytest.approx(1.6), 5)
    assert wasserstein(law, nothing_more) == pytest.approx(0)


def test_the_median_of_a_mixture_of_better_laws_can_be_worse():
    """Why medians are no utilities: indifference to mixtures fails."""
    spread = Law(np.array([0.0, 5]), np.array([0.51, 0.49]))
    pairs = [((1.0, 1.0), spread), ((-5.0, -5.0), Law(spread.atoms - 5, spread.weights))]
    mixture, of_worse = [], []
    for (sure, _), law in pairs:
        assert sure >= law.quantile(0.5)
        mixture.append(sure)
        of_worse.append(law)
    better = Law(np.array(mixture), np.array([0.5, 0.5])).quantile(0.5)
    other = Law(np.concatenate([x.atoms for x in of_worse]), np.concatenate([x.weights for x in of_worse]) / 2)
    assert (better, other.quantile(0.5)) == (-5, 0)


def test_categorical_projection():
    atoms = np.array([-3.0, -1, 0, 0.5, 4])
    law = random_law(0, 7, 30)
    found = project(Categorical(atoms), Law(np.clip(law.atoms, -3, 4), law.weights))
    np.testing.assert_allclose(found.mean(), Law(np.clip(law.atoms, -3, 4), law.weights).mean(), atol=1e-12)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-12)
    assert (distance(found, law) <= 3.5).all()
    point = Categorical(atoms).point(np.array([-0.25, 4.0, 9.0]))
    np.testing.assert_allclose(point.weights, [[0, 0.25, 0.75, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]], atol=1e-12)


def test_quantile_projection():
    space = Quantiles(16)
    law = random_law(1, 5, 40)
    found = project(space, law)
    np.testing.assert_array_equal(project(space, found).atoms, found.atoms)
    levels = (np.arange(16) + 0.5) / 16
    expected = [[Law(a, w).quantile(level) for level in levels] for a, w in zip(law.atoms, law.weights)]
    np.testing.assert_allclose(found.atoms, expected)
    for other in (found.atoms + 0.05, found.atoms - 0.05):  # it is the nearest one
        assert (distance(found, law) <= distance(Law(other, found.weights), law) + 1e-12).all()


def test_particles_are_exact_until_there_are_too_many():
    law = Law(np.array([3.0, 1, 3, 0, 1, 7]), np.array([0.1, 0.2, 0.2, 0.1, 0.4, 0.0]))
    found = project(Particles(4), law)
    kept = np.asarray(found.weights) > 0
    np.testing.assert_allclose(np.asarray(found.atoms)[kept], [0, 1, 3], atol=1e-12)
    np.testing.assert_allclose(np.asarray(found.weights)[kept], [0.1, 0.6, 0.3], atol=1e-12)
    fewer = project(Particles(2), law)  # the widest gap is between 1 and 3
    np.testing.assert_allclose(fewer.atoms, [6 / 7, 3], atol=1e-12)
    np.testing.assert_allclose(fewer.weights, [0.7, 0.3], atol=1e-12)
    many = random_law(2, 9, 50)
    np.testing.assert_allclose(project(Particles(8), many).mean(), many.mean(), atol=1e-12)
    assert project(Particles(60), many).atoms.shape == (9, 60)
    np.testing.assert_allclose(distance(project(Particles(60), many), many), 0, atol=1e-12)


@pytest.mark.parametrize("space", [Categorical(np.linspace(-4, 4, 33)), Quantiles(20), Particles(10)])
def test_a_projection_moves_utilities_no_more_than_the_law(space):
    law = random_law(3, 20, 40)
    found = project(space, law)
    for f in (nearness(), shortfall(), PiecewiseLinear(2.0, -0.5)):
        moved = np.abs(found.expectation(f) - law.expectation(f))
        assert (moved <= f.slope() * distance(found, law) + 1e-12).all()


# --- backups of laws -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [robust(L1(0.1))],
        [robust(KL(0.1))],
        [optimistic(L1(0.1))],
        [risk(CVaR(0.5))],
        [robust(SRectangularL1(0.4))],
        [regularise(0.5)],
        [robust(L1(0.1)), regularise(0.5), follow],
    ],
    ids=lambda transforms: "-".join(getattr(t, "__qualname__", str(t)).split(".")[0] for t in transforms) or "nominal",
)
def test_means_of_laws_are_the_values(transforms):
    """Whoever chooses the successors and the actions: spaces that keep means keep values."""
    if transforms and transforms[-1] is follow:
        transforms = [transforms[0], follow(np.random.default_rng(0).dirichlet(np.ones(3), size=6))]
    exact = solve(PROCESS, bellman(*transforms), tolerance=1e-12)
    found = solve(PROCESS, bellman(*transforms, distributional(Particles(24))), tolerance=1e-12)
    np.testing.assert_allclose(found.value, exact.value, rtol=1e-10)
    np.testing.assert_allclose(found.policy, exact.policy, atol=1e-8)
    np.testing.assert_allclose(found.law.weights.sum(-1), 1)


def test_robust_laws_of_riverswim_have_the_robust_values():
    process = riverswim("craam", discount=0.9)
    backup = [robust(L1(0.1)), distributional(Categorical(np.linspace(0, 1e5, 101)))]
    found = solve(process, bellman(*backup), tolerance=1e-14)
    expected = [593.081134, 856.672749, 1395.571162, 2339.164060, 3944.948270, 6661.729138]
    np.testing.assert_allclose(found.value, expected, atol=1e-6)
    exact = solve(process, bellman(robust(L1(0.1))), tolerance=1e-14)
    np.testing.assert_allclose(found.value, exact.value, atol=1e-8)
    assert found.outside == 0


def test_a_finite_horizon_is_exact_and_policies_may_be_given():
    dare = follow(np.array([0, 1, 0]))
    found = solve(two_coin(), bellman(dare, distributional(Particles(8))), horizon=2)
    law = Law(found.law.atoms[0, 0], found.law.weights[0, 0])
    for atom, probability in {-3: 0.25, 1: 0.5, 5: 0.25}.items():
        assert law.weights[np.isclose(law.atoms, atom)].sum() == pytest.approx(probability)
    assert law.cvar(0.75) == pytest.approx((0.25 * -3 + 0.5 * 1) / 0.75)
    assert found.value.shape == (3, 3)
    short = solve(two_coin(), bellman(dare, distributional(Particles(8)), utility(shortfall())), horizon=2)
    assert short.value[0, 0] == pytest.approx(0.25 * -3)


def test_the_backup_of_a_policy_contracts():
    policy = np.random.default_rng(1).dirichlet(np.ones(3), size=6)
    sweep = law_sweep(PROCESS, bellman(follow(policy), distributional(Particles(200))))
    evaluate = jax.jit(lambda law: sweep.evaluate(law, policy))
    for seed in range(5):
        one, other = random_law(seed, 6, 12), random_law(seed + 50, 6, 12)
        before = distance(one, other).max()
        after = distance(evaluate(one), evaluate(other)).max()
        assert after <= PROCESS.discount * before + 1e-12


def test_policy_iteration_finds_what_value_iteration_finds():
    backup = bellman(distributional(Categorical(np.linspace(0, 60, 61))))
    by_values = solve(PROCESS, backup)
    by_policies = solve(PROCESS, backup, method="policy_iteration")
    np.testing.assert_allclose(by_policies.value, by_values.value, rtol=1e-8)
    assert by_policies.iterations < 10 < by_values.iterations
    assert distance(by_policies.law, by_values.law).max() < 1e-6 * np.ptp(by_values.law.atoms)


def test_radii_are_members():
    backups = [bellman(robust(L1(x)), distributional(Particles(16))) for x in (0.0, 0.2)]
    found = solve_many(PROCESS, backups)
    for i, backup in enumerate(backups):
        alone = solve(PROCESS, backup)
        np.testing.assert_allclose(found.value[i], alone.value, rtol=1e-10)
        np.testing.assert_allclose(found.law.atoms[i], alone.law.atoms, rtol=1e-8)


def test_exponential_utility_is_nested_entropic_risk_without_a_discount():
    aversion = 0.3
    found = solve(two_coin(), bellman(distributional(Particles(8)), utility(Exponential(aversion))), horizon=2)
    certain = -np.log1p(-aversion * found.value[0, 0]) / aversion
    assert certain == pytest.approx(solve(two_coin(), bellman(risk(Entropic(aversion))), horizon=2).value[0, 0])


def test_atoms_that_do_not_cover_the_returns():
    narrow = bellman(distributional(Categorical(np.linspace(0, 5000, 51))))
    with pytest.warns(UserWarning, match=r"do not cover .* atoms over \[0, 100000\]"):
        solve(riverswim("craam", discount=0.9), narrow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(two_coin(), bellman(distributional(Categorical(np.arange(-4.0, 6.0)))), horizon=2)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([utility(shortfall())], "E f\\(X\\) does not follow from E X"),
        ([distributional(Particles(4)), average_reward()], "an endless sum of rewards has no law"),
        ([robust(KLPenalty(1.0)), distributional(Particles(4))], "what it adds is no outcome"),
        ([distributional(Particles(4)), risk(Entropic(1.0))], "what it adds is no outcome"),
        ([distributional(Particles(4)), optimistic(Lp(0.1))], "what it adds is no outcome"),
        ([distributional(Particles(4)), distributional(Quantiles(4))], "in one way only"),
        ([distributional(Particles(4)), utility(shortfall()), utility(nearness())], "a return has one worth"),
        ([distributional(Particles(4)), utility(shortfall()), regularise(1.0)], "paid in rewards"),
        ([distributional(Particles(4)), utility(Budgeted(1.0))], "one kind of reward"),
    ],
)
def test_undefined_compositions_say_why(transforms, words):
    with pytest.raises(UndefinedComposition, match=words):
        bellman(*transforms)


@pytest.mark.parametrize(
    ("f", "discount", "horizon", "words"),
    [
        (shortfall(), 1.0, 2, "depends on what has been earned"),
        (Exponential(0.1), 0.9, 2, "orders laws of X otherwise"),
        (Exponential(0.1), 1.0, None, "must be below 1|not Lipschitz"),
    ],
)
def test_utilities_that_the_process_rules_out(f, discount, horizon, words):
    with pytest.raises((UndefinedComposition, InvalidArgument), match=words):
        solve(two_coin(discount=discount), bellman(distributional(Particles(4)), utility(f)), horizon=horizon)


def test_a_utility_that_is_not_lipschitz_needs_a_horizon():
    backup = bellman(follow(np.zeros(3, int)), distributional(Particles(4)), utility(AtLeastZero()))
    with pytest.raises(UndefinedComposition, match="not Lipschitz"):
        solve(two_coin(discount=0.9), backup)
    assert solve(two_coin(discount=0.9), backup, horizon=2).value[0, 0] == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Categorical([1.0, 1.0]),
        lambda: Categorical([0.0]),
        lambda: Quantiles(0),
        lambda: Particles(2.5),
        lambda: distributional(L1(0.1)),
        lambda: utility(np.median),
        lambda: Exponential(0.0),
        lambda: Budgeted(-1.0),
    ],
)
def test_bad_input_is_named(make):
    with pytest.raises(InvalidArgument, match="must"):
        make()


def test_the_risk_of_a_whole_return_is_no_utility():
    with pytest.raises(UndefinedComposition, match="solve_cvar"):
        utility(CVaR(0.5))
    with pytest.raises(UndefinedComposition, match="modified_policy_iteration of laws"):
        solve(PROCESS, bellman(distributional(Particles(4))), method="modified_policy_iteration")


def test_a_function_of_ones_own():
    squared = Custom(lambda x: -jnp.square(x), homogeneous=2.0)
    policy = follow(np.array([0, 0, 0]))
    found = solve(two_coin(), bellman(policy, distributional(Particles(4)), utility(squared)), horizon=2)
    assert found.value[0, 0] == pytest.approx(-4)
    assert isinstance(bellman(policy, utility(Mean())).utility, Mean)

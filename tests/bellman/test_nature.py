"""Responses of natures against exact figures, linear programmes and duals, on rows with and without zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from experiments.reproduce import tabular_known as known
from jaxrl.bellman import (
    KL,
    L1,
    TV,
    ChiSquare,
    ChiSquarePenalty,
    Contamination,
    CVaR,
    Entropic,
    KLPenalty,
    LInf,
    Lp,
    Nominal,
    Optimistic,
    Spectral,
    SRectangularL1,
    TVPenalty,
    Wasserstein,
)
from jaxrl.bellman.nature import PAIRWISE, WorstOf, mass_below
from jaxrl.bellman.sets import BLOCK
from jaxrl.errors import InvalidArgument

P, Z = known.P, known.Z


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@jax.jit
def _respond(nature, p, z):
    return nature.respond(p, z)


def respond(nature, p, z):
    """As one program for natures of a kind."""
    return _respond(nature, jnp.asarray(p), jnp.asarray(z))


@pytest.mark.parametrize(
    ("nature", "number", "value"), [(n, x, v) for n, values in known.OPERATORS for x, v in values.items()]
)
def test_known_values(nature, number, value):
    assert float(respond(nature(number), P, Z).value) == pytest.approx(value, abs=known.OPERATORS_TOLERANCE)


def test_cvar_of_another_row():
    values = [float(respond(CVaR(level), *known.CRAAM_ROW).value) for level in known.CRAAM_CVAR]
    np.testing.assert_allclose(values, list(known.CRAAM_CVAR.values()), atol=1e-12)


def rows(n, count, seed=0):
    """Random rows with zeros and values with ties, ``[n, count]``."""
    rng = np.random.default_rng(seed)
    p = rng.exponential(size=(n, count)) * (rng.random((n, count)) < 0.7)
    p[0] += 0.01
    z = rng.normal(size=(n, count)).round(1)
    return p / p.sum(axis=0), z


SIZES = pytest.mark.parametrize("n", [2, 5, PAIRWISE + 3])
COUNT = 25


def least(p, z, constraints, bounds):
    """A linear programme over kernels ``q``, with auxiliary variables behind them."""
    size = constraints[0].shape[1]
    cost = np.append(z, np.zeros(size - len(z)))
    total = np.append(np.ones(len(z)), np.zeros(size - len(z)))[None]
    found = optimize.linprog(cost, *constraints, A_eq=total, b_eq=[1], bounds=bounds)
    assert found.status == 0
    return found.fun


def ball(p, z, radius, support):
    """The L1 ball as a linear programme: ``q = p + more - less``."""
    n = len(p)
    free = (p > 0) | (support == "all")
    eye = np.eye(n)
    above, below = np.hstack([eye, -eye]), np.hstack([-eye, -eye])
    spent = np.append(np.zeros(n), np.ones(n))[None]
    limits = np.concatenate([p, -p, [radius]])
    bounds = [(0, None if may else 0) for may in free] + [(0, None)] * n
    return least(p, z, (np.vstack([above, below, spent]), limits), bounds)


@SIZES
@pytest.mark.parametrize("support", ["nominal", "all"])
def test_l1_is_the_linear_programme(n, support):
    p, z = rows(n, COUNT)
    radius = np.random.default_rng(1).uniform(0, 2, COUNT)
    found = respond(L1(radius, support), p, z)
    exact = [ball(p[:, i], z[:, i], radius[i], support) for i in range(COUNT)]
    np.testing.assert_allclose(found.value, exact, atol=1e-8)
    spent = np.abs(found.weights - p).sum(axis=0)
    assert (spent <= radius + 1e-12).all()
    np.testing.assert_allclose(found.value, (found.weights * z).sum(axis=0), atol=1e-12)


@SIZES
def test_linf_is_the_linear_programme(n):
    p, z = rows(n, COUNT)
    radius = np.random.default_rng(1).uniform(0, 0.6, COUNT)
    found = respond(LInf(radius), p, z).value
    for i in range(COUNT):
        bounds = [(max(q - radius[i], 0), min(q + radius[i], 1) if q > 0 else 0) for q in p[:, i]]
        exact = least(p[:, i], z[:, i], (np.zeros((1, n)), [0]), bounds)
        assert float(found[i]) == pytest.approx(exact, abs=1e-8)


@SIZES
@pytest.mark.parametrize("support", ["nominal", "all"])
def test_wasserstein_is_the_linear_programme(n, support):
    p, z = rows(n, 10)
    rng = np.random.default_rng(1)
    places = rng.normal(size=(n, 2))
    costs = np.linalg.norm(places[:, None] - places[None], axis=-1)
    radius = rng.uniform(0, 1.5, 10)
    found = respond(Wasserstein(radius, costs, support), p, z)
    for i in range(10):
        free = (p[:, i] > 0) | (support == "all")
        from_each = np.kron(np.eye(n), np.ones(n))
        bounds = [(0, None if may else 0) for may in np.tile(free, n)]
        exact = optimize.linprog(np.tile(z[:, i], n), costs.reshape(1, -1), [radius[i]], from_each, p[:, i], bounds).fun
        assert float(found.value[i]) == pytest.approx(exact, abs=1e-8)
    np.testing.assert_allclose(found.weights.sum(axis=0), 1, atol=1e-9)


@SIZES
@pytest.mark.parametrize("level", [0.05, 0.4, 1.0])
def test_cvar_is_the_linear_programme(n, level):
    p, z = rows(n, COUNT)
    found = respond(CVaR(level), p, z).value
    for i in range(COUNT):
        exact = least(p[:, i], z[:, i], (np.zeros((1, n)), [0]), [(0, q / level) for q in p[:, i]])
        assert float(found[i]) == pytest.approx(exact, abs=1e-8)


@SIZES
def test_kl_attains_its_dual(n):
    p, z = rows(n, COUNT)
    radius = 10.0 ** np.random.default_rng(1).uniform(-6, 0.7, COUNT)
    found = respond(KL(radius), p, z)
    for i in range(COUNT):
        row, values, weights = p[:, i][p[:, i] > 0], z[:, i][p[:, i] > 0], np.asarray(found.weights[:, i])[p[:, i] > 0]
        positive = weights > 0
        divergence = (weights[positive] * np.log(weights[positive] / row[positive])).sum()
        assert divergence <= radius[i] * (1 + 1e-6) + 1e-12
        low = values.min()

        def dual(log_b, row=row, values=values, low=low, k=radius[i]):
            b = np.exp(log_b)
            return -(low - b * np.log((row * np.exp(-(values - low) / b)).sum()) - b * k)

        best = -optimize.minimize_scalar(dual, bounds=(-25, 25), method="bounded", options={"xatol": 1e-12}).fun
        assert float(found.value[i]) == pytest.approx(max(best, low), abs=2e-8)
        assert float(found.value[i]) == pytest.approx((weights * values).sum(), abs=2e-8)


@SIZES
@pytest.mark.parametrize("kind", [ChiSquare, ChiSquarePenalty])
def test_chi_square_attains_its_dual(n, kind):
    p, z = rows(n, COUNT)
    number = 10.0 ** np.random.default_rng(1).uniform(-4, 1, COUNT)
    found = respond(kind(number), p, z)
    for i in range(COUNT):
        row, values, x = p[:, i], z[:, i], number[i]
        low, high = values[row > 0].min(), values[row > 0].max()

        def dual(cut, row=row, values=values, x=x):
            capped = np.minimum(values, cut)
            mean = row @ capped
            variance = max(row @ (capped - mean) ** 2, 0)
            return -(mean - (np.sqrt(x * variance) if kind is ChiSquare else variance / (4 * x)))

        # concave, but not smooth: the best of many starts
        cuts = np.linspace(low, high, 200)
        best = cuts[np.argmin([dual(cut) for cut in cuts])]
        step = (high - low) / 199 if high > low else 1.0
        exact = -optimize.minimize_scalar(
            dual, bounds=(max(best - step, low), min(best + step, high) + 1e-15), method="bounded",
            options={"xatol": 1e-12},
        ).fun  # fmt: skip
        exact = max(exact, -dual(low), -dual(high), -dual(best))
        assert float(found.value[i]) == pytest.approx(exact, abs=1e-8)
        weights = np.asarray(found.weights[:, i])
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-8)
        spread = ((weights - row)[row > 0] ** 2 / row[row > 0]).sum()
        paid = 0 if kind is ChiSquare else x * spread
        assert kind is ChiSquarePenalty or spread <= x + 1e-7
        assert float(found.value[i]) == pytest.approx(weights @ values + paid, abs=1e-7)


def test_kl_from_any_guess():
    """Rows without a search are among them: radius 0, one outcome, ties, a radius that reaches the worst outcome."""
    p, z = rows(5, BLOCK + 904)
    p[:, :100] = np.eye(5)[0][:, None]
    z[:, 100:200] = 0.3
    z[0, 200:300] = z[1:, 200:300].min(axis=0) - 1e-12  # the worst outcome is hardly worse than the next
    p, z = jnp.array(p), jnp.array(z)
    nature = KL(jnp.resize(jnp.array([0.0, 1e-6, 0.01, 0.1, 1.0, 100.0]), p.shape[1]))
    respond_from = jax.jit(lambda guess: nature.respond_from(p, z, guess))
    cold, found = respond_from(nature.guess(p))
    np.testing.assert_allclose(respond(nature, p, z).value, cold.value, atol=1e-10)
    assert (found[:100] == 0).all()
    for guess in (found, found * 1.1, jnp.full_like(found, 1e-12), jnp.full_like(found, 1e12), found[::-1]):
        warm, _ = respond_from(guess)
        np.testing.assert_allclose(warm.value, cold.value, atol=1e-10)
    for few in (slice(100), slice(1000, 1100)):  # which are searched for together
        alone = respond(KL(nature.radius[few]), p[:, few], z[:, few])
        np.testing.assert_allclose(alone.value, cold.value[few], atol=1e-10)


def test_spectral_is_a_mixture():
    p, z = (jnp.array(x) for x in rows(5, COUNT))
    mixed = respond(Spectral([0.2, 0.7], [0.25, 0.75]), p, z)
    parts = [respond(CVaR(level), p, z) for level in (0.2, 0.7)]
    np.testing.assert_allclose(mixed.value, 0.25 * parts[0].value + 0.75 * parts[1].value, atol=1e-12)
    np.testing.assert_allclose(mixed.weights, 0.25 * parts[0].weights + 0.75 * parts[1].weights, atol=1e-12)


def test_identities():
    p, z = (jnp.array(x) for x in rows(5, COUNT))
    low = jnp.where(p > 0, z, jnp.inf).min(axis=0)
    np.testing.assert_allclose(respond(Entropic(0.7), p, z).value, respond(KLPenalty(1 / 0.7), p, z).value, atol=1e-12)
    for e in (0.1, 0.5, 0.9):
        mixed = (1 - e) * respond(CVaR(1 - e), p, z).value + e * low
        np.testing.assert_allclose(respond(TV(e), p, z).value, mixed, atol=1e-12)
    mean = respond(Nominal(), p, z).value
    for none in (L1(0.0), TV(0.0), LInf(0.0), KL(0.0), ChiSquare(0.0), Contamination(0.0), CVaR(1.0), Lp(0.0)):
        np.testing.assert_allclose(respond(none, p, z).value, mean, atol=1e-12)
    for everything in (L1(2.0), TV(1.0), LInf(1.0), Contamination(1.0), KL(100.0), ChiSquare(1e6)):
        np.testing.assert_allclose(respond(everything, p, z).value, low, atol=1e-6)
    for everything in (L1(2.0, "all"), Contamination(1.0, "all")):
        np.testing.assert_allclose(respond(everything, p, z).value, z.min(axis=0), atol=1e-12)


NATURES = [
    Nominal(), L1(0.3), L1(0.3, "all"), TV(0.2), LInf(0.1), KL(0.2), ChiSquare(0.3), Contamination(0.2),
    Wasserstein(0.4, np.abs(np.subtract.outer(np.arange(5), np.arange(5)))), CVaR(0.3), Entropic(0.8),
    Spectral([0.1, 0.9], [0.5, 0.5]), TVPenalty(0.7), KLPenalty(0.7), ChiSquarePenalty(0.7), Optimistic(KL(0.2)),
    Optimistic(CVaR(0.3)), WorstOf(L1(0.3), CVaR(0.5)), WorstOf(Contamination(0.1), Entropic(0.5)),
]  # fmt: skip


@pytest.mark.parametrize("nature", NATURES, ids=str)
def test_monotone_and_moves_with_its_argument(nature):
    p, z = (jnp.array(x) for x in rows(5, 200))
    higher = z + jnp.array(np.random.default_rng(2).exponential(size=z.shape))
    value = respond(nature, p, z).value
    np.testing.assert_allclose(respond(nature, p, z + 3.7).value, value + 3.7, atol=1e-9)
    assert (respond(nature, p, higher).value >= value - 1e-9).all()


@pytest.mark.parametrize("nature", NATURES, ids=str)
def test_derivatives(nature):
    """Those in values are the weights; those in probabilities and numbers are central differences."""
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(5), 20).T
    z = jnp.array(rng.normal(size=(5, 20)))

    def total(nature, p, z):
        return respond(nature, p, z).value.sum()

    gradients = jax.grad(total, argnums=(1, 2))(nature, jnp.array(p), z)
    np.testing.assert_allclose(gradients[1], respond(nature, p, z).weights, atol=1e-6)
    towards = rng.normal(size=p.shape)
    towards -= towards.mean(axis=0)
    step = 1e-6
    ahead, behind = (float(total(nature, jnp.array(p + s * towards), z)) for s in (step, -step))
    assert (ahead - behind) / (2 * step) == pytest.approx(float((gradients[0] * towards).sum()), rel=2e-4, abs=1e-4)


@pytest.mark.parametrize("kind", [L1, KL, ChiSquare, LInf, Contamination, CVaR, KLPenalty, ChiSquarePenalty])
def test_derivative_in_the_radius(kind):
    p, z = jnp.array(P), jnp.array(Z)

    def value(number):
        return respond(kind(number), p, z).value

    difference = (value(0.3 + 1e-6) - value(0.3 - 1e-6)) / 2e-6
    assert float(jax.grad(value)(0.3)) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, np.inf])
def test_relaxed_ball_is_a_lower_bound_that_is_attained_where_no_weight_is_negative(order):
    rng = np.random.default_rng(4)
    p, z = rng.dirichlet(np.ones(6), 60).T, rng.normal(size=(6, 60))
    radius = rng.uniform(0, 0.3, 60)
    found = respond(Lp(radius, order), p, z)
    fits = np.asarray(found.weights).min(axis=0) >= 0
    assert 5 < fits.sum() < 55
    norms = np.linalg.norm(np.asarray(found.weights) - p, ord=order, axis=0)
    np.testing.assert_allclose(norms, radius, rtol=1e-6)
    np.testing.assert_allclose(found.weights.sum(axis=0), 1, atol=1e-9)
    if order in (1.0, np.inf):
        exact = respond((L1 if order == 1.0 else LInf)(radius), p, z).value
        assert (found.value <= exact + 1e-9).all()
        np.testing.assert_allclose(found.value[fits], exact[fits], atol=1e-9)
    if order == 2.0:
        deviation = z.std(axis=0) * np.sqrt(6)
        np.testing.assert_allclose(found.value, (p * z).sum(axis=0) - radius * deviation, atol=1e-9)


def test_mass_below_is_the_same_by_pairs_and_by_sorting():
    rng = np.random.default_rng(5)
    mass, z = rng.random((PAIRWISE, 40)), rng.integers(0, 5, (PAIRWISE, 40)).astype(float)
    padded = np.vstack([mass, np.zeros((5, 40))]), np.vstack([z, np.full((5, 40), np.inf)])
    by_sorting = mass_below(*map(jnp.array, padded))
    np.testing.assert_allclose(mass_below(jnp.array(mass), jnp.array(z)), by_sorting[:PAIRWISE], atol=1e-12)


# --- all actions of a state together -------------------------------------------------------------------------------

jointly = jax.jit(lambda nature, p, z: nature.respond_jointly(p, z))
respond_to = jax.jit(lambda nature, p, z, policy: nature.respond_to(p, z, policy))


@pytest.mark.parametrize(("budget", "value"), known.S_RECTANGULAR.items())
def test_s_rectangular_known_values(budget, value):
    nature, (p, z) = SRectangularL1(budget), map(jnp.array, known.PAIR)
    found, policy, _ = jointly(nature, p, z)
    assert float(found) == pytest.approx(value, abs=known.OPERATORS_TOLERANCE)
    assert float(respond_to(nature, p, z, policy)[0]) == pytest.approx(value, abs=known.OPERATORS_TOLERANCE)


@pytest.mark.parametrize("n", [2, 5, PAIRWISE + 3])
def test_s_rectangular_is_a_saddle_point(n):
    """The policy guarantees the value, and the kernels hold every policy to it."""
    rng = np.random.default_rng(6)
    states, actions = 60, 3
    p, z = rows(n, states * actions, seed=7)
    p, z = (jnp.array(x.reshape(n, states, actions)) for x in (p, z))
    budget = rng.uniform(0, 3, states)
    nature = SRectangularL1(budget)
    value, policy, kernel = jointly(nature, p, z)
    np.testing.assert_allclose(policy.sum(axis=-1), 1, atol=1e-9)
    guaranteed, worst = respond_to(nature, p, z, policy)
    np.testing.assert_allclose(guaranteed, value, atol=1e-7)
    assert ((kernel * z).sum(axis=0).max(axis=-1) <= value + 1e-7).all()
    for kernels in (kernel, worst):
        assert (np.abs(kernels - p).sum(axis=(0, -1)) <= budget + 1e-7).all()
        np.testing.assert_allclose(kernels.sum(axis=0), 1, atol=1e-9)
    each = respond(L1(budget[:, None]), p, z).value.max(axis=-1)
    assert (value >= each - 1e-9).all()
    assert (value > each + 1e-3).any()


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: L1(-0.1), "radius=-0.1: must be at least 0"),
        (lambda: KL(np.array([0.1, -1.0])), "radius"),
        (lambda: Contamination(1.5), r"share=1.5: must be within \[0, 1\]"),
        (lambda: CVaR(0.0), "level=0.0: must be above 0"),
        (lambda: CVaR(1.2), "level"),
        (lambda: Entropic(0.0), "aversion"),
        (lambda: KLPenalty(0), "price"),
        (lambda: Spectral([0.5, 0.5], [0.5, 0.6]), "shares"),
        (lambda: Lp(0.1, order=0.5), "order"),
        (lambda: Wasserstein(0.1, np.ones((2, 2))), "costs"),
        (lambda: SRectangularL1(-1), "budget"),
    ],
)
def test_bad_numbers_are_named(make, words):
    with pytest.raises(InvalidArgument, match=words):
        make()


def test_jax_tells_natures_apart():
    """Their programs are kept by the structure of their trees."""
    structures = [jax.tree.structure(kind(0.5)) for kind in (L1, TV, KL, CVaR, KLPenalty, ChiSquare, Entropic)]
    assert all(a != b for i, a in enumerate(structures) for b in structures[:i])

"""Interquartile means, optimality gaps and probabilities of improvement against scipy and values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from jaxrl.errors import InvalidArgument
from jaxrl.stats import (
    interquartile_band,
    interquartile_interval,
    interquartile_mean,
    optimality_gap,
    probability_of_improvement,
    resampled,
    trimmed,
)

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_weights_of_a_resample_give_its_trimmed_mean(count):
    values = np.sort(RNG.normal(size=count))
    (counts,) = resampled(count, 50, seed=3)
    assert (counts.sum(axis=1) == count).all()
    for row in counts.astype(int):
        assert trimmed(row) @ values == pytest.approx(stats.trim_mean(np.repeat(values, row), 0.25))


def test_interval_is_that_of_scipy():
    values = RNG.gamma(2.0, size=50)
    ours = interquartile_interval(values, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), interquartile_mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours.value == pytest.approx(stats.trim_mean(values, 0.25))
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_strata_keep_their_size():
    """Two tasks without noise: resampled within them nothing varies, resampled at large the mean does."""
    values, tasks = np.repeat([0.0, 10.0], 20), np.repeat(["easy", "hard"], 20)
    assert interquartile_interval(values, strata=tasks) == (5, 5, 5)
    at_large = interquartile_interval(values)
    assert at_large.low < 4
    assert at_large.high > 6


def test_band_is_the_interval_of_every_column():
    """Columns with values missing, of another length, and empty ones among them."""
    values = RNG.normal(size=(30, 3, 2))
    values[:7, 1, 0] = np.nan
    values[3, 2, 1] = np.inf
    values[:, 0, 1] = np.nan
    band = interquartile_band(values, resamples=200)
    assert band.value.shape == (3, 2)
    assert np.isnan([b[0, 1] for b in band]).all()
    for c, m in [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)]:
        column = values[:, c, m]
        expected = interquartile_interval(column[np.isfinite(column)], resamples=200)
        np.testing.assert_allclose([b[c, m] for b in band], expected)


def test_optimality_gap_by_hand():
    """Agarwal et al.: the reference minus the mean of the scores cut off at it."""
    values = np.array([400.0, 500.0, 600.0, 300.0])
    gap = optimality_gap(values, 500)
    assert gap.value == 500 - np.minimum(values, 500).mean() == 75
    assert 0 <= gap.low < 75 < gap.high <= 200
    assert optimality_gap([500, 501], 500) == (0, 0, 0)


def test_probability_of_improvement_is_mann_whitney():
    x, y = RNG.integers(0, 8, 25), RNG.integers(2, 9, 40)  # many ties
    result = probability_of_improvement(x, y)
    assert result.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / (25 * 40))
    assert result.value + probability_of_improvement(y, x).value == pytest.approx(1)

    def statistic(a, b):
        return stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))

    theirs = stats.bootstrap(
        (x, y), statistic, vectorized=False, n_resamples=500, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert result.low == pytest.approx(theirs.low, abs=0.03)
    assert result.high == pytest.approx(theirs.high, abs=0.03)
    assert probability_of_improvement([1, 2], [0]) == (1, 1, 1)
    assert probability_of_improvement([1, 1], [1]) == (0.5, 0.5, 0.5)


def test_blocks_do_not_change_the_result_beyond_the_resampling(monkeypatch):
    values = RNG.normal(size=64)
    whole = interquartile_interval(values)
    monkeypatch.setattr("jaxrl.stats.BLOCK", 1000)
    np.testing.assert_allclose(interquartile_interval(values), whole)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf]])
def test_no_values_and_nan_are_refused(bad):
    for call in (
        lambda: interquartile_interval(bad),
        lambda: optimality_gap(bad, 1),
        lambda: probability_of_improvement([1.0], bad),
    ):
        with pytest.raises(InvalidArgument, match="must be finite numbers, at least one"):
            call()

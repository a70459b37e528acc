"""Statistics over seeds: the interquartile mean and its stratified bootstrap interval (Agarwal et al. 2021)."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxrl.errors import InvalidArgument


class Interval(NamedTuple):
    """A point estimate and a confidence interval around it."""

    value: float
    low: float
    high: float


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half: a quarter of the values, rounded down, is cut off at each end."""
    return stats.trim_mean(values, 0.25, axis=axis)


def interquartile_interval(
    values: np.ndarray, strata: np.ndarray | None = None, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Interquartile mean of ``values[K]`` with a percentile bootstrap interval, resampled within strata.

    Args:
        values: one number a member, such as final returns; NaN is not allowed.
        strata: ``[K]`` labels; every resample keeps the number of values of each label, so that tasks or configs of
            different difficulty do not count as noise. One stratum by default.
        confidence: mass of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InvalidArgument: for no values, or NaN among them.

    Example:
        >>> interquartile_interval([1.0, 2.0, 3.0, 100.0]).value
        2.5
        >>> interquartile_interval([7.0, 7.0, 7.0, 7.0])
        Interval(value=7.0, low=7.0, high=7.0)
    """
    values = np.asarray(values, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise InvalidArgument("values", values, "must be finite numbers, at least one")
    generator = np.random.default_rng(seed)
    strata = np.zeros(len(values), int) if strata is None else np.asarray(strata)
    parts = []
    for label in np.unique(strata):
        stratum = values[strata == label]
        parts.append(stratum[generator.integers(0, len(stratum), (resamples, len(stratum)))])
    estimates = interquartile_mean(np.concatenate(parts, axis=1), axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(float(interquartile_mean(values)), float(low), float(high))

"""Statistics over seeds, with bootstrap intervals (Agarwal et al. 2021, https://arxiv.org/abs/2108.13264).

A resample is kept as how often it draws each value. Every statistic here is then a product of these counts with sorted
values, so that thousands of members at hundreds of evaluations cost one matrix product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxrl.errors import InvalidArgument

CUT = 0.25
"""the share of the values that the interquartile mean leaves out at each end"""
BLOCK = 2**22
"""counts held at once"""


class Interval(NamedTuple):
    """A point estimate and a confidence interval around it."""

    value: float
    low: float
    high: float


class Band(NamedTuple):
    """Intervals of many columns: three arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half: a quarter of the values, rounded down, is cut off at each end."""
    return stats.trim_mean(values, CUT, axis=axis)


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
    values = finite("values", values)
    order = np.argsort(values, kind="stable")
    strata = None if strata is None else np.asarray(strata)[order]
    estimates = np.concatenate(
        [trimmed(counts) @ values[order] for counts in resampled(len(values), resamples, seed, strata)]
    )
    return Interval(float(interquartile_mean(values)), *map(float, between(estimates, confidence)))


def interquartile_band(values: np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Band:
    """``interquartile_interval`` of every column of ``values[K, ...]``, without a loop over columns.

    NaN stands for a value that is not there: a column's statistics are those of its finite values, and NaN if it has
    none. All columns share their resamples, so a band is to be read point by point.

    Returns:
        arrays of the shape ``values.shape[1:]``.
    """
    values = np.asarray(values, np.float64)
    columns = np.where(np.isfinite(values), values, np.nan).reshape(len(values), -1)
    columns = np.sort(columns, axis=0)  # NaN last
    present = np.isfinite(columns).sum(axis=0)
    band = np.full((3, columns.shape[1]), np.nan)
    for count in np.unique(present[present > 0]):
        same = present == count
        middle = columns[:count, same]
        estimates = np.concatenate([trimmed(counts) @ middle for counts in resampled(int(count), resamples, seed)])
        band[:, same] = interquartile_mean(middle, axis=0), *between(estimates, confidence)
    return Band(*band.reshape(3, *values.shape[1:]))


def optimality_gap(
    values: np.ndarray, reference: float, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """By how much ``values[K]`` fall short of a reference in the mean, what exceeds it counted as the reference.

    In the unit of the values; 0 if all of them reach it.

    Raises:
        InvalidArgument: for no values, or NaN among them.
    """
    short = np.sort(np.maximum(reference - finite("values", values), 0.0))
    estimates = np.concatenate([counts @ short / len(short) for counts in resampled(len(short), resamples, seed)])
    return Interval(float(short.mean()), *map(float, between(estimates, confidence)))


def probability_of_improvement(
    x: np.ndarray, y: np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The probability that one of ``x[N]`` exceeds one of ``y[M]``, a tie counted half (Mann-Whitney's U / NM).

    Both are resampled.

    Raises:
        InvalidArgument: for no values, or NaN among them.
    """
    x, y = np.sort(finite("x", x)), np.sort(finite("y", y))
    below, up_to = np.searchsorted(y, x, "left"), np.searchsorted(y, x, "right")
    estimates = []
    # A generator each, since the same draws for both would pair the resamples.
    size = len(x) + len(y)
    blocks = [resampled(len(v), resamples, [seed, which], size=size) for which, v in enumerate((x, y))]
    for cx, cy in zip(*blocks):
        beaten = np.concatenate([np.zeros((len(cy), 1)), np.cumsum(cy, axis=1)], axis=1)
        estimates.append(np.sum(cx * (beaten[:, below] + beaten[:, up_to]), axis=1) / (2 * len(x) * len(y)))
    value = (below + up_to).sum() / (2 * len(x) * len(y))
    return Interval(float(value), *map(float, between(np.concatenate(estimates), confidence)))


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """``values`` as float64, refused if there are none or some are not finite."""
    values = np.asarray(values, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise InvalidArgument(name, values, "must be finite numbers, at least one")
    return values


def resampled(
    count: int, resamples: int, seed: int | list[int], strata: np.ndarray | None = None, size: int | None = None
) -> Iterator[np.ndarray]:
    """How often bootstrap resamples draw each of ``count`` values, in blocks ``[some resamples, count]``.

    Args:
        strata: ``[count]`` labels; each is drawn from as often as it stands there.
        size: values to size the blocks by, ``count`` by default.
    """
    generator = np.random.default_rng(seed)
    places = [np.arange(count)] if strata is None else [np.flatnonzero(strata == label) for label in np.unique(strata)]
    block = max(1, BLOCK // (size or count))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        counts = np.empty((rows, count))
        for place in places:
            n = len(place)
            drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
            counts[:, place] = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        yield counts


def trimmed(counts: np.ndarray) -> np.ndarray:
    """The weights ``[..., K]`` of sorted values in the interquartile mean of resamples with these counts."""
    total = counts.shape[-1]
    cut = int(CUT * total)
    upto = np.clip(np.cumsum(counts, axis=-1), cut, total - cut)
    return np.diff(upto, axis=-1, prepend=cut) / (total - 2 * cut)


def between(estimates: np.ndarray, confidence: float) -> np.ndarray:
    """The two percentiles of ``estimates[B, ...]`` that hold the given mass between them."""
    tail = (1 - confidence) / 2
    return np.quantile(estimates, [tail, 1 - tail], axis=0)

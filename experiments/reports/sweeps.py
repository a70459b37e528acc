"""What the hyperparameters of a sweep did: two-way tables and importances."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from jaxrl.stats import interquartile_mean

MOST_LEVELS = 12
"""a hyperparameter with more distinct values is cut into ``BINS`` groups of about equal size"""
BINS = 8
MOST_ROWS = 4000
"""members that the importances are computed from; of more, a random choice"""
NOISE = "(random numbers)"


def levels(column: pd.Series) -> Any:
    """A hyperparameter's values as ordered categories, cut into quantiles where there are too many."""
    if not pd.api.types.is_numeric_dtype(column):
        column = column.astype(str)
    elif column.nunique() > MOST_LEVELS:
        column = column.astype(float)
        bins, edges = pd.qcut(column, BINS, duplicates="drop", retbins=True)
        return bins.cat.rename_categories(between(edges))
    return pd.Categorical(column, sorted(column.unique()), ordered=True)


def two_way(final: pd.DataFrame, metric: str, x: str, y: str) -> pd.DataFrame:
    """Interquartile means of the final values of the members that share a value (or a bin) of ``x`` and of ``y``.

    Returns:
        a table with the levels of ``y`` down and of ``x`` across; NaN where no member is.
    """
    cells = pd.DataFrame({"x": levels(final[x]), "y": levels(final[y]), "value": final[metric]})
    means = cells.groupby(["y", "x"], observed=False)["value"].agg(
        lambda values: interquartile_mean(values.to_numpy()) if len(values) else np.nan
    )
    return means.unstack("x")


def two_way_tables(final: pd.DataFrame, metric: str, names: list[str]) -> list[dict[str, Any]]:
    """``two_way`` of every pair of hyperparameters, ready for JSON."""
    tables = []
    for x, y in itertools.combinations(names, 2):
        table = two_way(final, metric, x, y)
        columns, rows = ([number(level) for level in index] for index in (table.columns, table.index))
        tables.append({"x": x, "y": y, "columns": columns, "rows": rows, "values": table.to_numpy().tolist()})
    return tables


def between(edges: np.ndarray) -> list[str]:
    """What bins with these edges are called: in three digits, or in as many as it takes to tell them apart."""
    for digits in range(3, 18):
        names = [f"{low:.{digits}g} .. {high:.{digits}g}" for low, high in itertools.pairwise(edges)]
        if len(set(names)) == len(names):
            break
    return names


def number(value: Any) -> str:
    """A hyperparameter's value as text, without the digits that float32 adds."""
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def importance(final: pd.DataFrame, metric: str, names: list[str], seed: int = 0) -> pd.Series:
    """How much each hyperparameter matters for the final values, most first.

    scikit-learn's permutation importance: a random forest predicts the members' final values from the hyperparameters;
    a column is shuffled, and the importance is by how much the forest's R2 falls on the same members. A column of
    random numbers, one a config, stands among them as ``NOISE``: what is not above it has no visible effect.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(final) > MOST_ROWS:
        final = final.sample(MOST_ROWS, random_state=seed)
    codes = pd.DataFrame({name: ordered(final[name]) for name in names})
    configs, index = np.unique(final["config"], return_inverse=True)
    # Not default_rng(seed) itself: a random search may have drawn its hyperparameters from just that.
    codes[NOISE] = np.random.default_rng([seed, 0x6E6F6973]).random(len(configs))[index]
    forest = RandomForestRegressor(100, min_samples_leaf=3, random_state=seed)
    forest.fit(codes, final[metric])
    result = permutation_importance(forest, codes, final[metric], n_repeats=5, random_state=seed)
    return pd.Series(result.importances_mean, codes.columns).sort_values(ascending=False)


def ordered(column: pd.Series) -> np.ndarray:
    """A column as numbers: categories by their order as text."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64)
    return np.unique(column.astype(str), return_inverse=True)[1].astype(np.float64)

"""The numbers of a report, from the tables of runs. Nothing here knows of HTML.

A run's table becomes one dense array ``[seed, config, evaluation, metric]``, NaN where there is no row, so that no loop
goes over members or configs.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.reports.references import REFERENCES, RETURNS, SCORES, Reference, optimal_score
from jaxrl.engine.figures import judged_metric
from jaxrl.engine.program import FINITE
from jaxrl.engine.run_directory import read_metrics
from jaxrl.engine.sinks import metric_names
from jaxrl.errors import InvalidArgument, UserError, unknown
from jaxrl.stats import Band, Interval, interquartile_band, interquartile_interval, optimality_gap

CURVE_RESAMPLES = 200
"""bootstrap resamples of a point of a learning curve; those of final values are the default of ``jaxrl.stats``"""
AXES = ("environment_steps", "updates", "wall_seconds")
"""what learning curves are drawn over"""


@dataclass
class Run:
    """What is known of one run's directory.

    Attributes:
        name: shown in the report; unique in it.
        request, made_with: the two halves of ``config.json``.
        summary: ``summary.json``, empty until the run has ended.
        table: all rows, empty if no evaluation is done.
        metrics: names of the metrics with any finite value.
        swept: the hyperparameters with more than one value.
    """

    name: str
    directory: Path
    request: dict[str, Any]
    made_with: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    @property
    def env(self) -> str:
        return str(self.request.get("env", ""))


def load(directory: Path, name: str) -> Run:
    """Reads a run's directory, or as much of it as there is.

    Raises:
        UserError: in one line, if it holds no run or a file in it cannot be read.
    """
    config = directory / "config.json"
    if not config.is_file():
        raise InvalidArgument("runs", str(directory), "must be the directory of a run: it holds no config.json")
    content = read_json(config)
    if not isinstance(content, dict) or not isinstance(content.get("request"), dict):
        raise UserError(f"runs={str(directory)!r}: its config.json holds no request of a run")
    run = Run(name, directory, content["request"], content.get("made_with") or {})
    if (directory / "summary.json").is_file():
        run.summary = read_json(directory / "summary.json")
    if any((directory / "metrics").glob("*.parquet")):
        try:
            run.table = read_metrics(directory)
        except Exception as error:  # pyarrow reports a damaged file in several types
            raise UserError(f"runs={str(directory)!r}: its metrics cannot be read ({error})") from error
        columns = list(run.table.columns)
        hyperparameters = columns[columns.index("seed") + 1 : columns.index("evaluation")]
        members = run.table.drop_duplicates("member")
        run.swept = [name for name in hyperparameters if members[name].astype(str).nunique() > 1]
        numbers = run.table[metric_names(run.table)].select_dtypes("number").drop(columns="frozen_at")
        run.metrics = [name for name in numbers if np.isfinite(numbers[name]).any()]
    return run


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"runs={str(file.parent)!r}: its {file.name} cannot be read ({error})") from error


def chosen_metric(runs: list[Run], name: str | None) -> str | None:
    """The metric that runs are compared by: the one asked for, else the one they are judged by.

    Raises:
        InvalidArgument: for a metric that no run has.
    """
    known = list(dict.fromkeys(metric for run in runs for metric in run.metrics))
    if name is None:
        return judged_metric(known) or (known[0] if known else None)
    if name not in known:
        raise unknown("metric", name, known)
    return name


def final_rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The last row of every member that was trained to the end and stayed finite.

    The end is the last evaluation of the member's config. Configs given up on the way are left out: those that stopped
    more than one update short of the longest. (Groups of a sweep round the same steps up to different whole updates.)
    """
    last = table[table["environment_steps"] == table.groupby("config")["environment_steps"].transform("max")]
    longest = last.loc[last["environment_steps"].idxmax()]
    last = last[last["environment_steps"] > longest["environment_steps"] * (1 - 1 / longest["updates"])]
    return last[(last["frozen_at"] == FINITE) & np.isfinite(last[metric])]


def by_config(final: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The interquartile mean of every config's final values with its interval, best first."""
    place = final.groupby("config").cumcount()
    wide = final.assign(place=place).pivot(index="place", columns="config", values=metric)
    band = interquartile_band(wide.to_numpy())
    table = pd.DataFrame(band._asdict() | {"members": wide.notna().sum().to_numpy()}, index=wide.columns)
    return table.sort_values("value", ascending=False, kind="stable")


@dataclass
class Curves:
    """Learning curves: arrays ``[config, evaluation]`` for every axis and ``[config, evaluation, metric]``.

    Attributes:
        configs: their numbers.
        axes: what the evaluations were taken after; NaN where a config has no row.
        values: ``[seed, config, evaluation, metric]``, frozen and missing ones NaN.
        member: ``[seed, config]``, -1 where there is none.
    """

    configs: np.ndarray
    axes: dict[str, np.ndarray]
    values: np.ndarray
    member: np.ndarray

    def band(self) -> Band:
        return interquartile_band(self.values, resamples=CURVE_RESAMPLES)


def curves(table: pd.DataFrame, metrics: list[str], configs: list[int], most_evaluations: int = 400) -> Curves:
    """The learning curves of some configs.

    Args:
        most_evaluations: of longer runs evenly spread evaluations are taken, the first and the last among them.
    """
    table = table[table["config"].isin(configs)]
    evaluations = np.unique(table["evaluation"])
    if len(evaluations) > most_evaluations:
        evaluations = evaluations[np.linspace(0, len(evaluations) - 1, most_evaluations).round().astype(int)]
        table = table[table["evaluation"].isin(evaluations)]
    members = table.drop_duplicates("member")
    seat = pd.Series(members.groupby("config").cumcount().to_numpy(), index=members["member"])
    k = table["member"].map(seat).to_numpy()
    c = table["config"].map(pd.Series(range(len(configs)), index=configs)).to_numpy()
    e = np.searchsorted(evaluations, table["evaluation"])
    shape = (int(k.max()) + 1, len(configs), len(evaluations))
    values = np.full((*shape, len(metrics)), np.nan)
    values[k, c, e] = table[metrics].to_numpy(np.float64)
    axes = {}
    for name in AXES:
        axes[name] = np.full(shape[1:], np.nan)
        axes[name][c, e] = table[name].to_numpy(np.float64)
    member = np.full(shape[:2], -1)
    member[k, c] = table["member"]
    frozen = table["frozen_at"].to_numpy() != FINITE
    values[k[frozen], c[frozen], e[frozen]] = np.nan
    return Curves(np.asarray(configs), axes, values, member)


def spread(values: np.ndarray, count: int) -> np.ndarray:
    """The places of ``count`` of ``values[K]`` at even quantiles, the lowest and the highest among them; NaN last."""
    order = np.argsort(values, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def frozen_members(table: pd.DataFrame) -> pd.DataFrame:
    """The members that turned non-finite: member, config, seed and the update at which they did."""
    rows = table[table["frozen_at"] != FINITE].drop_duplicates("member")
    return rows[["member", "config", "seed", "frozen_at"]].sort_values("member").reset_index(drop=True)


def best_member(final: pd.DataFrame, metric: str) -> int:
    """The member with the highest final value."""
    return int(final.loc[final[metric].idxmax(), "member"])


def reference_of(run: Run, metric: str | None) -> Reference | None:
    """What a metric of a run is measured by: one value for all of its members, so none where their problems differ."""
    if metric in RETURNS:
        return REFERENCES.get(run.env)
    if metric in SCORES and run.request.get("algorithm") == "HDPO" and not run.request.get("env_variants"):
        return optimal_score(run.env, run.request.get("env_settings") or {})
    return None


def summary_rows(run: Run, metric: str, final: pd.DataFrame, configs: pd.DataFrame) -> list[dict[str, Any]]:
    """One line of the summary table for a run, and for a sweep one more for its best config."""
    reference = reference_of(run, metric)

    def row(what: str, values: np.ndarray, estimate: Interval) -> dict[str, Any]:
        gap = None if reference is None else optimality_gap(values, reference.value)._asdict()
        return {"run": run.name, "what": what, "members": len(values), **estimate._asdict(), "optimality_gap": gap}

    values = final[metric].to_numpy()
    if len(configs) == 1:
        return [row("all members", values, interquartile_interval(values))]
    best = int(configs.index[0])
    mine = values[final["config"] == best]
    return [
        row(f"all {len(configs)} configs", values, interquartile_interval(values, strata=final["config"].to_numpy())),
        row(f"best config, {best}", mine, interquartile_interval(mine)),
    ]

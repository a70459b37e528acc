"""One HTML file from the numbers of runs: everything it needs is inside it, and all its numbers are in it as JSON."""

import base64
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.offline

from experiments.reports.data import (
    AXES,
    Run,
    best_member,
    by_config,
    curves,
    final_rows,
    frozen_members,
    reference_of,
    spread,
    summary_rows,
)
from experiments.reports.sweeps import NOISE, importance, number, two_way_tables
from jaxrl.engine.run_directory import differences
from jaxrl.stats import probability_of_improvement

HERE = Path(__file__).parent
MOST_CURVES = 120
"""configs with curves in the page, over all runs: the best ones"""
MOST_LINES = 200
"""faint lines of single members in the page, over all runs"""
MOST_PAIRED = 7
"""hyperparameters in two-way tables: the most important ones"""


def numbers(runs: list[Run], metric: str | None) -> dict[str, Any]:
    """Every number of the page, ready for JSON."""
    report: dict[str, Any] = {"metric": metric, "axes": AXES, "runs": [], "summary": [], "improvement": []}
    compared: list[np.ndarray | None] = []
    for run in runs:
        entry, values, rows = run_numbers(run, metric, len(runs))
        report["runs"].append(entry)
        report["summary"] += rows
        compared.append(values)
    report["metrics"] = list(dict.fromkeys(name for run in runs for name in run.metrics))
    for i, j in itertools.combinations(range(len(runs)), 2):
        report["improvement"].append(improvement(runs[i], runs[j], compared[i], compared[j]))
    report["differences"] = [
        {"from": runs[0].name, "to": other.name, "lines": differences(runs[0].request, other.request)}
        for other in runs[1:]
    ]
    return report


def run_numbers(run: Run, metric: str | None, share: int) -> tuple[dict[str, Any], np.ndarray | None, list[dict]]:
    """The numbers of one run, the final values that it is compared by, and its lines of the summary.

    Args:
        share: runs that share the curves and lines of the page.
    """
    reference = reference_of(run, metric)
    known = {name: reference_of(run, name) for name in run.metrics}
    entry: dict[str, Any] = {
        "name": run.name,
        "directory": str(run.directory),
        "algorithm": run.request.get("algorithm"),
        "env": run.env,
        "reference": None if reference is None else reference._asdict(),
        "levels": {name: each.value for name, each in known.items() if each is not None},
        "swept": run.swept,
        "members": 0 if run.table.empty else int(run.table["member"].nunique()),
        "timing": timing(run),
        "frozen": [],
        "configs": [],
        "given_up": 0,
        "curves": None,
        "best_member": None,
    }
    if run.table.empty:
        return entry, None, []
    entry["frozen"] = frozen_members(run.table).to_dict("records")
    if metric not in run.metrics:
        return entry, None, []
    final = final_rows(run.table, metric)
    configs = by_config(final, metric) if len(final) else pd.DataFrame()
    everyone = list(dict.fromkeys(run.table["config"]))
    entry["given_up"] = len(everyone) - len(configs)
    settings = run.table.drop_duplicates("config").set_index("config")[run.swept]
    entry["configs"] = [
        {"config": int(config), "label": label(int(config), settings), **row}
        | {"hyperparameters": {name: plain(settings.at[config, name]) for name in run.swept}}
        for config, row in configs.to_dict("index").items()
    ]
    shown = ([*configs.index] or everyone)[: max(1, MOST_CURVES // share)]
    entry["curves"] = curve_arrays(run, metric, shown, settings, max(len(shown), MOST_LINES // share))
    if not len(final):
        return entry, None, []
    entry["best_member"] = best_member(final, metric)
    if len(configs) > 1 and run.swept:
        matter = importance(final, metric, run.swept)
        entry["importance"] = {"names": list(matter.index), "values": matter.tolist()}
        paired = [name for name in matter.index if name != NOISE][:MOST_PAIRED]
        entry["two_way"] = two_way_tables(final, metric, paired)
    best = final.loc[final["config"] == configs.index[0], metric].to_numpy()
    return entry, best, summary_rows(run, metric, final, configs)


def curve_arrays(run: Run, metric: str, shown: list[int], settings: pd.DataFrame, lines: int) -> dict[str, Any]:
    """Curves, bands and faint lines as base64, which the script turns into arrays.

    Args:
        lines: members drawn one by one, at even quantiles of their last value within each config.
    """
    found = curves(run.table, run.metrics, shown)
    band = found.band()
    last = found.values[:, :, -1, run.metrics.index(metric)]
    few, many = max(1, lines // (2 * len(shown))), max(1, lines // (2 * min(len(shown), 10)))
    each = [few + many if c < 10 else few for c in range(len(shown))]  # the best are those that are looked at
    picked = [(int(k), c) for c, count in enumerate(each) for k in spread(last[found.member[:, c] >= 0, c], count)]
    seat, column = (np.array(places) for places in zip(*picked))
    return {
        "configs": [int(config) for config in shown],
        "labels": [label(int(config), settings) for config in shown],
        "metrics": run.metrics,
        "evaluations": int(found.values.shape[2]),
        "axes": {name: packed(axis, "f8") for name, axis in found.axes.items()},
        "band": {name: packed(values) for name, values in band._asdict().items()},
        "lines": {
            "member": found.member[seat, column].tolist(),
            "place": column.tolist(),
            "values": packed(found.values[seat, column]),
        },
    }


def packed(array: np.ndarray, kind: str = "f4") -> str:
    """An array's little-endian bytes in base64."""
    return base64.b64encode(np.ascontiguousarray(array, f"<{kind}").tobytes()).decode()


def label(config: int, settings: pd.DataFrame) -> str:
    """``config 3: learning_rate=0.001, gamma=0.99``."""
    values = ", ".join(f"{name}={number(settings.at[config, name])}" for name in settings.columns)
    return f"config {config}: {values}" if values else f"config {config}"


def plain(value: Any) -> Any:
    """A hyperparameter as JSON has it."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return float(number(float(value))) if isinstance(value, int | float | np.number) else str(value)


def timing(run: Run) -> dict[str, Any]:
    """Where the time went, from ``summary.json``, and how far the run is, from its rows."""
    schedule = run.request.get("schedule")
    table = run.table
    return {
        "seconds": {k: float(v) for k, v in (run.summary.get("seconds") or {}).items()},
        "steps_per_second": run.summary.get("steps_per_second"),
        "evaluations": 0 if table.empty else int(table["evaluation"].nunique()),
        "planned": schedule[1] if isinstance(schedule, list) and len(schedule) == 2 else None,
        "steps": 0 if table.empty else int(table["environment_steps"].max()),
        "ended": bool(run.summary),
    }


def improvement(x: Run, y: Run, values_x: np.ndarray | None, values_y: np.ndarray | None) -> dict[str, Any]:
    """The probability that a seed of ``x`` ends above one of ``y``, or the reason why there is none."""
    entry: dict[str, Any] = {"x": x.name, "y": y.name}
    if x.env != y.env:
        return entry | {"reason": f"other environments: {x.env}, {y.env}"}
    if values_x is None or values_y is None:
        return entry | {"reason": "no final values"}
    return entry | probability_of_improvement(values_x, values_y)._asdict()


def embedded(report: Any) -> str:
    """JSON that may stand inside a script element: no NaN, no ``</``."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [finite(v) for v in value]
        if isinstance(value, float | np.floating):
            return float(value) if math.isfinite(value) else None
        return int(value) if isinstance(value, np.integer) else value

    return json.dumps(finite(report), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def pictures(runs: list[Run], report: dict[str, Any], view: Callable[[Path, int], str | None] | None) -> list[dict]:
    """What the environment's viewer shows of the best member of each run, or why it shows nothing."""
    shown = []
    for run, entry in zip(runs, report["runs"]):
        member, html, reason = entry["best_member"], None, None
        if member is None:
            reason = "no member has a final value yet"
        elif view is None:
            reason = "not asked for"
        else:
            try:
                html = view(run.directory, member)
                reason = None if html else f"no viewer for {run.env}"
            except Exception as error:  # a picture that cannot be made must not cost the report
                reason = f"{type(error).__name__}: {error}"
        shown.append({"run": run.name, "env": run.env, "member": member, "html": html, "reason": reason})
    return shown


def render(runs: list[Run], report: dict[str, Any], shown: list[dict], made: str) -> str:
    """The page."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.filters["short"] = short
    return environment.get_template("page.html.jinja").render(
        title=" · ".join(run.name for run in runs),
        runs=runs,
        report=report,
        pictures=shown,
        made=made,
        plotly=plotly.offline.get_plotlyjs(),
        script=(HERE / "script.js").read_text(),
        style=(HERE / "style.css").read_text(),
        numbers=embedded(report),
        requests=[json.dumps({"request": run.request, "made_with": run.made_with}, indent=2) for run in runs],
        noise=NOISE,
    )


def short(value: Any) -> str:
    """A number in four digits, and a dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"

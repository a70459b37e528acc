"""What a run looks like: its picture and its summary."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxrl.engine.program import FINITE
from jaxrl.engine.sinks import metric_names
from jaxrl.stats import Interval, interquartile_band, interquartile_interval, interquartile_mean


def judged_metric(names: Any) -> str | None:
    """The metric a run is judged by: greedy returns if there are, else those of training."""
    return next((name for name in ("evaluation_return", "episode_return") if name in names), None)


def config_scores(rows: pd.DataFrame) -> pd.Series:
    """What each config is ranked by: the interquartile mean of its seeds in rows of one evaluation.

    A seed without a return, as after turning non-finite, counts as the worst there is: with more than a quarter of them
    the score is ``-inf``.
    """
    metric = judged_metric(rows.columns)
    values = rows[metric].where(np.isfinite(rows[metric]), -np.inf)
    with np.errstate(invalid="ignore"):
        by_config = {config: interquartile_mean(seeds.to_numpy()) for config, seeds in values.groupby(rows["config"])}
    return pd.Series(by_config, dtype=float)


def learning_curve(directory: Path) -> Path:
    """Draws ``figures/learning_curve.png``: interquartile mean over seeds with its 95% band, all members faint
    behind."""
    from matplotlib.figure import Figure  # not pyplot, whose backend is the caller's: a notebook shows figures by it

    from jaxrl.engine.run_directory import read_metrics

    table = read_metrics(directory)
    metric = judged_metric(table.columns)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    if metric is not None:
        table = table.loc[(table["frozen_at"] == FINITE) & np.isfinite(table[metric])]
        configs = sorted(set(table["config"]))
        for color, config in zip(_colors(), configs):
            curves = table[table["config"] == config].pivot(index="environment_steps", columns="member", values=metric)
            steps, values = curves.index.to_numpy(), curves.to_numpy()
            axes.plot(steps, values[:, :256], color=color, alpha=0.12, linewidth=0.7)
            band = interquartile_band(values.T)
            name = f"config {config}" if len(configs) > 1 else "interquartile mean"
            label = f"{name}, {values.shape[1]} members"
            axes.plot(steps, band.value, color=color, linewidth=2, label=label)
            axes.fill_between(steps, band.low, band.high, color=color, alpha=0.3)
        if len(table):
            axes.legend(frameon=False)
    axes.set_xlabel("environment steps per member")
    axes.set_ylabel((metric or "").replace("_", " "))
    axes.set_title(directory.resolve().name)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, directory / "figures" / "learning_curve.png")


def save(figure: Any, target: Path) -> Path:
    """Writes a figure, the folder made if it is not there."""
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=150)
    return target


def final_intervals(rows: pd.DataFrame, names: list[str], steps: int) -> pd.DataFrame:
    """A row a config, the best first: ``names`` of its hyperparameters, the interquartile mean over seeds of its
    returns after ``steps`` with its 95% interval, ``seeds`` counted and ``frozen`` ones left out.

    Configs that did not come so far, as those given up on the way, come last with NaN.
    """
    metric = judged_metric(rows.columns)
    found = []
    for config, group in rows.groupby("config"):
        last = group.loc[group["environment_steps"] >= steps]
        values = last.loc[(last["frozen_at"] == FINITE) & np.isfinite(last[metric]), metric].to_numpy()
        interval = interquartile_interval(values) if len(values) else Interval(np.nan, np.nan, np.nan)
        found.append(
            {"config": config}
            | {name: group[name].iloc[0] for name in names}
            | interval._asdict()
            | {"seeds": len(values), "frozen": int((last["frozen_at"] != FINITE).sum())}
        )
    return pd.DataFrame(found).sort_values("value", ascending=False, kind="stable", ignore_index=True)


def short(value: Any) -> str:
    """A hyperparameter's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def configs_picture(directory: Path, best: pd.DataFrame, names: list[str], most: int = 30) -> Path:
    """Draws ``figures/configs.png``: the final returns of the best configs of a sweep with their intervals."""
    from matplotlib.figure import Figure

    shown = best[np.isfinite(best["value"])].head(most).iloc[::-1]
    figure = Figure(figsize=(8, 1.5 + 0.28 * max(4, len(shown))), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.hlines(places, shown["low"], shown["high"], color="C0", alpha=0.4, linewidth=5)
    axes.plot(shown["value"], places, "o", color="C0")
    labels = [", ".join(f"{name}={short(row[name])}" for name in names) for row in shown.to_dict("records")]
    axes.set_yticks(places, labels)
    axes.set_xlabel("final return: interquartile mean and 95% interval over seeds")
    axes.set_title(f"{directory.resolve().name}: the best {len(shown)} of {len(best)} configs")
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, directory / "figures" / "configs.png")


def _colors():
    import itertools

    return itertools.cycle(f"C{i}" for i in range(10))


def summarise(rows: pd.DataFrame, result: Any) -> dict[str, Any]:
    """The summary of a run as JSON has it: final metrics with intervals over the members that stayed finite, and
    times.

    Args:
        rows: of all members, which may be more than this process's ``result`` has.
    """
    final, last = {}, rows.loc[rows["environment_steps"] == rows["environment_steps"].max()]
    for name in metric_names(rows):
        values = last.loc[(last["frozen_at"] == FINITE) & np.isfinite(last[name]), name].to_numpy()
        if name != "frozen_at" and len(values):
            final[name] = interquartile_interval(values, resamples=1000)._asdict() | {"members": len(values)}
    frozen = rows.loc[rows["frozen_at"] != FINITE].drop_duplicates("member")
    return {
        "members": len(set(rows["member"])),
        "environment_steps_per_member": int(result.environment_steps[-1]),
        "final": final,
        "frozen_members": {str(member): int(update) for member, update in frozen[["member", "frozen_at"]].to_numpy()},
        "seconds": result.seconds,
        "steps_per_second": None if np.isnan(result.steps_per_second) else result.steps_per_second,
        "layout": vars(result.layout),
    }

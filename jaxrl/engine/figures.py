"""What a run looks like: its picture and its summary."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxrl.engine.program import FINITE
from jaxrl.engine.sinks import metric_names
from jaxrl.stats import interquartile_interval


def judged_metric(names: Any) -> str | None:
    """The metric a run is judged by: greedy returns if there are, else those of training."""
    return next((name for name in ("evaluation_return", "episode_return") if name in names), None)


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
            points = [interquartile_interval(row[np.isfinite(row)]) for row in values]
            name = f"config {config}" if len(configs) > 1 else "interquartile mean"
            label = f"{name}, {values.shape[1]} members"
            axes.plot(steps, [p.value for p in points], color=color, linewidth=2, label=label)
            axes.fill_between(steps, [p.low for p in points], [p.high for p in points], color=color, alpha=0.3)
        if len(table):
            axes.legend(frameon=False)
    axes.set_xlabel("environment steps per member")
    axes.set_ylabel((metric or "").replace("_", " "))
    axes.set_title(directory.resolve().name)
    axes.spines[["top", "right"]].set_visible(False)
    target = directory / "figures" / "learning_curve.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=150)
    return target


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
    frozen = rows.loc[rows["frozen_at"] != FINITE].groupby("member")["frozen_at"].first()
    return {
        "members": int(rows["member"].nunique()),
        "environment_steps_per_member": int(result.environment_steps[-1]),
        "final": final,
        "frozen_members": {str(member): int(update) for member, update in frozen.items()},
        "seconds": result.seconds,
        "steps_per_second": None if np.isnan(result.steps_per_second) else result.steps_per_second,
        "layout": vars(result.layout),
    }

"""The report's plots as PNG files for papers, drawn from the same numbers as the page."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reports.data import Run

MOST_CONFIGS = 5


def draw(runs: Sequence[Run], report: dict[str, Any], folder: Path) -> list[Path]:
    """Writes ``learning_curves.png``, and of every sweep ``<run>_two_way.png`` and ``<run>_importance.png``.

    Returns:
        the files written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    files = []

    def save(figure: Any, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / name, dpi=200)
        plt.close(figure)
        files.append(folder / name)

    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        entries = [entry for entry in report["runs"] if entry["curves"]]
        if entries:
            save(learning_curves(entries, report["metric"]), "learning_curves.png")
        for run, entry in zip(runs, report["runs"]):
            stem = run.name.replace("/", "-")
            if entry.get("importance"):
                save(importances(entry), f"{stem}_importance.png")
            if entry.get("two_way"):
                save(two_way(entry, report["metric"]), f"{stem}_two_way.png")
    return files


def unpacked(text: str, shape: tuple[int, ...], kind: str = "f4") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), f"<{kind}").reshape(shape)


def learning_curves(entries: list[dict[str, Any]], metric: str) -> Any:
    """The best config of every run, or of a single sweep the best few."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for entry in entries:
        curves = entry["curves"]
        if metric not in curves["metrics"]:
            continue
        shape = (len(curves["configs"]), curves["evaluations"])
        steps = unpacked(curves["axes"]["environment_steps"], shape, "f8")
        m = curves["metrics"].index(metric)
        band = {k: unpacked(v, (*shape, len(curves["metrics"])))[..., m] for k, v in curves["band"].items()}
        for place in range(min(shape[0], MOST_CONFIGS if len(entries) == 1 else 1)):
            name = curves["labels"][place] if shape[0] > 1 else entry["name"]
            name = f"{entry['name']}, {name}" if shape[0] > 1 and len(entries) > 1 else name
            (line,) = axes.plot(steps[place], band["value"][place], label=name, linewidth=1.8)
            axes.fill_between(steps[place], band["low"][place], band["high"][place], color=line.get_color(), alpha=0.25)
    for level in {entry["levels"][metric] for entry in entries if metric in entry["levels"]}:
        axes.axhline(level, color="0.45", linewidth=1.2, linestyle=":")
    axes.set_xlabel("environment steps of a member")
    axes.set_ylabel(metric.replace("_", " "))
    axes.legend(fontsize=8)
    return figure


def importances(entry: dict[str, Any]) -> Any:
    """Bars of the hyperparameters' importances."""
    import matplotlib.pyplot as plt

    names, values = entry["importance"]["names"], entry["importance"]["values"]
    figure, axes = plt.subplots(figsize=(5, 0.6 + 0.35 * len(names)), layout="constrained")
    axes.barh(names[::-1], values[::-1])
    axes.set_xlabel("drop of R² when shuffled")
    return figure


def two_way(entry: dict[str, Any], metric: str) -> Any:
    """The heat map of the two most important hyperparameters."""
    import matplotlib.pyplot as plt

    table = entry["two_way"][0]
    figure, axes = plt.subplots(figsize=(5.4, 4.2), layout="constrained")
    image = axes.imshow(np.array(table["values"], float), origin="lower", aspect="auto")
    axes.set_xticks(range(len(table["columns"])), table["columns"], rotation=30, ha="right")
    axes.set_yticks(range(len(table["rows"])), table["rows"])
    axes.set_xlabel(table["x"])
    axes.set_ylabel(table["y"])
    figure.colorbar(image, label=metric.replace("_", " "))
    return figure

"""What a sweep costs over one population of as many members: ``python -m experiments.benchmarks.sweep_cost``.

3 x 4 floating-point values x 16 seeds beside 192 seeds of one config, each a command line in a process of its own,
in turn, nothing cached. Writes ``docs/results/sweep-cost.{md,json}``.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.results import about, about_line, write_rows
from jaxrl import use_all_cores

SIDES = {
    "sweep, 12 configs x 16 seeds": [
        "sweep", "--seeds", "16", "--grid", "learning_rate=1e-4,3e-4,1e-3", "gae_lambda=0.8,0.9,0.95,0.98",
    ],
    "population, 192 seeds": ["train", "--seeds", "192"],
}  # fmt: skip


@dataclass
class Arguments:
    """What to measure."""

    steps: int = 50_000
    """Environment steps of each member."""
    repeats: int = 3
    """Processes of each side."""
    output: Path = ROOT / "docs" / "results" / "sweep-cost"
    """Where the table and the figures go, without suffix."""


def main() -> None:
    """Measures both sides in turn and writes the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    facts, seconds = about("experiments.benchmarks.sweep_cost"), {name: [] for name in SIDES}
    for _ in range(arguments.repeats):
        for name, (command, *options) in SIDES.items():
            seconds[name].append(measure(command, [*options, "--steps", str(arguments.steps)]))
            print(name, seconds[name][-1], flush=True)
    sweep, population = (statistics.median(run["seconds"] for run in runs) for runs in seconds.values())
    lines = [
        "# What a sweep costs",
        "",
        about_line(facts),
        "",
        f"PPO on CartPole-v1, 192 members of {arguments.steps:,} steps: median (least-greatest) of {arguments.repeats}"
        " whole commands, compilation, evaluations, tables and pictures included.",
        "",
        "| | seconds | programs compiled for training |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {spread([run['seconds'] for run in runs])} | {runs[0]['parts']} |"
            for name, runs in seconds.items()
        ),
        "",
        f"The sweep costs {sweep / population:.2f} times the population.",
    ]
    arguments.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    write_rows(arguments.output.with_suffix(".json"), [{"about": facts, **seconds}])
    print("\n".join(lines[4:]))


def spread(values: list[float]) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def measure(command: str, options: list[str]) -> dict[str, Any]:
    """Seconds of a whole command, and how many runs it was made of."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        begun = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-m", f"experiments.{command}", "ppo", "--env", "CartPole-v1", "--preset", "none",
                "--no-cache", "--directory", str(directory), *options,
            ],
            check=True, capture_output=True, cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        parts = list(directory.glob("parts/*/summary.json")) or [directory / "summary.json"]
        trained = sum(json.loads(part.read_text())["seconds"]["train"] for part in parts)
        return {"seconds": seconds, "train_seconds": trained, "parts": len(parts)}


if __name__ == "__main__":
    main()

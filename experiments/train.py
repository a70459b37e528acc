"""Trains a population: ``python -m experiments.train ppo --env CartPole-v1 --seeds 256 --steps 500_000``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.command_line import GOES_ON, Run, exit_code, sinks, understand


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv, GOES_ON)


def command(argv: list[str]) -> int:
    request = understand("train", Run, argv)
    if request is None:
        return 0
    import jax

    from jaxrl.engine.train import train

    settings = request.training()
    print(f"preset {request.preset.name}")
    result = train(request.config, request.run.env, **settings, sinks=sinks(request))
    if jax.process_index() == 0:
        report(result, request.directory)
    return 0


def report(result: Any, directory: Path) -> None:
    """Prints what came out, in one short table and two paths."""
    import json

    from rich.console import Console
    from rich.table import Table

    from jaxrl.engine.figures import judged_metric

    summary = json.loads((directory / "summary.json").read_text())
    metric = judged_metric(summary["final"])
    table = Table("final return, IQM [95%]", "steps/s", "compile s", "train s", "members", "frozen")
    final = summary["final"].get(metric)
    speed = summary["steps_per_second"]
    table.add_row(
        "-" if final is None else "{value:.4g} [{low:.4g}, {high:.4g}]".format(**final),
        "-" if speed is None else f"{speed:,.0f}",
        f"{result.seconds['compile']:.1f}",
        f"{result.seconds['train']:.1f}",
        str(summary["members"]),
        str(len(summary["frozen_members"])),
    )
    Console().print(table)
    print(f"picture    {directory / 'figures' / 'learning_curve.png'}")
    print(f"directory  {directory}")


if __name__ == "__main__":
    sys.exit(main())

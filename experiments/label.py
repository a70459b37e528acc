"""Labels instances with an expert's solutions: ``python -m experiments.label tsp --nodes 50 --instances 200_000``.

The same command goes on from what is there, and with more instances adds to it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command_line import Whole, exit_code, or_none, parse_all, parse_settings
from experiments.progress import Bar


@dataclass(frozen=True)
class Labelling:
    """Solves random instances of a combinatorial problem, in parallel, and keeps instances and solutions."""

    problem: tyro.conf.Positional[str]
    """Which one: tsp, atsp, cvrp, op or kp."""
    nodes: Whole = 100
    """Nodes, customers or items of an instance."""
    instances: Whole = 1000
    """How many."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...", help_behavior_hint="")] = ()
    """Other settings of the instances as key=value: capacity=50, length=4, prizes=uniform."""
    solver: Annotated[str | None, or_none("NAME")] = None
    """Who solves them: fast-tsp or elkai, hygese, local-search, ortools or knapsack, held-karp; by default the first
    that is installed."""
    effort: Annotated[float | None, or_none("FLOAT")] = None
    """How long it searches: seconds of fast-tsp, runs of elkai, iterations without a better solution of hygese,
    perturbations of local-search."""
    seed: int = 0
    """Of the instances. Pilots are for seeds from 1000 on."""
    workers: Annotated[int | None, or_none("INT")] = None
    """Processes; one a core by default, 0 for none but this one."""
    directory: Annotated[Path | None, or_none("PATH")] = None
    """Where labels are kept; labels/PROBLEM-NODES-SOLVER-SEED by default."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv, "stopped; the same command goes on from the labels that are there")


def command(argv: list[str]) -> int:
    options = parse_all(Labelling, argv, "experiments.label")
    import jax

    from jaxrl.sources.expert import label, request

    jax.config.update("jax_platforms", "cpu")  # solvers are on it, and an accelerator would draw other bits
    settings = {"nodes": options.nodes} | parse_settings(options.settings, "settings")
    card = request(options.problem, settings, options.seed, options.solver, options.effort)
    name = "-".join(map(str, (card.problem, options.nodes, card.solver, card.seed)))
    directory = options.directory or Path("labels") / name
    with Bar(f"{card.problem} by {card.solver}") as progress:
        labels = label(directory, card, options.instances or 0, options.workers, progress)
    print(f"labels     {len(labels.cost):,}, mean cost {labels.cost.mean():.5g}")
    print(f"directory  {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the reproductions that are exact, or begin with exact checks, share: the command."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.table import Row, exit_status, show, write
from experiments.results import about, write_rows
from jaxrl import use_all_cores


@dataclass
class Arguments:
    """What to check: always everything."""

    quick: bool = False
    """Only print: the table in the documentation stays as it is."""
    output: Path | None = None
    """Where the table goes, without suffix; by default into the documentation."""
    json: Path | None = None
    """Write the rows here too."""


def reproduce_known(
    module: str, description: str | None, title: str, introduction: str, parts: Sequence[Callable[[], Iterable[Row]]]
) -> int:
    """The command ``python -m experiments.reproduce.module``: prints the table; 1 if a check fails.

    Args:
        module: also names the table, ``docs/results/module`` with hyphens.
        description: of the command.
        parts: what makes the rows, in order.
    """
    return reproduce_parts(
        module, description, f"{title}: known values", introduction, lambda _: (part() for part in parts)
    )


def reproduce_parts(
    module: str,
    description: str | None,
    title: str,
    introduction: str,
    parts: Callable[[Any], Iterable[Iterable[Row]]],
    kind: type[Arguments] = Arguments,
) -> int:
    """``reproduce_known`` with arguments of its own; each part of the table is written as soon as it is there.

    Args:
        parts: ``(arguments) -> parts``.
        kind: what ``arguments`` are.
    """
    arguments = tyro.cli(kind, description=description)
    use_all_cores()
    facts = about(f"experiments.reproduce.{module}")  # now: the tree may change while this runs
    rows: list[Row] = []
    for part in parts(arguments):
        rows += part
        if not arguments.quick:
            output = arguments.output or ROOT / "docs" / "results" / module.replace("_", "-")
            write(output, title, introduction, rows, facts)
    show(title, rows)
    if arguments.json:
        write_rows(arguments.json, [asdict(row) | {"about": facts} for row in rows])
    return exit_status(rows)

"""The table that every reproduction prints: ours, its interval, the reference, and whether it holds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.results import runs_of, with_earlier, write_rows
from jaxrl.stats import Interval, interquartile_interval

Kind = Literal["exact", "published", "peer", "bound", "claim"]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        ours: what was measured, with the 95% interval ``low .. high`` over ``seeds``; None for what has no spread.
        reference: the figure it is held against.
        kind: what kind of figure that is.
        verdict: ``holds``, ``falls short``, or ``not testable here: why``.
    """

    name: str
    ours: float
    low: float | None
    high: float | None
    seeds: int
    reference: float | str
    kind: Kind
    verdict: str


def exact(name: str, ours: float, reference: float, tolerance: float) -> Row:
    """A figure that must be met to ``tolerance``."""
    verdict = "holds" if abs(ours - reference) <= tolerance else "falls short"
    return Row(name, float(ours), None, None, 1, float(reference), "exact", verdict)


def within(name: str, values: Sequence[float], reference: float, tolerance: float) -> Row:
    """A figure that every seed must meet to ``tolerance``."""
    estimate, worst = interquartile_interval(np.asarray(values)), np.abs(np.asarray(values) - reference).max()
    verdict = "holds" if worst <= tolerance else "falls short"
    return Row(name, *estimate, len(values), float(reference), "exact", verdict)


def at_least(name: str, values: Sequence[float], bound: float, kind: Kind = "bound") -> Row:
    """An interquartile mean over seeds that must reach a bound."""
    estimate = interquartile_interval(np.asarray(values))
    verdict = "holds" if estimate.value >= bound else "falls short"
    return Row(name, *estimate, len(values), bound, kind, verdict)


def at_most(name: str, values: Sequence[float], bound: float, kind: Kind = "bound") -> Row:
    """An interquartile mean over seeds that must not exceed a bound."""
    estimate = interquartile_interval(np.asarray(values))
    verdict = "holds" if estimate.value <= bound else "falls short"
    return Row(name, *estimate, len(values), bound, kind, verdict)


def not_worse(name: str, values: Sequence[float], peer: Sequence[float]) -> Row:
    """An interquartile mean whose interval must not lie below the peer's."""
    ours, theirs = interquartile_interval(np.asarray(values)), interquartile_interval(np.asarray(peer))
    verdict = "holds" if ours.high >= theirs.low else "falls short"
    return Row(name, *ours, len(values), beside(theirs, len(peer)), "peer", verdict)


def above(name: str, values: Sequence[float], floor: Sequence[float]) -> Row:
    """An interquartile mean whose interval must lie above that of what anybody reaches."""
    ours, theirs = interquartile_interval(np.asarray(values)), interquartile_interval(np.asarray(floor))
    verdict = "holds" if ours.low > theirs.high else "falls short"
    return Row(name, *ours, len(values), beside(theirs, len(floor)), "bound", verdict)


def beside(estimate: Interval, seeds: int) -> str:
    """A reference that has an interval of its own."""
    return f"{estimate.value:.5g} [{estimate.low:.5g}, {estimate.high:.5g}], {seeds} seeds"


def cells(row: Row) -> list[str]:
    """A row as text."""
    number = lambda value: f"{value:.6g}" if isinstance(value, float) else str(value)  # noqa: E731
    interval = "" if row.low is None else f"[{row.low:.5g}, {row.high:.5g}]"
    return [row.name, number(row.ours), interval, str(row.seeds), number(row.reference), row.kind, row.verdict]


HEADER = ["name", "ours", "95% interval", "seeds", "reference", "kind", "verdict"]


def show(title: str, rows: Sequence[Row]) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADER, title=title)
    for row in rows:
        table.add_row(*cells(row))
    Console().print(table)


def write(path: Path, title: str, introduction: str, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Writes ``path`` as Markdown and, beside it, as JSON; rows of an earlier run with other names stay."""
    name = lambda row: row["name"]  # noqa: E731
    made = with_earlier(path.with_suffix(".json"), [asdict(row) | {"about": about} for row in rows], name)
    write_rows(path.with_suffix(".json"), made)
    runs, numbers = runs_of(made)
    rows = [Row(**{key: value for key, value in row.items() if key != "about"}) for row in made]
    header, body = HEADER, [cells(row) for row in rows]
    if len(runs) > 1:
        header, body = [*HEADER, "run"], [[*row, str(number + 1)] for row, number in zip(body, numbers)]
        runs = [f"{number}. {run}" for number, run in enumerate(runs, 1)]
    lines = [f"# {title}", "", introduction, "", *runs, "", f"| {' | '.join(header)} |"]
    lines += ["| " + " | ".join("---" for _ in header) + " |", *(f"| {' | '.join(row)} |" for row in body)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def exit_status(rows: Sequence[Row]) -> int:
    """1 if an exact check fails, else 0."""
    return int(any(row.kind == "exact" and row.verdict != "holds" for row in rows))

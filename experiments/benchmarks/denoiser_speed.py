"""How fast diffusion policies run: ``python -m experiments.benchmarks.denoiser_speed``.

Rows of the denoiser a second beside what the products of its layers alone would allow, and what eight candidates of
EXPO cost beside one. Writes ``docs/results/denoiser-speed.{md,json}``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT, failures, measure, spread, thousands
from experiments.results import about, about_lines, with_earlier, write_rows
from jaxrl import use_all_cores

SHAPE = {"kind": "chain", "obs": 17, "actions": 6, "steps": 10}
EXPO, DQL = {"network": "residual", "width": 256, "blocks": 3}, {"network": "plain", "width": 256, "blocks": 3}
CASES: dict[str, dict[str, Any]] = {
    "EXPO's denoiser, 256 rows": SHAPE | EXPO | {"rows": 256},
    "EXPO's denoiser, 2,048 rows": SHAPE | EXPO | {"rows": 2048},
    "Diffusion-QL's denoiser, 256 rows": SHAPE | DQL | {"rows": 256},
    "Diffusion-QL's denoiser, 2,048 rows": SHAPE | DQL | {"rows": 2048},
    "8 candidates of EXPO, 1 environment": {"kind": "candidates", "env": "Pendulum-v1", "rows": 1, "count": 8},
    "8 candidates of EXPO, 8 environments": {"kind": "candidates", "env": "Pendulum-v1", "rows": 8, "count": 8},
    "8 candidates of EXPO, batch of 256": {"kind": "candidates", "env": "Pendulum-v1", "rows": 256, "count": 8},
}


@dataclass
class Arguments:
    """What to measure."""

    cases: tuple[str, ...] = tuple(CASES)
    """Rows of the tables."""
    repeats: int = 3
    """Processes."""
    note: str = ""
    """What a reader of the table must know, such as what else is running."""
    timeout: float = 600.0
    """Seconds after which a measurement is given up and reported as such."""
    output: Path = ROOT / "docs" / "results" / "denoiser-speed"
    """Where the tables and the figures go, without suffix."""


def main() -> None:
    """Measures, prints a row as soon as it is known, and writes the tables."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    facts, rows = about("experiments.benchmarks.denoiser_speed", arguments.note), []
    for name in arguments.cases:
        case = CASES[name]
        measured = [
            measure(sys.executable, "measure_denoiser", case, arguments.timeout) for _ in range(arguments.repeats)
        ]
        rows.append({"name": name, "case": case, "jaxrl": measured, "about": facts})
        print(table_row(rows[-1]), flush=True)
        write(arguments.output, rows)
    print(f"table: {arguments.output}.md")


def table_row(row: dict[str, Any]) -> str:
    """One line of the table that the row belongs to."""
    name, measured = row["name"], row["jaxrl"]
    if row["case"]["kind"] == "chain":
        ours, limit = spread(measured, "rows_per_second"), spread(measured, "limit_rows_per_second")
        share = f"{100 * ours[0] / limit[0]:.0f}%" if ours and limit else "-"
        cells = [name, thousands(ours), thousands(limit), share]
    else:
        cells = [name]
        for what in ("act", "score"):
            seconds, ratio = spread(measured, f"{what}_seconds"), spread(measured, f"{what}_ratio")
            cells.append(f"{1e6 * seconds[0]:,.0f}" if seconds else "-")
            cells.append(f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})" if ratio else "-")
    return "| " + " | ".join(cells) + " |"


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    """Writes what is known so far."""
    rows = with_earlier(output.with_suffix(".json"), rows, lambda row: row["name"])
    write_rows(output.with_suffix(".json"), rows)
    kinds = {kind: [row for row in rows if row["case"]["kind"] == kind] for kind in ("chain", "candidates")}
    lines = [
        "# Diffusion policies: rows of the denoiser a second",
        "",
        *about_lines(rows, lambda row: row["name"]),
        "",
        "Median (least-greatest) over processes, of all cores together, one thread each, compiled. Observations"
        " have 17 dimensions, actions 6. A row is one action at one of the ten steps of DDPM's chain. The limit is of"
        " the products of the same layers, at the same number of rows, without anything else, in the same process.",
        "",
        "| case | rows/s | limit | of limit |",
        "| --- | --- | --- | --- |",
        *map(table_row, kinds["chain"]),
        "",
        "How long the best of eight actions of the diffusion takes beside one action, which is not valued; and valuing"
        " eight actions by two of ten critics beside valuing one.",
        "",
        "| case | one action, µs | 8 beside 1 | valuing one, µs | 8 beside 1 |",
        "| --- | --- | --- | --- | --- |",
        *map(table_row, kinds["candidates"]),
    ]
    lines += failures(rows, lambda row: row["name"], ("jaxrl",))
    output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Tables of results: how they were made, and rows of several runs in one table."""

import datetime
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def about(module: str, note: str = "") -> dict[str, Any]:
    """When, where and how a table was made.

    Args:
        module: what was run with ``python -m``.
        note: what a reader must know beside that, such as what else was running.
    """
    from jaxrl.engine.run_directory import provenance

    made_with = provenance()
    return {
        "date": datetime.date.today().isoformat(),
        "command": f"python -m {module} {shlex.join(sys.argv[1:])}".strip(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": made_with["devices"],
        "python": made_with["python"],
        "versions": made_with["versions"],
        "commit": made_with["commit"],
        "note": note,
    }


def about_line(facts: dict[str, Any]) -> str:
    """The same in a sentence."""
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("jax", "flax", "gymnax"))
    devices = ", ".join(sorted(set(facts["devices"])))
    return (
        f"{facts['date']}; {facts['processor']}, {facts['cores']} cores, devices {devices};"
        f" Python {facts['python']}, {versions}; commit"
        f" {(facts['commit'] or 'unknown')[:10]}. Command: `{facts['command']}`. {facts.get('note', '')}"
    ).strip()


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def with_earlier(path: Path, rows: Sequence[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> list[dict]:
    """The rows of the table at ``path`` that ``rows`` do not measure again, and then ``rows``.

    Args:
        path: JSON as ``write_rows`` leaves it; nothing if there is none.
        rows: each with ``about``, how it was made.
        key: what tells rows apart.
    """
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    measured = {key(row) for row in rows}
    return [row for row in earlier if key(row) not in measured] + list(rows)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": finite(rows)}, indent=1, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """The same with infinities and NaN as text, since JSON has none."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def about_lines(rows: Sequence[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> list[str]:
    """How the rows were made, a line for each run, with the names of its rows if there are several."""
    lines, numbers = runs_of(rows)
    if len(lines) == 1:
        return lines
    names = [[name(row) for row, number in zip(rows, numbers) if number == i] for i in range(len(lines))]
    return [f"- {line} Rows: {'; '.join(named)}." for line, named in zip(lines, names)]


def runs_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """How rows were made, a line for each run, and for each row which of them it was."""
    each = [about_line(row["about"]) for row in rows]
    lines = list(dict.fromkeys(each))
    return lines, [lines.index(line) for line in each]

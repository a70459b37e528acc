"""How fast finite processes are solved, beside quantecon: ``python -m experiments.benchmarks.bellman_speed``.

The processes are Garnets of 10,000 states with 5 actions and 5 successors, as lists. Writes
``docs/results/bellman-speed.{md,json}``. Peers run in an environment of their own.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT, failures, measure, peer_python, spread
from experiments.results import about, about_lines, with_earlier, write_rows

PEER_PACKAGES = ("quantecon==0.11.4", "mdpsolver==0.10.2", "numpy==2.4.6", "numba==0.68.1")
STATES, ACTIONS, SUCCESSORS, DISCOUNT = 10_000, 5, 5, 0.95
ERROR = 1e-6
"""of the values, at most, as each side bounds it"""
VALUES, MODIFIED = "value_iteration", "modified_policy_iteration"
OURS, QUANTECON, MDPSOLVER = "measure_bellman", "quantecon", "MDPSolver"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "value iteration": (OURS, {"backup": "nominal", "method": VALUES, "solves": 9}),
    "value iteration, quantecon": (QUANTECON, {"method": VALUES, "solves": 3}),
    "value iteration, MDPSolver": (MDPSOLVER, {"method": VALUES, "solves": 3}),
    "modified policy iteration": (OURS, {"backup": "nominal", "method": MODIFIED, "solves": 9}),
    "modified policy iteration, quantecon": (QUANTECON, {"method": MODIFIED, "solves": 3}),
    "modified policy iteration, MDPSolver": (MDPSOLVER, {"method": MODIFIED, "solves": 3}),
    "against L1": (OURS, {"backup": "L1", "method": VALUES, "solves": 3}),
    "against KL": (OURS, {"backup": "KL", "method": VALUES, "solves": 3}),
    "against s-rectangular L1": (OURS, {"backup": "s-rectangular L1", "method": VALUES, "solves": 3}),
    "64 processes, value iteration": (OURS, {"backup": "nominal", "method": VALUES, "solves": 1, "processes": 64}),
    "64 processes, value iteration, quantecon": (QUANTECON, {"method": VALUES, "solves": 1, "processes": 64}),
}
"""by name: who solves, and what"""
COMPARED = {
    "value iteration, quantecon": "value iteration",
    "value iteration, MDPSolver": "value iteration",
    "modified policy iteration, quantecon": "modified policy iteration",
    "modified policy iteration, MDPSolver": "modified policy iteration",
    "against L1": "value iteration",
    "against KL": "value iteration",
    "against s-rectangular L1": "value iteration",
    "64 processes, value iteration, quantecon": "64 processes, value iteration",
}
"""the row that the time of a row is divided by"""


@dataclass
class Arguments:
    """What to measure."""

    cases: tuple[str, ...] = tuple(CASES)
    """Rows of the table."""
    repeats: int = 3
    """Processes of the machine for each row, in turn."""
    venv: Path = ROOT / ".venv-quantecon"
    """Environment of the peers; made if it is not there."""
    note: str = ""
    """What a reader of the table must know, such as what else is running."""
    timeout: float = 600.0
    """Seconds after which a measurement is given up and reported as such."""
    output: Path = ROOT / "docs" / "results" / "bellman-speed"
    """Where the table and the figures go, without suffix."""


def main() -> None:
    """Measures all rows in turn, and writes the table after every turn."""
    arguments = tyro.cli(Arguments, description=__doc__)
    peers = peer_python(arguments.venv, PEER_PACKAGES)
    facts = about("experiments.benchmarks.bellman_speed", arguments.note)
    cases = {name: CASES[name] for name in arguments.cases}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "garnets.npz"
        write_processes(path, max(case.get("processes", 1) for _, case in cases.values()))
        for turn in range(arguments.repeats):
            for name, (solver, case) in cases.items():
                whole = {"path": str(path), "discount": DISCOUNT, "error": ERROR, "processes": 1, **case}
                if solver == OURS:
                    found = measure(sys.executable, OURS, whole, arguments.timeout)
                else:
                    found = measure(peers, "measure_bellman_peer", whole | {"peer": solver}, arguments.timeout)
                measured[name].append(found)
                print(f"{turn + 1}/{arguments.repeats} {name}: {found}", flush=True)
            rows = [
                {"name": name, "solver": solver, "case": case, "measured": measured[name], "about": facts}
                for name, (solver, case) in cases.items()
            ]
            write(arguments.output, rows)
    print(f"table: {arguments.output}.md")


def write_processes(path: Path, count: int) -> None:
    """Writes Garnets with their values, which plain value iteration finds until nothing changes any more."""
    import numpy as np
    import scipy.sparse
    from jaxrl.envs.tabular import garnet

    parts: dict[str, list[Any]] = {name: [] for name in ("successors", "probabilities", "rewards", "values")}
    for seed in range(count):
        mdp = garnet(seed, STATES, ACTIONS, SUCCESSORS, discount=DISCOUNT)
        p, successors, rewards = (np.asarray(x) for x in (mdp.probabilities, mdp.successors, mdp.rewards[..., 0]))
        places = np.arange(0, p.size + 1, SUCCESSORS)
        kernel = scipy.sparse.csr_matrix((p.ravel(), successors.ravel(), places), (STATES * ACTIONS, STATES))
        value, change = np.zeros(STATES), np.inf
        while change > 1e-11:
            new = (rewards + DISCOUNT * (kernel @ value).reshape(STATES, ACTIONS)).max(axis=1)
            change, value = np.abs(new - value).max(), new
        for name, part in zip(parts, (successors, p, rewards, value)):
            parts[name].append(part)
    np.savez(path, **{name: np.stack(part) for name, part in parts.items()})


def table_row(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    side = row["measured"]
    seconds, updates, sweeps, error, compiling = (
        spread(side, name) for name in ("seconds", "updates_per_second", "sweeps", "error", "compile_seconds")
    )
    others = [  # of the same run: the machine may have been busier in another
        other["measured"]
        for other in rows
        if other["name"] == COMPARED.get(row["name"]) and other["about"] == row["about"]
    ]
    base = spread(others[0], "seconds") if others else None
    processor = spread(side, "processor_seconds")
    of_base = spread(others[0], "processor_seconds") if others else None
    cells = [
        row["name"],
        "-" if seconds is None else f"{seconds[0]:.3g} ({seconds[1]:.3g}-{seconds[2]:.3g})",
        f"{seconds[0] / base[0]:.1f}" if seconds and base else "-",
        "-" if processor is None else f"{processor[0]:.3g} ({processor[1]:.3g}-{processor[2]:.3g})",
        f"{processor[0] / of_base[0]:.1f}" if processor and of_base else "-",
        "-" if sweeps is None else f"{sweeps[0]:.0f}",
        "-" if updates is None else f"{updates[0] / 1e6:,.0f} ({updates[1] / 1e6:,.0f}-{updates[2] / 1e6:,.0f})",
        "-" if error is None else f"{error[2]:.1e}",
        "-" if compiling is None else f"{compiling[0]:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def write(output: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes what is known so far."""
    name = lambda row: row["name"]  # noqa: E731
    rows = with_earlier(output.with_suffix(".json"), rows, name)
    write_rows(output.with_suffix(".json"), rows)
    lines = [
        "# Finite processes: seconds a solve",
        "",
        *about_lines(rows, name),
        "",
        f"Garnets of {STATES:,} states, {ACTIONS} actions and {SUCCESSORS} successors, discount {DISCOUNT}, as lists;"
        f" float64; every side is asked for values within {ERROR:g} of the exact ones. Peers:"
        f" {', '.join(PEER_PACKAGES)}.",
        "",
        "Median (least-greatest) over processes of the machine, in turn, each of which takes the median of its"
        " solves after a first one; the first one's excess is `compile`. `time ratio` is the time over that of"
        " jaxrl's row of the same name without a peer, and for adversaries over that of the nominal value iteration;"
        " `processor s` and its ratio are of the processor's time, which other programs stretch less. A"
        " sweep updates every state and action once, an update is a successor of one; sweeps under a policy are not"
        " counted. `error` is the greatest distance to plain value iteration until no value changes by 1e-11, and for"
        " adversaries to the same solver at 1e-13. One solve runs on one core, but MDPSolver's on all; 64 run on all"
        " cores in jaxrl and one after the other in quantecon.",
        "",
        "| case | seconds | time ratio | processor s | its ratio | sweeps | million updates/s | error | compile s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(table_row(row, rows) for row in rows),
    ]
    lines += failures(rows, name, ("measured",))
    output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""How fast HDPO trains and inventory networks are simulated: ``python -m experiments.benchmarks.hdpo_speed``.

With ``--checkout PATH``, a clone of the reference repository (MatiasAlvo/Neural_inventory_control), its own trainer is
measured beside ours, in turn. Writes ``docs/results/hdpo-speed.{md,json}``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT, comparison, failures, measure, peer_python, spread, thousands
from experiments.results import about, about_lines, with_earlier, write_rows
from jaxrl import use_all_cores

ALVO_PACKAGES = ("torch==2.13.0", "numpy", "pandas", "pyyaml", "matplotlib", "gymnasium", "gym", "scipy")
CASES: dict[str, dict[str, Any]] = {
    "one store, vanilla 3 x 32, batch 8,192": {
        "env": "inventory/one-store-lost-v0", "env_settings": {}, "policy": "vanilla", "hidden_sizes": (32, 32, 32),
        "batch_size": 8192, "horizon": 50, "members": 2, "updates": 20,
        "alvo_setting": "one_store_lost", "alvo_policy": "vanilla_one_store", "alvo_epochs": 10,
    },
    "one store, vanilla 3 x 32, batch 8,192, 16 members": {
        "env": "inventory/one-store-lost-v0", "env_settings": {}, "policy": "vanilla", "hidden_sizes": (32, 32, 32),
        "batch_size": 8192, "horizon": 50, "members": 16, "updates": 4, "alvo_setting": None,
    },
    "one warehouse, 5 stores, vanilla 3 x 512, batch 1,024": {
        "env": "inventory/one-warehouse-v0", "env_settings": {"stores": 5}, "policy": "vanilla",
        "hidden_sizes": (512, 512, 512), "batch_size": 1024, "horizon": 50, "members": 2, "updates": 3,
        "alvo_setting": "one_warehouse_lost_demand", "alvo_policy": "vanilla_warehouse", "alvo_epochs": 3,
    },
    "simulation only: one store, base stock": {
        "env": "inventory/one-store-lost-v0", "env_settings": {}, "policy": None, "batch_size": 1024, "horizon": 100,
        "members": 64, "updates": 50, "alvo_setting": None,
    },
    "simulation only: one warehouse, 10 stores, base stock": {
        "env": "inventory/one-warehouse-v0", "env_settings": {"stores": 10}, "policy": None, "batch_size": 1024,
        "horizon": 100, "members": 64, "updates": 10, "alvo_setting": None,
    },
}  # fmt: skip


@dataclass
class Arguments:
    """What to measure."""

    cases: tuple[str, ...] = tuple(CASES)
    """Rows of the table."""
    repeats: int = 3
    """Processes of each side."""
    checkout: Path | None = None
    """A clone of the reference repository; without one only ours is measured."""
    venv: Path = ROOT / ".venv-alvo"
    """Environment of the reference; made if it is not there."""
    note: str = ""
    """What a reader of the table must know, such as what else is running."""
    timeout: float = 600.0
    """Seconds after which a measurement is given up and reported as such."""
    output: Path = ROOT / "docs" / "results" / "hdpo-speed"
    """Where the table and the figures go, without suffix."""


def main() -> None:
    """Measures, prints a row as soon as it is known, and writes the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    theirs = peer_python(arguments.venv, ALVO_PACKAGES) if arguments.checkout else ""
    facts, rows = about("experiments.benchmarks.hdpo_speed", arguments.note), []
    for name in arguments.cases:
        case = CASES[name] | {"checkout": str(arguments.checkout and arguments.checkout.resolve())}
        trained = case["policy"] is not None
        limit = measure(sys.executable, "measure_limit", case, arguments.timeout) if trained else {}
        sides: dict[str, list[dict[str, Any]]] = {"jaxrl": [], "alvo": []}
        for _ in range(arguments.repeats):
            sides["jaxrl"].append(measure(sys.executable, "measure_hdpo", case, arguments.timeout))
            if theirs and case["alvo_setting"]:
                sides["alvo"].append(measure(theirs, "measure_alvo", case, arguments.timeout))
        case.pop("checkout")
        rows.append({"name": name, "case": case, "limit": limit, **sides, "about": facts})
        print(table_row(rows[-1]), flush=True)
        write(arguments.output, rows)
    print(f"table: {arguments.output}.md")


def table_row(row: dict[str, Any]) -> str:
    """One line of the table."""
    ours, theirs = (spread(row[side], "store_periods_per_second") for side in ("jaxrl", "alvo"))
    processor = spread(row["alvo"], "store_periods_per_processor_second")
    limit = row["limit"].get("steps_per_second")
    compile_seconds = spread(row["jaxrl"], "compile_seconds")
    cells = [
        row["name"],
        str(row["case"]["members"]) if row["case"]["policy"] else "-",
        thousands(ours),
        thousands(theirs),
        thousands(processor),
        *comparison(ours, theirs, limit),
        "-" if compile_seconds is None else f"{compile_seconds[0]:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    """Writes what is known so far."""
    rows = with_earlier(output.with_suffix(".json"), rows, lambda row: row["name"])
    write_rows(output.with_suffix(".json"), rows)
    lines = [
        "# HDPO: store-periods per second",
        "",
        *about_lines(rows, lambda row: row["name"]),
        "",
        f"The peer: the paper's own code in PyTorch, {', '.join(ALVO_PACKAGES)}; one training that has both cores.",
        "",
        "Median (least-greatest) over processes of each side, in turn. A store-period is one period of one store,"
        " forward and backward where a policy is trained. Ours are as many members as the table says, a core each at a"
        " time; time after compilation. `limit` is the matrix product rate of all cores, measured in the same run at"
        " the widest layer's shape, over the floating-point operations of a store-period's products.",
        "",
        "| case | members | jaxrl | reference | reference, a processor second | ratio | limit | of limit | compile s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(table_row, rows),
    ]
    lines += failures(rows, lambda row: row["name"], ("jaxrl", "alvo"))
    output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

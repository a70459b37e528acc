"""How fast PPO trains, side by side with Rejax at equal hyperparameters: ``make bench``.

Every measurement is a process of its own, the two sides in turn. Writes ``docs/results/ppo-speed.{md,json}``, and
leaves the rows there that it does not measure again.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import (
    REJAX_PACKAGES,
    REJAX_VENV,
    ROOT,
    comparison,
    failures,
    measure,
    rejax_python,
    spread,
    thousands,
)
from experiments.results import about, about_lines, with_earlier, write_rows
from jaxrl import use_all_cores

# Equal on both sides. Rejax's gradient clipping is per element, ours by global norm, as both papers' codes have it.
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"num_envs": 4, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "hidden_sizes": (64, 64)},
    "Breakout-MinAtar": {
        "num_envs": 64, "num_steps": 128, "num_epochs": 4, "num_minibatches": 8, "hidden_sizes": (64, 64),
    },
    "brax/hopper": {"num_envs": 64, "num_steps": 64, "num_epochs": 4, "num_minibatches": 8, "hidden_sizes": (64, 64)},
}  # fmt: skip
BUDGET = {"CartPole-v1": 2_500_000, "Breakout-MinAtar": 130_000, "brax/hopper": 250_000}
"""environment steps of all members together in one measurement, if these make up ``MINIMUM_UPDATES`` of each"""
MINIMUM_UPDATES = {"CartPole-v1": 16, "Breakout-MinAtar": 4, "brax/hopper": 8}
MEMBERS = {"CartPole-v1": (1, 8, 64, 256, 1024), "Breakout-MinAtar": (1, 8), "brax/hopper": (1, 8, 64)}
"""population sizes: those that two cores train in minutes"""
DEFAULT_EVALUATION_STEPS = 131_072
"""steps of each member in the comparison with evaluation on: Rejax's default length of a run"""


@dataclass
class Arguments:
    """What to measure."""

    envs: tuple[str, ...] = tuple(ENVIRONMENTS)
    """Environments."""
    members: tuple[int, ...] = ()
    """Population sizes, the same for all environments; by default what each can do in minutes on two cores."""
    repeats: int = 3
    """Processes of each side and size."""
    evaluation: tuple[int, ...] = (8, 64)
    """Population sizes at which both sides also run CartPole with their default evaluation."""
    rejax: bool = True
    """Whether to measure Rejax beside ours."""
    rejax_venv: Path = REJAX_VENV
    """Environment of Rejax; made if it is not there."""
    note: str = ""
    """What a reader of the table must know, such as what else is running."""
    timeout: float = 1800.0
    """Seconds after which a measurement is given up and reported as such."""
    output: Path = ROOT / "docs" / "results" / "ppo-speed"
    """Where the table and the figures go, without suffix."""


def main() -> None:
    """Measures, prints a row as soon as it is known, and writes the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    theirs = rejax_python(arguments.rejax_venv) if arguments.rejax else ""
    facts, rows = about("experiments.benchmarks.ppo_speed", arguments.note), []
    cases = [(env, members, False) for env in arguments.envs for members in arguments.members or MEMBERS[env]]
    cases += [("CartPole-v1", members, True) for members in arguments.evaluation]
    for env, members, evaluation in cases:
        steps = DEFAULT_EVALUATION_STEPS if evaluation else max(BUDGET[env] // members, minimum_steps(env))
        case = {"env": env, "members": members, "steps": steps, "evaluation": evaluation, **ENVIRONMENTS[env]}
        limit = measure(sys.executable, "measure_limit.py", case, arguments.timeout)
        sides: dict[str, list[dict[str, Any]]] = {"jaxrl": [], "rejax": []}
        for _ in range(arguments.repeats):
            sides["jaxrl"].append(measure(sys.executable, "measure_jaxrl.py", case, arguments.timeout))
            if theirs:
                sides["rejax"].append(measure(theirs, "measure_rejax.py", case, arguments.timeout))
        warm = measure_warm(case, arguments.timeout)
        rows.append({"case": case, "limit": limit, "warm": warm, **sides, "about": facts})
        print(table_row(rows[-1]), flush=True)
        write(arguments.output, rows)
    print(f"table: {arguments.output}.md")


def measure_warm(case: dict[str, Any], timeout: float) -> dict[str, Any]:
    """A short run of ours whose programs are in the compilation cache, left there by one before it."""
    case = case | {"steps": minimum_steps(case["env"])}
    with tempfile.TemporaryDirectory() as cache:
        measure(sys.executable, "measure_jaxrl.py", case, timeout, cache)
        return measure(sys.executable, "measure_jaxrl.py", case, timeout, cache)


def minimum_steps(env: str) -> int:
    """Steps of ``MINIMUM_UPDATES`` of one member."""
    return MINIMUM_UPDATES[env] * ENVIRONMENTS[env]["num_envs"] * ENVIRONMENTS[env]["num_steps"]


def table_row(row: dict[str, Any]) -> str:
    """One line of the table."""
    case, limit = row["case"], row["limit"].get("steps_per_second")

    def plain(figure, unit=1.0):
        return "-" if figure is None else f"{figure[0] / unit:.1f}"

    ours, theirs = spread(row["jaxrl"], "steps_per_second"), spread(row["rejax"], "steps_per_second")
    cells = [
        case["env"] + (", evaluation on" if case["evaluation"] else ""),
        str(case["members"]),
        thousands(ours),
        thousands(theirs),
        *comparison(ours, theirs, limit),
        plain(spread(row["jaxrl"], "compile_seconds")),
        plain(spread([row["warm"]], "compile_seconds")),
        plain(spread(row["rejax"], "compile_seconds")),
        plain(spread(row["jaxrl"], "peak_bytes"), 2**20),
        plain(spread(row["rejax"], "peak_bytes"), 2**20),
    ]
    return "| " + " | ".join(cells) + " |"


def name_of(row: dict[str, Any]) -> str:
    """What tells a row apart: environment, members, evaluation on or off."""
    case = row["case"]
    return f"{case['env']}{', evaluation on' if case['evaluation'] else ''}, {case['members']} members"


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    """Writes what is known so far."""
    rows = with_earlier(output.with_suffix(".json"), rows, name_of)
    write_rows(output.with_suffix(".json"), rows)
    envs = list(dict.fromkeys(row["case"]["env"] for row in rows))
    lines = [
        "# PPO: environment steps per second, learning included",
        "",
        *about_lines(rows, name_of),
        "",
        f"The peer: {', '.join(REJAX_PACKAGES)}.",
        "",
        "Median (least-greatest) over processes of each side, three unless the JSON beside this has other numbers, the"
        " sides in turn. Nothing is cached but in the column `cached`: the same with the programs in the cache. Steps"
        " of all members together over the time after compilation. Evaluation is off on both sides unless a row"
        " says otherwise; there each side has its own default (Rejax: 128 episodes every 4,096 steps; jaxrl: 16"
        " episodes ten times a run) and its time counts. Hyperparameters are equal: those of the table below. `limit`"
        " is the matrix product rate of all cores, measured in the same run at the minibatch's shapes, over the"
        " floating-point operations of a step: what a program that did nothing but its matrix products would reach."
        " Peak memory is the process's, in MiB.",
        "",
        "| environment | members | jaxrl steps/s | Rejax steps/s | ratio | limit | of limit | jaxrl compile s"
        " | cached s | Rejax compile s | jaxrl MiB | Rejax MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(table_row, rows),
        "",
        "| environment | settings of both |",
        "| --- | --- |",
        *(f"| {env} | {', '.join(f'{k} {v}' for k, v in ENVIRONMENTS[env].items())}, tanh |" for env in envs),
    ]
    lines += failures(rows, name_of, ("jaxrl", "rejax"))
    output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

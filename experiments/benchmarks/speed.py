"""What the speed tables of algorithms share: ours beside Rejax at equal hyperparameters, a process a measurement."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.benchmarks.peer import (
    REJAX_PACKAGES,
    REJAX_VENV,
    comparison,
    failures,
    measure,
    rejax_python,
    spread,
    thousands,
)
from experiments.results import about, about_lines, with_earlier, write_rows
from jaxrl import use_all_cores


@dataclass(frozen=True)
class Workload:
    """An environment, the hyperparameters that both sides train it with, and how much of it is measured.

    Attributes:
        hyperparameters: fields of the algorithm's dataclass; the others have their defaults.
        shown: what the table says of them; all of them by default.
        budget: environment steps of all members together, if these make up ``minimum_updates`` of each.
        members: population sizes, those that two cores train in minutes.
        rejax_members: the greatest population that Rejax is measured at.
    """

    env: str
    hyperparameters: Mapping[str, Any]
    budget: int
    minimum_updates: int
    members: tuple[int, ...]
    env_settings: Mapping[str, Any] = field(default_factory=dict)
    shown: str | None = None
    rejax_members: int = sys.maxsize

    def config(self, algorithm: str) -> dict[str, Any]:
        """Every hyperparameter."""
        import jaxrl

        return vars(getattr(jaxrl, algorithm)(**self.hyperparameters))


@dataclass
class Arguments:
    """What to measure."""

    workloads: tuple[str, ...] = ()
    """Rows of the table; all by default."""
    members: tuple[int, ...] = ()
    """Population sizes, the same for all; by default what each can do in minutes on two cores."""
    repeats: int = 3
    """Processes of each side and size."""
    evaluation: tuple[int, ...] = ()
    """Population sizes at which both sides also run CartPole with their default evaluation."""
    rejax: bool = True
    """Whether to measure Rejax beside ours."""
    rejax_venv: Path = REJAX_VENV
    """Environment of Rejax; made if it is not there."""
    note: str = ""
    """What a reader of the table must know, such as what else is running."""
    timeout: float = 1800.0
    """Seconds after which a measurement is given up and reported as such."""
    output: Path = Path()
    """Where the table and the figures go, without suffix."""


@dataclass(frozen=True)
class Table:
    """One table of speeds.

    Attributes:
        module: the command that makes it.
        algorithm: its class, of the same name in jaxrl and in Rejax.
        remarks: what its readers must know beside what holds for all tables.
        evaluation_steps: of each member where evaluation is on.
    """

    module: str
    algorithm: str
    workloads: Mapping[str, Workload]
    remarks: str = ""
    evaluation_steps: int = 0

    def make(self, arguments: Arguments) -> None:
        """Measures, prints a row as soon as it is known, and writes the table."""
        use_all_cores()
        theirs = rejax_python(arguments.rejax_venv) if arguments.rejax else ""
        facts, rows = about(self.module, arguments.note), []
        for name, members, evaluation in self.asked_for(arguments):
            case = self.case(name, members, evaluation)
            beside = theirs and members <= self.workloads[name].rejax_members
            limit = measure(sys.executable, "measure_limit", case, arguments.timeout)
            sides: dict[str, list[dict[str, Any]]] = {"jaxrl": [], "rejax": []}
            for _ in range(arguments.repeats):
                sides["jaxrl"].append(measure(sys.executable, "measure_jaxrl", case, arguments.timeout))
                if beside:
                    sides["rejax"].append(measure(theirs, "measure_rejax", case, arguments.timeout))
            warm = self.measure_warm(name, members, evaluation, arguments.timeout)
            rows.append({"case": case, "limit": limit, "warm": warm, **sides, "about": facts})
            print(table_row(rows[-1]), flush=True)
            self.write(arguments.output, rows)
        print(f"table: {arguments.output}.md")

    def asked_for(self, arguments: Arguments) -> list[tuple[str, int, bool]]:
        """Workload, members, and whether evaluation is on, of each row."""
        names = arguments.workloads or tuple(self.workloads)
        sizes = {name: arguments.members or self.workloads[name].members for name in names}
        rows = [(name, members, False) for name in names for members in sizes[name]]
        return rows + [("CartPole-v1", members, True) for members in arguments.evaluation]

    def case(self, name: str, members: int, evaluation: bool) -> dict[str, Any]:
        """What one measurement needs to know."""
        work = self.workloads[name]
        steps = self.evaluation_steps if evaluation else max(work.budget // members, self.minimum_steps(name))
        return {
            "name": name,
            "algorithm": self.algorithm,
            "env": work.env,
            "env_settings": dict(work.env_settings),
            "members": members,
            "steps": steps,
            "evaluation": evaluation,
            "config": work.config(self.algorithm),
        }

    def minimum_steps(self, name: str) -> int:
        """Steps of ``minimum_updates`` of one member."""
        work = self.workloads[name]
        config = work.config(self.algorithm)
        return work.minimum_updates * config["num_envs"] * config["num_steps"]

    def measure_warm(self, name: str, members: int, evaluation: bool, timeout: float) -> dict[str, Any]:
        """A short run of ours whose programs are in the compilation cache, left there by one before it."""
        case = self.case(name, members, evaluation) | {"steps": self.minimum_steps(name)}
        with tempfile.TemporaryDirectory() as cache:
            measure(sys.executable, "measure_jaxrl", case, timeout, cache)
            return measure(sys.executable, "measure_jaxrl", case, timeout, cache)

    def write(self, output: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Writes what is known so far."""
        rows = with_earlier(output.with_suffix(".json"), rows, name_of)
        write_rows(output.with_suffix(".json"), rows)
        names = list(dict.fromkeys(workload_of(row["case"]) for row in rows))
        lines = [
            f"# {self.algorithm}: environment steps per second, learning included",
            "",
            *about_lines(rows, name_of),
            "",
            f"The peer: {', '.join(REJAX_PACKAGES)}.",
            "",
            "Median (least-greatest) over processes of each side, three unless the JSON beside this has other numbers,"
            " the sides in turn. Nothing is cached but in the column `cached`: the same with the programs in the cache."
            " Steps of all members together over the time after compilation; `a processor second` is over the processor"
            " time of all threads in it, which other work on the machine changes less. Evaluation is off on both sides"
            f" unless a row says otherwise. {self.remarks} Hyperparameters are equal: those of the table below. `limit`"
            " is the matrix product rate of all cores, measured in the same run at the minibatch's shapes, over the"
            " floating-point operations of a step: what a program that did nothing but its matrix products would reach."
            " Peak memory is the process's, in MiB.",
            "",
            "| environment | members | jaxrl steps/s | Rejax steps/s | ratio | jaxrl a processor second"
            " | Rejax a processor second | limit | of limit | jaxrl compile s | cached s | Rejax compile s | jaxrl MiB"
            " | Rejax MiB |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *map(table_row, rows),
            "",
            "| environment | settings of both |",
            "| --- | --- |",
            *(f"| {name} | {settings(self.workloads[name])} |" for name in names if name in self.workloads),
        ]
        lines += failures(rows, name_of, ("jaxrl", "rejax"))
        output.with_suffix(".md").write_text("\n".join(lines) + "\n")


def settings(work: Workload) -> str:
    """The hyperparameters in words."""
    return work.shown or ", ".join(f"{name} {value}" for name, value in work.hyperparameters.items())


def table_row(row: dict[str, Any]) -> str:
    """One line of the table."""
    case, limit = row["case"], row["limit"].get("steps_per_second")

    def plain(figure, unit=1.0):
        return "-" if figure is None else f"{figure[0] / unit:.1f}"

    ours, theirs = spread(row["jaxrl"], "steps_per_second"), spread(row["rejax"], "steps_per_second")
    ratio, *limits = comparison(ours, theirs, limit)
    cells = [
        workload_of(case) + (", evaluation on" if case["evaluation"] else ""),
        str(case["members"]),
        thousands(ours),
        thousands(theirs),
        ratio,
        thousands(spread(row["jaxrl"], "steps_per_processor_second")),
        thousands(spread(row["rejax"], "steps_per_processor_second")),
        *limits,
        plain(spread(row["jaxrl"], "compile_seconds")),
        plain(spread([row["warm"]], "compile_seconds")),
        plain(spread(row["rejax"], "compile_seconds")),
        plain(spread(row["jaxrl"], "peak_bytes"), 2**20),
        plain(spread(row["rejax"], "peak_bytes"), 2**20),
    ]
    return "| " + " | ".join(cells) + " |"


def workload_of(case: Mapping[str, Any]) -> str:
    """Its name; rows of tables made before workloads had names are called by their environment."""
    return case.get("name", case["env"])


def name_of(row: Mapping[str, Any]) -> str:
    """What tells a row apart: workload, members, evaluation on or off."""
    case = row["case"]
    return f"{workload_of(case)}{', evaluation on' if case['evaluation'] else ''}, {case['members']} members"

"""Prior data of mixed quality, by SAC: ``python -m experiments.datasets brax/hopper runs/data/hopper``.

SAC is trained with one seed, and what it had learned after every thirtieth of the run is kept. Data sets are of uniform
actions (random), of the first of these policies that earns a third of what the trained one earns beyond uniform actions
(medium), of the trained policy (expert), of medium and expert in halves (medium-expert), of all that happened in the
training before medium was found (medium-replay) and of all of it (full-replay), in the way of D4RL (Fu et al. 2020).
Each is a folder that ``--prior`` reads; ``training`` is a run like any other, and ``references.json`` says what scores
are relative to.

Data sets of policies are of sampled actions and whole episodes. Returns that scores are relative to, and by which the
medium policy is found, are of actions without noise. Nothing that is written is made again by the same command.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command_line import (
    GOES_ON,
    Run,
    Whole,
    configure,
    exit_code,
    find_preset,
    or_none,
    parse,
    parse_settings,
    prepare_jax,
)
from experiments.prior_data import KINDS, MARGINS, Acceptance, Asked, PriorData
from jaxrl.errors import InvalidArgument, unknown


@dataclass(frozen=True)
class DataSets:
    """Trains SAC and writes data sets of mixed quality. Other options are hyperparameters of SAC, as of
    ``experiments.train sac``; its buffer keeps all steps."""

    env: tyro.conf.Positional[str]
    """Environment with continuous actions and a time limit: brax/hopper, Pendulum-v1, ..."""
    output: tyro.conf.Positional[Path]
    """Folder of the data sets, of the training and of what is measured. The same command goes on from what is there."""
    kinds: tuple[str, ...] = KINDS
    """Which data sets."""
    env_settings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...", help_behavior_hint="")] = ()
    """Settings of the environment as key=value: backend=generalized max_steps_in_episode=200."""
    rows: Whole = 1_000_000
    """Steps of each data set but the replayed ones, which are as large as they come. Its last episode is finished."""
    steps: Whole = None
    """Environment steps of the training; the preset's by default."""
    checkpoints: int = 30
    """Policies that are kept of the training, one of which is the medium one."""
    episodes: int = 1024
    """Episodes that each of the two returns is the mean of which scores are relative to, in whole batches of 256."""
    seed: int = 0
    """Of the training and of the data."""
    preset: Annotated[str | None, or_none("NAME")] = None
    """Hyperparameters to start from, such as sac/Pendulum-v1; by default those of the environment."""
    cores: Annotated[int | None, or_none("INT")] = None
    """CPU cores to use; all by default."""

    def check(self) -> None:
        """Raises InvalidArgument for values out of range, before jax is imported."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind", kind, KINDS)
        if not self.kinds:
            raise InvalidArgument("kinds", self.kinds, f"must be some of {', '.join(KINDS)}")
        for name in ("rows", "checkpoints", "episodes"):
            if (getattr(self, name) or 0) < 1:
                raise InvalidArgument(name, getattr(self, name), "must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise InvalidArgument("seed", self.seed, "must be within [0, 2**32)")
        if self.output.exists() and not self.output.is_dir():
            raise InvalidArgument("output", str(self.output), "must be a folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code, 1 if the data are not what their names promise."""
    return exit_code(command, argv, GOES_ON)


def command(argv: list[str]) -> int:
    if not argv or "-h" in argv or "--help" in argv:
        tyro.cli(DataSets, args=["--help"], prog="python -m experiments.datasets")
    options, hyperparameters = parse(DataSets, argv, prog="experiments.datasets")
    options.check()
    preset = find_preset("sac", options.env, options.preset)
    steps = preset.steps if options.steps is None else options.steps
    prepare_jax(Run(cores=options.cores), members=1)
    config = configure("sac", preset, hyperparameters, DataSets)
    env_settings = preset.env_settings | parse_settings(options.env_settings)
    if steps is None:
        raise InvalidArgument("steps", None, f"must be given: there is no preset for {options.env} to take it from")
    asked = Asked(
        options.env, env_settings, options.rows or 0, steps, options.checkpoints, options.episodes, options.seed
    )  # fmt: skip
    made = PriorData(asked, options.output, config)
    made.train()
    for kind in options.kinds:
        if (options.output / kind).exists():
            print(f"{kind} is there and is kept")
        else:
            made.write(kind)
    verdicts = show(made.accepted(kind) for kind in options.kinds)
    print(f"directory  {options.output}")
    return 0 if all(verdicts) else 1


def show(rows: Iterable[Acceptance]) -> list[bool]:
    """Prints the table, and says which data sets hold."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    names = ("steps", "episodes", "score", "no noise", "wanted", "ends", "NaN", "again", "")
    table, verdicts = Table(Column("kind", min_width=max(map(len, KINDS))), *names), []
    for row in rows:
        verdicts.append(row.holds)
        aim, margin = MARGINS.get(row.kind, (None, None))
        table.add_row(
            row.kind,
            f"{row.rows:,}",
            f"{row.episodes:,}",
            f"{row.score:.1f} ± {row.error:.1f}",
            "-" if row.greedy is None else f"{row.greedy:.1f}",
            "-" if aim is None else f"{aim:.3g} ± {margin:g}",
            f"{row.terminals:.3%}",
            str(row.not_finite),
            "-" if row.again is None else f"{row.again:.2g}",
            "holds" if row.holds else "falls short",
        )
    console.width = max(console.width, 120)
    console.print(table)
    print("score: of the data with its 95% interval; no noise: of the policy, which is what is wanted if there is one;")
    print("ends: steps that terminate; again: greatest difference of returns that are simulated again.")
    if not all(verdicts):
        print("More --checkpoints bring medium nearer to a third, more --steps to a plateau, more --rows random to 0.")
    return verdicts


if __name__ == "__main__":
    sys.exit(main())

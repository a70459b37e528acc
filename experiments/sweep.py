"""Trains many configs: ``python -m experiments.sweep ppo --env CartPole-v1 --seeds 16 --grid learning_rate=1e-4,1e-3``.

Configs that differ in floating-point hyperparameters alone are members of one compiled program. Those that differ in
the program's shape are parts: each an ordinary run in ``parts/``, trained one after the other or as Ray tasks.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
import tyro

from experiments import launchers, search_space, tpe
from experiments.command_line import (
    GOES_ON,
    Request,
    Run,
    algorithm_class,
    exit_code,
    or_none,
    understand,
    whole_number,
)
from experiments.parts import check, split
from jaxrl.errors import InvalidArgument

Texts = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUES ...", help_behavior_hint="")]


WAYS = ("grid", "random", "optuna")


@dataclass(frozen=True)
class Sweep(Run):
    """What is varied, beside what ``experiments.train`` takes. One of grid, random and optuna is needed."""

    grid: Texts = ()
    """Every combination: learning_rate=1e-4,3e-4 num_envs=4,16 hidden_sizes=64x64,128x128."""
    random: Annotated[tuple[str, ...], tyro.conf.arg(metavar="N NAME=RANGE ...", help_behavior_hint="")] = ()
    """N configs at random: 64 'learning_rate=log(1e-5,1e-2)' 'clip=uniform(0.1,0.3)' 'num_envs=int(2,16)'
    gamma=0.9,0.99."""
    optuna: Annotated[tuple[str, ...], tyro.conf.arg(metavar="N NAME=RANGE ...", help_behavior_hint="")] = ()
    """N configs that Optuna's TPE proposes from the results so far; the study is study.db in the directory."""
    batch: int = 8
    """Configs that Optuna proposes at a time, which are trained together."""
    halving: Annotated[int | None, or_none("FACTOR")] = None
    """Go on with the best 1/FACTOR of each part's configs only, at a few evaluations (successive halving)."""
    launcher: Literal["serial", "ray"] = "serial"
    """Where parts are trained: here, one after the other, or as tasks of a Ray cluster with a shared file system."""
    ray_address: Annotated[str | None, or_none("ADDRESS")] = None
    """Of the Ray cluster, such as auto or ray://host:10001; a local one is started by default."""
    ray_cpus: int = 1
    """CPU cores of each Ray task."""
    ray_gpus: float = 0.0
    """GPUs of each Ray task."""

    def check(self) -> None:
        super().check()
        given = " ".join(way for way in WAYS if getattr(self, way))
        if given not in WAYS:
            allowed = "give one of --grid, --random and --optuna, such as --grid gamma=0.9,0.99"
            raise InvalidArgument("sweep", given, allowed)
        if self.batch < 1:
            raise InvalidArgument("batch", self.batch, "must be at least 1")
        if self.coordinator is not None:
            raise InvalidArgument(
                "coordinator", self.coordinator, "must be left out; for many machines: --launcher ray"
            )
        if self.halving is not None and self.evaluate_every == 0:
            raise InvalidArgument("halving", self.halving, "needs evaluations, and evaluate_every=0 leaves none")

        if self.halving is not None and self.optuna:
            raise InvalidArgument(
                "halving", self.halving, "must be left out with optuna, which needs every final return"
            )

    def at_once(self, seeds: int) -> None:
        return None

    @property
    def way(self) -> str:
        """``grid``, ``random`` or ``optuna``."""
        return next(way for way in WAYS if getattr(self, way))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv, GOES_ON)


def command(argv: list[str]) -> int:
    request = understand("sweep", Sweep, argv)
    if request is None:
        return 0
    from jaxrl.engine.run_directory import RunDirectory

    run = request.run
    number, dimensions = what_is_varied(algorithm_class(request.algorithm), run)
    listed = {"grid": search_space.grid, "random": lambda some: search_space.draw(some, number), "optuna": lambda _: []}
    settings = dict(enumerate(listed[run.way](dimensions)))
    checked = settings or dict(enumerate(search_space.edges(dimensions)))
    for part in split(request.config, checked, run.env, request.training(), run.halving):
        keep = check(part)
        if keep is not None:
            print(f"{part}: halving leaves out {keep.saving:.0%} of the steps")
    print(f"preset {request.preset.name}")
    launch = launchers.LAUNCHERS[run.launcher](run)
    directory = RunDirectory.open(request.directory, description(request), resume=True, overwrite=run.overwrite)
    try:
        if run.way == "optuna":
            study = directory.path / "study.db"
            tpe.optimise(study, dimensions, number, run.batch, lambda some: trained(request, some, directory, launch))
        else:
            trained(request, settings, directory, launch)
        report(directory, [dimension.name for dimension in dimensions], request.steps)
    finally:
        directory.close()
    return 0


# --- what is varied ---------------------------------------------------------------------------------------------


def what_is_varied(algorithm: type, run: Sweep) -> tuple[int, list[search_space.Dimension]]:
    """How many configs, 0 for all of a grid, and their hyperparameters.

    Raises:
        UserError: for whatever is wrong in it.
    """
    texts = getattr(run, run.way)
    if run.way == "grid":
        return 0, search_space.space(algorithm, run.way, texts)
    try:
        number = whole_number(texts[0])
    except ValueError:
        number = 0
    if number < 1:
        raise InvalidArgument(run.way, texts[0], "must begin with the number of configs, such as 64 gamma=0.9,0.99")
    return number, search_space.space(algorithm, run.way, texts[1:])


def description(request: Request) -> dict[str, Any]:
    """What must be the same for a sweep to go on, as JSON has it. More of Optuna's trials may be asked for."""
    from jaxrl.engine.train import plain

    run, config = request.run, request.config
    return {
        "sweep": {
            "grid": run.grid,
            "random": run.random,
            "optuna": run.optuna[1:],
            "batch": run.batch if run.optuna else None,
            "halving": run.halving,
        },
        "algorithm": type(config).__name__,
        "config": {name: plain(getattr(config, name)) for name in config.__dataclass_fields__},
        "env": run.env,
        "env_settings": request.env_settings,
        "seeds": request.seeds,
        "steps": request.steps,
        "evaluate_every": run.evaluate_every,
        "evaluation_episodes": run.evaluation_episodes,
    }


# --- training it ------------------------------------------------------------------------------------------------


def trained(request: Request, settings: dict[int, dict[str, Any]], directory: Any, launch: Any) -> dict[int, float]:
    """Trains settings, but for the parts that are finished, and gives their scores by number.

    A part's rows come into the sweep's table when it is finished, numbered as in the sweep.
    """
    parts = split(request.config, settings, request.run.env, request.training(), request.run.halving)
    left = [part for part in parts if directory.rows(part.numbers[0]) is None]
    for message in directory.messages:
        print(message, file=sys.stderr)
    if len(left) < len(parts):
        print(f"{len(parts) - len(left)} of {len(parts)} parts are finished")
    for part, rows in launch(left):
        directory.write(part.numbers[0], rows)
    rows = pd.concat([directory.rows(part.numbers[0]) for part in parts])
    return scores(rows, request.steps).to_dict()


def scores(rows: pd.DataFrame, steps: int) -> pd.Series:
    """A config's score: the interquartile mean of its seeds' returns after all ``steps``; -inf where more than one in
    four turned non-finite, or successive halving gave it up."""
    from jaxrl.engine.figures import config_scores

    final = config_scores(rows.loc[rows["environment_steps"] >= steps])
    return final.reindex(sorted(rows["config"].unique()), fill_value=float("-inf"))


def report(directory: Any, names: list[str], steps: int) -> None:
    """Prints the best configs and writes the summary and the picture."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from jaxrl.engine.figures import configs_picture, final_intervals, short
    from jaxrl.engine.run_directory import read_metrics

    rows = read_metrics(directory.path)
    parts = [json.loads(file.read_text()) for file in sorted(directory.path.glob("parts/*/summary.json"))]
    seconds = {name: sum(part["seconds"][name] for part in parts) for name in parts[0]["seconds"]}
    steps_trained = int(rows.groupby("member")["environment_steps"].max().sum())
    best = final_intervals(rows, names, steps)
    directory.write_json(
        "summary.json",
        {
            "configs": int(rows["config"].nunique()),
            "members": int(rows["member"].nunique()),
            "best": json.loads(best.head(20).to_json(orient="records")),
            "frozen_members": int((rows.groupby("member")["frozen_at"].max() >= 0).sum()),
            "steps": steps_trained,
            "seconds": seconds,
            "steps_per_second": steps_trained / seconds["train"] if seconds["train"] else None,
        },
    )
    picture = configs_picture(directory.path, best, names)
    table = Table(*names, "final return, IQM [95%]", "seeds", "frozen")
    for row in best.head(10).to_dict("records"):
        final = "-" if np.isnan(row["value"]) else "{value:.4g} [{low:.4g}, {high:.4g}]".format(**row)
        table.add_row(*(short(row[name]) for name in names), final, str(row["seeds"]), str(row["frozen"]))
    Console().print(table)
    print(f"picture    {picture}")
    print(f"directory  {directory.path}")


if __name__ == "__main__":
    sys.exit(main())

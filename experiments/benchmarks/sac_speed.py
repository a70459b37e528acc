"""How fast SAC trains, side by side with Rejax at equal hyperparameters:
``python -m experiments.benchmarks.sac_speed [--algorithm TD3]``.

Every measurement is a process of its own, the two sides in turn. Writes ``docs/results/sac-speed.{md,json}`` or
``td3-speed``, and leaves the rows there that it does not measure again.
"""

from dataclasses import dataclass
from typing import Literal

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.benchmarks.speed import Arguments, Table, Workload
from experiments.command_line import find_preset

OWN = {"SAC": {"log_std_min": -10.0}, "TD3": {}}
"""what Rejax has fixed otherwise than the preset"""


@dataclass
class Choice:
    """Which algorithm, and what to measure."""

    algorithm: Literal["SAC", "TD3"] = "SAC"
    arguments: tyro.conf.OmitArgPrefixes[Arguments] = tyro.MISSING


if __name__ == "__main__":
    choice = tyro.cli(Choice, description=__doc__, default=Choice(arguments=Arguments()))
    if not choice.arguments.output.name:
        choice.arguments.output = ROOT / "docs" / "results" / f"{choice.algorithm.lower()}-speed"
    preset = find_preset(choice.algorithm.lower(), "Pendulum-v1", None)
    Table(
        module="experiments.benchmarks.sac_speed",
        algorithm=choice.algorithm,
        workloads={
            "Pendulum-v1": Workload(
                env="Pendulum-v1",
                hyperparameters=preset.hyperparameters | OWN[choice.algorithm],
                budget=0,
                minimum_updates=5_000,
                members=(1, 8, 64),
                rejax_members=64,
            )
        },
        remarks="Each member makes 5,000 steps, the first 1,000 of them without learning.",
    ).make(choice.arguments)

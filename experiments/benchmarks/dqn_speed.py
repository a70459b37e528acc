"""How fast DQN trains, side by side with Rejax at Rejax's hyperparameters:
``python -m experiments.benchmarks.dqn_speed``.

Every measurement is a process of its own, the two sides in turn. Writes ``docs/results/dqn-speed.{md,json}``, and
leaves the rows there that it does not measure again.
"""

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.benchmarks.speed import Arguments, Table, Workload
from experiments.command_line import find_preset

STEPS = 20_000
"""environment steps of each member: 5,000 of them before the first gradient step"""
CARTPOLE = find_preset("dqn", "CartPole-v1", None).hyperparameters
UPDATES = STEPS // CARTPOLE["num_envs"]
TABLE = Table(
    module="experiments.benchmarks.dqn_speed",
    algorithm="DQN",
    workloads={
        "CartPole-v1": Workload(
            env="CartPole-v1",
            hyperparameters=CARTPOLE,
            budget=0,
            minimum_updates=UPDATES,
            members=(1, 8, 64),
        ),
        "CartPole-v1, 10,000 transitions": Workload(
            env="CartPole-v1",
            hyperparameters=CARTPOLE | {"capacity": 10_000, "learning_starts": 100},
            shown="the same with capacity 10000, learning_starts 100 and 1,000 steps of each member",
            budget=0,
            minimum_updates=100,
            members=(1024,),
            rejax_members=0,
        ),
    },
    remarks="Each member makes 20,000 steps, the first 5,000 of them without learning, unless a row says otherwise.",
)

if __name__ == "__main__":
    TABLE.make(
        tyro.cli(
            Arguments,
            description=__doc__,
            default=Arguments(output=ROOT / "docs" / "results" / "dqn-speed"),
        )
    )

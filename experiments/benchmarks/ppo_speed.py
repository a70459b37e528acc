"""How fast PPO trains, side by side with Rejax at equal hyperparameters: ``make bench``.

Every measurement is a process of its own, the two sides in turn. Writes ``docs/results/ppo-speed.{md,json}``, and
leaves the rows there that it does not measure again.
"""

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.benchmarks.speed import Arguments, Table, Workload

# Equal on both sides. Rejax's gradient clipping is per element, ours by global norm, as both papers' codes have it.
TABLE = Table(
    module="experiments.benchmarks.ppo_speed",
    algorithm="PPO",
    workloads={
        "CartPole-v1": Workload(
            env="CartPole-v1",
            hyperparameters={
                "num_envs": 4, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "hidden_sizes": (64, 64),
                "activation": "tanh",
            },
            budget=2_500_000,
            minimum_updates=16,
            members=(1, 8, 64, 256, 1024),
        ),
        "Breakout-MinAtar": Workload(
            env="Breakout-MinAtar",
            hyperparameters={
                "num_envs": 64, "num_steps": 128, "num_epochs": 4, "num_minibatches": 8, "hidden_sizes": (64, 64),
                "activation": "tanh",
            },
            budget=130_000,
            minimum_updates=4,
            members=(1, 8),
        ),
        "brax/hopper": Workload(
            env="brax/hopper",
            env_settings={"backend": "spring"},
            hyperparameters={
                "num_envs": 64, "num_steps": 64, "num_epochs": 4, "num_minibatches": 8, "hidden_sizes": (64, 64),
                "activation": "tanh",
            },
            budget=250_000,
            minimum_updates=8,
            members=(1, 8, 64),
        ),
    },
    remarks="Where it is on each side has its own default (Rejax: 128 episodes every 4,096 steps; jaxrl: 16 episodes"
    " ten times a run) and its time counts.",
    evaluation_steps=131_072,  # Rejax's default length of a run
)  # fmt: skip

if __name__ == "__main__":
    TABLE.make(
        tyro.cli(
            Arguments,
            description=__doc__,
            default=Arguments(evaluation=(8, 64), output=ROOT / "docs" / "results" / "ppo-speed"),
        )
    )

"""SAC against known answers and Rejax: ``python -m experiments.reproduce.sac [--quick] [--seeds N]``.

The quick checks are exact: values that critics learn on the probe environments with a temperature of nearly 0. Without
``--quick``, SAC is trained on Pendulum and held against a bound, and there and on Brax's robots against Rejax's SAC at
the same hyperparameters.
"""

import sys

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.returns import SMALL_ROBOT, Training, probe, reproduce
from experiments.reproduce.table import Row

LIKE_REJAX = ("--log-std-min", "-10")
TRAININGS = {
    "Pendulum-v1": Training("Pendulum-v1", -180.0),
    "Pendulum-v1 in half the steps": Training("Pendulum-v1", "Rejax", LIKE_REJAX, steps=10_000),
    **{
        f"{robot} with layers of 64": Training(robot, "Rejax", (*SMALL_ROBOT, *LIKE_REJAX), seeds=8, steps=50_000)
        for robot in ("brax/hopper", "brax/halfcheetah")
    },
}


def probes() -> list[Row]:
    """Values learnt where they are known: through a time limit, and not through a termination."""
    from jaxrl import SAC

    config = SAC(
        num_envs=8, batch_size=64, capacity=8192, learning_starts=512, update_to_data=0.25, gamma=0.8,
        actor_learning_rate=3e-3, critic_learning_rate=1e-2, target_rate=0.1, temperature=1e-3, hidden_sizes=(16,),
        activation="tanh",
    )  # fmt: skip

    def critic(config, env, env_params):
        values = config.agent(env, env_params).critics.values
        return lambda params, obs: values(params["critics"], obs[None], None)[0, 0].max()

    return [probe(config, name, critic, updates=600, margin=0.05) for name in ("truncates", "terminates")]


if __name__ == "__main__":
    sys.exit(
        reproduce(
            "experiments.reproduce.sac", __doc__, "sac", TRAININGS, (probes,), ROOT / "docs" / "results" / "sac-returns"
        )
    )

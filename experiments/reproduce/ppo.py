"""PPO against known answers, bounds and Rejax: ``python -m experiments.reproduce.ppo [--quick] [--seeds N]``.

The quick checks are exact: generalised advantages worked out by hand, and the values that critics learn on the probe
environments. Without ``--quick``, the presets are trained at their full budget and judged by greedy episodes; where
there is no agreed bound, Rejax is trained beside them at the same budget and the same hyperparameters as far as it has
them (no annealing, no convolution, its default gradient clipping per element).
"""

import sys
from functools import partial

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.returns import Training, probe, reproduce
from experiments.reproduce.table import Row, exact

# Seeds and steps that two cores train in minutes on either side.
TRAININGS = {
    "CartPole-v1": Training("CartPole-v1", 495.0),
    "Acrobot-v1": Training("Acrobot-v1", -90.0),
    "Pendulum-v1": Training("Pendulum-v1", -250.0),
    "MountainCarContinuous-v0": Training("MountainCarContinuous-v0", "Rejax"),
    "Breakout-MinAtar": Training("Breakout-MinAtar", "Rejax", seeds=4, steps=300_000),
    "brax/hopper": Training("brax/hopper", "Rejax", seeds=8, steps=500_000),
}


def advantages() -> list[Row]:
    """Three steps, r = 1, gamma = 0.5, lambda = 0.5, v = 0: the end of the second by termination or by a time limit."""
    import jax.numpy as jnp

    from jaxrl.advantages.returns import generalised_advantage

    ones, zeros = jnp.ones(3), jnp.zeros(3)
    cut = jnp.array([0.0, 1.0, 0.0])
    value, next_value = jnp.array([2.0, 4.0, 8.0]), jnp.array([4.0, 6.0, 10.0])
    rows = []
    # delta = r + gamma discount v' - v, A_0 = delta_0 + gamma lambda delta_1, and nothing of step 2 comes back
    # past the cut.
    for name, discount, expected in (
        ("termination", jnp.array([1.0, 0.0, 1.0]), (1 + 2 - 2) + 0.25 * (1 - 4)),
        ("time limit", ones, (1 + 2 - 2) + 0.25 * (1 + 3 - 4)),
    ):
        advantage = generalised_advantage(ones, 0.5 * discount, cut, value, next_value, jnp.float32(0.5))
        rows.append(exact(f"advantage before a {name}", float(advantage[0]), expected, 1e-6))
    no_cut = generalised_advantage(ones, 0.5 * ones, zeros, zeros, zeros, jnp.float32(1.0))
    rows.append(exact("advantage with lambda = 1 is the return", float(no_cut[0]), 1 + 0.5 + 0.25, 1e-6))
    return rows


def probes() -> list[Row]:
    """Values that the critic learns where they are known."""
    from jaxrl import PPO
    from jaxrl.policies.networks import actor_critic

    config = PPO(
        learning_rate=3e-3, gamma=0.9, num_envs=8, num_steps=32, hidden_sizes=(16,), entropy_coefficient=0.0,
        anneal_learning_rate=True,
    )  # fmt: skip

    def critic(config, env, env_params):
        network, _ = actor_critic(config, env, env_params, shared=config.shared_torso)
        return partial(network.apply, method="critic")

    return [
        probe(config, name, critic, updates=150, margin=0.02)
        for name in ("constant", "discount", "terminates", "truncates")
    ]


if __name__ == "__main__":
    sys.exit(
        reproduce(
            "experiments.reproduce.ppo",
            __doc__,
            "ppo",
            TRAININGS,
            (advantages, probes),
            ROOT / "docs" / "results" / "ppo-returns",
        )
    )

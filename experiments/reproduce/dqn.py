"""DQN and its relatives against known answers, Rejax, random play: ``python -m experiments.reproduce.dqn [--quick]``.

The quick checks are exact: projections and targets worked out by hand, and values that agents learn on the probe
environments. Without ``--quick``, DQN is trained on CartPole beside Rejax's at the same hyperparameters (which are
Rejax's; gradients are clipped by their norm here and per element there), and QR-DQN and C51 on MinAtar's Breakout.
"""

import sys

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.returns import INTRODUCTION, Training, probe, reproduce
from experiments.reproduce.table import Row, exact

# A small budget for one computer: a gradient step for every four environment steps, as on Atari, where the preset makes
# one for each; the target network is copied after as many environment steps as there, and exploration falls sooner.
SMALL = ("--num-updates", "2", "--target-every", "250", "--exploration-fraction", "0.5")
TRAININGS = {
    "CartPole-v1": Training("CartPole-v1", "Rejax", seeds=64, steps=20_000),
    "QR-DQN, Breakout-MinAtar": Training(
        "Breakout-MinAtar", "random play", (*SMALL, "--space", "quantiles"), seeds=16, steps=100_000
    ),
    "C51, Breakout-MinAtar": Training(
        "Breakout-MinAtar", "random play", (*SMALL, "--space", "categorical"), seeds=16, steps=100_000
    ),
}


def targets() -> list[Row]:
    """Two actions worth 2 and 3 to the target network; the online one prefers the first; r = 1, gamma = 0.5."""
    import jax.numpy as jnp

    from jaxrl.losses.q_learning import categorical_projection, expected_target, greedy_policy

    q_t, online = jnp.array([2.0, 3.0]), jnp.array([5.0, 4.0])
    r_t, discount_t = jnp.float32(1), jnp.float32(0.5)
    support, certain = jnp.array([0.0, 1.0, 2.0]), jnp.ones(1)
    shared_out = categorical_projection(jnp.array([1.25]), certain, support)
    beyond = categorical_projection(jnp.array([7.0]), certain, support)
    return [
        exact("target", float(expected_target(r_t, discount_t, q_t, greedy_policy(q_t))), 1 + 0.5 * 3, 1e-6),
        exact("double target", float(expected_target(r_t, discount_t, q_t, greedy_policy(online))), 1 + 0.5 * 2, 1e-6),
        exact("target at a termination", float(expected_target(r_t, 0 * discount_t, q_t, greedy_policy(q_t))), 1, 1e-6),
        exact("share of a return of 1.25 that the atom at 2 gets", float(shared_out[2]), 0.25, 1e-6),
        exact("share of a return of 7 that the atom at 2 gets", float(beyond[2]), 1.0, 1e-6),
    ]


def probes() -> list[Row]:
    """Values learnt where they are known: through a time limit, and not through a termination."""
    from jaxrl import DQN

    config = DQN(
        learning_rate=1e-2, gamma=0.8, num_envs=8, num_updates=2, batch_size=32, capacity=512, learning_starts=64,
        target_every=10, hidden_sizes=(16,), activation="tanh", anneal_learning_rate=True, epsilon_end=0.1, v_min=-2.0,
        v_max=6.0, num_atoms=33, num_quantiles=8,
    )  # fmt: skip
    kinds = {
        "DQN": config,
        "C51": config.replace(space="categorical"),
        "QR-DQN": config.replace(space="quantiles", huber_threshold=0.1),
    }

    def critic(config, env, env_params):
        values = config.critic(env, env_params).values
        return lambda params, obs: values(params, obs).max()

    rows = []
    for name, kind in kinds.items():
        row = probe(kind, "truncates", critic, updates=400, margin=0.05)
        rows.append(Row(**{**vars(row), "name": f"{row.name}, {name}"}))
    return rows


if __name__ == "__main__":
    sys.exit(
        reproduce(
            "experiments.reproduce.dqn",
            __doc__,
            "dqn",
            TRAININGS,
            (targets, probes),
            ROOT / "docs" / "results" / "dqn-returns",
            f"{INTRODUCTION} On Breakout each seed makes two gradient steps in eight environment steps, and exploration"
            " falls over half of its budget; random play is judged by as many episodes.",
        )
    )

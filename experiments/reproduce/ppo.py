"""PPO against known answers, bounds and Rejax: ``python -m experiments.reproduce.ppo [--quick] [--seeds N]``.

The quick checks are exact: generalised advantages worked out by hand, and the values that critics learn on the probe
environments. Without ``--quick``, the presets are trained at their full budget and judged by greedy episodes; where
there is no agreed bound, Rejax is trained beside them at the same budget and the same hyperparameters as far as it has
them (no annealing, no convolution, its default gradient clipping per element).
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import tyro

from experiments.benchmarks.peer import REJAX_VENV, ROOT, measure, rejax_python
from experiments.command_line import configure, find_preset
from experiments.reproduce.table import Row, at_least, exact, exit_status, not_worse, show, write
from experiments.results import about, write_rows
from jaxrl import use_all_cores

BOUNDS = {"CartPole-v1": 495.0, "Acrobot-v1": -90.0, "Pendulum-v1": -250.0}
# Seeds and steps that two cores train in minutes on either side; None is the preset's budget.
PEERS = {"MountainCarContinuous-v0": (32, None), "Breakout-MinAtar": (4, 300_000), "brax/hopper": (8, 500_000)}
INTRODUCTION = (
    "Returns are of 16 greedy episodes of each seed at the end of training; interquartile means over seeds with 95%"
    " bootstrap intervals. The presets were chosen on seeds 1000 and above, the figures are of seeds 0 and above."
)
RESULTS = ROOT / "docs" / "results" / "ppo-returns"


@dataclass
class Arguments:
    """What to check."""

    quick: bool = False
    """Only the exact checks: under a minute."""
    envs: tuple[str, ...] = (*BOUNDS, *PEERS)
    """Environments of the full run."""
    seeds: int | None = None
    """Seeds of each environment; 32 by default, or as many as two cores train in minutes beside Rejax."""
    steps: int | None = None
    """Environment steps of each seed; by default the preset's, or what two cores train in minutes beside Rejax."""
    json: Path | None = None
    """Write the rows here too."""
    rejax_venv: Path = REJAX_VENV
    """Environment of Rejax; made if it is not there."""
    timeout: float = 7200.0
    """Seconds that Rejax may take for an environment."""


def main() -> int:
    """Prints the table; 1 if an exact check fails."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    facts = about("experiments.reproduce.ppo")  # now: the tree may change while this runs
    rows = [*advantages(), *probes()]
    if not arguments.quick:
        for env in arguments.envs:
            rows.append(returns(env, arguments))
            show("PPO so far", rows[-1:])
            write(RESULTS, "PPO: what it reaches", INTRODUCTION, rows, facts)
    show("PPO", rows)
    if arguments.json:
        write_rows(arguments.json, [asdict(row) | {"about": facts} for row in rows])
    return exit_status(rows)


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
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxrl import PPO, make, train
    from jaxrl.policies.networks import actor_critic

    config = PPO(
        learning_rate=3e-3, gamma=0.9, num_envs=8, num_steps=32, hidden_sizes=(16,), entropy_coefficient=0.0,
        anneal_learning_rate=True,
    )  # fmt: skip
    rows = []
    for name in ("constant", "discount", "terminates", "truncates"):
        env = make(f"probe/{name}-v0")
        params = env.default_params
        result = train(config, env, seeds=8, updates=150, evaluate_every=0)
        network, _ = actor_critic(config, env, params, shared=config.shared_torso)
        obs, _ = env.reset_env(jax.random.key(0), params)
        critic = jax.vmap(partial(network.apply, method="critic"), in_axes=(0, None))
        learned = critic(result.states.learner.params, obs)
        known = float(env.value(obs, jnp.float32(0.9), params))
        rows.append(
            exact(
                f"value of the first state of probe/{name}", float(np.median(learned)), known, 0.02 * abs(known) + 0.02
            )
        )
    return rows


def returns(env: str, arguments: Arguments) -> Row:
    """Greedy returns of a preset after its whole budget."""
    from jaxrl import train
    from jaxrl.engine.sinks import Progress

    preset = find_preset("ppo", env, None)
    config = configure("ppo", preset, [])
    seeds, steps = PEERS.get(env, (32, None))
    seeds, steps = arguments.seeds or seeds, arguments.steps or steps or preset.steps
    result = train(
        config,
        env,
        env_settings=preset.env_settings,
        seeds=seeds,
        steps=steps,
        evaluate_every=steps,
        sinks=[Progress()],
    )
    ours = result.metrics["evaluation_return"][:, -1]
    name = f"{env}, {int(result.environment_steps[-1]):,} steps"
    if env in BOUNDS:
        return at_least(name, ours, BOUNDS[env])
    case = {
        "env": env, "env_settings": preset.env_settings, "seeds": seeds, "steps": int(result.environment_steps[-1]),
        "num_envs": config.num_envs, "num_steps": config.num_steps, "num_epochs": config.num_epochs,
        "num_minibatches": config.num_minibatches, "hidden_sizes": config.hidden_sizes, "activation": config.activation,
        "learning_rate": config.learning_rate, "gamma": config.gamma, "gae_lambda": config.gae_lambda,
        "clip": config.clip, "entropy_coefficient": config.entropy_coefficient, "max_grad_norm": config.max_grad_norm,
        "value_coefficient": config.value_coefficient, "normalise_observations": config.normalise_observations,
        "scale_rewards": config.scale_rewards,
    }  # fmt: skip
    theirs = measure(rejax_python(arguments.rejax_venv), "measure_rejax_returns.py", case, arguments.timeout)
    if "failed" in theirs:
        row = at_least(name, ours, float("-inf"), "peer")
        return Row(**{**vars(row), "reference": "Rejax", "verdict": f"not testable here: {theirs['failed']}"})
    return not_worse(f"{name}, beside Rejax", ours, theirs["returns"])


if __name__ == "__main__":
    sys.exit(main())

"""What the tables of returns share: presets trained and judged, beside a bound, Rejax or random play."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.benchmarks.peer import REJAX_VENV, measure, rejax_python
from experiments.command_line import configure, find_preset
from experiments.reproduce.table import Row, above, at_least, exact, exit_status, not_worse, show, write
from experiments.results import about, write_rows
from jaxrl import use_all_cores

EPISODES = 16
INTRODUCTION = (
    f"Returns are of {EPISODES} greedy episodes of each seed at the end of training; interquartile means over seeds"
    " with 95% bootstrap intervals. Presets were chosen on seeds 1000 and above, the figures are of seeds 0 and above."
)
SMALL_ROBOT = ("--hidden-sizes", "64", "64", "--learning-starts", "5_000", "--capacity", "50_000")
"""off-policy on Brax in minutes of two cores: 50,000 steps, all kept, and layers of 64 instead of 256"""


@dataclass(frozen=True)
class Training:
    """A preset to train, and what its returns are held against: a bound, Rejax, or uniformly random play.

    Attributes:
        options: hyperparameters that differ from the preset's, as on the command line.
        steps: of each seed; None for the preset's.
    """

    env: str
    reference: float | Literal["Rejax", "random play"]
    options: tuple[str, ...] = ()
    seeds: int = 32
    steps: int | None = None


@dataclass
class Arguments:
    """What to check."""

    quick: bool = False
    """Only the exact checks: under a minute."""
    trainings: tuple[str, ...] = ()
    """Rows of the full run; all by default."""
    seeds: int | None = None
    """Seeds of each training; by default as many as two cores train in minutes."""
    steps: int | None = None
    """Environment steps of each seed; by default the preset's, or what two cores train in minutes."""
    directory: Path | None = None
    """Keep the runs there: the same command goes on from what is there."""
    json: Path | None = None
    """Write the rows here too."""
    rejax_venv: Path = REJAX_VENV
    """Environment of Rejax; made if it is not there."""
    timeout: float = 7200.0
    """Seconds that Rejax may take for a training."""


def reproduce(
    module: str,
    description: str | None,
    algorithm: str,
    trainings: Mapping[str, Training],
    checks: Sequence[Callable[[], list[Row]]],
    output: Path,
    introduction: str = INTRODUCTION,
) -> int:
    """The command ``python -m module``: prints the table; 1 if an exact check fails.

    Args:
        algorithm: of the command line, such as ``ppo``.
        checks: what makes the exact rows.
        output: of the full run, without suffix.
    """
    arguments = tyro.cli(Arguments, description=description)
    use_all_cores()
    facts = about(module)  # now: the tree may change while this runs
    title = f"{algorithm.upper()}: what it reaches"
    rows = [row for check in checks for row in check()]
    if not arguments.quick:
        for name in arguments.trainings or tuple(trainings):
            rows.append(judge(algorithm, name, trainings[name], arguments))
            show(f"{algorithm.upper()} so far", rows[-1:])
            write(output, title, introduction, rows, facts)
    show(algorithm.upper(), rows)
    if arguments.json:
        write_rows(arguments.json, [asdict(row) | {"about": facts} for row in rows])
    return exit_status(rows)


def judge(algorithm: str, name: str, training: Training, arguments: Arguments) -> Row:
    """Greedy returns at the end of a training, beside its reference."""
    preset = find_preset(algorithm, training.env, None)
    config = configure(algorithm, preset, list(training.options))
    seeds = arguments.seeds or training.seeds
    steps = arguments.steps or training.steps or preset.steps
    assert steps is not None, f"the preset {preset.name} has no steps"
    directory = arguments.directory and arguments.directory / name
    ours, steps = final_returns(config, training.env, preset.env_settings, seeds, steps, directory)
    name = f"{name}, {steps:,} steps"
    if training.reference == "random play":
        return above(f"{name}, beside random play", ours, random_returns(training.env, preset.env_settings, seeds))
    if training.reference != "Rejax":
        return at_least(name, ours, training.reference)
    case = {
        "algorithm": algorithm.upper(), "env": training.env, "env_settings": preset.env_settings, "seeds": seeds,
        "steps": steps, "config": vars(config),
    }  # fmt: skip
    theirs = measure(rejax_python(arguments.rejax_venv), "measure_rejax_returns", case, arguments.timeout)
    if "failed" in theirs:
        row = at_least(name, ours, float("-inf"), "peer")
        return Row(**{**vars(row), "reference": "Rejax", "verdict": f"not testable here: {theirs['failed']}"})
    return not_worse(f"{name}, beside Rejax", ours, theirs["returns"])


def final_returns(
    config: Any, env: str, env_settings: Mapping[str, Any], seeds: int, steps: int, directory: Path | None = None
) -> tuple[np.ndarray, int]:
    """``[seeds]`` greedy returns at the end of a training, and the environment steps of each."""
    from jaxrl import train
    from jaxrl.engine.sinks import Progress

    result = train(
        config,
        env,
        env_settings=env_settings,
        seeds=seeds,
        steps=steps,
        evaluate_every=steps,
        evaluation_episodes=EPISODES,
        directory=directory,
        sinks=[Progress()],
    )
    return result.metrics["evaluation_return"][:, -1], int(result.environment_steps[-1])


def random_returns(env_id: str, env_settings: Mapping[str, Any], seeds: int) -> np.ndarray:
    """``[seeds]`` mean returns of uniformly random actions, as many episodes each as a trained agent is judged by."""
    import jax

    from jaxrl import make
    from jaxrl.engine.evaluate import evaluate
    from jaxrl.sources.random_play import uniform_policy

    env = make(env_id, **env_settings)
    params = env.default_params
    policy = jax.vmap(uniform_policy(env.action_space(params)))

    def play(keys):
        return evaluate(policy, env, params, keys, EPISODES, params.max_steps_in_episode)["evaluation_return"]

    return np.asarray(jax.jit(play)(jax.random.split(jax.random.key(0), seeds)))


def probe(config: Any, name: str, critic: Callable[..., Any], updates: int, margin: float) -> Row:
    """The value of the first state of a probe environment, median of 8 seeds, beside the exact one.

    Args:
        critic: ``(config, env, env_params) -> (params, obs) -> value``.
        margin: of the exact value's size, and as much of 1.
    """
    import jax
    import jax.numpy as jnp

    from jaxrl import make, train

    env = make(f"probe/{name}-v0")
    params = env.default_params
    result = train(config, env, seeds=8, updates=updates, evaluate_every=0)
    obs, _ = env.reset_env(jax.random.key(0), params)
    learned = jax.vmap(critic(config, env, params), in_axes=(0, None))(network_of(result), obs)
    known = float(env.value(obs, jnp.float32(config.gamma), params))
    row = f"value of the first state of probe/{name}"
    return exact(row, float(np.median(learned)), known, margin * abs(known) + margin)


def network_of(result: Any) -> Any:
    """The networks' parameters that a training ended with, ``[members, ...]``."""
    from jaxrl.core.combine import layers

    *_, learner = layers(result.states.learner)
    return learner.params

"""MDPO against known answers, and beside PPO, TRPO and SAC: ``python -m experiments.reproduce.mdpo [--quick]``.

The quick checks are exact: the closed forms of mirror descent. Without ``--quick``, the presets are trained on Pendulum
and on Brax's hopper at one budget on-policy and at one off-policy, and what the paper claims of them is held against
what they reach.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.command_line import configure, find_preset
from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.returns import SMALL_ROBOT, final_returns
from experiments.reproduce.table import Row, above, not_worse

TASKS = {"Pendulum-v1": (300_000, 10_000), "brax/hopper": (300_000, 50_000)}
"""environment steps of each seed, on-policy and off-policy"""


@dataclass
class Sizes(Arguments):
    """What to check."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Environments of the full run."""
    seeds: int | None = None
    """Of each training; 16 on Pendulum and 8 on a robot by default."""


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    from experiments.reproduce.mirror_descent import closed_forms

    yield closed_forms()
    if not arguments.quick:
        for env in arguments.tasks:
            yield comparisons(env, arguments.seeds or (8 if env.startswith("brax/") else 16))


def comparisons(env: str, seeds: int) -> Iterable[Row]:
    """What is claimed of MDPO, in one environment."""
    on_policy, off_policy = TASKS[env]

    def returns(algorithm: str, steps: int, *options: str) -> np.ndarray:
        preset = find_preset(algorithm, env, None)
        config = configure(algorithm, preset, list(options))
        return final_returns(config, env, preset.env_settings, seeds, steps)[0]

    mdpo, where = returns("mdpo", on_policy), f"{env}, {on_policy:,} steps"
    one = returns("mdpo", on_policy, "--num-policy-steps", "1")
    yield above(f"{where}: 10 gradient steps an iteration, beside 1", mdpo, one)
    yield not_worse(f"{where}: MDPO, beside PPO", mdpo, returns("ppo", on_policy))
    yield not_worse(f"{where}: MDPO, beside TRPO", mdpo, returns("trpo", on_policy))
    where, options = f"{env} with layers of 64, {off_policy:,} steps", SMALL_ROBOT if env.startswith("brax/") else ()
    soft = returns("soft-mdpo", off_policy, *options)
    yield not_worse(f"{where}: off-policy MDPO, beside SAC", soft, returns("sac", off_policy, *options))


INTRODUCTION = (
    "Returns are of 16 greedy episodes of each seed at the end of training; interquartile means over seeds with 95%"
    " bootstrap intervals. The paper's figures are on MuJoCo's tasks at 20 and more times the steps, and cannot be"
    " compared with Brax's, whose dynamics and rewards are others."
)

if __name__ == "__main__":
    sys.exit(
        reproduce_parts(
            "mdpo", __doc__, "MDPO: known answers, and beside PPO, TRPO and SAC", INTRODUCTION, parts, Sizes
        )
    )

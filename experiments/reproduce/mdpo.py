"""MDPO against known answers, and beside PPO, TRPO and SAC: ``python -m experiments.reproduce.mdpo [--quick]``.

The quick checks are exact: the closed forms of mirror descent. Without ``--quick``, the presets are trained on Pendulum
at one budget on-policy and at one off-policy, and what the paper claims of them is held against what they reach.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.command_line import configure, find_preset
from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.mirror_descent import closed_forms
from experiments.reproduce.returns import final_returns
from experiments.reproduce.table import Row, above, not_worse

ENV = "Pendulum-v1"
ON_POLICY, OFF_POLICY = 300_000, 10_000
"""environment steps of each seed"""


@dataclass
class Sizes(Arguments):
    """What to check."""

    seeds: int = 16
    """Of each training."""


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    yield closed_forms()
    if arguments.quick:
        return

    def returns(algorithm: str, steps: int, *options: str) -> np.ndarray:
        preset = find_preset(algorithm, ENV, None)
        config = configure(algorithm, preset, list(options))
        return final_returns(config, ENV, preset.env_settings, arguments.seeds, steps)[0]

    mdpo = returns("mdpo", ON_POLICY)
    where = f"{ENV}, {ON_POLICY:,} steps"
    one = returns("mdpo", ON_POLICY, "--num-policy-steps", "1")
    yield [above(f"{where}: 10 gradient steps an iteration, beside 1", mdpo, one)]
    yield [not_worse(f"{where}: MDPO, beside PPO", mdpo, returns("ppo", ON_POLICY))]
    yield [not_worse(f"{where}: MDPO, beside TRPO", mdpo, returns("trpo", ON_POLICY))]
    where = f"{ENV}, {OFF_POLICY:,} steps"
    soft = returns("soft-mdpo", OFF_POLICY)
    yield [not_worse(f"{where}: off-policy MDPO, beside SAC", soft, returns("sac", OFF_POLICY))]


INTRODUCTION = (
    "Returns are of 16 greedy episodes of each seed at the end of training; interquartile means over seeds with 95%"
    " bootstrap intervals. MuJoCo's tasks, on which the paper's figures are, are not part of this table."
)

if __name__ == "__main__":
    sys.exit(
        reproduce_parts(
            "mdpo", __doc__, "MDPO: known answers, and beside PPO, TRPO and SAC", INTRODUCTION, parts, Sizes
        )
    )

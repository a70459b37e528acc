"""GoRL against known answers, PPO and its own ablations: ``python -m experiments.reproduce.gorl [--quick]``.

The quick checks are exact or of a known law: decoders without weights, what refinement keeps and what it cannot make,
gradients, divergences and a bound in the space of latents. Without ``--quick`` runs of four stages are set beside PPO
with the same encoder and tanh and as many environment steps, those of the decoders' data included; beside decoders that
are trained on the encoder's own latents; and beside encoders that are not begun anew.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.command_line import configure, find_preset
from experiments.reproduce.gorl_known import KNOWN
from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.table import Row, above, at_least

ENVS = ("brax/hopper", "brax/halfcheetah", "Pendulum-v1")
EPISODES = 32
INTRODUCTION = (
    f"Returns are of {EPISODES} greedy episodes of each seed, of the best encoder so far of a stage; interquartile"
    " means over seeds with 95% bootstrap intervals. PPO has GoRL's encoder, a tanh, one stage, and the environment"
    " steps of the decoders' data on top. The paper's figures are on MuJoCo Playground's tasks after 180 million steps,"
    " and cannot be compared with these."
)


@dataclass
class Sizes(Arguments):
    """What to check."""

    parts: tuple[str, ...] = ("stages", "noise", "restarts")
    """Comparisons of the full run: beside PPO, other noise for the decoder, encoders that go on."""
    envs: tuple[str, ...] = ENVS
    """Where."""
    decoders: tuple[str, ...] = ("flow", "diffusion")
    """Which decoders are set beside PPO; the ablations are of the first."""
    seeds: int = 8
    """Of each training."""
    first_seed: int = 0
    """Pilots take 1000."""
    steps: int | None = None
    """Environment steps of each seed; by default the preset's."""
    tile: int | None = None
    """Seeds that each core trains in one call."""
    options: tuple[str, ...] = ()
    """Hyperparameters that differ from the preset's, as on the command line."""


# --- trainings --------------------------------------------------------------------------------------------------


def trained(env: str, arguments: Sizes, changes: Mapping[str, Any], extra: int = 0) -> np.ndarray:
    """``[seeds, stages]`` returns at the ends of the stages of a training, whose lengths are whole numbers.

    Args:
        changes: of the preset's configuration.
        extra: environment steps more than that of others.
    """
    from jaxrl import train
    from jaxrl.engine.sinks import Progress

    preset = find_preset("gorl", env, None)
    config = configure("gorl", preset, list(arguments.options)).replace(**changes)
    steps = arguments.steps or preset.steps
    assert steps is not None, f"the preset {preset.name} has no steps"
    # Judged as often as there are units in the stages' lengths, so that every stage ends with a judgement.
    units, per_update = round(sum(config.stages)), config.num_envs * config.num_steps
    updates = -(-(steps + extra) // (per_update * units)) * units
    result = train(
        config,
        env,
        env_settings=preset.env_settings,
        seeds=range(arguments.first_seed, arguments.first_seed + arguments.seeds),
        updates=updates,
        evaluate_every=updates // units * per_update,
        evaluation_episodes=EPISODES,
        tile=arguments.tile,
        sinks=[Progress()],
    )
    seconds = {what: f"{spent:.0f}" for what, spent in result.seconds.items()}
    print(f"{env} {dict(changes)}: {arguments.seeds} seeds, seconds {seconds}", flush=True)
    return result.metrics["evaluation_return"][:, np.rint(np.cumsum(config.stages)).astype(int) - 1]


class Trainings:
    """Trainings of this call, each made once."""

    def __init__(self, arguments: Sizes):
        self.arguments, self.found = arguments, {}

    def __call__(self, env: str, extra: int = 0, **changes: Any) -> np.ndarray:
        """See ``trained``."""
        name = repr((env, extra, sorted(changes.items())))
        if name not in self.found:
            self.found[name] = trained(env, self.arguments, changes, extra)
        return self.found[name]


def stages(returns: Trainings, env: str) -> Iterator[Row]:
    """Whether stages go on where the last ended, and end above PPO."""
    arguments = returns.arguments
    config = configure("gorl", find_preset("gorl", env, None), list(arguments.options))
    extra = (len(config.stages) - 1) * config.refinement_rows
    gaussian = returns(env, extra, stages=(1.0,), latent_penalty=0.0)[:, -1]
    for kind in arguments.decoders:
        ours = returns(env, decoder=kind)
        means = ours.mean(axis=0)
        ends = ", ".join(f"{mean:.4g}" for mean in means)
        rises = float((np.diff(means) >= 0).sum())
        name = f"{env}, GoRL with a {kind}"
        where = f"boundaries that mean returns at the stages' ends ({ends}) rise at"
        yield at_least(f"{name}: {where}", [rises], 2, "claim")
        yield above(f"{name}, beside PPO: return", ours[:, -1], gaussian)


def noise(returns: Trainings, env: str) -> Iterator[Row]:
    """Decoders trained on any noise, beside those trained on the encoder's own latents."""
    kind = returns.arguments.decoders[0]
    own = returns(env, decoder=kind, refinement_noise="encoder")
    name = f"{env}, GoRL with a {kind}: return, decoder trained on any noise beside on the encoder's latents"
    yield above(name, returns(env, decoder=kind)[:, -1], own[:, -1])


def restarts(returns: Trainings, env: str) -> Iterator[Row]:
    """Encoders that are begun anew in every stage, beside those that go on."""
    kind = returns.arguments.decoders[0]
    same = returns(env, decoder=kind, reinitialise=False)
    name = f"{env}, GoRL with a {kind}: return, encoders begun anew beside the same one throughout"
    yield above(name, returns(env, decoder=kind)[:, -1], same[:, -1])


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    for part in KNOWN:
        yield part()
    if not arguments.quick:
        returns = Trainings(arguments)
        for env in arguments.envs:
            for name in arguments.parts:
                yield {"stages": stages, "noise": noise, "restarts": restarts}[name](returns, env)


if __name__ == "__main__":
    title = "GoRL: known answers, stages, and what its parts are for"
    sys.exit(reproduce_parts("gorl", __doc__, title, INTRODUCTION, parts, Sizes))

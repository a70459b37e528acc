"""Watch a trained member: ``python -m experiments.play runs/cartpole --member 3``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command_line import Run, exit_code, or_none, parse_all, prepare_jax
from jaxrl.errors import InvalidArgument, UserError


@dataclass(frozen=True)
class Play:
    """Plays episodes with a trained member and writes them as GIF or MP4, or as a page (.html) for Brax."""

    directory: tyro.conf.Positional[Path]
    """Of the run or the sweep."""
    member: Annotated[int | None, or_none("INT")] = None
    """Which member; the best one at the last evaluation by default."""
    episodes: int = 1
    """How many, one after the other."""
    output: Annotated[Path | None, or_none("FILE")] = None
    """Where to: .gif, .mp4 or, for Brax, .html; by default play/member-N in the run's directory."""
    steps: Annotated[int | None, or_none("INT")] = None
    """Longest episode; the environment's own limit by default."""
    seed: int = 0
    """Of the episodes."""
    sample: bool = False
    """Act as in training, at random, instead of greedily."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    options = parse_all(Play, argv, "experiments.play")
    if options.episodes < 1:
        raise InvalidArgument("episodes", options.episodes, "must be at least 1")
    if options.steps is not None and options.steps < 1:
        raise InvalidArgument("steps", options.steps, "must be at least 1")
    if not 0 <= options.seed < 2**32:
        raise InvalidArgument("seed", options.seed, "must be within [0, 2**32)")
    prepare_jax(Run(), members=1)

    from experiments import viewers
    from jaxrl.engine.loading import find_member

    number, run, member = find_member(options.directory, options.member)
    viewer = viewers.episode_viewer(run.request)
    steps = options.steps or viewers.step_limit(run)
    if steps is None:
        raise InvalidArgument("steps", None, f"must be given: episodes of {run.request['env']} have no limit")
    output = options.output
    if viewer is not None:
        output = output or options.directory / "play" / f"member-{number}{viewers.suffixes(viewer)[0]}"
        viewers.check_output(viewer, output)
    elif output is not None:
        raise UserError(
            f"output={str(output)!r}: no viewer draws {run.request['env']}; experiments/viewers.py says how to add one"
        )

    episodes = viewers.record(
        run, member, steps=steps, seed=options.seed, episodes=options.episodes, greedy=not options.sample
    )
    chosen = ", the best" if options.member is None else ""
    print(f"member {number}{chosen}, seed {run.population.seed[run.place(member)]}, after {run.updates} updates")
    if (update := run.frozen_at(member)) is not None:
        print(f"turned non-finite at update {update}; plays as it was before")
    for number, episode in enumerate(episodes):
        print(f"episode {number}  return {episode.total:g}  length {episode.length}  {episode.ended}")
    if viewer is None:
        print(f"no viewer draws {run.request['env']}; experiments/viewers.py says how to add one")
        return 0
    assert output is not None
    viewers.write(viewer, run, member, episodes, output)
    print(f"file       {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

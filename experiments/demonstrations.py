"""Mediocre demonstrations of two ways through a maze: ``python -m experiments.demonstrations runs/demonstrations``.

A walker that knows the maze takes either corridor with probability 1/2, its actions have noise added and are clipped,
and a share of its episodes is cut at a random step before the goal. Writes a data set that ``--prior`` reads.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.command_line import Run, exit_code, parse_all, prepare_jax
from jaxrl.errors import InvalidArgument

ENV = "control/point-maze-v0"


@dataclass(frozen=True)
class Demonstrations:
    """Writes demonstrations in control/point-maze-v0 as a data set."""

    output: tyro.conf.Positional[Path]
    """Its folder, which must not be there yet."""
    episodes: int = 200
    """How many."""
    cut: float = 0.4
    """Share of them that ends before the goal."""
    noise: float = 0.3
    """Standard deviation of what is added to each coordinate of an action, in half-widths of the action space."""
    seed: int = 0
    """Of starts, ways, noise and cuts."""

    def check(self) -> None:
        """Raises InvalidArgument for values out of range."""
        if self.output.exists():
            raise InvalidArgument("output", str(self.output), "must not exist")
        if self.episodes < 1:
            raise InvalidArgument("episodes", self.episodes, "must be at least 1")
        if not 0 <= self.cut <= 1:
            raise InvalidArgument("cut", self.cut, "must be within [0, 1]")
        if not 0 <= self.noise < float("inf"):
            raise InvalidArgument("noise", self.noise, "must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise InvalidArgument("seed", self.seed, "must be within [0, 2**32)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    options = parse_all(Demonstrations, argv, "experiments.demonstrations")
    options.check()
    prepare_jax(Run(), members=1)
    from jaxrl.sources.dataset import save

    data = demonstrations(options.episodes, options.cut, options.noise, options.seed)
    save(data, options.output)
    reached = int((np.asarray(data.transitions.discount) == 0).sum())
    print(f"{options.output}: {len(data.episode):,} steps of {options.episodes} episodes, {reached} at the goal")
    return 0


def demonstrations(episodes: int = 200, cut: float = 0.4, noise: float = 0.3, seed: int = 0) -> Any:
    """The data set, ``DataSet``; see ``Demonstrations``. Episodes that are cut end as at a time limit."""
    import jax

    from experiments.reproduce.returns import random_returns
    from jaxrl.core.types import Transition
    from jaxrl.sources.dataset import Card, DataSet

    steps, terminated, lengths = jax.device_get(walks(episodes, noise, seed))
    random = np.random.default_rng(seed)
    shortened = random.permutation(episodes) < round(cut * episodes)
    ends = np.where(shortened, random.integers(1, np.maximum(lengths, 2)), lengths)
    kept = np.arange(steps["reward"].shape[1]) < ends[:, None]
    last = np.arange(steps["reward"].shape[1]) == ends[:, None] - 1
    rows = {name: each[kept] for name, each in steps.items()}
    discount, cuts = 1 - terminated[kept].astype(np.float32), last[kept].astype(np.float32)
    transitions = Transition(rows["obs"], rows["action"], rows["reward"], discount, cuts, rows["next_obs"], {})
    behaviour = f"a walker with noise of {noise:g}, {cut:.0%} of its episodes cut"
    walker, uniform = float(terminated.any(axis=1).mean()), float(random_returns(ENV, {}, 8).mean())
    number = np.repeat(np.arange(episodes), ends)
    return DataSet(Card(ENV, behaviour, uniform, walker, seed=seed), transitions, number)


def walks(episodes: int, noise: float, seed: int) -> Any:
    """A dict of ``obs``, ``action``, ``reward`` and ``next_obs``, ``[episodes, T, ...]``, whether a step ended at the
    goal, ``[episodes, T]``, and lengths, ``[episodes]``; what follows an end means nothing."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.control.maze import walk

    from jaxrl import make

    env = make(ENV)
    params = env.default_params

    def one(key):
        reset_key, way_key, noise_key = jax.random.split(key, 3)
        obs, state = env.reset_env(reset_key, params)
        down_first = jax.random.bernoulli(way_key)

        def step(carry, draw):
            obs, state, running = carry
            action = jnp.clip(walk(obs, down_first) + noise * draw, -1.0, 1.0)
            after, state, reward, ended, _ = env.step_env(noise_key, state, action, params)
            taken = {"obs": obs, "action": action, "reward": reward, "next_obs": after}
            return (after, state, running & ~ended), (taken, running & ended, running)

        draws = jax.random.normal(noise_key, (params.max_steps_in_episode, 2))
        _, (taken, ended, running) = jax.lax.scan(step, (obs, state, jnp.bool_(True)), draws)
        return taken, ended, running.sum()

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), episodes))


if __name__ == "__main__":
    sys.exit(main())

"""The protocol of prior data: one training of SAC, references of scores, and what each kind of data is made of.

``experiments.datasets`` is the command.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.progress import Bar
from jaxrl.errors import InvalidArgument, UserError

KINDS = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
TRAINING, REFERENCES = "training", "references.json"
TRAINING_EPISODES = 16
"""of each evaluation while training, which is there to be looked at"""
BATCH = 256
"""episodes that are played at once; one batch tells whether a policy is medium"""
HOW = ("uniform", "greedy", "sampled")
MEDIUM = 100 / 3
MARGINS = {"random": (0.0, 2.0), "medium": (MEDIUM, 8.0), "expert": (100.0, 5.0)}
"""scores, and how far from them is accepted"""
SIMULATED_AGAIN = 10_000
"""first steps of a data set that are simulated once more"""
STREAM = 2**32 - 2
"""what keys of data are made of beside the seed, so that they are none of the training's"""


@dataclass(frozen=True)
class Asked:
    """What data sets are of.

    Attributes:
        env, env_settings: an environment with continuous actions and a time limit, as ``make`` takes it.
        rows: steps of each data set but the replayed ones.
        steps: environment steps of the training.
        checkpoints: policies that are kept of it.
        episodes: that each of the returns is the mean of which scores are relative to, in whole batches of 256.
        seed: of the training and of the data.
    """

    env: str
    env_settings: dict[str, Any]
    rows: int
    steps: int
    checkpoints: int
    episodes: int
    seed: int


@dataclass(frozen=True)
class References:
    """What was measured of a training: mean returns of actions without noise, and which policy is the medium one."""

    random_return: float
    expert_return: float
    medium_return: float
    medium_updates: int
    medium_steps: int
    expert_updates: int
    expert_steps: int


@dataclass(frozen=True)
class Acceptance:
    """What a data set is, beside what it is to be.

    Attributes:
        score, error: mean score of its episodes that ended, and half the width of its 95% interval.
        greedy: score of its policy without noise, in episodes of their own; None where there is no such policy.
        terminals: share of steps that end an episode other than by the time limit.
        not_finite: how many numbers are not.
        again: greatest difference between returns and those simulated again from the seed; None where nothing is.
    """

    kind: str
    rows: int
    episodes: int
    score: float
    error: float
    greedy: float | None
    terminals: float
    not_finite: int
    again: float | None

    @property
    def holds(self) -> bool:
        """Whether the score is where it is to be, without noise if there is such a score, everything is finite, and the
        seed gives the same returns again."""
        aim, margin = MARGINS.get(self.kind, (0.0, np.inf))
        score = self.score if self.greedy is None else self.greedy
        right = self.kind not in MARGINS or abs(score - aim) <= margin
        return right and not self.not_finite and self.again in (None, 0.0)


class PriorData:
    """Makes data sets of one environment, ``output/KIND``; what is there already is not made again.

    Args:
        output: their folder, with the training in ``training`` and what was measured of it in ``references.json``.
        config: SAC's hyperparameters; its buffer is made to keep all steps.

    Raises:
        UserError: for what cannot be made, or a folder of other data sets.
    """

    def __init__(self, asked: Asked, output: Path, config: Any):
        from jaxrl import make
        from jaxrl.policies.control import check_bounded

        self.asked, self.output = asked, output
        self.env = make(asked.env, **asked.env_settings)
        self.params = self.env.default_params
        check_bounded(self.env, self.params)
        if getattr(self.params, "max_steps_in_episode", None) is None:
            raise InvalidArgument("env", asked.env, "must have a time limit")
        if asked.steps < asked.checkpoints:
            raise InvalidArgument("steps", asked.steps, f"must be at least checkpoints={asked.checkpoints}")
        if config.offline:
            raise InvalidArgument("offline", True, "must be False: the data are of a training in the environment")
        self.config = config.replace(capacity=max(asked.steps, config.batch_size), store_successors=True)
        self.config.check(self.env, self.params)
        self.check_output()

    def check_output(self) -> None:
        """Raises InvalidArgument if the folder holds data sets of something else."""
        from jaxrl.engine.run_directory import differences
        from jaxrl.sources.dataset import read_card

        there = [kind for kind in KINDS if (self.output / kind).exists()]
        file = self.output / REFERENCES
        if not file.exists():
            if there:
                allowed = f"holds the data set {there[0]}, and no {REFERENCES} that it is of"
                raise InvalidArgument("output", str(self.output), allowed)
            return
        others = differences(json.loads(file.read_text())["asked"], json.loads(json.dumps(asdict(self.asked))))
        if others:
            raise InvalidArgument("output", str(self.output), f"holds other data sets: {'; '.join(others)}")
        for kind in there:
            held, own = asdict(read_card(self.output / kind)), asdict(self.card(kind))
            others = differences(held | {"versions": None}, own | {"versions": None})
            if others:
                raise InvalidArgument("output", str(self.output / kind), f"has another card: {'; '.join(others)}")

    def train(self) -> None:
        """Trains, or goes on, or finds that all is done."""
        from jaxrl import train
        from jaxrl.engine.sinks import Progress

        result = train(
            self.config,
            self.asked.env,
            env_settings=self.asked.env_settings,
            seeds=[self.asked.seed],
            steps=self.asked.steps,
            evaluate_every=-(-self.asked.steps // self.asked.checkpoints),
            evaluation_episodes=TRAINING_EPISODES,
            directory=self.output / TRAINING,
            keep_learners=True,
            sinks=[Progress()],
        )
        if result.frozen:
            raise UserError(f"seed={self.asked.seed}: the training turned non-finite")

    @cached_property
    def run(self) -> Any:
        """The training, with its buffer."""
        from jaxrl import load_run

        run = load_run(self.output / TRAINING)
        if run.learners[-1:] != [run.updates]:
            raise UserError(f"output={str(self.output)!r}: its {TRAINING} has no learners kept; overwrite or move it")
        return run

    # --- policies and what they earn ----------------------------------------------------------------------------

    @cached_property
    def act(self) -> Callable[..., Any]:
        """``((how, state), obs[N, ...], key) -> action[N, ...]``, ``how`` a place in ``HOW``: one policy, so that
        playing is compiled once."""
        import jax

        from jaxrl.sources.random_play import uniform_policy

        algorithm, uniform = self.run.algorithm(0), uniform_policy(self.env.action_space(self.params))
        ways = {
            "uniform": lambda state, obs, key: uniform(obs, key),
            "greedy": lambda state, obs, key: algorithm.policy(state, obs, key, greedy=True),
            "sampled": lambda state, obs, key: algorithm.policy(state, obs, key, greedy=False),
        }

        def act(acting, obs, key):
            how, state = acting
            return jax.lax.switch(how, [ways[name] for name in HOW], state, obs, key)

        return act

    def acting(self, how: str, updates: int) -> Any:
        """What ``act`` acts by, as the learner was after so many updates."""
        return np.int32(HOW.index(how)), self.run.at(updates).member_state(0)._replace(source=())

    @cached_property
    def collect(self) -> Callable[..., Any]:
        """``(acting, key, rows, progress) -> Episodes``."""
        from jaxrl.sources.collect import collector

        return collector(self.act, self.env, self.params)

    @cached_property
    def play(self) -> Callable[..., Any]:
        """``(acting, key) -> [BATCH] returns``, compiled."""
        import jax

        from jaxrl.engine.evaluate import returns_of

        act = self.act  # made outside of the trace

        def play(acting, key):
            return returns_of(lambda obs, key: act(acting, obs, key), self.env, self.params, key, BATCH)

        return jax.jit(play)

    def mean_return(self, how: str, updates: int, word: int, batches: int) -> float:
        """Of so many batches of episodes.

        Args:
            word: of the key.
        """
        acting = self.acting(how, updates)
        return float(np.mean([self.play(acting, self.keyed(word, batch)).mean() for batch in range(batches)]))

    def keyed(self, *words: int) -> Any:
        """A key of its own for each use."""
        import jax

        from jaxrl.core import random

        key = random.key(self.asked.seed)
        for word in (STREAM, *words):
            key = jax.random.fold_in(key, word)
        return key

    @cached_property
    def references(self) -> References:
        """Measured, or read where they have been."""
        from jaxrl.engine.run_directory import provenance

        file = self.output / REFERENCES
        if file.exists():
            return References(**json.loads(file.read_text())["references"])
        found = self.measured()
        content = {"asked": asdict(self.asked), "references": asdict(found), "made_with": provenance()}
        temporary = file.with_suffix(".writing")
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, file)
        return found

    def measured(self) -> References:
        """The references, from the policies that were kept.

        Raises:
            UserError: if what was learned earns no more than uniform actions.
        """
        learners, steps = self.run.learners, self.run.algorithm(0).steps_per_update
        last = learners[-1]
        with Bar("returns of policies") as progress:

            def earned(done, how, updates, batches):
                progress(done, 2 + len(learners))
                return self.mean_return(how, updates, min(done, 2), batches)

            random, expert = (earned(done, how, last, self.batches) for done, how in enumerate(("uniform", "greedy")))
            if not random < expert < np.inf:
                raise UserError(
                    f"steps={self.asked.steps}: must be more: what was learned earns {expert:.5g}, uniform actions"
                    f" {random:.5g}"
                )
            medium, found = last, expert
            for done, medium in enumerate(learners, start=2):
                found = earned(done, "greedy", medium, 1)
                if found >= random + MEDIUM / 100 * (expert - random):
                    break
            progress(1, 1)
        return References(random, expert, found, medium, medium * steps, last, last * steps)

    @property
    def batches(self) -> int:
        """Of episodes that a reference is the mean of."""
        return -(-self.asked.episodes // BATCH)

    # --- data sets ----------------------------------------------------------------------------------------------

    def write(self, kind: str) -> None:
        """Makes a data set and writes it, as a whole or not at all."""
        from jaxrl.sources.dataset import DataSet, save

        card = self.card(kind)  # before: what scores are relative to may refuse the training
        rows = self.replayed(kind) if kind.endswith("replay") else self.played(kind, self.asked.rows)
        save(DataSet(card, rows.transitions, rows.episode), self.output / kind)

    def played(self, kind: str, rows: int, title: str = "") -> Any:
        """``Episodes`` of a policy; fewer rows are the first episodes of more.

        Args:
            title: of the progress bar, the kind by default.
        """
        from jaxrl.sources.collect import joined

        if kind == "medium-expert":
            return joined(self.played("medium", -(-rows // 2)), self.played("expert", -(-rows // 2)))
        how, found = "uniform" if kind == "random" else "sampled", self.references
        acting = self.acting(how, found.medium_updates if kind == "medium" else found.expert_updates)
        with Bar(title or kind) as progress:
            return self.collect(acting, self.keyed(3, KINDS.index(kind)), rows, progress)

    def replayed(self, kind: str) -> Any:
        """``Episodes`` of what the buffer held, the last one of each environment as far as it came."""
        import jax

        from jaxrl.sources.collect import in_episodes
        from jaxrl.sources.replay import contents

        steps = self.config.num_steps
        held = contents(self.run.member_state(0).source, steps)
        if kind == "medium-replay":
            held = jax.tree.map(lambda leaf: leaf[: self.references.medium_updates * steps], held)
        return in_episodes(held)

    def card(self, kind: str) -> Any:
        """What stands on the card of a kind."""
        from jaxrl.engine.run_directory import provenance
        from jaxrl.sources.dataset import Card, backend_of

        found = self.references
        steps = {"random": 0, "medium": found.medium_steps, "medium-replay": found.medium_steps}.get(
            kind, found.expert_steps
        )
        medium, expert = (f"SAC after {each:,} steps" for each in (found.medium_steps, found.expert_steps))
        behaviour = {
            "random": "uniform actions",
            "medium": f"{medium}, sampled actions",
            "medium-replay": f"what {medium} had replayed",
            "medium-expert": f"half {medium}, half {expert}, sampled actions",
            "expert": f"{expert}, sampled actions",
            "full-replay": f"what {expert} had replayed",
        }[kind]
        return Card(
            self.env.name,
            behaviour,
            found.random_return,
            found.expert_return,
            backend_of(self.env),
            self.asked.seed,
            steps,
            provenance()["versions"],
        )

    def accepted(self, kind: str) -> Acceptance:
        """A data set as it is on disk, held against what it is to be."""
        from jaxrl.sources.collect import Episodes
        from jaxrl.sources.dataset import load

        card, transitions, episode = load(self.output / kind, self.env)
        returns = Episodes(transitions, episode).returns()
        scores, greedy, again = card.score(returns), None, None
        if kind in MARGINS:
            first = self.played(kind, min(self.asked.rows, SIMULATED_AGAIN), f"{kind} again").returns()
            again = float(np.abs(first - returns[: len(first)]).max())
        if kind in ("medium", "expert"):
            updates = getattr(self.references, f"{kind}_updates")
            greedy = float(card.score(self.mean_return("greedy", updates, 4 + KINDS.index(kind), self.batches)))
        arrays = (transitions.obs, transitions.action, transitions.reward, transitions.next_obs)
        many = len(scores) > 1
        return Acceptance(
            kind,
            rows=len(episode),
            episodes=len(scores),
            score=float(scores.mean()) if len(scores) else float("nan"),
            error=float(1.96 * scores.std(ddof=1) / len(scores) ** 0.5) if many else float("nan"),
            greedy=greedy,
            terminals=float((transitions.discount == 0).mean()),
            not_finite=sum(int((~np.isfinite(array)).sum()) for array in arrays),
            again=again,
        )

"""Trained networks of combinatorial problems: of runs, and in folders of their own with a card that says what they are.

``docs/results/models`` has those that come with jaxrl, by the name of their problem.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.peer import ROOT
from jaxrl import BQ, POMO, make
from jaxrl.core.combine import layers
from jaxrl.engine.checkpoint import LEAVES, named_leaves, read
from jaxrl.engine.loading import exported, load_run, rebuild_config
from jaxrl.errors import UserError
from jaxrl.policies.constructors import process_of

MODELS = ROOT / "docs" / "results" / "models"
CARD = "model.json"


class Model(NamedTuple):
    """A trained network."""

    problem: str
    """its name: tsp, atsp, cvrp, op or kp"""
    config: BQ | POMO
    env: Any
    """that it was trained in, a quotient or a direct process"""
    params: Any
    card: dict[str, Any]
    """with ``about`` its training"""


def save_model(
    directory: Path,
    problem: str,
    settings: dict[str, Any],
    config: BQ | POMO,
    params: Any,
    about: dict[str, Any],
    prefix: str = "quotient/",
) -> None:
    """Writes a model into a folder, over one that is there.

    Args:
        settings: of the instances that it was trained on.
        params: of one member.
        about: its training: when, with what, what it reaches.
        prefix: of the environment that it was trained in, before ``combinatorial/``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    leaves: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    np.savez(directory / LEAVES, **leaves)
    plain = dataclasses.asdict(dataclasses.replace(config, labels=None) if isinstance(config, BQ) else config)
    card = {"algorithm": type(config).__name__, "problem": problem, "prefix": prefix, "settings": settings}
    card |= {"config": plain, "about": about}
    (directory / CARD).write_text(json.dumps(card, indent=2) + "\n")


def load_model(directory: Path) -> Model:
    """Reads a model, or the best member of a run.

    Raises:
        UserError: for a folder without one, or one that this version cannot read.
    """
    if (directory / "config.json").is_file():
        return of_run(directory)
    if not (directory / CARD).is_file():
        raise UserError(f"model={str(directory)!r}: has neither a {CARD} nor a run")
    card = json.loads((directory / CARD).read_text())
    kind = exported(card["algorithm"])
    defaults = dataclasses.asdict(kind())  # of options that are younger than the model
    config = rebuild_config(directory, card | {"config": defaults | card["config"]}, kind)
    env = make(f"{card.get('prefix', 'quotient/')}combinatorial/{card['problem']}-v0", **card["settings"])
    shapes = jax.eval_shape(config.policy(env).init, jax.random.key(0))
    try:
        params = read(directory, shapes)
    except (OSError, ValueError) as error:
        raise UserError(f"model={str(directory)!r}: its parameters cannot be read ({error})") from error
    return Model(card["problem"], config, env, params, card)


def of_run(directory: Path) -> Model:
    """The best member of a run of ``bq`` or ``pomo``."""
    run = load_run(directory)
    if not isinstance(run.config, BQ | POMO):
        raise UserError(f"model={str(directory)!r}: must be a run of bq or pomo")
    member = run.best_member()
    *_, learner = layers(run.member_state(member).learner)
    name = process_of(run.env).problem.name
    return Model(
        name, run.member(member), run.env, learner.params, {"about": {"run": str(directory), "member": member}}
    )

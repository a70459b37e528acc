"""Trained networks of combinatorial problems in folders of their own: parameters, and a card that says what they are.

``docs/results/models`` has those that come with jaxrl, by the name of their problem.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.peer import ROOT
from jaxrl import BQ, make
from jaxrl.engine.checkpoint import LEAVES, named_leaves, read
from jaxrl.engine.loading import rebuild_config
from jaxrl.errors import UserError

MODELS = ROOT / "docs" / "results" / "models"
CARD = "model.json"


class Model(NamedTuple):
    """A trained network."""

    problem: str
    """its name: tsp, atsp, cvrp, op or kp"""
    config: BQ
    env: Any
    """the quotient that it was trained in"""
    params: Any
    card: dict[str, Any]
    """with ``settings`` of the instances, and ``about`` its training"""


def save_model(
    directory: Path, problem: str, settings: dict[str, Any], config: BQ, params: Any, about: dict[str, Any]
) -> None:
    """Writes a model into a folder, over one that is there.

    Args:
        settings: of the instances that it was trained on.
        params: of one member.
        about: its training: when, with what, what it reaches.
    """
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / LEAVES, **{name: np.asarray(leaf) for name, leaf in named_leaves(params).items()})
    plain = dataclasses.asdict(dataclasses.replace(config, labels=None))
    card = {"algorithm": "BQ", "problem": problem, "settings": settings, "config": plain, "about": about}
    (directory / CARD).write_text(json.dumps(card, indent=2) + "\n")


def load_model(directory: Path) -> Model:
    """Reads a model.

    Raises:
        UserError: for a folder without one, or one that this version cannot read.
    """
    if not (directory / CARD).is_file():
        raise UserError(f"model={str(directory)!r}: has no {CARD}")
    card = json.loads((directory / CARD).read_text())
    config = rebuild_config(directory, card, BQ)
    env = make(f"quotient/combinatorial/{card['problem']}-v0", **card["settings"])
    shapes = jax.eval_shape(config.policy(env).init, jax.random.key(0))
    try:
        params = read(directory, shapes)
    except (OSError, ValueError) as error:
        raise UserError(f"model={str(directory)!r}: its parameters cannot be read ({error})") from error
    return Model(card["problem"], config, env, params, card)

"""Parts of a sweep: the configs that one compiled program trains, each part an ordinary run of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.search_space import members_apart


@dataclass(frozen=True)
class Part:
    """Configs that one program trains, as a worker process needs to know them.

    Attributes:
        config: the algorithm's dataclass, varied floating-point fields as vectors.
        numbers: of its configs in the sweep, in the order of the vectors.
        columns: the static hyperparameters that the sweep varies, with their values here.
        training: arguments of ``jaxrl.train``.
        halving: the factor of successive halving, if it is asked for.
    """

    config: Any
    numbers: list[int]
    columns: dict[str, Any]
    env: str
    training: dict[str, Any]
    halving: int | None

    def __str__(self) -> str:
        static = ", ".join(f"{name}={value}" for name, value in self.columns.items())
        return f"{len(self.numbers)} configs{' with ' if static else ''}{static}"


def split(
    config: Any, settings: dict[int, dict[str, Any]], env: str, training: dict[str, Any], halving: int | None
) -> list[Part]:
    """The parts that train settings of a sweep, given by their numbers, into ``parts/`` of its directory."""
    return [
        Part(
            group,
            numbers,
            static,
            env,
            training | {"directory": training["directory"] / "parts" / f"{numbers[0]:06d}", "overwrite": False},
            halving,
        )
        for group, static, numbers in members_apart(config, settings)
    ]


def check(part: Part) -> Any:
    """Raises UserError for what ``train`` would refuse: cheap, so that a sweep does not stop in its last part.

    Returns:
        what ``keep_of`` does.
    """
    from jaxrl.envs import make

    env = make(part.env, **part.training["env_settings"])
    part.config.check(env, env.default_params)
    return keep_of(part)


def keep_of(part: Part) -> Any:
    """Successive halving over the part's configs, if it is asked for."""
    from jaxrl.engine.halving import SuccessiveHalving
    from jaxrl.engine.schedule import planned_evaluations

    if part.halving is None:
        return None
    training = part.training
    evaluations = planned_evaluations(
        part.config, part.env, training["env_settings"], training["steps"], training["evaluate_every"]
    )
    return SuccessiveHalving(part.halving, len(part.numbers), evaluations)


def train_part(part: Part, sinks: Sequence[Any] = ()) -> pd.DataFrame:
    """Trains a part, or what is left of it, and returns its rows with the sweep's numbers and columns."""
    from jaxrl.engine.loading import column_value
    from jaxrl.engine.train import train

    result = train(part.config, part.env, **part.training, keep=keep_of(part), sinks=sinks)
    rows, seeds = result.frame, len(result.members) // len(part.numbers)
    config = np.asarray(part.numbers)[rows["config"]]
    renumbered = rows.assign(member=config * seeds + rows["member"] % seeds, config=config)
    for place, (name, value) in enumerate(part.columns.items()):
        renumbered.insert(3 + place, name, column_value(value))
    return renumbered

"""Configs that Optuna's tree-structured Parzen estimator proposes from the results so far (Bergstra et al. 2011)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.search_space import Dimension
from jaxrl.errors import UserError


def optimise(
    path: Path,
    dimensions: Sequence[Dimension],
    number: int,
    batch: int,
    scores: Callable[[dict[int, dict[str, Any]]], dict[int, float]],
) -> None:
    """Asks for ``number`` configs, ``batch`` at a time, and tells what came of each.

    The study is the SQLite file ``path``; an interrupted one goes on with the batch it was at. What a batch proposes
    depends on its place and on the results of the batches before it.

    Args:
        scores: from settings by their numbers to their scores, to be maximised. A score that is not finite fails its
            trial.

    Raises:
        UserError: if Optuna is not installed.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {dimension.name: distribution(dimension) for dimension in dimensions}
    for first in range(0, number, batch):
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=first, constant_liar=True),
        )
        last = min(first + batch, number)
        while len(study.get_trials(deepcopy=False)) < last:
            study.ask(distributions)
        trials = study.get_trials(deepcopy=False)[first:last]
        if all(trial.state.is_finished() for trial in trials):
            continue
        settings = {
            trial.number: {
                d.name: d.values[trial.params[d.name]] if d.values else trial.params[d.name] for d in dimensions
            }
            for trial in trials
            if len(trial.params) == len(dimensions)  # else it was killed while it was asked for
        }
        told = scores(settings)
        for trial in trials:
            score = told.get(trial.number, float("nan"))
            if trial.state.is_finished():
                continue
            if np.isfinite(score):
                study.tell(trial.number, score)
            else:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def chosen(dimension: Dimension, param: Any) -> Any:
    """The value that Optuna's parameter stands for."""
    return dimension.values[param] if dimension.kind == "choice" else param


def distribution(dimension: Dimension) -> Any:
    """A dimension as Optuna has it; of a choice the place, since its values may be anything."""
    distributions = import_optuna().distributions
    if dimension.kind == "choice":
        return distributions.CategoricalDistribution(range(len(dimension.values)))
    if dimension.kind == "int":
        return distributions.IntDistribution(int(dimension.low), int(dimension.high))
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "log")


def import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("optuna: is not installed: pip install 'jaxrl[optuna]'") from None
    return optuna

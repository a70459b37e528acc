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

    def study(seed: int) -> Any:
        return optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        )

    # Where batches end is kept, so that one is trained again as it was even if more trials are asked for by then.
    ends = study(0).user_attrs.get("batches", [])
    first = 0
    while first < max([number, *ends]):
        known = [end for end in ends if end > first]
        last = known[0] if known else min(first + batch, number)
        current = study(first)
        while len(current.get_trials(deepcopy=False)) < last:
            current.ask(distributions)
        if not known:
            ends = [*ends, last]
            current.set_user_attr("batches", ends)
        trials = current.get_trials(deepcopy=False)[first:last]
        first = last
        if all(trial.state.is_finished() for trial in trials):
            continue
        settings = {
            trial.number: {dimension.name: chosen(dimension, trial.params[dimension.name]) for dimension in dimensions}
            for trial in trials
            if len(trial.params) == len(dimensions)  # else it was killed while it was asked for
        }
        told = scores(settings)
        for trial in trials:
            score = told.get(trial.number, float("nan"))
            if trial.state.is_finished():
                continue
            if np.isfinite(score):
                current.tell(trial.number, score)
            else:
                current.tell(trial.number, state=optuna.trial.TrialState.FAIL)


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

"""Successive halving: a sweep's worse configs are given up on the way."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jaxrl.engine.figures import config_scores
from jaxrl.errors import InvalidArgument


@dataclass(frozen=True)
class SuccessiveHalving:
    """Keeps the best ``1 / factor`` of the configs at each of a few evaluations (Jamieson and Talwalkar 2016).

    With ``C`` configs there are ``R = floor(log_factor C)`` cuts; cut ``r = 1 .. R`` is made once
    ``factor^(r - 1 - R)`` of the run is over and leaves ``ceil(C / factor^r)`` configs with all their seeds. A config
    is judged by the interquartile mean of its seeds' returns; a seed without one, as after turning non-finite, counts
    as the worst there is.

    Give it to ``train`` as ``keep``.

    Attributes:
        factor: at least 2.
        configs: how many there are at first.
        evaluations: of the whole run, equally spaced.
    """

    factor: int
    configs: int
    evaluations: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise InvalidArgument("halving", self.factor, "must be at least 2")
        if self.configs < self.factor:
            raise InvalidArgument(
                "halving", self.factor, f"must not be greater than the number of configs, {self.configs}"
            )
        if self.evaluations < 2:
            raise InvalidArgument("evaluate_every", self.evaluations, "must leave two evaluations for halving, or more")

    def __call__(self, rows: pd.DataFrame) -> np.ndarray:
        """The members that go on, from the rows of one evaluation."""
        best = self.left_after(int(rows["evaluation"].iloc[0]))
        scores = config_scores(rows)
        kept = scores.index.to_numpy()[np.argsort(-scores.to_numpy(), kind="stable")[:best]]
        return rows["member"].to_numpy()[np.isin(rows["config"], kept)]

    def left_after(self, evaluation: int) -> int:
        """How many configs go on after an evaluation, the first being number 0."""
        cuts = math.floor(math.log(self.configs, self.factor) + 1e-9)
        due = [
            cut for cut in range(1, cuts + 1) if (evaluation + 1) / self.evaluations >= self.factor ** (cut - 1 - cuts)
        ]
        return -(-self.configs // self.factor ** max(due)) if due else self.configs

    @property
    def saving(self) -> float:
        """The share of the work of training all configs to the end that is left out."""
        left = [self.configs, *(self.left_after(evaluation) for evaluation in range(self.evaluations - 1))]
        return 1 - sum(left) / (self.configs * self.evaluations)

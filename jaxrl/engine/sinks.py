"""Who is told how a run goes."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrl.errors import UserError

LOG_SECONDS = 60.0
"""between two lines of progress where there is no terminal"""


class Sink:
    """Is told of a run; overrides what it cares about. All calls come from the host, between two chunks."""

    def begin(self, plan: str, updates: int) -> None:
        """Before compilation: the plan in words, and the updates of the whole run."""

    def say(self, message: str) -> None:
        """Something a person may want to know."""

    def compiled(self, advance: Any) -> None:
        """After compilation: the program of the training, a ``jax.stages.Compiled``."""

    def progress(self, done: int, steps_per_second: float, seconds_left: float, latest: dict[str, float]) -> None:
        """After every chunk: updates done, speed of all members together, and the latest metrics' means."""

    def write(self, evaluation: int, rows: pd.DataFrame) -> None:
        """After every evaluation: one row a member."""

    def close(self) -> None:
        """At the end, also after an error."""


class Progress(Sink):
    """A line in the terminal: updates, steps a second, time left, mean return. Compile time is said apart.

    Where there is no terminal, as in a cluster's log, a new line every minute.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
        )
        self.task: Any = None
        self.updates, self.said = 0, time.monotonic()

    def begin(self, plan: str, updates: int) -> None:
        self.updates = updates
        self.bar.start()
        self.bar.console.print(plan, highlight=False)
        self.task = self.bar.add_task("compiling", total=updates, status="")

    def say(self, message: str) -> None:
        self.bar.console.print(message, highlight=False)

    def progress(self, done: int, steps_per_second: float, seconds_left: float, latest: dict[str, float]) -> None:
        minutes, seconds = divmod(round(seconds_left), 60)
        names = {"evaluation_return": "return", "episode_return": "return", "best_score": "best score"}
        shown = next((f", {word} {latest[name]:.4g}" for name, word in names.items() if name in latest), "")
        status = f"{steps_per_second:,.0f} steps/s, {minutes}:{seconds:02d} left{shown}"
        self.bar.update(self.task, description="training", completed=done, status=status)
        if not self.bar.console.is_terminal and time.monotonic() - self.said > LOG_SECONDS:
            self.said = time.monotonic()
            self.say(f"{done} of {self.updates} updates, {status}")

    def close(self) -> None:
        self.bar.stop()


class TensorBoard(Sink):
    """Mean, least and greatest value of each metric over members, as TensorBoard scalars over environment steps.

    Raises:
        UserError: if no writer is installed.
    """

    def __init__(self, directory: str | Path) -> None:
        if importlib.util.find_spec("tensorboardX") is None:
            raise UserError("tensorboard: needs tensorboardX: pip install 'jaxrl[tensorboard]'")
        self.directory = directory
        self.writer: Any = None

    def begin(self, plan: str, updates: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.directory))

    def write(self, evaluation: int, rows: pd.DataFrame) -> None:
        for name, (step, values) in scalars(rows).items():
            self.writer.add_scalar(name, values, step)
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class WeightsAndBiases(Sink):
    """The same scalars to Weights & Biases.

    Raises:
        UserError: if it is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise UserError("wandb: is not installed: pip install 'jaxrl[wandb]'")
        self.settings = settings
        self.run: Any = None

    def begin(self, plan: str, updates: int) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.run = wandb.init(**self.settings)

    def write(self, evaluation: int, rows: pd.DataFrame) -> None:
        values = scalars(rows)
        step = next(iter(values.values()))[0]
        self.run.log({name: value for name, (_, value) in values.items()}, step=step)

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()


def metric_names(rows: pd.DataFrame) -> list[str]:
    """The columns that are metrics: those behind the wall-clock time."""
    names = list(rows.columns)
    return names[names.index("wall_seconds") + 1 :]


def scalars(rows: pd.DataFrame) -> dict[str, tuple[int, float]]:
    """``metric/mean``, ``metric/min`` and ``metric/max`` over members, each with its environment step."""
    step = int(rows["environment_steps"].iloc[0])
    return {
        f"{name}/{statistic}": (step, float(getattr(rows[name], statistic)()))
        for name in metric_names(rows)
        for statistic in ("mean", "min", "max")
    }

"""How far a command is."""

from typing import Any


class Bar:
    """A progress bar, as a context and as what is called with how much is done, of how much."""

    def __init__(self, title: str):
        from rich import progress

        columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn())
        times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn())
        self.progress = progress.Progress(*columns, *times)
        self.task = self.progress.add_task(title, total=None)

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.stop()

    def __call__(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

"""A run's directory: what was asked, what came of it, and what it takes to go on.

``config.json``, ``metrics/<evaluation>.parquet``, ``checkpoints/<updates>/``, ``learners/<updates>/`` where they are
kept, ``figures/``, ``summary.json``.
"""

import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from jaxrl.engine import checkpoint
from jaxrl.engine.hosts import ALONE, Process
from jaxrl.engine.sinks import Sink
from jaxrl.errors import UserError

FINISHED = "finished-{}.json"
"""a process's word that it is through"""
LEARNERS = "learners"
CONTENTS = ("config.json", "summary.json", "metrics", "checkpoints", LEARNERS, "figures", "parts", "study.db")
"""what overwriting deletes; the last two are a sweep's"""
PACKAGES = ("jaxrl", "jax", "jaxlib", "flax", "optax", "gymnax", "brax", "mujoco", "orbax-checkpoint", "numpy")


class RunDirectory(Sink):
    """Keeps the rows and the checkpoints of one run, and finds them again.

    Where several processes train the run, each keeps those of its own members, and the first one the rest.
    """

    def __init__(self, path: Path, lock: Any, process: Process = ALONE):
        self.path = path
        self.lock = lock
        self.process = process
        self.suffix = f"-{process.index}" if process.count > 1 else ""
        self.checkpoints = path / "checkpoints" / self.suffix.removeprefix("-")
        self.messages: list[str] = []

    @classmethod
    def open(
        cls, path: Path, request: dict[str, Any], *, resume: bool, overwrite: bool, process: Process = ALONE
    ) -> "RunDirectory":
        """Takes a directory for a run, new or begun.

        Raises:
            UserError: if it cannot be written to, is in use, or holds another run.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / f".lock{process.index or ''}").open("w")  # held until the run is over
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if process.index > 0:  # the first one makes the directory, or deletes what is in it
                    process.wait("directory")
                run = cls.locked(
                    path, lock, request, resume=resume, overwrite=overwrite and not process.index, process=process
                )
                if process.index == 0:
                    process.wait("directory")
                return run
            except BaseException:
                lock.close()  # a refused request must not keep the directory for as long as its error is looked at
                raise
        except BlockingIOError as error:
            raise UserError(f"directory={str(path)!r}: another process is training into it") from error
        except OSError as error:
            raise UserError(f"directory={str(path)!r}: cannot be written to ({error.strerror})") from error

    @classmethod
    def locked(
        cls, path: Path, lock: Any, request: dict[str, Any], *, resume: bool, overwrite: bool, process: Process
    ) -> "RunDirectory":
        """The rest of ``open``, once no other process can be at it."""
        config = path / "config.json"
        if process.index == 0:
            for index in range(process.count):
                (path / FINISHED.format(index)).unlink(missing_ok=True)
        elif not config.exists():
            raise UserError(f"directory={str(path)!r}: must be on a file system that all processes share")
        if overwrite and config.exists():
            for name in CONTENTS:
                target = path / name
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        (path / "metrics").mkdir(exist_ok=True)
        run = cls(path, lock, process)
        if not config.exists():
            run.write_json("config.json", {"request": request, "made_with": provenance()})
            return run
        if not resume:
            raise UserError(f"directory={str(path)!r}: holds a run; resume it, overwrite it or choose another")
        try:
            held = json.loads(config.read_text())["request"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"directory={str(path)!r}: its config.json is damaged; use --overwrite or a new directory"
            ) from error
        difference = differences(held, json.loads(json.dumps(request)))
        if difference:
            raise UserError(
                f"directory={str(path)!r}: holds another run, which differs in {'; '.join(difference)};"
                " use --overwrite or a new directory"
            )
        return run

    def save(self, updates: int, state: Any) -> None:
        """Writes a checkpoint."""
        checkpoint.save(self.checkpoints, updates, state)

    def save_learners(self, updates: int, learners: Any) -> None:
        """Writes the learners' states, which stay for good."""
        checkpoint.save(self.path / LEARNERS, updates, learners, keep=None)

    def restore(
        self, state_shapes: Callable[[int, list[pd.DataFrame]], Any], schedule: list[int]
    ) -> tuple[int, Any, list[pd.DataFrame]]:
        """The last whole checkpoint: updates done, state, and the rows of the evaluations before it.

        A checkpoint after an evaluation whose rows are lost is no use, since nothing else can bring them back.

        Args:
            state_shapes: what the state after so many updates looks like, given the rows of all evaluations there are.
        """
        history = self.history(len(schedule))
        lost = schedule[len(history)] if len(history) < len(schedule) else None
        done, state, warnings = checkpoint.load_latest(
            self.checkpoints, lambda updates: state_shapes(updates, history), before=lost
        )
        self.messages += warnings
        for message in self.messages:
            print(message, file=sys.stderr)
        finished = sum(target <= done for target in schedule)
        for evaluation in range(finished, len(schedule)):
            self.rows_of(evaluation).unlink(missing_ok=True)
        return done, state, history[:finished]

    def history(self, evaluations: int) -> list[pd.DataFrame]:
        """The rows of the first evaluations, up to one whose rows are missing or damaged."""
        history = []
        for evaluation in range(evaluations):
            rows = self.rows(evaluation)
            if rows is None:
                break
            history.append(rows)
        return history

    def rows(self, number: int) -> pd.DataFrame | None:
        """The rows written under a number, None if they are missing or damaged."""
        file = self.rows_of(number)
        try:
            return pd.read_parquet(file) if file.exists() else None
        except Exception as error:  # whatever is wrong with it, it can be computed again
            self.messages.append(f"metrics {file} are damaged ({checkpoint.brief(error)}); computing them again")
            return None

    def rows_of(self, evaluation: int) -> Path:
        """The file with the rows of one evaluation."""
        return self.path / "metrics" / f"{evaluation:06d}{self.suffix}.parquet"

    def write(self, evaluation: int, rows: pd.DataFrame) -> None:
        """Writes the rows of one evaluation, whole or not at all."""
        target = self.rows_of(evaluation)
        temporary = target.with_suffix(".writing")
        try:
            rows.to_parquet(temporary, index=False)
            os.replace(temporary, target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"directory={str(self.path)!r}: cannot write metrics ({error.strerror or error})"
            ) from error

    def finish(self, result: Any) -> None:
        """Writes the summary and the picture of a run that has ended, once all processes are through."""
        from jaxrl.engine.figures import learning_curve, summarise

        steps_per_second = self.wait_for_all(result.steps_per_second)
        if self.process.index > 0:
            return
        summary = summarise(read_metrics(self.path), result)
        summary |= {"steps_per_second": None if np.isnan(steps_per_second) else steps_per_second}
        self.write_json("summary.json", summary | {"warnings": self.messages})
        try:
            learning_curve(self.path)
        except OSError as error:
            raise UserError(f"directory={str(self.path)!r}: cannot draw ({error.strerror or error})") from error

    def wait_for_all(self, steps_per_second: float) -> float:
        """Returns once all processes are through, with the sum of their speeds."""
        if self.process.count == 1:
            return steps_per_second
        self.write_json(FINISHED.format(self.process.index), {"steps_per_second": steps_per_second})
        files = [self.path / FINISHED.format(index) for index in range(self.process.count)]
        while not all(file.exists() for file in files):  # if one dies, jax's coordinator ends the others
            time.sleep(0.2)
        return sum(json.loads(file.read_text())["steps_per_second"] for file in files)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        temporary = self.path / f".{name}.writing"
        try:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
            os.replace(temporary, self.path / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(f"directory={str(self.path)!r}: cannot write {name} ({error.strerror or error})") from error

    def close(self) -> None:
        self.lock.close()


def read_metrics(path: Path) -> pd.DataFrame:
    """All rows of a run's directory, one a member and evaluation."""
    files = sorted((path / "metrics").glob("*.parquet"))
    if not files:
        raise UserError(f"directory={str(path)!r}: holds no metrics")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, as ``name: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in sorted({*old, *new})
            for d in differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))
        ]
    return [] if old == new else [f"{name}: {shortened(old)} -> {shortened(new)}"]


def shortened(value: Any) -> str:
    """A value's text, its middle left out where it is long."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-20:]}"


def provenance() -> dict[str, Any]:
    """Versions, devices and commit: what a result depends on beside its request."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "devices": [device.device_kind for device in jax.devices()],
        "machine": platform.platform(),
        "commit": commit(),
        "command": sys.argv,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """The commit of the source this package was imported from, ``+`` behind it if there are changes; None
    without git."""
    here = Path(__file__).parent
    try:
        git = lambda *words: subprocess.run(  # noqa: E731
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None

"""Where the parts of a sweep are trained."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from experiments.parts import Part, train_part
from jaxrl.devices import check_address, use_all_cores, wait_until_reachable
from jaxrl.errors import UserError

Launcher = Callable[[Sequence[Part]], Iterator[tuple[Part, pd.DataFrame]]]
"""Trains parts and yields each with its rows once it is finished, in any order."""


ANSWER_SECONDS = 10.0
"""how long a Ray cluster may take to answer"""


def serial(run: Any) -> Launcher:
    """One part after the other, here."""
    del run

    def launch(parts):
        from jaxrl.engine.sinks import Progress

        for number, part in enumerate(parts, start=1):
            print(f"part {number} of {len(parts)}: {part}", flush=True)
            yield part, train_part(part, [Progress()])

    return launch


def ray_tasks(run: Any) -> Launcher:
    """Each part is a task of a Ray cluster, whose machines share the file system. A part whose worker dies is begun
    again elsewhere, from its last checkpoint.

    Raises:
        UserError: if Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
    except ImportError:
        raise UserError("launcher='ray': Ray is not installed: pip install 'jaxrl[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray forks before it executes its servers, which jax's warning about threads does not know.
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    if run.ray_address not in (None, "auto", "local"):
        address = run.ray_address.removeprefix("ray://")
        check_address("ray_address", address, "auto")
        wait_until_reachable("ray_address", address, ANSWER_SECONDS)
    try:
        ray.init(
            address=run.ray_address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False,
            logging_level="error",
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"ray_address={run.ray_address!r}: no Ray cluster there ({reason})") from error

    def launch(parts):
        task = ray.remote(num_cpus=run.ray_cpus, num_gpus=run.ray_gpus, max_retries=-1)(train_in_worker)
        waiting = {task.remote(part, run.ray_cpus, run.cache): part for part in parts}
        begun, total = time.monotonic(), len(waiting)
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            part = waiting.pop(done)
            try:
                rows = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                for left in waiting:
                    ray.cancel(left, force=True)
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise
            print(f"part {total - len(waiting)} of {total} after {time.monotonic() - begun:.0f} s: {part}", flush=True)
            yield part, rows

    return launch


def train_in_worker(part: Part, cores: int, cache: bool) -> pd.DataFrame:
    """A part in a process of its own, in which jax has done nothing yet."""
    from jaxrl.compilation_cache import use_compilation_cache

    if cache:
        use_compilation_cache()
    use_all_cores(cores)
    return train_part(part)


LAUNCHERS: dict[str, Callable[[Any], Launcher]] = {"serial": serial, "ray": ray_tasks}

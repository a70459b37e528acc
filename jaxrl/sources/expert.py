"""Labels of experts: instances of a combinatorial problem and solvers' solutions, made in parallel and kept on disk.

A set of labels is a folder with ``card.json`` and ``labels-00000.npz``, ``labels-00001.npz`` ... Instance ``i`` depends
on the seed and ``i`` alone, and a file is there as a whole or not at all: whoever asks for the same again, or for more,
goes on from what is there.

    labels = load_labels("labels/tsp-50")
    source = sampled(labels.solved, batch_size)     # of jaxrl.sources.dataset: batches of Solved

A batch's sub-problems are made by ``jaxrl.envs.combinatorial.subproblems``.
"""

import collections
import contextlib
import importlib.metadata
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.envs.combinatorial import GENERATORS, PROBLEMS, Instance, Problem, advance, allowed, solution_cost
from jaxrl.errors import InvalidArgument, UserError, unknown
from jaxrl.sources.solvers import SOLVERS, arrays_of, solve_all, solver_of

CARD = "card.json"
SHARD = 500
"""labels of a file"""


@dataclass(frozen=True)
class LabelCard:
    """What labels are of and from.

    Attributes:
        problem: its name: tsp, atsp, cvrp, op, kp.
        settings: of its generator, such as nodes.
        seed: of the instances and of the solver.
        solver: its name.
        effort: how long it searched, in its unit.
        versions: of the packages that it is from.
    """

    problem: str
    settings: dict[str, Any]
    seed: int
    solver: str
    effort: float
    versions: dict[str, str] = field(default_factory=dict)


class Solved(NamedTuple):
    """Instances, leaves ``[M, ...]``, and their solutions."""

    instance: Instance
    actions: Any
    """int32 ``[M, T]``, -1 from a solution's end on"""


class Labels(NamedTuple):
    """A set of labels, numpy."""

    card: LabelCard
    solved: Solved
    cost: np.ndarray
    """float32 ``[M]``, of the solutions"""


def request(
    problem: str,
    settings: dict[str, Any],
    seed: int = 0,
    solver: str | None = None,
    effort: float | None = None,
) -> LabelCard:
    """The card of labels that may be made, with defaults filled in.

    Raises:
        InvalidArgument: for an unknown problem, settings that do not fit it, or a solver that cannot solve it.
        UserError: for a solver that is not installed.
    """
    shapes = shapes_of(problem, settings)
    slots = shapes.remaining.valid.shape[0]
    solver = solver_of(problem, slots - 2 if PROBLEMS[problem].path else slots, solver)
    effort = SOLVERS[solver].effort if effort is None else effort
    if not 0 < effort < np.inf:
        raise InvalidArgument("effort", effort, f"must be above 0, in {SOLVERS[solver].unit}")
    package = SOLVERS[solver].package
    versions = {} if package is None else {package: importlib.metadata.version(package)}
    return LabelCard(problem, settings, seed, solver, float(effort), versions)


def shapes_of(problem: str, settings: dict[str, Any]) -> Any:
    """The structure and the shapes of an instance."""
    if problem not in PROBLEMS:
        raise unknown("problem", problem, PROBLEMS)
    try:
        generate = GENERATORS[problem](**settings)
    except TypeError:
        raise InvalidArgument("settings", settings, f"must be those of {GENERATORS[problem].__name__}") from None
    return jax.eval_shape(generate, jax.random.key(0))


def drawer(card: LabelCard) -> Callable[[Any], Instance]:
    """Compiled: numbers ``[M]`` of a card's instances to the instances, leaves ``[M, ...]``."""
    generate, key = GENERATORS[card.problem](**card.settings), jax.random.key(card.seed)
    return jax.jit(jax.vmap(lambda i: generate(jax.random.fold_in(key, i))))


def right(problem: Problem, instance: Instance, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether a solution ``[T]`` takes allowed actions only and is complete, step by step, and its cost ``[]``."""

    def step(carry, action):
        instance, fine, done = carry
        taken = action >= 0
        fine &= jnp.where(taken, allowed(problem, instance).reshape(-1)[action] & ~done, done)
        after, _, ended = advance(problem, instance, jnp.maximum(action, 0))
        remaining = jax.tree.map(lambda x, y: jnp.where(taken, x, y), after.remaining, instance.remaining)
        return (instance.replace(remaining=remaining), fine, done | (taken & ended)), None

    nothing = ~jnp.any(allowed(problem, instance))
    (_, fine, done), _ = jax.lax.scan(step, (instance, jnp.bool_(True), nothing), actions)
    return fine & done, solution_cost(problem, instance, actions)


# --- making them ------------------------------------------------------------------------------------------------


def label(
    directory: str | Path,
    card: LabelCard,
    instances: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Labels:
    """Makes what is missing of so many labels, and returns them.

    Args:
        directory: where they are kept; made if it is not there.
        card: by ``request``.
        instances: how many.
        workers: processes; one a core by default, 0 to solve in this one.
        progress: called with the labels that are there and those asked for, now and then.

    Raises:
        InvalidArgument: for a directory with other labels, or numbers that make no sense.
        UserError: for a solver that returned something that is not a solution.
    """
    if instances < 1:
        raise InvalidArgument("instances", instances, "must be at least 1")
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 0:
        raise InvalidArgument("workers", workers, "must be a number of processes, or 0")
    directory = Path(directory)
    claim(directory, card)
    files = range(math.ceil(instances / SHARD))
    missing = [file for file in files if rows_in(directory, file) < wanted(instances, file)]
    done = instances - sum(wanted(instances, file) for file in missing)
    progress(done, instances)
    judge = jax.jit(jax.vmap(lambda instance, actions: right(PROBLEMS[card.problem], instance, actions)))
    with pool_of(workers) as pool:
        for file, drawn, actions in solutions(card, missing, instances, pool, workers, progress, done):
            fine, cost = jax.device_get(judge(drawn, actions))
            if not fine.all():
                index = file * SHARD + int(np.argmin(fine))
                raise UserError(f"{card.solver} returned no solution of instance {index} (seed {card.seed})")
            write(directory, file, drawn, actions, cost)
    return load_labels(directory, instances)


def solutions(
    card: LabelCard,
    missing: list[int],
    instances: int,
    pool: Any,
    workers: int,
    progress: Callable[[int, int], None],
    done: int,
) -> Iterator[tuple[int, Instance, np.ndarray]]:
    """Files' instances and solutions, in order; those of the next one are on their way when one is waited for."""
    steps, draw = steps_of(card), drawer(card)
    waiting: collections.deque[tuple[int, Instance, list[Future]]] = collections.deque()

    def finish(done: int) -> tuple[int, tuple[int, Instance, np.ndarray]]:
        file, drawn, futures = waiting.popleft()
        parts = []
        for future in futures:
            parts.append(future.result())
            done += len(parts[-1])
            progress(done, instances)
        return done, (file, drawn, np.concatenate(parts))

    for file in missing:
        begin = file * SHARD
        size = wanted(instances, file)
        drawn = jax.device_get(draw(np.arange(begin, begin + size)))
        rows = [arrays_of(card.problem, jax.tree.map(lambda leaf, i=i: leaf[i], drawn)) for i in range(size)]
        part = max(1, size // (8 * max(workers, 1)))
        futures = [
            pool.submit(
                solve_all, card.solver, card.problem, rows[i : i + part],
                [(card.seed + begin + j) % 2**31 for j in range(i, min(i + part, size))], card.effort, steps,
            )
            for i in range(0, size, part)
        ]  # fmt: skip
        waiting.append((file, drawn, futures))
        if len(waiting) > 1:
            done, finished = finish(done)
            yield finished
    while waiting:
        done, finished = finish(done)
        yield finished


class Here:
    """A pool that is this process."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """What is asked for, done at once."""
        future: Future = Future()
        future.set_result(function(*args))
        return future


@contextlib.contextmanager
def pool_of(workers: int) -> Iterator[Any]:
    """Processes that start afresh: a copy of one that has jax's threads may hang. What waits is dropped at an error."""
    if workers == 0:
        yield Here()
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# --- on disk ----------------------------------------------------------------------------------------------------


def steps_of(card: LabelCard) -> int:
    """``T``, the longest that a solution can be."""
    slots = shapes_of(card.problem, card.settings).remaining.valid.shape[0]
    return max(1, slots - 2 * PROBLEMS[card.problem].path)


def wanted(instances: int, file: int) -> int:
    """How many of so many labels stand in a file."""
    return min(SHARD, instances - file * SHARD)


def path_of(directory: Path, file: int) -> Path:
    return directory / f"labels-{file:05d}.npz"


def rows_in(directory: Path, file: int) -> int:
    """How many labels a file has, 0 if it is not there."""
    path = path_of(directory, file)
    if not path.is_file():
        return 0
    with np.load(path) as stored:
        return len(stored["cost"])


def claim(directory: Path, card: LabelCard) -> None:
    """Makes a directory for the labels of a card; raises InvalidArgument for one that has others."""
    path = directory / CARD
    if path.is_file():
        stored = read_card(directory)
        if stored != card:
            differ = [name for name, value in asdict(card).items() if getattr(stored, name) != value]
            raise InvalidArgument("directory", str(directory), f"has labels with another {', '.join(differ)}")
        return
    directory.mkdir(parents=True, exist_ok=True)
    atomically(path, lambda file: file.write(json.dumps(asdict(card), indent=2).encode() + b"\n"))


def read_card(directory: Path) -> LabelCard:
    """The card of a directory; raises InvalidArgument if it has none."""
    path = directory / CARD
    if not path.is_file():
        raise InvalidArgument("directory", str(directory), f"must be one of labels, with a {CARD}")
    return LabelCard(**json.loads(path.read_text()))


def write(directory: Path, file: int, instance: Instance, actions: np.ndarray, cost: np.ndarray) -> None:
    arrays: dict[str, Any] = {name(path): leaf for path, leaf in jax.tree.leaves_with_path(instance)}
    arrays |= {"actions": actions, "cost": cost}
    atomically(path_of(directory, file), lambda to: np.savez(to, **arrays))


def name(path: Any) -> str:
    """Of an instance's leaf, in a file: ``instance.remaining.valid``, ``instance.nodes.demand``."""
    return f"instance.{jax.tree_util.keystr(path, simple=True, separator='.')}"


def atomically(path: Path, write: Callable[[Any], Any]) -> None:
    """Writes a file that is there as a whole or not at all."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            write(file)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_labels(directory: str | Path, instances: int | None = None) -> Labels:
    """Reads labels, the first so many or all that are there from the first on.

    Raises:
        InvalidArgument: for a directory without labels, or with fewer.
    """
    directory = Path(directory)
    card = read_card(directory)
    stored, file = [], 0
    while (rows := rows_in(directory, file)) and (instances is None or file * SHARD < instances):
        with np.load(path_of(directory, file)) as arrays:
            stored.append({key: arrays[key] for key in arrays})
        file += 1
        if rows < SHARD:
            break
    found = sum(len(arrays["cost"]) for arrays in stored)
    if not found or found < (instances or 0):
        raise InvalidArgument("instances", instances, f"must be at most {found}, the labels in {directory}")
    columns = {key: np.concatenate([arrays[key] for arrays in stored])[:instances] for key in stored[0]}
    shapes = shapes_of(card.problem, card.settings)
    instance = jax.tree.map_with_path(lambda path, _: columns[name(path)], shapes)
    return Labels(card, Solved(instance, columns["actions"]), columns["cost"])

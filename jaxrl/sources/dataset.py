"""Data sets: transitions on disk with a card that says where they are from, and the sources that draw from them.

A data set is a folder with ``transitions.parquet`` and ``card.json``.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment

from jaxrl.core.types import PyTree, Source, Transition
from jaxrl.errors import InvalidArgument

TABLE, CARD = "transitions.parquet", "card.json"


@dataclass(frozen=True)
class Card:
    """Where a data set is from, and what returns its scores are relative to.

    Attributes:
        environment: its id.
        behaviour: what acted, in words.
        random_return: mean return of uniformly random actions, of score 0.
        expert_return: mean return of an expert, of score 100.
        backend: of the physics, None where there is only one. Returns of different ones cannot be compared.
        seed: of the behaviour.
        steps: environment steps that the behaviour had learned from.
        versions: of the packages that the environment is from.
    """

    environment: str
    behaviour: str
    random_return: float
    expert_return: float
    backend: str | None = None
    seed: int = 0
    steps: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if not (np.isfinite(self.random_return) and self.random_return < self.expert_return < np.inf):
            raise InvalidArgument("random_return", self.random_return, f"must be below that of {self.expert_return}")

    def score(self, returns: Any) -> Any:
        """``100 (R - R_random) / (R_expert - R_random)`` (Fu et al. 2020)."""
        return 100 * (np.asarray(returns) - self.random_return) / (self.expert_return - self.random_return)

    def check(self, env: Environment) -> None:
        """Raises InvalidArgument for another environment or backend."""
        if env.name != self.environment:
            raise InvalidArgument("env", env.name, f"must be {self.environment}, which the data are of")
        if backend_of(env) != self.backend:
            raise InvalidArgument("backend", backend_of(env), f"must be {self.backend}, which the data are of")


class DataSet(NamedTuple):
    """Transitions ``[rows, ...]`` in the order of their steps, ``episode[rows]`` numbers, and their card."""

    card: Card
    transitions: Transition
    episode: np.ndarray


def backend_of(env: Any) -> str | None:
    """The physics backend of an environment or of the one inside; None if it has none."""
    while env is not None:
        backend = getattr(env, "backend", None)
        if backend is not None:
            return str(backend)
        env = getattr(env, "env", None)
    return None


def save(data: DataSet, path: str | Path) -> None:
    """Writes a data set into a new folder, which is there as a whole or not at all.

    Raises:
        InvalidArgument: for a folder that is there, or leaves that are not arrays with a row each.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, step = Path(path), data.transitions
    if path.exists():
        raise InvalidArgument("path", str(path), "must not exist")
    terminal = np.asarray(step.discount) == 0
    columns = {
        "obs": step.obs,
        "action": step.action,
        "reward": step.reward,
        "next_obs": step.next_obs,
        "terminal": terminal,
        "timeout": (np.asarray(step.cut) > 0) & ~terminal,
        "episode": data.episode,
    }
    rows = len(data.episode)
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    for name, array in arrays.items():
        if array.shape[:1] != (rows,) or not np.isfinite(array).all():
            raise InvalidArgument(name, array.shape, f"must be finite, with {rows} rows")
    shapes = {name: array.shape[1:] for name, array in arrays.items()}

    def column(array: np.ndarray) -> Any:
        width = int(np.prod(array.shape[1:]))
        values = pa.array(array.reshape(-1))
        return values if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(values, width)

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        pq.write_table(pa.table({name: column(array) for name, array in arrays.items()}), partial / TABLE)
        (partial / CARD).write_text(json.dumps(asdict(data.card) | {"shapes": shapes}, indent=2) + "\n")
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load(path: str | Path, env: Environment | None = None) -> DataSet:
    """Reads a data set, as numpy arrays that cannot be written to.

    Args:
        env: refused unless the data are of it and of its backend.

    Raises:
        InvalidArgument: for a folder without a data set, or one of something else.
    """
    path = Path(path)
    card = read_card(path)
    if env is not None:
        card.check(env)
    return read(path, (path / TABLE).stat().st_mtime_ns, (path / CARD).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def read(path: Path, *changed: int) -> DataSet:
    """What ``load`` returns. The last one is kept, since every trace of a program asks for it.

    Args:
        changed: when its files were.
    """
    import pyarrow.parquet as pq

    table, shapes = pq.read_table(path / TABLE), json.loads((path / CARD).read_text())["shapes"]

    def column(name: str) -> np.ndarray:
        chunks = table.column(name).combine_chunks()
        shape = shapes[name]
        array = (chunks.flatten() if shape else chunks).to_numpy(zero_copy_only=False).reshape(-1, *shape)
        array.flags.writeable = False
        return array

    terminal, timeout = column("terminal"), column("timeout")
    parts: Any = (
        column("obs"),
        column("action"),
        column("reward"),
        (1 - terminal).astype(np.float32),
        (terminal | timeout).astype(np.float32),
        column("next_obs"),
        {},
    )
    return DataSet(read_card(path), Transition(*parts), column("episode"))


def read_card(path: str | Path) -> Card:
    """The card of a data set.

    Raises:
        InvalidArgument: for a folder without a data set.
    """
    path = Path(path)
    if not ((path / TABLE).is_file() and (path / CARD).is_file()):
        raise InvalidArgument("path", str(path), f"must be a folder with {TABLE} and {CARD}")
    stored = json.loads((path / CARD).read_text())
    return Card(**{each.name: stored[each.name] for each in fields(Card)})


def sampled(rows: PyTree, batch_size: int, batches: int | None = None) -> Source:
    """Random rows of data, such as a ``Transition`` or labelled instances, with replacement: ``[batch_size, ...]``, or
    ``[batches, batch_size, ...]``.

    A call counts as ``batch_size`` steps a batch: not of an environment, but budgets and learning curves need an axis.
    """
    for name, size in (("batch_size", batch_size), ("batches", 1 if batches is None else batches)):
        if size < 1:
            raise InvalidArgument(name, size, "must be at least 1")
    rows = jax.tree.map(jnp.asarray, rows)
    shape = (batch_size,) if batches is None else (batches, batch_size)

    def next_batch(state, behaviour, key):
        del behaviour
        return state, rows_of(rows, key, shape), {}

    return Source(lambda key: (), next_batch, batch_size * (batches or 1))


def with_prior(source: Source, transitions: Transition) -> Source:
    """Behind every batch ``[..., B]`` of ``source`` as many random rows of a data set, ``[..., 2 B]``: half of what is
    learned from is prior data (Ball et al. 2023)."""
    transitions = jax.tree.map(jnp.asarray, transitions)

    def next_batch(state, behaviour, key):
        own_key, prior_key = jax.random.split(key)
        state, batch, metrics = source.next(state, behaviour, own_key)
        prior = rows_of(transitions, prior_key, batch.reward.shape)
        axis = batch.reward.ndim - 1
        return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis), batch, prior), metrics

    return source._replace(next=next_batch)


def rows_of(rows: PyTree, key: jax.Array, shape: tuple[int, ...]) -> Any:
    """Random rows, ``[*shape, ...]``."""
    index = jax.random.randint(key, shape, 0, jax.tree.leaves(rows)[0].shape[0])
    return jax.tree.map(lambda leaf: leaf[index], rows)

"""Checkpoints of the whole state: complete or absent, verified when read."""

import contextlib
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import random
from jaxrl.errors import UserError

LEAVES = "leaves.npz"
KEEP = 2
"""complete checkpoints kept; with two, a damaged newest one costs one interval and not the run"""


def save(directory: Path, updates: int, state: Any, keep: int | None = KEEP) -> None:
    """Writes ``state`` as ``directory/<updates>``, which appears only once it is complete.

    Orbax writes into a temporary folder; a manifest with the size and checksum of each file follows; a rename makes it
    a checkpoint. Killed at any moment, the folder holds what it held before.

    Args:
        keep: how many of the newest stay; all for None.

    Raises:
        UserError: if the disk refuses. The checkpoints already there are left whole.
    """
    final, temporary = directory / f"{updates:012d}", directory / f".writing-{updates:012d}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_unfinished(directory)
        write(temporary.absolute(), jax.tree.map(raw, state))
        manifest = {str(f.relative_to(temporary)): checksum(f) for f in sorted(temporary.rglob("*")) if f.is_file()}
        with open(temporary / "manifest.json", "w") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
    except Exception as error:  # orbax and tensorstore wrap a full disk in several types
        remove_unfinished(directory)
        raise UserError(f"directory={str(directory)!r}: cannot write a checkpoint: {brief(error)}") from error
    before = [kept for kept in complete(directory) if kept <= updates]  # a newer one may be damaged
    for old in [] if keep is None else before[:-keep]:
        shutil.rmtree(directory / f"{old:012d}", ignore_errors=True)


def remove_unfinished(directory: Path) -> None:
    """Removes what an attempt that did not end left behind, of orbax's own temporary folders too."""
    for path in directory.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


def write(path: Path, state: Any) -> None:
    """Writes the leaves of a tree: by orbax, or by numpy where several processes train, each with members of its own.

    Orbax's processes wait for one another in every save, and only the first writes what is on the host.
    """
    if jax.process_count() == 1:
        from orbax.checkpoint import v1 as ocp

        with quiet():
            ocp.save(str(path), state)
    else:
        path.mkdir()
        leaves: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
        np.savez(path / LEAVES, **leaves)


def read(path: Path, shapes: Any) -> Any:
    """The tree that ``write`` has written, given the shapes and dtypes of its leaves."""
    if not (path / LEAVES).exists():
        from orbax.checkpoint import v1 as ocp

        with quiet():
            return ocp.load(str(path), shapes)
    with np.load(path / LEAVES) as file:
        leaves = {name: file[name] for name in file.files}
    expected = named_leaves(shapes)
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    if found != {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()}:
        raise ValueError("its leaves are others")
    return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[name] for name in expected])


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their paths in the tree."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@contextlib.contextmanager
def quiet():
    """Keeps orbax from logging the tracebacks of errors that it raises as well."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def complete(directory: Path) -> list[int]:
    """Updates after which there is a checkpoint, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit() and (p / "manifest.json").exists())


def load_latest(
    directory: Path, abstract_state: Callable[[int], Any], before: int | None = None
) -> tuple[int, Any, list[str]]:
    """The newest checkpoint that verifies.

    Args:
        abstract_state: the tree of ``jax.ShapeDtypeStruct`` to restore into, after so many updates.
        before: only checkpoints after fewer updates than this, if given.

    Returns:
        updates, state, and a warning for each newer checkpoint that was passed over. Without any usable checkpoint the
        updates are 0 and the state is None.

    Raises:
        UserError: if a checkpoint is whole and yet does not fit ``abstract_state``, as after a change of the program.
            Starting over would throw away what it holds.
    """
    warnings = []
    for updates in reversed(complete(directory)):
        path = directory / f"{updates:012d}"
        if before is not None and updates >= before:
            warnings.append(f"checkpoint {path} is passed over, since metrics before it are lost; using the one before")
            continue
        try:
            verify(path)
        except Exception as error:  # whatever is wrong with it, the one before may be whole
            warnings.append(f"checkpoint {path} is damaged ({brief(error)}); using the one before")
            continue
        try:
            return updates, read_typed(path, abstract_state(updates)), warnings
        except Exception as error:  # orbax reports a tree of another form in several types
            raise UserError(
                f"directory={str(directory)!r}: checkpoint {path.name} is whole but holds another state than this"
                f" version trains ({brief(error)}); resume with the version that wrote it, or overwrite"
            ) from error
    return 0, None, warnings


def load(directory: Path, updates: int, shapes: Any) -> Any:
    """The state that was saved after so many updates.

    Args:
        shapes: the tree of ``jax.ShapeDtypeStruct`` to restore into.

    Raises:
        UserError: if there is none, it is damaged, or it is not of these shapes.
    """
    path = directory / f"{updates:012d}"
    if updates not in complete(directory):
        raise UserError(f"directory={str(directory)!r}: holds nothing of update {updates}")
    try:
        verify(path)
        return read_typed(path, shapes)
    except Exception as error:  # orbax reports a tree of another form in several types
        raise UserError(f"directory={str(path)!r}: cannot be read ({brief(error)})") from error


def read_typed(path: Path, shapes: Any) -> Any:
    """The state in ``path``, its random keys typed as they were."""
    return jax.tree.map(typed, shapes, read(path.absolute(), jax.tree.map(raw_shape, shapes)))


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def raw(leaf: Any) -> Any:
    """Random keys as their words: orbax knows only the generators that jax itself names."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def raw_shape(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if not is_key(leaf):
        return leaf
    words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
    return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=leaf.sharding)


def typed(like: jax.ShapeDtypeStruct, leaf: Any) -> Any:
    if not is_key(like):
        return leaf
    ours = like.dtype == random.key(0).dtype
    return jax.random.wrap_key_data(leaf, impl=random.IMPLEMENTATION if ours else None)


def verify(path: Path) -> None:
    """Raises ValueError naming the first file that is not as it was written."""
    for name, expected in json.loads((path / "manifest.json").read_text()).items():
        file = path / name
        if not file.exists():
            raise ValueError(f"{name} is missing")
        if checksum(file) != expected:
            raise ValueError(f"{name} has changed")


def checksum(file: Path) -> list[int]:
    """Size and CRC-32."""
    size = crc = 0
    with open(file, "rb") as stream:
        while block := stream.read(2**20):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


def brief(error: Exception) -> str:
    """The first line of an error's text, or what the system says of the error that tensorstore met."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

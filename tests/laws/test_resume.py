"""A run killed at any instant goes on from its last whole checkpoint and ends with an uninterrupted one's table."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrl import UserError
from jaxrl.core import random as keys
from jaxrl.core.types import Shared
from jaxrl.engine import checkpoint
from jaxrl.engine.run_directory import read_metrics
from jaxrl.engine.sinks import Sink

TRAINEE = Path(__file__).with_name("trainee.py")
UPDATES = 80
REQUEST = {"seeds": 3, "updates": UPDATES, "evaluate_every": 7 * 16, "tile": 1}


def start(directory, pause_at=0):
    """The run in a process of its own; with ``pause_at`` it stops inside that checkpoint write."""
    command = [sys.executable, TRAINEE, directory, json.dumps(REQUEST), pause_at]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)


def wait_for(process, event):
    """Reads what a trainee says up to the event; returns it all."""
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if said[-1].startswith(event):
            return said
    raise AssertionError(f"the process ended before {event!r}; it said {said}")


def kill(process):
    """SIGKILL, which must not have come too late."""
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def table(directory):
    """Every column that does not hold a time."""
    return read_metrics(directory).drop(columns="wall_seconds")


def updates_saved(directory):
    return checkpoint.complete(directory / "checkpoints")


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_again_and_again_the_table_is_that_of_an_uninterrupted_run(run, tmp_path, kills):
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    run(directory=reference, **REQUEST)

    draw = random.Random(0)
    saved = 0
    for moment in range(kills):
        if moment == 4:  # written by orbax, and not yet renamed
            process = start(killed, 3)
            wait_for(process, "inside a checkpoint write")
            before = updates_saved(killed)
            kill(process)
            assert (killed / "checkpoints" / f".writing-{before[-1] + 1:012d}").is_dir()
            assert updates_saved(killed) == before, "what was being written is not a checkpoint"
        else:
            process = start(killed)
            wait_for(process, "begin")
            for _ in range(draw.randrange(5)):  # none: killed while compiling or restoring
                wait_for(process, "progress")
            time.sleep(draw.uniform(0, 0.15))
            kill(process)
        now = max(updates_saved(killed), default=0)
        assert saved <= now < UPDATES, "progress is kept, and there is something left to kill"
        saved = now
    assert saved >= kills

    last = start(killed)
    said = wait_for(last, "finished")
    assert f"resumed after {saved} of {UPDATES} updates" in said
    assert not list((killed / "checkpoints").glob(".writing*"))
    pd.testing.assert_frame_equal(table(killed), table(reference), check_exact=True)
    assert list(table(reference)["updates"].unique()) == [*range(7, UPDATES, 7), UPDATES]


# --- in this process: what a damaged directory does --------------------------------------------------------------


class Stop(Exception):
    """The interruption."""


class StopAt(Sink):
    """Interrupts a run after some updates."""

    def __init__(self, updates):
        self.updates = updates

    def progress(self, done, steps_per_second, seconds_left, latest):
        if done >= self.updates:
            raise Stop


@pytest.fixture
def chunks_of_one(monkeypatch):
    """Makes every chunk one update."""
    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 0.0)


@pytest.fixture
def interrupted(run, tmp_path, chunks_of_one):
    """The directory of a run of 12 updates that was interrupted in its ninth; it has checkpoints after 7 and 8."""
    with pytest.raises(Stop):
        run(directory=tmp_path / "run", checkpoint_seconds=0, tile=1, sinks=[StopAt(9)])
    assert updates_saved(tmp_path / "run") == [7, 8]
    return tmp_path / "run"


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    """The result of the same run without an interruption, and its table."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    return run(directory=directory, tile=1), table(directory)


def resume(run, directory, **settings):
    return run(directory=directory, checkpoint_seconds=0, tile=1, **settings)


def assert_same(trees, directory, result, uninterrupted):
    trees.equal(result.states, uninterrupted[0].states)
    trees.equal(result.metrics, uninterrupted[0].metrics)
    pd.testing.assert_frame_equal(table(directory), uninterrupted[1], check_exact=True)


def test_the_whole_state_comes_back(run, trees, interrupted, uninterrupted):
    result = resume(run, interrupted)
    assert_same(trees, interrupted, result, uninterrupted)
    assert result.states.key.dtype == uninterrupted[0].states.key.dtype
    assert jnp.issubdtype(result.states.key.dtype, jax.dtypes.prng_key)


def test_another_tile_and_more_devices_may_resume(run, trees, interrupted, uninterrupted):
    result = run(directory=interrupted, tile=16)
    trees.equal(result.states.source, uninterrupted[0].states.source)
    trees.close(result.states.learner, uninterrupted[0].states.learner, rtol=1e-5, atol=1e-6)


def test_a_finished_run_is_not_run_again(run, trees, interrupted, uninterrupted, monkeypatch):
    resume(run, interrupted)

    def never(self, *arguments):
        raise AssertionError("compiled although nothing is left to do")

    monkeypatch.setattr("jaxrl.engine.program.Program.compiled_advance", never)
    assert_same(trees, interrupted, resume(run, interrupted), uninterrupted)


def largest_file(path):
    return max((f for f in path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def truncate(path):
    file = largest_file(path)
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(path):
    file = largest_file(path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove_a_file(path):
    largest_file(path).unlink()


def truncate_the_manifest(path):
    manifest = path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-5])


def empty_the_manifest(path):
    (path / "manifest.json").write_text("")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove_a_file, truncate_the_manifest, empty_the_manifest])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(
    run, trees, interrupted, uninterrupted, damage, capsys
):
    damage(interrupted / "checkpoints" / f"{8:012d}")
    said = []

    class Listener(Sink):
        def say(self, message):
            said.append(message)

    result = resume(run, interrupted, sinks=[Listener()])
    assert "resumed after 7 of 12 updates" in said
    warning = capsys.readouterr().err
    assert f"{8:012d}" in warning
    assert "damaged" in warning
    assert f"{8:012d} is damaged" in (interrupted / "summary.json").read_text()
    assert_same(trees, interrupted, result, uninterrupted)


def test_with_all_checkpoints_damaged_it_starts_over_and_says_so(run, trees, interrupted, uninterrupted, capsys):
    for path in (interrupted / "checkpoints").iterdir():
        truncate(path)
    result = resume(run, interrupted)
    assert capsys.readouterr().err.count("damaged") == 2
    assert_same(trees, interrupted, result, uninterrupted)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:100])])
def test_a_lost_or_damaged_table_is_made_again(run, trees, interrupted, uninterrupted, damage, capsys):
    """Rows that no checkpoint can bring back have to be computed again, from the last one before them."""
    damage(interrupted / "metrics" / "000001.parquet")
    result = resume(run, interrupted)
    said = capsys.readouterr().err
    assert f"{8:012d} is passed over" in said
    assert (damage is Path.unlink) or "000001.parquet are damaged" in said
    assert_same(trees, interrupted, result, uninterrupted)


@pytest.mark.parametrize("where", ["orbax", "rename"])
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_whole(
    run, trees, interrupted, uninterrupted, monkeypatch, where
):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.v1.save" if where == "orbax" else "jaxrl.engine.checkpoint.os.rename", full)
        with pytest.raises(UserError, match="No space left on device") as error:
            resume(run, interrupted)
    assert "\n" not in str(error.value)
    assert str(interrupted) in str(error.value)
    assert updates_saved(interrupted) == [7, 8]
    assert not list((interrupted / "checkpoints").glob(".writing*"))
    assert_same(trees, interrupted, resume(run, interrupted), uninterrupted)


def test_checkpoints_keep_types_and_values(tmp_path, trees):
    state = {
        "keys": jax.random.split(jax.random.key(3), 4),
        "ours": keys.key(3),
        "counter": Shared(jnp.int32(7)),
        "nothing": None,
        "tuple": (jnp.arange(3, dtype=jnp.uint8), jnp.float32(np.nan), jnp.bool_(True)),
    }
    checkpoint.save(tmp_path, 5, state)
    checkpoint.save(tmp_path, 10**9, state)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
        ),
        state,
    )
    updates, loaded, warnings = checkpoint.load_latest(tmp_path, lambda updates: shapes)
    assert (updates, warnings) == (10**9, [])
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    assert isinstance(loaded["counter"], Shared)
    trees.equal(loaded, state)
    # a typed key that came back draws what it would have drawn
    assert jax.random.bits(loaded["keys"][2]) == jax.random.bits(state["keys"][2])
    assert [leaf.dtype for leaf in jax.tree.leaves(loaded)] == [leaf.dtype for leaf in jax.tree.leaves(state)]


def test_a_whole_checkpoint_of_another_form_is_not_thrown_away(tmp_path):
    """As after a change of the program: starting over would lose the run."""
    checkpoint.save(tmp_path, 5, {"a": jnp.float32(1)})
    host = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    other = {name: jax.ShapeDtypeStruct((3,), jnp.float32, sharding=host) for name in "bc"}
    with pytest.raises(UserError, match="another state"):
        checkpoint.load_latest(tmp_path, lambda updates: other)
    assert checkpoint.complete(tmp_path) == [5]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for updates in (3, 20, 100, 1000):
        checkpoint.save(tmp_path, updates, {"x": jnp.float32(updates)})
    assert checkpoint.complete(tmp_path) == [100, 1000]
    checkpoint.save(tmp_path, 500, {"x": jnp.float32(500)})  # gone back to, since the newer one is of no use
    assert 500 in checkpoint.complete(tmp_path)
    assert checkpoint.complete(tmp_path / "absent") == []


def test_something_else_in_the_folder_is_not_a_checkpoint(tmp_path):
    checkpoint.save(tmp_path, 3, {"x": jnp.float32(3)})
    (tmp_path / "notes").mkdir()
    (tmp_path / "000000000009").mkdir()
    shutil.copytree(tmp_path / "000000000003", tmp_path / ".writing-000000000010")
    assert checkpoint.complete(tmp_path) == [3]

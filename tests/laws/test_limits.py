"""What a run may use: memory that its length does not change, no more than there is, and a directory of its own."""

import fcntl
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxrl import UserError
from jaxrl.engine.layout import plan
from jaxrl.engine.sinks import Sink

GIB = 2**30


def test_memory_does_not_grow_with_the_length_of_a_run(run, tiny, monkeypatch):
    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 1e-3)

    class Live(Sink):
        """Notes the bytes of all arrays after each chunk."""

        def __init__(self):
            self.bytes = []

        def progress(self, done, steps_per_second, seconds_left, latest):
            self.bytes.append(sum(array.nbytes for array in jax.live_arrays()))

    short, long = Live(), Live()
    run(seeds=3, tile=1, updates=8, evaluate_every=16 * 4, sinks=[short])
    run(seeds=3, tile=1, updates=800, evaluate_every=16 * 400, sinks=[long])
    assert len(long.bytes) > len(short.bytes)
    assert max(long.bytes) - min(long.bytes) == max(short.bytes) - min(short.bytes)


def test_metrics_are_a_row_an_evaluation_however_long_it_takes(run):
    result = run(seeds=3, tile=1, updates=800, evaluate_every=16 * 400)
    assert {values.shape for values in result.metrics.values()} == {(3, 2)}


@pytest.fixture
def nothing_compiled(monkeypatch):
    """Makes compilation an error."""

    def never(self, *arguments):
        raise AssertionError("compiled before the request was refused")

    for name in ("compiled_start", "compiled_advance", "compiled_judge"):
        monkeypatch.setattr(f"jaxrl.engine.program.Program.{name}", never)


def test_an_over_size_request_is_refused_with_the_numbers_before_compiling(run, nothing_compiled, monkeypatch):
    monkeypatch.setattr("jaxrl.engine.layout.available_bytes", lambda device: 2**20)
    with pytest.raises(UserError, match=r"1000 members need about \S+ MiB: .* of state each.* 1 MiB are available"):
        run(seeds=1000)


@pytest.mark.parametrize("seeds", [10**9, 2**32])
def test_a_population_no_machine_holds_is_refused_at_once(run, nothing_compiled, seeds):
    with pytest.raises(UserError, match=f"{seeds} members need about .*TiB"):
        run(seeds=seeds)


def test_the_plan_fits_into_memory():
    layout = plan(1000, 4, state_bytes=10**6, work_bytes=10**7, memory=2 * 10**9, tile=None, on_cpu=False)
    assert 1000 * 10**6 + layout.group * 10**7 <= 2 * 10**9
    assert layout.group >= 80, "and uses most of it"
    with pytest.raises(UserError, match="available"):
        plan(1000, 4, state_bytes=10**6, work_bytes=10**7, memory=2 * 10**9, tile=200, on_cpu=False)


@pytest.mark.parametrize(
    ("state_bytes", "work_bytes", "tile"), [(10**5, 10**5, 8), (10**4, 10**5, 16), (10**4, 3 * 10**6, 4), (1, 10**8, 1)]
)
def test_a_tile_on_a_cpu_fits_its_caches(state_bytes, work_bytes, tile):
    assert plan(64, 2, state_bytes, work_bytes, GIB, None, on_cpu=True).tile == tile
    assert plan(64, 2, state_bytes, work_bytes, 64 * GIB, None, on_cpu=False).tile == 32, "an accelerator has no need"


@pytest.mark.parametrize("members", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("tile", [None, 1, 5, 16])
def test_every_member_is_in_exactly_one_place(members, devices, tile):
    layout = plan(members, devices, 1000, 1000, GIB, tile, True)
    placed = np.concatenate([layout.indices(g)[: layout.real(g)] for g in range(layout.groups)])
    np.testing.assert_array_equal(placed, np.arange(members))
    assert all(len(layout.indices(g)) == layout.group for g in range(layout.groups))
    if tile is not None:
        assert layout.tile <= tile


# --- the directory ------------------------------------------------------------------------------------------------

HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "run"
    run(seeds=3, tile=1, directory=directory)
    return directory


@pytest.fixture
def directory(finished, tmp_path):
    """The directory of a finished run."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_in_use_is_refused_and_left_alone(run, directory, overwrite):
    files = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(directory / ".lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(UserError, match="another process is training into it"):
            run(seeds=3, tile=1, directory=directory, overwrite=overwrite)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()} == files
    run(seeds=3, tile=1, directory=directory, overwrite=overwrite)


def test_a_run_holds_its_directory_and_gives_it_back(run, directory):
    class Probe(Sink):
        def begin(self, plan, updates):
            with open(directory / ".lock") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    run(seeds=3, tile=1, directory=directory, sinks=[Probe()])
    with open(directory / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_another_run_is_refused_with_the_difference(run, tiny, directory, nothing_compiled):
    with pytest.raises(UserError, match=r"config.learning_rate: 0.003 -> 0.001; .*overwrite") as refused:
        run(tiny.replace(learning_rate=1e-3), seeds=3, tile=1, directory=directory)
    assert "gamma" not in str(refused.value)
    with pytest.raises(UserError, match="seeds"):
        run(seeds=4, tile=1, directory=directory)
    with pytest.raises(UserError, match="holds a run"):
        run(seeds=3, tile=1, directory=directory, resume=False)
    # the refusals, still referred to here, do not keep the directory
    with open(directory / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_overwriting_leaves_nothing_of_the_run_before(run, tiny, directory):
    run(tiny.replace(learning_rate=1e-3), seeds=2, tile=1, updates=3, directory=directory, overwrite=True)
    assert json.loads((directory / "config.json").read_text())["request"]["config"]["learning_rate"] == 1e-3
    assert len(list((directory / "metrics").iterdir())) == 1
    assert [int(path.name) for path in (directory / "checkpoints").iterdir()] == [3]


def test_a_directory_that_cannot_be_written_is_refused(run, tmp_path, nothing_compiled):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written to"):
        run(directory=tmp_path / "file" / "run")


def test_a_damaged_config_is_refused_in_one_line(run, directory, nothing_compiled):
    (directory / "config.json").write_text('{"request": {')
    with pytest.raises(UserError, match=r"config\.json"):
        run(seeds=3, tile=1, directory=directory)

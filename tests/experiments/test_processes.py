"""Several processes that train one population: the table of one, whoever is killed, and no waiting for ever."""

import os
import signal
import socket
import subprocess
import sys

import pandas as pd
import pytest

from jaxrl.engine import checkpoint
from jaxrl.engine.run_directory import read_metrics

ENVIRONMENT = os.environ | {"XLA_FLAGS": ""}
SETTINGS = """
    ppo --env CartPole-v1 --preset none --num-envs 2 --num-steps 8 --num-minibatches 2 --num-epochs 1 --hidden-sizes 8
    --seeds 5 --steps 960 --evaluate-every 320 --evaluation-episodes 2 --checkpoint-seconds 0 --tile 2
"""


def start(directory, *options):
    command = [sys.executable, "-m", "experiments.train", *SETTINGS.split(), "--directory", str(directory), *options]
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def start_both(directory):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    together = ("--coordinator", f"localhost:{port}", "--num-processes", "2", "--cores", "1", "--process-id")
    return [start(directory, *together, str(index)) for index in range(2)]


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def table(directory):
    rows = read_metrics(directory).drop(columns="wall_seconds")
    return rows.sort_values(["evaluation", "member"], ignore_index=True)


def wait_for_checkpoint(folder, process):
    while not checkpoint.complete(folder):
        assert process.poll() is None, process.communicate()[1]


def test_two_processes_write_the_table_of_one_and_a_kill_costs_a_chunk(tmp_path):
    finish(start(tmp_path / "one", "--cores", "2"))

    together = tmp_path / "two"
    processes = start_both(together)
    for index, process in enumerate(processes):
        wait_for_checkpoint(together / "checkpoints" / str(index), process)
    for process in reversed(processes):  # the job is killed with it, as clusters do
        process.send_signal(signal.SIGKILL)
        process.communicate()
    saved = [checkpoint.complete(together / "checkpoints" / str(index))[-1] for index in range(2)]
    assert all(0 < updates <= 60 for updates in saved)

    (out, err), (silent, _) = map(finish, start_both(together))
    assert f"resumed after {saved[0]} of 60 updates" in err
    assert "final return" in out
    assert "final return" not in silent
    pd.testing.assert_frame_equal(table(together), table(tmp_path / "one"), check_exact=True)
    members = [set(pd.read_parquet(f)["member"]) for f in sorted((together / "metrics").glob("000000-*.parquet"))]
    assert members == [{0, 1, 2}, {3, 4}], "each process wrote the rows of its own members"

    alone = start(together)
    assert alone.wait(timeout=300) == 2
    assert "processes: 2 -> 1" in alone.communicate()[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--coordinator", "nowhere"], "coordinator='nowhere': must be host:port"),
        (["--coordinator", "localhost:1", "--process-id", "0"], "num_processes=None: must be at least 1"),
        (["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "2"], "process_id=2: must be within"),
        (["--num-processes", "2"], "coordinator=None: must be given"),
        (
            ["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "1", "--coordinator-timeout", "2"],
            "coordinator='localhost:1': no answer within 2 s",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, words):
    process = start(tmp_path / "run", *options)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 2, err
    assert err.splitlines()[-1].startswith(f"error: {words}")
    assert "Traceback" not in err

"""Sweeps: one program for all that it can hold, one table for all, nothing done twice, any launcher alike."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

import experiments.launchers
from experiments.parts import train_part
from experiments.sweep import main
from jaxrl import PPO, train
from jaxrl.engine.loading import find_member
from jaxrl.engine.program import Program
from jaxrl.engine.run_directory import read_metrics

TINY = """
    --preset none --num-envs 2 --num-steps 8 --num-minibatches 2 --num-epochs 1 --hidden-sizes 8 --steps 64 --seeds 3,5
    --evaluate-every 32 --evaluation-episodes 2 --tile 1
"""
GRID = ["--grid", "learning_rate=1e-3,1e-2", "num_envs=2,4", "gamma=0.9,0.99"]


@pytest.fixture
def sweep(tmp_path):
    """Runs a sweep of tiny trainings into ``tmp_path/name`` and returns its exit code."""

    def sweep(*options, name="sweep"):
        return main(["ppo", "--env", "CartPole-v1", *TINY.split(), "--directory", str(tmp_path / name), *options])

    return sweep


@pytest.fixture
def trained(monkeypatch):
    """Numbers of the configs of every part that is trained."""
    numbers = []

    def note(part, sinks=()):
        numbers.append(part.numbers)
        return train_part(part, sinks)

    monkeypatch.setattr(experiments.launchers, "train_part", note)
    return numbers


def table(directory):
    return read_metrics(directory).drop(columns="wall_seconds").sort_values(["member", "evaluation"], ignore_index=True)


def test_a_grid_is_one_table_of_members_that_depend_on_themselves_alone(sweep, trained, tmp_path, capsys):
    assert sweep(*GRID) == 0
    assert trained == [[0, 1, 4, 5], [2, 3, 6, 7]]
    rows = table(tmp_path / "sweep")
    assert len(rows) == 8 * 2 * 2
    assert list(rows.columns[:4]) == ["member", "config", "seed", "num_envs"]
    first = rows.groupby("member").first()
    assert list(first["config"]) == [c for c in range(8) for _ in range(2)]
    assert list(first["seed"]) == 8 * [3, 5]
    assert list(first["num_envs"]) == 2 * [2, 2, 2, 2, 4, 4, 4, 4]
    np.testing.assert_allclose(first["learning_rate"], 8 * [1e-3] + 8 * [1e-2], rtol=1e-6)

    # config 7 with seed 5, alone
    config = PPO(1e-2, 0.99, num_envs=4, num_steps=8, num_minibatches=2, num_epochs=1, hidden_sizes=(8,))
    alone = train(config, "CartPole-v1", seeds=[5], steps=64, evaluate_every=32, evaluation_episodes=2, tile=1)
    for name in ("evaluation_return", "episode_return", "loss"):
        np.testing.assert_array_equal(rows.loc[rows["member"] == 15, name], alone.frame[name])

    found = find_member(tmp_path / "sweep", 15)
    assert (found.run.directory.name, found.run.population.seed[found.run.place(found.member)]) == ("000002", 5)
    trained = found.run.member(found.member)
    assert (trained.learning_rate, trained.gamma, trained.num_envs) == pytest.approx((1e-2, 0.99, 4))

    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert (summary["configs"], summary["members"]) == (8, 16)
    assert "final return" in capsys.readouterr().out
    assert (tmp_path / "sweep" / "figures" / "configs.png").stat().st_size > 5000


def test_floats_compile_once(sweep, monkeypatch):
    compiled = []
    advance = Program.compiled_advance
    monkeypatch.setattr(Program, "compiled_advance", lambda *a: compiled.append(1) or advance(*a))
    assert sweep("--grid", "learning_rate=1e-4,1e-3,1e-2", "gamma=0.9,0.95,0.99,1") == 0
    assert len(compiled) == 1


def test_an_interrupted_sweep_does_nothing_twice(sweep, trained, tmp_path, monkeypatch, capsys):
    def killed_in_the_second(part, sinks=()):
        if part.numbers[0] == 2:
            raise KeyboardInterrupt
        return train_part(part, sinks)

    with monkeypatch.context() as patch:
        patch.setattr(experiments.launchers, "train_part", killed_in_the_second)
        assert sweep(*GRID) == 130
    assert sweep(*GRID) == 0
    assert trained == [[2, 3, 6, 7]]
    assert "1 of 2 parts are finished" in capsys.readouterr().out
    assert sweep(*GRID, name="whole") == 0
    pd.testing.assert_frame_equal(table(tmp_path / "sweep"), table(tmp_path / "whole"), check_exact=True)

    (tmp_path / "sweep" / "metrics" / "000000.parquet").write_bytes(b"damaged")
    del trained[:]
    capsys.readouterr()
    assert sweep(*GRID) == 0
    assert "000000.parquet are damaged" in capsys.readouterr().err
    assert trained == [[0, 1, 4, 5]]
    pd.testing.assert_frame_equal(table(tmp_path / "sweep"), table(tmp_path / "whole"), check_exact=True)


def test_halving_trains_the_better_half_to_the_end(sweep, tmp_path, capsys):
    assert sweep("--random", "8", "learning_rate=log(1e-4,1e-1)", "--halving", "2", "--evaluate-every", "16") == 0
    counts = table(tmp_path / "sweep").groupby("evaluation")["config"].nunique()
    assert list(counts) == [8, 4, 2, 1] or list(counts) == [8, 2, 1, 1], "cuts after 1/8, 1/4, 1/2 of four evaluations"
    best = json.loads((tmp_path / "sweep" / "summary.json").read_text())["best"]
    assert [entry["value"] is not None for entry in best] == [True] + 7 * [False]
    assert "halving leaves out" in capsys.readouterr().out


def test_optuna_goes_on_where_it_was(sweep, trained, tmp_path, monkeypatch):
    dimensions = ["learning_rate=log(1e-4,1e-1)", "num_envs=2,4"]

    def killed_in_the_second_batch(part, sinks=()):
        if part.numbers[0] >= 4:
            raise KeyboardInterrupt
        return train_part(part, sinks)

    assert sweep("--optuna", "6", *dimensions, "--batch", "4", name="whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(experiments.launchers, "train_part", killed_in_the_second_batch)
        assert sweep("--optuna", "6", *dimensions, "--batch", "4") == 130
    del trained[:]
    assert sweep("--optuna", "6", *dimensions, "--batch", "4") == 0
    assert sorted(number for numbers in trained for number in numbers) == [4, 5]
    rows = table(tmp_path / "sweep")
    pd.testing.assert_frame_equal(rows, table(tmp_path / "whole"), check_exact=True)
    assert sweep("--optuna", "7", *dimensions, "--batch", "4") == 0, "more trials may be asked for"
    assert trained[-1] == [6]

    import optuna

    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path / 'sweep' / 'study.db'}")
    final = rows[rows["environment_steps"] >= 64].groupby("config")["evaluation_return"].mean()
    assert [trial.value for trial in study.trials[:6]] == pytest.approx(list(final)), "of two seeds the IQM is the mean"


@pytest.mark.slow
def test_ray_gives_the_same_table_though_a_worker_is_killed(tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "experiments.sweep", "ppo", "--env", "CartPole-v1", *TINY.split(), *GRID]
    command += ["--steps", "6400", "--evaluate-every", "640", "--checkpoint-seconds", "0", "--cores", "1"]
    tasks = subprocess.Popen(
        [*command, "--launcher", "ray", "--directory", str(tmp_path / "ray")], stderr=subprocess.PIPE, text=True
    )
    begun = time.monotonic()
    while not list((tmp_path / "ray" / "parts").glob("*/checkpoints/*/manifest.json")):
        assert tasks.poll() is None, tasks.communicate()
        assert time.monotonic() - begun < 120
        time.sleep(0.05)
    workers = [
        p for p in psutil.Process(tasks.pid).children(recursive=True) if "ray::train_in" in " ".join(p.cmdline())
    ]
    assert workers
    workers[0].kill()
    assert tasks.wait(timeout=300) == 0, tasks.communicate()
    subprocess.run([*command, "--directory", str(tmp_path / "serial")], check=True, capture_output=True, timeout=300)
    pd.testing.assert_frame_equal(table(tmp_path / "ray"), table(tmp_path / "serial"), check_exact=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["sweep=''", "give one of --grid, --random and --optuna"]),
        ([*GRID, "--random", "3", "gamma=0.9"], ["sweep='grid random'", "give one of"]),
        (["--grid"], ["sweep=''", "give one of"]),
        (["--grid", "num_env=2"], ["hyperparameter='num_env'", "'num_envs'"]),
        (["--grid", "num_envs=2.5"], ["num_envs=2.5"]),
        (["--grid", "gamma=0.9,1.5"], ["gamma", "within [0, 1]"]),
        (["--grid", "num_minibatches=2,3"], ["num_minibatches=3", "divide"]),
        (["--random", "gamma=0.9"], ["random='gamma=0.9'", "number of configs"]),
        (["--random", "0", "gamma=0.9"], ["random='0'", "number of configs"]),
        (["--random", "4"], ["random=''", "at least one hyperparameter"]),
        (["--optuna", "4", "gamma=0.9", "--batch", "0"], ["batch=0", "at least 1"]),
        ([*GRID, "--halving", "1"], ["halving=1", "at least 2"]),
        ([*GRID, "--halving", "9"], ["halving=9", "4"]),
        ([*GRID, "--halving", "2", "--evaluate-every", "0"], ["halving=2", "evaluate_every=0"]),
        (["--optuna", "4", "gamma=uniform(0.5,1.5)"], ["gamma", "within [0, 1]"]),
        (["--optuna", "4", "gamma=0.9,0.99", "--halving", "2"], ["halving=2", "optuna"]),
        ([*GRID, "--launcher", "slurm"], ["--launcher", "'slurm'"]),
        ([*GRID, "--coordinator", "auto"], ["coordinator='auto'", "--launcher ray"]),
        ([*GRID, "--num-epoch", "2"], ["option='--num-epoch'", "'--num-epochs'"]),
    ],
)
def test_bad_input_is_one_line(sweep, refused_by, options, words):
    line = refused_by(lambda: sweep(*options))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:9", "no answer within"), ("ray://nowhere", "must be host:port"), ("auto", "no Ray cluster there")],
)
def test_a_cluster_that_is_not_there(sweep, refused_by, monkeypatch, address, words):
    pytest.importorskip("ray")
    monkeypatch.setattr("experiments.launchers.ANSWER_SECONDS", 0.5)
    assert words in refused_by(lambda: sweep(*GRID, "--launcher", "ray", "--ray-address", address))


def test_two_sweeps_do_not_share_a_directory(sweep, capsys):
    assert sweep("--grid", "gamma=0.9") == 0
    assert sweep("--grid", "gamma=0.99") == 2
    assert "holds another run, which differs in sweep.grid" in capsys.readouterr().err
    assert sweep("--grid", "gamma=0.99", "--overwrite") == 0

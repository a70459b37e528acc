"""The command line: what it accepts, what it refuses and in which words, and how it goes on after any end."""

import importlib.util
import json
import os
import resource
import subprocess
import sys

import pandas as pd
import pytest

from experiments.command_line import one_line
from experiments.train import main
from jaxrl.engine import checkpoint
from jaxrl.engine.sinks import Progress


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--env", "CartPol-v1"], ["env='CartPol-v1'", "'CartPole-v1'"]),
        (["--env", "hopper"], ["env='hopper'", "'brax/hopper'"]),
        (["--env", ""], ["env=''", "must be given"]),
        (["--preset", "ppo/Cartpole-v1"], ["preset='ppo/Cartpole-v1'", "'ppo/CartPole-v1'"]),
        (["--learning-rat", "1e-3"], ["option='--learning-rat'", "'--learning-rate'"]),
        (["--seed", "3"], ["option='--seed'", "'--seeds'"]),
        (["--no-squach"], ["option='--no-squach'", "'--no-squash'"]),
        (["256"], ["256", "not an option"]),
        (["--learning-rate", "fast"], ["--learning-rate", "'fast'"]),
        (["--learning-rate"], ["--learning-rate", "Missing value"]),
        (["--learning-rate", "nan"], ["learning_rate=nan", "at least 0"]),
        (["--gamma", "1.5"], ["gamma=1.5", "within [0, 1]"]),
        (["--clip", "-1"], ["clip=-1.0", "at least 0"]),
        (["--target-kl", "small"], ["--target-kl", "'small'"]),
        (["--hidden-sizes", "64", "big"], ["--hidden-sizes", "'big'"]),
        (["--hidden-sizes", "0"], ["hidden_sizes", "positive"]),
        (["--activation", "rely"], ["--activation", "'rely'", "relu"]),
        (["--num-envs", "0"], ["num_envs=0", "at least 1"]),
        (["--num-envs", "2.5"], ["--num-envs", "2.5"]),
        (["--num-minibatches", "3"], ["num_minibatches=3", "divide", "16"]),
        (["--steps", "0"], ["steps=0", "at least 1"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--steps", "0.5"], ["--steps", "whole number"]),
        (["--steps", "1e20"], ["steps=1", "2**31"]),
        (["--seeds", "0"], ["seeds=0", "at least 1"]),
        (["--seeds", "a,b"], ["seeds='a,b'", "3,7,9"]),
        (["--seeds", "3,3"], ["seeds=[3, 3]", "distinct"]),
        (["--hidden-sizes", "300000", "300000"], ["seeds: 2 members", "available"]),
        (["--evaluate-every", "-1"], ["evaluate_every=-1"]),
        (["--evaluation-episodes", "0"], ["evaluation_episodes=0"]),
        (["--evaluation-batch", "3"], ["evaluation_batch=3", "divide"]),
        (["--tile", "0"], ["tile=0", "at least 1"]),
        (["--cores", "0"], ["cores=0", "at least 1"]),
        (["--env-settings", "gravity"], ["env_settings='gravity'", "key=value"]),
        (["--env-settings", "gravit=3"], ["gravit", "'gravity'"]),
        (["--env-settings", "gravity=low"], ["gravity='low'", "number"]),
        (["--squash"], ["squash=True", "discrete"]),
        (["--network", "minatar"], ["network='minatar'", "(4,)"]),
    ],
)
def test_bad_input_is_one_line(tiny, refused, changes, words):
    line = refused([*tiny, *changes])
    assert all(word in line for word in words), line


def test_unknown_algorithm(refused):
    assert "'ppo'" in refused(["pppo", "--env", "CartPole-v1"])


def test_steps_without_a_preset(tiny, refused):
    at = tiny.index("--steps")
    without = [*tiny[:at], *tiny[at + 2 :]]
    assert "steps=None: must be given" in refused(without)
    assert "'CartPole-v1'" in refused([*without, "--env", "CartPol-v1"]), "an unknown environment comes first"


@pytest.mark.parametrize(
    ("changes", "module", "extra"),
    [
        (["--tensorboard"], "tensorboardX", "tensorboard"),
        (["--wandb", "project"], "wandb", "wandb"),
        (["--env", "playground/CartpoleBalance"], "mujoco_playground", "playground"),
        (["--env", "jumanji/Snake-v1"], "jumanji", "jumanji"),
    ],
)
def test_missing_extras(tiny, refused, monkeypatch, changes, module, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == module else find(name, *rest))
    assert f"pip install 'jaxrl[{extra}]'" in refused([*tiny, *changes])


def test_cores_after_the_devices_are_fixed(tiny, refused):
    assert "jax has fixed its devices" in refused([*tiny, "--cores", "3"])


def test_unwritable_directory(tiny, refused, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused([*tiny, "--directory", str(tmp_path / "file" / "run")])
    assert "directory=" in line
    assert "cannot be written to" in line


def test_unreadable_preset(tiny, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.command_line.PRESETS", tmp_path)
    (tmp_path / "ppo").mkdir()
    preset = tmp_path / "ppo" / "mine.toml"
    for text, words in {
        "steps = ": "cannot be read",
        "step = 3": "'steps'",
        "[hyperparameters]\nlearning_rte = 1e-3": "'learning_rate'",
        "[hyperparameters]\nnum_envs = 2.5": "num-envs",
        "[hyperparameters]\nsquash = 'yes'": "squash",
    }.items():
        preset.write_text(text)
        line = refused([*tiny, "--preset", "ppo/mine"])
        assert "preset='ppo/mine'" in line
        assert words in line


def test_run_resume_and_refusal(tiny, refused, capsys, tmp_path):
    directory = tmp_path / "run"
    assert main(tiny) == 0
    out, err = capsys.readouterr()
    assert "2 members" in err
    assert "steps/s" in out
    assert str(directory / "figures" / "learning_curve.png") in out.replace("\n", "")
    assert (directory / "figures" / "learning_curve.png").stat().st_size > 10_000
    table = pd.concat(pd.read_parquet(file) for file in sorted((directory / "metrics").glob("*.parquet")))
    assert list(table["environment_steps"]) == [32, 32, 64, 64]
    assert json.loads((directory / "summary.json").read_text())["members"] == 2

    assert main(tiny) == 0  # there is nothing left to do
    assert "resumed after 4 of 4 updates" in capsys.readouterr().err

    line = refused([*tiny, "--learning-rate", "2e-3", "--seeds", "3"])
    assert "holds another run" in line
    assert "config.learning_rate: 0.001 -> 0.002" in line
    assert "seeds: [0, 1] -> [0, 1, 2]" in line
    assert "--overwrite" in line
    assert "env_settings.gravity: None -> 5.0" in refused([*tiny, "--env-settings", "gravity=5.0"])

    assert main([*tiny, "--learning-rate", "2e-3", "--overwrite", "--tensorboard"]) == 0
    assert list((directory / "tensorboard").iterdir())


def test_damaged_checkpoint(tiny, capsys, tmp_path):
    assert main(tiny) == 0
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert len(checkpoints) == checkpoint.KEEP
    largest = max((f for f in checkpoints[-1].rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    before = pd.read_parquet(tmp_path / "run" / "metrics" / "000001.parquet")
    capsys.readouterr()
    assert main(tiny) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "is damaged" in err
    assert "using the one before" in err
    after = pd.read_parquet(tmp_path / "run" / "metrics" / "000001.parquet")
    pd.testing.assert_frame_equal(before.drop(columns="wall_seconds"), after.drop(columns="wall_seconds"))


def test_full_disk(tiny, capsys, tmp_path, monkeypatch):
    """The second checkpoint meets a limit on the size of files, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = checkpoint.save

    def save_on_full_disk(directory, updates, state):
        if checkpoint.complete(directory):
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
        save(directory, updates, state)

    monkeypatch.setattr(checkpoint, "save", save_on_full_disk)
    try:
        code = main(tiny)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    err = capsys.readouterr().err
    assert code == 2
    assert err.splitlines()[-1].startswith("error: directory=")
    assert err.splitlines()[-1].endswith("cannot write a checkpoint: File too large")
    assert "Traceback" not in err
    checkpoints = tmp_path / "run" / "checkpoints"
    (kept,) = checkpoint.complete(checkpoints)
    checkpoint.verify(checkpoints / f"{kept:012d}")
    assert main(tiny) == 0
    assert f"resumed after {kept} of 4 updates" in capsys.readouterr().err


def test_interrupt(tiny, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "write", interrupt)
        assert main(tiny) == 130
    assert "the same command goes on" in capsys.readouterr().err.splitlines()[-1]
    assert main(tiny) == 0


def test_help_lists_every_hyperparameter(capsys):
    assert main(["ppo", "--env", "Pendulum-v1", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--learning-rate FLOAT" in text
    assert "Adam's step size." in text
    assert "preset ppo/Pendulum-v1" in text
    assert "--directory PATH" in text
    assert main([]) == 0
    assert "ppo/CartPole-v1" in capsys.readouterr().out


def test_one_line_of_boxes():
    assert (
        one_line("╭─ Value error ─╮\n│ Error parsing --a: no │\n│ --b either. │\n│ ───── │\n│ more │\n╰───╯")
        == "--a: no --b either."
    )
    assert one_line(" Value error \n ------ \n  Error parsing --a: no \n ------ \n more") == "--a: no"


@pytest.mark.optimised
def test_as_a_process(tiny, tmp_path, user_environment):
    """Devices and cache are set up in the right order, nothing else is said, and the exit code is the process's.

    Its table is that of the same seeds on another number of cores, as long as their tile is the same.
    """
    main([*tiny, "--tile", "1", "--directory", str(tmp_path / "eight")])
    command = [sys.executable, "-m", "experiments.train", *tiny, "--tile", "1", "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=user_environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 group(s) of 1 device(s) x 1 members" in " ".join(done.stderr.split())
    eight, one = (
        pd.read_parquet(tmp_path / name / "metrics").drop(columns="wall_seconds") for name in ("eight", "run")
    )
    pd.testing.assert_frame_equal(one, eight, check_exact=True)
    failed = subprocess.run(
        [*command, "--gamma", "2"], capture_output=True, text=True, env=user_environment, timeout=300
    )
    assert failed.returncode == 2
    assert failed.stderr == "error: gamma=2.0: must be within [0, 1]\n"

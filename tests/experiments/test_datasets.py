"""Prior data: what the command makes of a training, that it goes on, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets import main
from experiments.prior_data import KINDS, MEDIUM, REFERENCES, Acceptance
from jaxrl import SAC, InvalidArgument, load_run, make
from jaxrl.sources.dataset import CARD, Card, load

ENV = "control/multi-goal-v0"
TINY = """
    --rows 3000 --steps 2_048 --checkpoints 8 --episodes 256 --seed 1000 --num-envs 16 --update-to-data 0.5
    --batch-size 64 --learning-starts 256 --hidden-sizes 16 --actor-learning-rate 1e-2 --critic-learning-rate 1e-2
"""
SMALL = TINY.split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with all kinds of points with four goals."""
    output = tmp_path_factory.mktemp("datasets") / "data"
    assert main([ENV, str(output), *SMALL]) in (0, 1)  # so small a training need not come near a third of the way
    return output


def test_what_is_written(made):
    env = make(ENV)
    found = {kind: load(made / kind, env) for kind in KINDS}
    references = json.loads((made / REFERENCES).read_text())["references"]
    for kind, (card, steps, episode) in found.items():
        assert card.seed == 1000
        assert (card.random_return, card.expert_return) == (references["random_return"], references["expert_return"])
        ends = np.append(np.flatnonzero(np.diff(episode)), len(episode) - 1)
        within = np.setdiff1d(np.arange(len(episode)), ends)
        assert not steps.cut[within].any()
        if kind.endswith("replay"):  # the last episode of each of 16 environments may go on
            assert (steps.cut[ends] == 0).sum() <= 16
        else:
            assert (steps.cut[ends] > 0).all()
            assert 3000 <= len(episode) <= 3000 + 2 * 30
        np.testing.assert_array_equal(steps.obs[within + 1], steps.next_obs[within])
        # Where a goal is reached the observation is of the goal, and not of the next start.
        distance = np.linalg.norm(steps.next_obs[:, None] - 5 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]), axis=-1)
        np.testing.assert_array_equal(distance.min(axis=1) < 0.5, steps.discount == 0)
    assert (found["expert"].transitions.discount == 0).any()
    assert found["random"].card.steps == 0
    assert found["random"].transitions.action.std() == pytest.approx(3**-0.5, rel=0.03)
    assert found["medium"].card.steps == references["medium_steps"] <= found["expert"].card.steps == 2048

    # Halves, and what had happened until then.
    mixed, half = found["medium-expert"], load(made / "medium", env)
    first = int(np.searchsorted(mixed.episode, mixed.episode[1499] + 1))
    np.testing.assert_array_equal(mixed.transitions.obs[:first], half.transitions.obs[:first])
    expert = found["expert"].transitions.obs
    rest = mixed.transitions.obs[first:]
    assert len(rest) >= 1500
    np.testing.assert_array_equal(rest, expert[: len(rest)])
    replayed, earlier = found["full-replay"], found["medium-replay"]
    assert len(replayed.episode) == 2048
    assert len(earlier.episode) == references["medium_steps"]
    np.testing.assert_array_equal(earlier.transitions.obs[0], replayed.transitions.obs[0])
    config = load_run(made / "training").config
    assert config.capacity == 2048


def test_the_medium_policy_is_the_first_that_is_good_enough(made):
    found = json.loads((made / REFERENCES).read_text())["references"]
    third = found["random_return"] + MEDIUM / 100 * (found["expert_return"] - found["random_return"])
    assert found["random_return"] < found["expert_return"]
    assert found["medium_return"] >= third
    card = load(made / "medium").card
    assert card.score(third) == pytest.approx(100 / 3)


@pytest.mark.slow
def test_it_goes_on_and_keeps_what_is_there(made, tmp_path, capsys):
    """A data set that is gone is made again as it was; the others are left alone, and simulated again they are the
    same."""
    before = load(made / "random")
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    shutil.rmtree(copy / "random")
    kept = (copy / "expert" / CARD).stat().st_mtime_ns
    assert main([ENV, str(copy), *SMALL, "--kinds", "random", "medium-replay"]) in (0, 1)
    out = capsys.readouterr().out
    (row,) = (line.split("│") for line in out.splitlines() if "│ random" in line)
    assert row[-3].strip() == "0"
    assert "medium-replay is there and is kept" in out
    assert "random is there" not in out
    np.testing.assert_array_equal(load(copy / "random").transitions.reward, before.transitions.reward)
    assert (copy / "expert" / CARD).stat().st_mtime_ns == kept


def test_off_policy_algorithms_read_them(made):
    config, env, other = SAC(prior=str(made / "medium-expert")), make(ENV), make("Pendulum-v1")
    config.check(env, env.default_params)
    prior = config.prior_data(env)
    assert prior is not None
    assert prior.reward.shape[0] >= 3000
    with pytest.raises(InvalidArgument, match="env='Pendulum-v1'"):
        config.check(other, other.default_params)


@pytest.mark.slow
def test_data_of_brax_are_of_one_backend():
    hopper = make("brax/hopper", backend="spring")
    Card("brax/hopper", "", 0.0, 1.0, backend="spring").check(hopper)
    with pytest.raises(InvalidArgument, match="backend='spring'"):
        Card("brax/hopper", "", 0.0, 1.0, backend="generalized").check(hopper)


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"kind": "random", "score": 1.9, "greedy": None}, True),
        ({"kind": "random", "score": -2.1, "greedy": None}, False),
        ({"greedy": 42}, False),
        ({"kind": "expert", "greedy": 96, "score": 80}, True),
        ({"not_finite": 1}, False),
        ({"again": 0.1}, False),
        ({"kind": "full-replay", "score": float("nan"), "greedy": None, "again": None}, True),
    ],
)
def test_acceptance(changes, holds):
    medium = {"kind": "medium", "rows": 9, "episodes": 3, "score": 20.0, "error": 1.0, "greedy": 40.0}
    assert Acceptance(**medium | {"terminals": 0.0, "not_finite": 0, "again": 0.0} | changes).holds == holds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([ENV, "DATA", "--kinds", "randm"], "kind='randm': unknown kind; did you mean 'random'"),
        ([ENV, "DATA", "--rows", "0"], "rows=0"),
        ([ENV, "DATA", "--seed", "-1"], "seed=-1"),
        ([ENV, "DATA", "--episodes", "0"], "episodes=0"),
        ([ENV, "DATA", "--steps", "3"], "steps=3"),
        ([ENV, "DATA", "--hiden-sizes", "3"], "--hidden-sizes"),
        ([ENV, "DATA", "--offline"], "offline=True"),
        (["CartPole-v1", "DATA", "--steps", "100"], "env='CartPole-v1'"),
        (["MountainCarContinuous-v0", "DATA"], "steps=None"),
        ([ENV], "Folder of the data sets"),
    ],
)
def test_what_is_refused(tmp_path, refused_by, arguments, said):
    words = [str(tmp_path / "data") if word == "DATA" else word for word in arguments]
    assert said in refused_by(lambda: main(words))
    assert not (tmp_path / "data").exists()


def test_a_folder_of_something_else_is_refused(made, tmp_path, refused_by):
    other = [*SMALL, "--rows", "4000"]
    assert "rows: 3000 -> 4000" in refused_by(lambda: main([ENV, str(made), *other]))
    copy = tmp_path / "copy"
    shutil.copytree(made, copy, ignore=lambda folder, names: {"training"} & set(names))
    file = copy / "expert" / CARD
    file.write_text(json.dumps(json.loads(file.read_text()) | {"backend": "spring"}))
    assert "backend: spring -> None" in refused_by(lambda: main([ENV, str(copy), *SMALL]))
    (copy / REFERENCES).unlink()
    assert REFERENCES in refused_by(lambda: main([ENV, str(copy), *SMALL]))
    assert "output" in refused_by(lambda: main([ENV, str(Path(__file__)), *SMALL]))

"""Demonstrations: what the command writes, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.demonstrations import ENV, main
from jaxrl import make
from jaxrl.sources.dataset import load


def test_what_is_written(tmp_path, capsys):
    """Steps that follow each other, four episodes of ten cut before the goal, ways to both sides."""
    assert main([str(tmp_path / "data"), "--episodes", "10"]) == 0
    assert "10 episodes, 6 at the goal" in capsys.readouterr().out
    card, steps, episode = load(tmp_path / "data", make(ENV))
    assert card.expert_return == 1
    ends = steps.cut > 0
    np.testing.assert_array_equal(ends[:-1], np.diff(episode) > 0)
    assert ends.sum() == 10
    assert (steps.reward == (steps.discount == 0)).all()
    assert steps.reward.sum() == 6
    np.testing.assert_array_equal(steps.obs[1:][~ends[:-1]], steps.next_obs[:-1][~ends[:-1]])
    # The actions that are stored are those that were taken.
    velocity = 0.9 * steps.obs[:, 2:4] + 0.1 * steps.action
    moved = (steps.next_obs[:, 2:4] != 0).all(axis=1)
    np.testing.assert_allclose(steps.next_obs[moved, 2:4], velocity[moved], atol=1e-6)
    assert np.abs(steps.action).max() <= 1
    right = np.unique(episode[(steps.obs[:, 0] > 3) & (steps.obs[:, 1] < 2)])
    down = np.unique(episode[(steps.obs[:, 1] > 3) & (steps.obs[:, 0] < 2)])
    assert len(right) > 0
    assert len(down) > 0
    assert not set(right) & set(down)
    assert jnp.isfinite(steps.obs).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--episodes", "0"], "episodes=0"),
        (["--cut", "1.5"], "cut=1.5"),
        (["--noise", "-1"], "noise=-1.0"),
        (["--seed", "-1"], "seed=-1"),
        (["--episode", "3"], "--episodes"),
    ],
)
def test_what_is_refused(tmp_path, capsys, options, said):
    assert main([str(tmp_path / "data"), *options]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert main([str(tmp_path)]) != 0

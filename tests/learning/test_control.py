"""PPO learns what it is known to learn; thresholds hold for the population, far from where chance would put it."""

import numpy as np
import pytest

from jaxrl import PPO, train
from jaxrl.stats import interquartile_interval

CARTPOLE = PPO(
    learning_rate=1e-3, num_envs=8, num_steps=64, num_minibatches=4, num_epochs=8, hidden_sizes=(32, 32), gamma=0.98
)


def test_cartpole(mesh_of):
    """In 60,000 steps, from about 9 of a constant policy and 20 of a random one to near the bound of 500."""
    result = train(CARTPOLE, "CartPole-v1", seeds=8, steps=60_000, evaluate_every=20_000, mesh=mesh_of(2))
    returns = result.metrics["evaluation_return"]
    assert returns[:, -1].mean() >= 400
    assert np.median(returns[:, -1]) >= 450
    assert result.environment_steps[-1] >= 60_000
    assert (result.metrics["evaluation_length"] == returns).all(), "a reward of 1 for each step"


@pytest.mark.slow
def test_pendulum(mesh_of):
    """Swings up, from about -1,200 of a random policy."""
    config = PPO(
        learning_rate=1e-3, num_envs=16, num_steps=64, num_minibatches=8, num_epochs=10, hidden_sizes=(64, 64),
        gamma=0.9, entropy_coefficient=0.0, normalise_observations=True, scale_rewards=True,
    )  # fmt: skip
    result = train(config, "Pendulum-v1", seeds=8, steps=200_000, evaluate_every=4_096, mesh=mesh_of(2))
    first, last = (interquartile_interval(result.metrics["evaluation_return"][:, at]) for at in (0, -1))
    assert first.value < -700
    assert last.low > -400

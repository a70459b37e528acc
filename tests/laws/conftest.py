"""What the tests of the engine's guarantees share: one tiny population in the environment whose every step matters."""

import pytest

from jaxrl import PPO, train

TINY = PPO(learning_rate=3e-3, num_envs=2, num_steps=8, num_minibatches=2, num_epochs=2, hidden_sizes=(8,))


@pytest.fixture(scope="session")
def tiny():
    """A PPO config of 16 steps an update, small enough to compile in seconds."""
    return TINY


@pytest.fixture(scope="session")
def run(mesh_of):
    """Trains ``TINY`` on CartPole for 12 updates, on one device unless told otherwise; equal requests are run once."""
    done = {}

    def run(config=TINY, env="CartPole-v1", *, devices=1, **settings):
        settings = {"seeds": 3, "updates": 12, "evaluate_every": 64, "evaluation_episodes": 2, **settings}
        name = repr((config, env, devices, sorted(settings.items())))
        if name not in done or "directory" in settings or "sinks" in settings:
            done[name] = train(config, env, mesh=mesh_of(devices), **settings)
        return done[name]

    return run

"""The population that the engine's guarantees are tested on: small, in the environment whose every step matters."""

import jax
import numpy as np

from jaxrl import PPO, train

TINY = PPO(learning_rate=3e-3, num_envs=2, num_steps=8, num_minibatches=2, num_epochs=2, hidden_sizes=(8,))
"""16 steps an update, 4 gradient steps"""


def train_tiny(config=TINY, env="CartPole-v1", *, devices=1, **settings):
    """Trains three seeds for 12 updates, evaluated after every four, on one device, unless told otherwise."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("member",))
    settings = {"seeds": 3, "updates": 12, "evaluate_every": 64, "evaluation_episodes": 2, **settings}
    return train(config, env, mesh=mesh, **settings)

"""Every preset names an environment, and hyperparameters that its algorithm knows and accepts there."""

import pytest

from experiments.command_line import algorithm_class, load_preset, preset_names, with_preset
from jaxrl import make

ENVIRONMENTS = [
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    *(f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")),
    *(f"brax/{robot}" for robot in ("ant", "halfcheetah", "hopper", "reacher", "walker2d")),
]


def test_all_are_there():
    assert preset_names("ppo") == sorted(f"ppo/{env}" for env in ENVIRONMENTS)
    stock = ["SpaceInvaders-MinAtar", "tabular/gridworld-v0", "tabular/two-coin-v0"]
    assert preset_names("dqn") == ["dqn/Breakout-MinAtar", "dqn/CartPole-v1", *(f"dqn/stock/{env}" for env in stock)]
    assert preset_names("pqn") == ["pqn/CartPole-v1"]
    robots = ("ant", "halfcheetah", "hopper", "pusher", "reacher", "walker2d")
    goals = "control/multi-goal-v0"
    assert preset_names("sac") == ["sac/Pendulum-v1", *(f"sac/brax/{robot}" for robot in robots), f"sac/{goals}"]
    assert preset_names("pmoe") == ["pmoe/Pendulum-v1", f"pmoe/{goals}"]
    for algorithm in ("mdpo", "soft-mdpo", "td3", "trpo"):
        assert preset_names(algorithm) == [f"{algorithm}/Pendulum-v1"]


@pytest.mark.parametrize("name", preset_names())
def test_preset_is_accepted(name):
    algorithm, _, env_name = name.partition("/")
    preset = load_preset(name)
    config = with_preset(algorithm_class(algorithm), preset)
    for key, value in preset.hyperparameters.items():
        assert getattr(config, key) == (tuple(value) if isinstance(value, list) else value)
    env = make(env_name, **preset.env_settings)
    config.check(env, env.default_params)
    assert isinstance(preset.steps, int)

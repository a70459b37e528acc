"""Every preset names an environment or a family of them, and hyperparameters that its algorithm accepts there."""

import pytest

from experiments.command_line import algorithm_class, find_preset, load_preset, preset_names, with_preset
from jaxrl import make

ENVIRONMENTS = [
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    *(f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")),
    *(f"brax/{robot}" for robot in ("ant", "halfcheetah", "hopper", "reacher", "walker2d")),
]
FAMILIES = {"brax": ("hopper", "brax"), "playground": ("CheetahRun", "mujoco_playground")}
"""a member of each, and the package that it needs"""


def test_all_are_there():
    assert preset_names("ppo") == sorted(f"ppo/{env}" for env in ENVIRONMENTS)
    stock = ["SpaceInvaders-MinAtar", "tabular/gridworld-v0", "tabular/two-coin-v0"]
    assert preset_names("dqn") == ["dqn/Breakout-MinAtar", "dqn/CartPole-v1", *(f"dqn/stock/{env}" for env in stock)]
    assert preset_names("pqn") == ["pqn/CartPole-v1"]
    goals = "control/multi-goal-v0"
    assert preset_names("sac") == ["sac/Pendulum-v1", "sac/Reacher-misc", "sac/brax", f"sac/{goals}", "sac/playground"]
    assert preset_names("gorl") == ["gorl/Pendulum-v1", "gorl/brax"]
    assert preset_names("gorl-sac") == ["gorl-sac/Pendulum-v1"]
    assert preset_names("pmoe") == ["pmoe/Pendulum-v1", "pmoe/brax", f"pmoe/{goals}"]
    assert preset_names("td3") == ["td3/Pendulum-v1", "td3/brax", "td3/playground"]
    assert preset_names("soft-mdpo") == ["soft-mdpo/Pendulum-v1", "soft-mdpo/brax"]
    for algorithm in ("mdpo", "trpo"):
        names = ("MountainCarContinuous-v0", "Pendulum-v1", "brax")
        assert preset_names(algorithm) == [f"{algorithm}/{name}" for name in names]


def test_an_environment_has_its_own_preset_or_that_of_its_family():
    assert find_preset("sac", "brax/ant", None).name == "sac/brax"
    assert find_preset("ppo", "brax/ant", None).name == "ppo/brax/ant"
    assert find_preset("ppo", "brax/pusher", None).name == "none"
    assert find_preset("sac", "CartPole-v1", None).name == "none"
    assert find_preset("sac", "brax/ant", "none").name == "none"


@pytest.mark.parametrize("name", preset_names())
def test_preset_is_accepted(name):
    algorithm, _, env_name = name.partition("/")
    preset = load_preset(name)
    config = with_preset(algorithm_class(algorithm), preset)
    for key, value in preset.hyperparameters.items():
        assert getattr(config, key) == (tuple(value) if isinstance(value, list) else value)
    if env_name in FAMILIES:
        pytest.importorskip(FAMILIES[env_name][1])
        env_name = f"{env_name}/{FAMILIES[env_name][0]}"
    env = make(env_name, **preset.env_settings)
    config.check(env, env.default_params)
    assert isinstance(preset.steps, int)

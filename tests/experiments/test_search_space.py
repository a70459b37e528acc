"""What a sweep varies: values of the right type, ranges, and groups that one program can train."""

import numpy as np
import pytest

from experiments.search_space import draw, grid, members_apart, space
from jaxrl import PPO
from jaxrl.errors import UserError


def test_a_grid_is_every_combination_with_the_last_varying_fastest():
    settings = grid(space(PPO, "grid", ["learning-rate=1e-4,1e-3", "num_envs=4,8", "hidden_sizes=64x64,8"]))
    assert len(settings) == 8
    assert settings[0] == {"learning_rate": 1e-4, "num_envs": 4, "hidden_sizes": (64, 64)}
    assert settings[1] == {"learning_rate": 1e-4, "num_envs": 4, "hidden_sizes": (8,)}
    assert settings[7] == {"learning_rate": 1e-3, "num_envs": 8, "hidden_sizes": (8,)}
    assert grid(space(PPO, "grid", ["squash=true,false", "activation=tanh,relu"]))[1] == {
        "squash": True,
        "activation": "relu",
    }


def test_random_configs_keep_to_their_ranges_and_depend_on_their_number_alone():
    dimensions = space(
        PPO, "random", ["learning_rate=log(1e-5,1e-2)", "clip=uniform(0.1,0.3)", "num_envs=int(2,4)", "gamma=0.9,0.99"]
    )
    settings = draw(dimensions, 500)
    assert settings[:7] == draw(dimensions, 7)
    rates = np.array([s["learning_rate"] for s in settings])
    assert (rates.min() >= 1e-5, rates.max() <= 1e-2) == (True, True)
    # uniform in the logarithm: the median is the geometric mean of the ends, within four standard errors
    assert abs(np.median(np.log10(rates)) + 3.5) < 4 * 3 * 0.5 / np.sqrt(500)
    clips = np.array([s["clip"] for s in settings])
    assert 0.1 <= clips.min() < 0.12
    assert 0.28 < clips.max() <= 0.3
    assert {s["num_envs"] for s in settings} == {2, 3, 4}
    assert {s["gamma"] for s in settings} == {0.9, 0.99}


def test_configs_that_differ_in_floats_are_members_of_one_program():
    settings = dict(enumerate(grid(space(PPO, "grid", ["learning_rate=1e-4,1e-3", "num_envs=4,8", "gamma=0.9,0.99"]))))
    (four, static, numbers), (eight, _, others) = members_apart(PPO(), settings)
    assert static == {"num_envs": 4}
    assert (four.num_envs, eight.num_envs) == (4, 8)
    assert (numbers, others) == ([0, 1, 4, 5], [2, 3, 6, 7])
    np.testing.assert_allclose(four.learning_rate, [1e-4, 1e-4, 1e-3, 1e-3])
    np.testing.assert_allclose(eight.gamma, [0.9, 0.99, 0.9, 0.99])
    for number, rate in zip(numbers, four.learning_rate):
        assert rate == pytest.approx(settings[number]["learning_rate"])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "grid='': must name at least one hyperparameter"),
        (["learning_rate"], "grid='learning_rate': must be name=values"),
        (["learning_rat=1"], "hyperparameter='learning_rat': unknown hyperparameter; did you mean 'learning_rate'"),
        (["gamma="], "grid='gamma=': must have a value"),
        (["gamma=0.9,"], "grid='gamma=0.9,': must have a value"),
        (["gamma=0.9,high"], "grid='gamma=high': is not a value of gamma"),
        (["num_envs=4.5"], "grid='num_envs=4.5': is not a value of num_envs"),
        (["squash=maybe"], "grid='squash=maybe': must be true or false"),
        (["activation=rely"], "grid='activation=rely': is not a value of activation"),
        (["gamma=0.9", "gamma=0.8"], "grid='gamma': must be given once"),
        (["gamma=normal(0,1)"], "distribution='normal': unknown distribution"),
        (["gamma=uniform(1)"], "grid='gamma=uniform(1)': must be uniform(low,high)"),
        (["gamma=uniform(1,0)"], "grid='gamma=uniform(1,0)': must have low < high"),
        (["gamma=log(0,1)"], "grid='gamma=log(0,1)': must have 0 < low < high"),
        (["num_envs=uniform(1,4)"], "grid='num_envs=1.0': is not a value of num_envs"),
        (["gamma=uniform(0,1)"], "grid='gamma=uniform(...)': must be a list of values"),
    ],
)
def test_bad_input_is_named(texts, words):
    with pytest.raises(UserError) as error:
        grid(space(PPO, "grid", texts))
    assert str(error.value).startswith(words)

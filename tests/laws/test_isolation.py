"""A member depends on its hyperparameters and its key only: not on who else there is, nor on where and how it runs.

Bitwise for equal tiles, whatever the population, the place in it, the number of devices and the length of the chunks.
With another tile XLA compiles other loops that round otherwise: equal within ``ROUNDING`` as long as no rounding flips
an action, with environments and keys still bitwise equal.
"""

import numpy as np
import pytest

from jaxrl.engine.sinks import Sink

pytestmark = pytest.mark.optimised

ROUNDING = {"rtol": 1e-5, "atol": 2e-6}
"""measured after 12 updates on CartPole: 2e-7 in parameters and moments of Adam, 1e-6 in losses of about 5"""


def member(trees, result, seed, config=0):
    """State and metrics of one member of a result."""
    row = result.members.query("seed == @seed and config == @config").index.item()
    return trees.rows(result.states, row), trees.rows(result.metrics, row)


@pytest.fixture(scope="module")
def alone(run, trees):
    """Member 2 trained alone."""
    return member(trees, run(seeds=[2]), 2)


@pytest.mark.parametrize("population", [3, 19])
def test_a_member_among_others_is_bitwise_the_member_alone(run, trees, alone, population):
    trees.equal(member(trees, run(seeds=population, tile=1), 2), alone)


@pytest.mark.parametrize("population", [16, 100])
def test_a_member_of_a_tile_of_16_is_the_member_alone_within_rounding(run, trees, alone, population):
    state, metrics = member(trees, run(seeds=population, tile=16), 2)
    trees.close((state, metrics), alone, **ROUNDING)
    trees.equal((state.source, state.key), (alone[0].source, alone[0].key))


def test_the_place_in_a_tile_does_not_matter(run, trees):
    forwards, backwards = run(seeds=range(16), tile=16), run(seeds=range(99, -1, -1), tile=16)
    for seed in (0, 7, 15):
        trees.equal(member(trees, forwards, seed), member(trees, backwards, seed))


def test_a_tile_filled_up_is_bitwise_the_full_one(run, trees):
    filled, full = run(seeds=19, tile=16), run(seeds=100, tile=16)
    for seed in range(19):
        trees.equal(member(trees, filled, seed), member(trees, full, seed))


@pytest.mark.parametrize("devices", [2, 8])
def test_the_number_of_devices_does_not_matter(run, trees, devices):
    one, several = run(seeds=128, tile=16), run(seeds=128, tile=16, devices=devices)
    assert (one.layout.devices, one.layout.tile) == (1, 16)
    assert (several.layout.devices, several.layout.tile) == (devices, 16)
    trees.equal(one.states, several.states)
    trees.equal(one.metrics, several.metrics)


def test_seeds_differ(run, trees):
    result = run(seeds=100, tile=16)
    kernels = np.asarray(result.states.learner.params["params"]["actor_head"]["kernel"])
    assert len(np.unique(kernels.reshape(100, -1), axis=0)) == 100
    assert len(np.unique(trees.rows(result.states.key, slice(None)), axis=0)) == 100
    assert len(np.unique(result.metrics["episode_return"], axis=0)) > 90


def test_the_root_seed_matters(run, trees):
    assert not trees.same(run(seeds=[2]).states, run(seeds=[2], root_seed=1).states)


def test_a_member_of_a_sweep_is_bitwise_its_config_alone(run, trees, tiny):
    sweep = tiny.replace(learning_rate=np.array([1e-3, 3e-3], np.float32), gamma=np.array([0.9, 0.99], np.float32))
    swept = run(sweep, seeds=8, tile=16)
    assert list(swept.members["config"]) == [0] * 8 + [1] * 8
    for config in range(2):
        rate, gamma = float(sweep.learning_rate[config]), float(sweep.gamma[config])
        own = run(tiny.replace(learning_rate=rate, gamma=gamma), seeds=16, tile=16)
        for seed in range(8):
            trees.equal(member(trees, swept, seed, config), member(trees, own, seed))
    assert not trees.same(member(trees, swept, 0, 0), member(trees, swept, 0, 1))


def test_chunks_do_not_matter(run, trees, monkeypatch):
    class Lengths(Sink):
        """Notes the updates done after each chunk."""

        def __init__(self):
            self.done = []

        def progress(self, done, steps_per_second, seconds_left, latest):
            self.done.append(done)

    results = {}
    for seconds in (0.0, 1e-3, 1e9):
        monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", seconds)
        lengths = Lengths()
        results[seconds] = run(seeds=19, tile=16, evaluate_every=96, sinks=[lengths])
        if seconds == 0.0:
            assert lengths.done == list(range(1, 13))
    assert lengths.done == [1, 6, 12], "one update to measure with, then as many as there are"
    for result in results.values():
        trees.equal(result.states, results[0.0].states)
        trees.equal(result.metrics, results[0.0].metrics)


def test_evaluations_leave_no_trace_in_the_members(run, trees):
    trees.equal(run(seeds=3, tile=1).states, run(seeds=3, tile=1, evaluate_every=0).states)

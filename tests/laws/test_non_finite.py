"""A member that turns non-finite is frozen at its last finite state and named; the others never notice."""

import numpy as np
import pytest
from jaxrl.envs import make

from jaxrl.engine.figures import summarise
from jaxrl.engine.program import FINITE

pytestmark = pytest.mark.optimised

FAULT = {"fault_step": 7, "fault_probability": 0.04, "max_steps_in_episode": 8}
UPDATES = 12


@pytest.fixture(scope="module")
def faulty():
    """In a few of the episodes the reward turns NaN."""
    return make("probe/faulty-v0", **FAULT)


@pytest.fixture(scope="module")
def result(run, faulty):
    """A population of which some members meet the fault."""
    return run(env=faulty, seeds=16, tile=16)


@pytest.fixture(scope="module")
def frozen(result):
    """The members that did, and when."""
    assert 2 <= len(result.frozen) <= 14
    assert len(set(result.frozen.values())) > 1
    return result.frozen


def test_a_frozen_member_keeps_its_last_finite_state(run, trees, faulty, result, frozen):
    for member, update in frozen.items():
        if update == 0:
            continue
        before = run(env=faulty, seeds=16, tile=16, updates=update, evaluate_every=0)
        assert member not in before.frozen
        trees.equal(trees.rows(result.states.learner, member), trees.rows(before.states.learner, member))
    assert max(frozen.values()) > 0


def test_every_learner_is_finite(trees, result):
    for leaf in trees.leaves(result.states.learner):
        assert np.isfinite(leaf).all()


def test_the_others_are_bitwise_what_they_are_without_it(run, trees, faulty, result, frozen):
    healthy = [member for member in range(16) if member not in frozen]
    # the same program on healthy members only: the tile is filled up with one of them
    others = run(env=faulty, seeds=[*healthy, 100, 101, 102, 103, 104, 105, 106, 107, 108][:16], tile=16)
    for row, member in enumerate(healthy):
        trees.equal(trees.rows(others.states, row), trees.rows(result.states, member))
        trees.equal(trees.rows(others.metrics, row), trees.rows(result.metrics, member))


def test_it_is_reported_and_left_out_by_name(result, frozen):
    at = result.metrics["frozen_at"]
    for member in range(16):
        if member not in frozen:
            assert (at[member] == FINITE).all()
            assert np.isfinite(result.metrics["loss"][member]).all()
            continue
        after = result.updates > frozen[member]
        assert (at[member] == np.where(after, frozen[member], FINITE)).all()
        for name in ("loss", "evaluation_return", "episode_return"):
            assert np.isnan(result.metrics[name][member][after]).all(), name
            assert np.isfinite(result.metrics[name][member][~after]).all(), name
    summary = summarise(result.frame, result)
    assert summary["frozen_members"] == {str(member): update for member, update in frozen.items()}
    assert summary["final"]["loss"]["members"] == 16 - len(frozen)


def test_an_absurd_variant_leaves_its_neighbours_alone(run, trees, tiny):
    rates = np.array([3e-3, 1e38], np.float32)
    result = run(tiny.replace(learning_rate=rates), seeds=8, tile=16)
    sober = run(tiny.replace(learning_rate=rates[[0, 0]]), seeds=8, tile=16)
    assert set(result.frozen) == set(range(8, 16))
    assert sober.frozen == {}
    trees.equal(trees.rows(result.states, slice(8)), trees.rows(sober.states, slice(8)))
    trees.equal(trees.rows(result.metrics, slice(8)), trees.rows(sober.metrics, slice(8)))
    for leaf in trees.leaves(result.states.learner):
        assert np.isfinite(leaf).all()


def test_a_frozen_member_stays_frozen_over_an_interruption(run, trees, faulty, result, tmp_path):
    directory = tmp_path / "run"
    assert run(env=faulty, seeds=16, tile=16, directory=directory).frozen == result.frozen
    again = run(env=faulty, seeds=16, tile=16, directory=directory)
    assert again.frozen == result.frozen
    trees.equal(again.metrics, result.metrics)

"""The engine's guarantees where a member has a replay buffer with priorities: alone, interrupted, or beside a fault."""

import numpy as np
import pytest
from jaxrl.envs import make

from jaxrl import DQN
from jaxrl.engine.sinks import Sink
from jaxrl.engine.transfer import select_members

pytestmark = pytest.mark.optimised

REPLAYING = DQN(
    learning_rate=3e-3, num_envs=2, num_steps=2, num_updates=2, batch_size=8, capacity=32, learning_starts=8,
    target_every=3, n_step=2, double=True, dueling=True, prioritised=True, hidden_sizes=(8,),
)  # fmt: skip
"""4 steps an update, so that 12 updates go round the ring"""
SETTINGS = {"tile": 3, "updates": 12, "evaluate_every": 0}
FAULT = {"fault_step": 7, "fault_probability": 0.05, "max_steps_in_episode": 8}


@pytest.fixture(scope="module")
def whole(run):
    return run(REPLAYING, **SETTINGS)


def test_a_member_depends_on_its_seed_only(run, trees, whole):
    others = run(REPLAYING, **SETTINGS | {"seeds": [7, 2, 9, 11]})
    trees.equal(select_members(whole.states, 2), select_members(others.states, 1))
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(values[2], others.metrics[name][1])
    assert not trees.same(select_members(whole.states, 1).learner, select_members(whole.states, 2).learner)


def test_it_learns_only_after_its_start(whole):
    """Metrics of the calls before weigh nothing; priorities have been told since."""
    assert np.isfinite(whole.metrics["loss"]).all()
    index = whole.states.learner.inner.inner.feedback.index
    assert ((index >= 0) & (index < 32)).all()
    weights = np.asarray(whole.states.source.weights.tree[0])
    assert weights.shape == (3, 2, 16)
    assert (weights > 0).all()
    assert len(np.unique(weights)) > 20


def test_an_interruption_leaves_no_trace(run, trees, whole, tmp_path, monkeypatch):
    """The ring, the sum tree, the counters and what the learner was about to tell are all in the checkpoint."""
    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 0.0)

    class Stop(Sink):
        def progress(self, done, *_):
            if done == 7:
                raise KeyboardInterrupt

    settings = {**SETTINGS, "directory": tmp_path / "run", "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        run(REPLAYING, **settings, sinks=[Stop()])
    resumed = run(REPLAYING, **settings)
    trees.equal(resumed.states, whole.states)
    trees.equal(resumed.metrics, whole.metrics)


@pytest.mark.slow
def test_a_fault_in_one_buffer_leaves_the_others_alone(run, trees):
    env = make("probe/faulty-v0", **FAULT)
    result = run(REPLAYING, env=env, **SETTINGS | {"seeds": 9})
    assert 0 < len(result.frozen) < 9
    for leaf in trees.leaves(result.states.learner):
        if np.issubdtype(leaf.dtype, np.floating):
            assert np.isfinite(leaf).all()
    healthy = [seed for seed in range(9) if seed not in result.frozen]
    again = run(REPLAYING, env=env, **SETTINGS | {"seeds": [*healthy, 90, 91]})
    for place, seed in enumerate(healthy):
        trees.equal(select_members(again.states, place), select_members(result.states, seed))

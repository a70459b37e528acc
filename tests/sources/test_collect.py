"""Whole episodes as rows: which are kept, in what order, and what their steps hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import InvalidArgument, make
from jaxrl.core.types import Transition
from jaxrl.sources.collect import collector, in_episodes, joined, numbered, until

ENV = make("control/multi-goal-v0", max_steps_in_episode=20)
PARAMS = ENV.default_params


def batch_of(cut):
    """Steps that say when and where they were."""
    t, n = np.indices(cut.shape).astype(np.float32)
    place = np.stack([t, n], axis=-1)
    return Transition(place, place, 10 * n + t, 1 - cut, cut, place, {})


def test_episodes_are_numbered_by_their_starts():
    cut = np.zeros((6, 2), np.float32)
    cut[[3, 5], 0], cut[[1, 4], 1] = 1, 1
    np.testing.assert_array_equal(numbered(cut), [[0, 1], [0, 1], [0, 2], [0, 2], [3, 2], [3, 4]])
    rows = in_episodes(batch_of(cut))
    np.testing.assert_array_equal(rows.episode, np.repeat([0, 1, 2, 3, 4], [4, 2, 3, 2, 1]))
    first_steps = [[0, 0], [0, 1], [2, 1], [4, 0], [5, 1]]
    np.testing.assert_array_equal(rows.transitions.obs[[0, 4, 6, 9, 11]], first_steps)
    np.testing.assert_array_equal(rows.returns(), [0 + 1 + 2 + 3, 10 + 11, 12 + 13 + 14, 4 + 5])  # the last goes on
    np.testing.assert_array_equal(in_episodes(batch_of(cut), 2).episode, [0] * 4 + [1] * 2)


def test_a_long_episode_is_not_left_out_for_short_ones():
    """The first of two environments lives for 8 steps, the second one for 2 each time."""
    cut = np.zeros((8, 2), np.float32)
    cut[7, 0], cut[1::2, 1] = 1, 1
    assert until(cut[:7], 4) is None
    assert until(cut, 4) == 1
    assert until(cut, 8) == 1
    assert until(cut, 9) == 2
    assert until(cut, 16) == 5
    assert until(cut, 17) is None


def test_joined():
    cut = np.ones((2, 2), np.float32)
    both = joined(in_episodes(batch_of(cut), 3), in_episodes(batch_of(cut), 2))
    np.testing.assert_array_equal(both.episode, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(both.returns(), [0, 10, 1, 0, 10])


@pytest.fixture(scope="module")
def collect():
    """Of points that move by a constant and a little at random."""

    def policy(params, obs, key):
        return params + 0.3 * jax.random.normal(key, obs.shape)

    return collector(policy, ENV, PARAMS, num_envs=4)


def test_steps_are_those_of_whole_episodes(collect):
    seen = []
    transitions, episode = collect(jnp.array([0.4, 0.0]), jax.random.key(0), 300, lambda *done: seen.append(done))
    assert seen[-1] == (300, 300)
    lengths = np.bincount(episode)
    assert 300 <= len(episode) < 300 + lengths[-1]
    ends = np.cumsum(lengths) - 1
    np.testing.assert_array_equal(np.flatnonzero(transitions.cut), ends)
    within = np.setdiff1d(np.arange(len(episode)), ends)
    np.testing.assert_array_equal(transitions.next_obs[within], transitions.obs[within + 1])
    # Whoever arrives sees the goal, and not the next start; who does not is cut after 20 steps.
    arrived = np.linalg.norm(transitions.next_obs - np.array([5.0, 0.0]), axis=1) < PARAMS.radius
    np.testing.assert_array_equal(transitions.discount == 0, arrived)
    assert 0 < arrived.sum() < len(ends)
    assert (lengths[~arrived[ends]] == 20).all()
    moved = transitions.next_obs - transitions.obs - np.clip(transitions.action, -1, 1)
    assert np.abs(moved).max() < 6 * PARAMS.noise_std


def test_fewer_rows_are_the_first_ones_and_keys_differ(collect, trees):
    many = collect(jnp.zeros(2), jax.random.key(0), 300)
    few = collect(jnp.zeros(2), jax.random.key(0), 50)
    trees.equal(few, jax.tree.map(lambda leaf: leaf[: len(few.episode)], many))
    other = collect(jnp.zeros(2), jax.random.key(1), 50)
    assert not trees.same(other.transitions.obs[:20], few.transitions.obs[:20])
    assert len(np.unique(many.transitions.obs, axis=0)) == len(many.episode)
    with pytest.raises(InvalidArgument, match="rows"):
        collect(jnp.zeros(2), jax.random.key(0), 0)

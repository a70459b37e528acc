"""Which episodes steps are of, against a plain loop."""

import numpy as np

from jaxrl.sources.episodes import episode_returns, in_best_episodes


def test_returns_of_episodes():
    random = np.random.default_rng(0)
    reward = random.normal(size=(30, 5)).astype(np.float32)
    cut = (random.uniform(size=(30, 5)) < 0.2).astype(np.float32)
    cut[:, 0] = 0
    total, ended = episode_returns(reward, cut)
    for lane in range(5):
        begin = 0
        for t in range(30):
            if cut[t, lane] or t == 29:
                np.testing.assert_allclose(total[begin : t + 1, lane], reward[begin : t + 1, lane].sum(), atol=1e-4)
                assert (np.asarray(ended[begin : t + 1, lane]) == bool(cut[t, lane])).all()
                begin = t + 1


def test_the_best_half():
    reward = np.array([[1, 5], [1, 0], [3, 0], [9, 7]], np.float32)
    cut = np.array([[0, 1], [1, 0], [1, 1], [0, 1]], np.float32)
    # Episodes that ended: 2, 3 | 5, 0, 7. The last of the first environment is still going on.
    best = in_best_episodes(reward, cut, 0.5)
    np.testing.assert_array_equal(best, [[False, True], [False, False], [True, False], [False, True]])
    assert in_best_episodes(reward, cut, 1.0)[:3].all()


def test_rollouts_count_where_no_episode_ended():
    reward = np.array([[1, 2, 3, 4], [1, 2, 3, -9]], np.float32)
    best = in_best_episodes(reward, np.zeros((2, 4), np.float32), 0.5)
    np.testing.assert_array_equal(best, [[False, True, True, False]] * 2)

"""Chunks of transitions: targets, ends of episodes, and what they are for one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import InvalidArgument
from jaxrl.core.types import Transition
from jaxrl.sources.chunks import chunks

GAMMA = 0.9
T, N, D = 7, 2, 3
KEYS = jax.random.split(jax.random.key(0), 4)
CUT = jnp.zeros((T, N)).at[2, 0].set(1).at[4, 1].set(1)
BATCH = Transition(
    obs=jax.random.normal(KEYS[0], (T, N, 4)),
    action=jax.random.normal(KEYS[1], (T, N, D)),
    reward=jax.random.normal(KEYS[2], (T, N)),
    discount=jnp.ones((T, N)).at[2, 0].set(0),  # a termination; the other end is a time limit
    cut=CUT,
    next_obs=jax.random.normal(KEYS[3], (T, N, 4)),
    extras={},
)


def test_one_step_is_the_ordinary_target(trees):
    trees.equal(chunks(BATCH, 1, GAMMA)._replace(extras={}), BATCH)


def test_targets_are_those_of_a_loop():
    found, value = chunks(BATCH, 3, GAMMA), lambda obs: obs.sum(axis=-1)
    targets = found.reward + GAMMA * found.discount * value(found.next_obs)
    assert targets.shape == (T - 2, N)
    for t in range(T - 2):
        for i in range(N):
            total, factor = 0.0, 1.0
            for k in range(t, t + 3):
                total += factor * BATCH.reward[k, i]
                factor *= GAMMA
                if CUT[k, i]:
                    break
            total += factor * BATCH.discount[k, i] * value(BATCH.next_obs[k, i])
            np.testing.assert_allclose(targets[t, i], total, rtol=1e-5)
            assert found.extras["whole"][t, i] == (k == t + 2)
            np.testing.assert_array_equal(found.action[t, i], BATCH.action[t : t + 3, i].reshape(-1))


def test_a_termination_inside_removes_the_bootstrap_and_a_time_limit_does_not():
    found = chunks(BATCH, 3, GAMMA)
    np.testing.assert_array_equal(found.discount[:3, 0], 0)
    np.testing.assert_allclose(found.discount[2:5, 1], [GAMMA**2, GAMMA, 1.0], rtol=1e-6)


@pytest.mark.parametrize("horizon", [0, 8])
def test_horizons_that_do_not_fit(horizon):
    with pytest.raises(InvalidArgument, match="horizon"):
        chunks(BATCH, horizon, GAMMA)

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
RANDOM = np.random.default_rng(0)
BATCH = Transition(
    *(RANDOM.normal(size=(T, N, *shape)).astype(np.float32) for shape in ((4,), (D,), ())),
    discount=np.ones((T, N), np.float32),
    cut=np.zeros((T, N), np.float32),
    next_obs=RANDOM.normal(size=(T, N, 4)).astype(np.float32),
    extras={},
)
BATCH.cut[2, 0], BATCH.cut[4, 1] = 1, 1
BATCH.discount[2, 0] = 0  # a termination; the other end is a time limit


def found(horizon):
    """Chunks, as numpy arrays."""
    of_horizon = jax.jit(lambda batch: chunks(batch, horizon, GAMMA))
    return jax.tree.map(np.asarray, of_horizon(jax.tree.map(jnp.asarray, BATCH)))


def test_one_step_is_the_ordinary_target(trees):
    trees.equal(found(1)._replace(extras={}), BATCH)


def test_targets_are_those_of_a_loop():
    three, value = found(3), lambda obs: obs.sum(axis=-1)
    targets = three.reward + GAMMA * three.discount * value(three.next_obs)
    assert targets.shape == (T - 2, N)
    for t in range(T - 2):
        for i in range(N):
            total, factor = 0.0, 1.0
            for k in range(t, t + 3):
                total += factor * BATCH.reward[k, i]
                factor *= GAMMA
                if BATCH.cut[k, i]:
                    break
            total += factor * BATCH.discount[k, i] * value(BATCH.next_obs[k, i])
            np.testing.assert_allclose(targets[t, i], total, rtol=1e-5)
            assert three.extras["whole"][t, i] == (k == t + 2)
            np.testing.assert_array_equal(three.action[t, i], BATCH.action[t : t + 3, i].reshape(-1))


def test_a_termination_inside_removes_the_bootstrap_and_a_time_limit_does_not():
    discount = found(3).discount
    np.testing.assert_array_equal(discount[:3, 0], 0)
    np.testing.assert_allclose(discount[2:5, 1], [GAMMA**2, GAMMA, 1.0], rtol=1e-6)


@pytest.mark.parametrize("horizon", [0, 8])
def test_horizons_that_do_not_fit(horizon):
    with pytest.raises(InvalidArgument, match="horizon"):
        chunks(BATCH, horizon, GAMMA)

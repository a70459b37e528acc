"""The point maze: its dynamics by hand, its walls, its two ways, and a walker that takes either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.control.maze import GOAL, MAZE, START, WALLS, MazeState, walk

from jaxrl import make

ENV = make("control/point-maze-v0")
PARAMS = ENV.default_params
STEP = jax.jit(lambda state, action: ENV.step_env(jax.random.key(0), state, action, PARAMS))


def state_at(position, velocity):
    return MazeState(time=jnp.int32(0), position=jnp.array(position), velocity=jnp.array(velocity))


def test_a_step_by_hand():
    """Free in x, and in y stopped by the wall below the first row, where the velocity becomes 0."""
    obs, state, reward, ended, _ = STEP(state_at([2.5, 1.9], [0.4, 0.5]), jnp.array([-0.6, 2.0]))
    np.testing.assert_allclose(state.velocity, [0.9 * 0.4 - 0.06, 0.0], rtol=1e-5)
    np.testing.assert_allclose(state.position, [2.5 + 0.5 * 0.3, 1.9], rtol=1e-5)
    np.testing.assert_allclose(obs, [*state.position, *state.velocity, 5.5, 5.5])
    assert (float(reward), bool(ended)) == (0, False)


@pytest.mark.parametrize(("x", "reached"), [(4.9, False), (5.1, True)])
def test_arrival(x, reached):
    _, _, reward, ended, _ = STEP(state_at([x, 5.5], [0.0, 0.0]), jnp.zeros(2))
    assert (float(reward), bool(ended)) == (float(reached), reached)


def test_there_is_a_way_around_either_side_and_no_other():
    free = ~WALLS
    np.testing.assert_array_equal(free, free.T)
    assert free.sum() == 16
    assert (free[[1, 5], 1:6]).all()
    assert (free[1:6, [1, 5]]).all()
    assert (START.tolist(), GOAL.tolist()) == ([1.5, 1.5], [5.5, 5.5])
    assert MAZE[1][1] == "S"


def play(policy, keys):
    """Positions ``[N, T, 2]`` and whether the goal was reached by then, ``[N, T]``."""

    def one(key):
        _, state = ENV.reset_env(key, PARAMS)

        def step(carry, key):
            state, done = carry
            obs = ENV.observe(key, state, None, PARAMS)
            _, state, _, ended, _ = ENV.step_env(key, state, policy(obs, key), PARAMS)
            return (state, done | ended), (state.position, done | ended)

        return jax.lax.scan(step, (state, jnp.bool_(False)), jax.random.split(key, 60))[1]

    return jax.device_get(jax.jit(jax.vmap(one))(keys))


def test_nobody_enters_a_wall():
    """However hard they push: speeds are at most 1, steps at most half a cell."""
    push = lambda obs, key: 3 * jnp.sign(jax.random.normal(jax.random.fold_in(key, obs[0] > 3), (2,)))  # noqa: E731
    position, _ = play(push, jax.random.split(jax.random.key(0), 64))
    column, row = np.floor(position).astype(int).reshape(-1, 2).T
    assert not WALLS[row, column].any()
    assert len(np.unique(row)) > 1


@pytest.mark.parametrize("down_first", [False, True])
def test_the_walker_arrives_by_the_way_it_is_told(down_first):
    position, done = play(lambda obs, key: walk(obs, jnp.bool_(down_first)), jax.random.split(jax.random.key(1), 64))
    assert done[:, -1].all()
    before = ~done
    far = (position[..., 0] > 3) & (position[..., 1] < 2)  # the upper corridor
    assert (far & before).any(axis=1).all() != down_first
    assert not (down_first and (far & before).any())

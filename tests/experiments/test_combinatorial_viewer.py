"""Pictures of solutions: what is drawn follows from states of either process."""

import itertools

import jax
import numpy as np
import pytest

from experiments import viewers
from experiments.combinatorial_viewer import Board, combinatorial_frames, solution_picture, step_between
from jaxrl import envs

SETTINGS = {"cvrp": {"nodes": 5, "capacity": 12}, "atsp": {"nodes": 5}, "kp": {"nodes": 6, "capacity": 1900}}


def episode(env, inner, seed=1000):
    """States ``[T + 1]`` of random allowed actions, from either process, with the actions."""
    choose = jax.random.uniform(jax.random.key(seed), (inner.steps, env.num_actions))

    @jax.jit
    def play(key):
        def step(carry, draws):
            obs, state = carry
            action = jax.numpy.argmax(jax.numpy.where(env.action_mask(obs), draws, -1))
            obs, after, _, done, _ = env.step_env(key, state, action, env.default_params)
            return (obs, after), (after, action, done)

        first = env.reset_env(key, env.default_params)
        return first[1], *jax.lax.scan(step, first, choose)[1]

    first, states, actions, done = jax.device_get(play(jax.random.key(seed)))
    steps = int(np.argmax(done)) + 1
    states = jax.tree.map(lambda x, y: np.concatenate([np.asarray(x)[None], y[:steps]]), first, states)
    return states, actions[:steps]


@pytest.mark.parametrize("name", SETTINGS)
def test_both_processes_are_drawn_alike(name):
    inner = envs.make(f"combinatorial/{name}-v0", **SETTINGS[name])
    outer = envs.make(f"quotient/combinatorial/{name}-v0", **SETTINGS[name])
    (direct, taken), (quotient, same) = episode(inner, inner), episode(outer, inner)
    np.testing.assert_array_equal(taken, same)
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], quotient) for i in range(len(taken) + 1)]
    steps = [step_between(inner.problem, a, b, i + 1) for i, (a, b) in enumerate(itertools.pairwise(rows))]
    np.testing.assert_array_equal(steps, taken)
    for one, other in zip(combinatorial_frames(inner, direct, None), combinatorial_frames(outer, quotient, None)):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.uint8
        assert not np.array(one.shape[:2]) @ [1, 1] % 16
    instance = jax.tree.map(lambda leaf: leaf[0], direct.instance)
    whole = solution_picture(inner.problem, instance, taken)
    gap = Board(inner.problem, instance).picture([-1, *taken[1:].tolist()])
    assert (whole != gap).any()  # a step that is not known leaves its line out


def test_they_are_registered():
    for env_id in ("combinatorial/tsp-v0", "quotient/combinatorial/kp-v0"):
        assert viewers.episode_viewer({"env": env_id}).frames is combinatorial_frames

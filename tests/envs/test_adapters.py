"""The adapters against the suites themselves."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import envs

STEPS = 8


def play(env, params, key, num, policy=None):
    """Random episodes without resets: observation, reward, terminated, truncated, each `[num, STEPS, ...]`."""

    def one(key):
        obs, state = env.reset_env(key, params)

        def step(carry, key):
            obs, state = carry
            action = env.action_space(params).sample(key) if policy is None else policy(obs, key)
            obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
            return (obs, state), (obs, reward, terminated, env.is_truncated(state, params), action)

        return jax.lax.scan(step, (obs, state), jax.random.split(key, STEPS))[1]

    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(key, num)))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Catch-bsuite", "BernoulliBandit-misc"])
def test_gymnax_is_unchanged_but_for_types(env_id):
    env, (inner, params) = envs.make(env_id), gymnax.make(env_id)

    @jax.jit
    def both(key):
        obs, state = env.reset_env(key, params)
        inner_obs, inner_state = inner.reset_env(key, params)
        out = [(obs, inner_obs)]
        for k in jax.random.split(key, STEPS):
            action = inner.action_space(params).sample(k)
            obs, state, reward, terminated, info = env.step_env(k, state, action, params)
            inner_obs, inner_state, inner_reward, inner_terminated, _ = inner.step_env(k, inner_state, action, params)
            assert info == {}
            out += [(obs, inner_obs), (reward, inner_reward), (terminated, inner_terminated)]
        return out

    for ours, theirs in both(jax.random.key(0)):
        np.testing.assert_array_equal(ours, theirs)


def test_gymnax_spaces_that_are_wrong():
    """What the adapter corrects is still there to be corrected."""
    declared = {
        i: gymnax.make(i)[0].observation_space(gymnax.make(i)[1]) for i in ("Catch-bsuite", "MemoryChain-bsuite")
    }
    assert declared["Catch-bsuite"].dtype == jnp.int32
    assert declared["MemoryChain-bsuite"].low == 0
    context = jax.vmap(
        lambda k: gymnax.make("MemoryChain-bsuite")[0].reset_env(k, gymnax.make("MemoryChain-bsuite")[1])[0]
    )
    assert context(jax.random.split(jax.random.key(0), 20)).min() == -1


def raw_brax(name, backend, key, num, actions):
    from brax import envs as brax_envs

    env = brax_envs.get_environment(name, backend=backend)

    def one(key, actions):
        def step(state, action):
            state = env.step(state, action)
            return state, (state.obs, state.reward, state.done)

        return jax.lax.scan(step, env.reset(jax.random.key_data(key)), actions)[1]

    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(key, num), actions))


def compare_to_brax(name, backend):
    env = envs.make(f"brax/{name}", backend=backend)
    key = jax.random.key(1)
    obs, reward, terminated, _, actions = play(env, env.default_params, key, 2)
    raw_obs, raw_reward, raw_done = raw_brax(name, backend, key, 2, actions)
    np.testing.assert_allclose(obs, raw_obs, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reward, raw_reward, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(terminated, raw_done > 0)
    return env


def test_brax_carries_all_that_matters():
    env = compare_to_brax("inverted_pendulum", "mjx")
    whole = envs.make("brax/inverted_pendulum", backend="mjx", lean=False)
    sizes = [
        sum(x.size for x in jax.tree.leaves(jax.eval_shape(e.reset_env, jax.random.key(0), e.default_params)[1]))
        for e in (env, whole)
    ]
    assert sizes[0] < sizes[1] / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("ant", "spring"),
        ("ant", "positional"),
        ("ant", "generalized"),
        ("ant", "mjx"),
        ("halfcheetah", "spring"),
        ("humanoid", "mjx"),
        ("pusher", "generalized"),
        ("reacher", "positional"),
    ],
)
def test_brax_carries_all_that_matters_elsewhere(name, backend):
    compare_to_brax(name, backend)


def test_brax_simulation_is_the_way_back():
    env = envs.make("brax/inverted_pendulum", backend="spring", lean=False)
    obs, state = jax.jit(env.reset_env)(jax.random.key(0), env.default_params)
    physics = env.simulation(state).pipeline_state
    np.testing.assert_allclose(jnp.concatenate([physics.q, physics.qd]), obs)


def test_brax_actions_span_the_control_range():
    """brax rescales where the actuator's range is not [-1, 1], so ours is [-1, 1] everywhere."""
    env = envs.make("brax/inverted_pendulum", backend="spring")
    space = env.action_space()
    assert (space.low.tolist(), space.high.tolist()) == ([-1.0], [1.0])
    assert env.env.sys.actuator.ctrl_range.tolist() == [[-3.0, 3.0]]
    _, state = jax.jit(env.reset_env)(jax.random.key(0), env.default_params)
    step = jax.jit(lambda a: env.step_env(jax.random.key(0), state, a, env.default_params)[0])
    half, full, beyond = (step(jnp.full(1, a))[2] for a in (0.5, 1.0, 1.5))  # velocity of the cart
    np.testing.assert_allclose(full, 2 * half, rtol=0.05)
    np.testing.assert_allclose(full, beyond, rtol=1e-6)


def masked(env):
    def policy(obs, key):
        return jax.random.categorical(key, jnp.where(envs.action_mask(env, obs), 0.0, -jnp.inf))

    return policy


def test_jumanji_time_limit_is_no_termination():
    pytest.importorskip("jumanji")
    import jumanji

    limit = 3
    raw = jumanji.make("Snake-v1", time_limit=limit)
    state, step = jax.jit(raw.reset)(jax.random.key(0))
    for _ in range(limit):
        state, step = jax.jit(raw.step)(state, jnp.argmax(state.action_mask))
    assert step.last()
    assert step.discount == 0  # Jumanji's reading, which the adapter undoes

    env = envs.make("jumanji/Snake-v1", time_limit=limit)
    assert env.default_params.max_steps_in_episode == limit
    _, _, terminated, truncated, _ = play(env, env.default_params, jax.random.key(0), 4, masked(env))
    assert not terminated[:, :limit].any()
    np.testing.assert_array_equal(truncated, np.broadcast_to(np.arange(1, STEPS + 1) >= limit, (4, STEPS)))


def test_jumanji_observation_and_mask():
    pytest.importorskip("jumanji")
    import jumanji

    env, raw = envs.make("jumanji/Tetris-v0"), jumanji.make("Tetris-v0")
    key = jax.random.key(0)
    obs, _ = jax.jit(env.reset_env)(key, env.default_params)
    _, step = jax.jit(raw.reset)(jax.random.key_data(key))
    ours = env.structured(obs)
    assert type(ours) is type(step.observation)
    jax.tree.map(np.testing.assert_array_equal, ours, step.observation)
    assert jax.tree.map(lambda x: x.dtype, ours) == jax.tree.map(lambda x: x.dtype, step.observation)
    np.testing.assert_array_equal(env.action_mask(obs), step.observation.action_mask.ravel())
    batch = jnp.broadcast_to(obs, (2, 3, *obs.shape))
    assert env.action_mask(batch).shape == (2, 3, env.num_actions) == (2, 3, 40)


def test_jumanji_numbers_joint_actions_in_the_order_of_the_mask():
    pytest.importorskip("jumanji")
    import jumanji

    env, raw = envs.make("jumanji/Minesweeper-v0"), jumanji.make("Minesweeper-v0")
    key = jax.random.key(0)
    _, state = env.reset_env(key, env.default_params)
    raw_state, _ = raw.reset(jax.random.key_data(key))
    for action in (37, 4):
        obs, state, reward, *_ = env.step_env(key, state, action, env.default_params)
        raw_state, step = raw.step(raw_state, jnp.array([action // 10, action % 10]))
        np.testing.assert_array_equal(env.structured(obs).board, step.observation.board)
        assert reward == step.reward
    assert not env.action_mask(obs)[4]


def test_jumanji_mask_per_agent_becomes_joint():
    pytest.importorskip("jumanji")
    env = envs.make("jumanji/Cleaner-v0")
    obs, _ = jax.jit(env.reset_env)(jax.random.key(0), env.default_params)
    parts = np.asarray(env.structured(obs).action_mask)
    joint = np.asarray(env.action_mask(obs))
    assert joint.shape == (4**3,)
    for action in range(4**3):
        each = np.unravel_index(action, (4, 4, 4))
        assert joint[action] == all(parts[agent, a] for agent, a in enumerate(each))


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [("jumanji/Connector-v3", "a reward per agent"), ("jumanji/JobShop-v0", "joint actions")],
)
def test_jumanji_refuses(env_id, reason):
    pytest.importorskip("jumanji")
    with pytest.raises(ValueError, match=f"{env_id} is not supported: .*{reason}"):
        envs.make(env_id)


@pytest.mark.parametrize("name", ["Connector-v3", "JobShop-v0", "SearchAndRescue-v0", "MultiCVRP-v0", "MMST-v0"])
def test_what_jumanji_refuses_is_not_supported(name):
    """The list of refusals is no longer than the adapter's own limits make it."""
    jumanji = pytest.importorskip("jumanji")
    from jaxrl.envs.adapters.jumanji import Jumanji

    with pytest.raises(ValueError, match=r"support|one reward"):
        Jumanji(jumanji.make(name), name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["TSP-v1", "Knapsack-v1", "GraphColoring-v1", "CVRP-v1", "BinPack-v2", "Sudoku-very-easy-v0"]
)
def test_jumanji_horizons_are_not_too_short(name):
    """Episodes of allowed actions end by the rules at the latest when the limit is reached."""
    pytest.importorskip("jumanji")
    env = envs.make(f"jumanji/{name}")
    params = env.default_params

    def one(key):
        obs, state = env.reset_env(key, params)

        def step(carry, key):
            obs, state, ended = carry
            obs, state, _, terminated, _ = env.step_env(key, state, masked(env)(obs, key), params)
            return (obs, state, ended | terminated), None

        return jax.lax.scan(step, (obs, state, False), jax.random.split(key, params.max_steps_in_episode))[0][2]

    assert jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 50)).all()


@pytest.mark.slow
def test_playground_is_differentiable():
    pytest.importorskip("mujoco_playground")
    env = envs.make("playground/PendulumSwingup")
    _, state = jax.jit(env.reset_env)(jax.random.key(0), env.default_params)

    @jax.jit
    @jax.grad
    def gradient(action):
        return env.step_env(jax.random.key(0), state, action, env.default_params)[0].sum()

    assert np.isfinite(gradient(jnp.zeros(1))).all()
    assert gradient(jnp.zeros(1)) != 0

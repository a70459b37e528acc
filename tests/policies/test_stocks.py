"""Choices by stock and return, transitions from other stocks, and the search over first stocks, against exact ones."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.tabular import two_coin

from jaxrl import DQN, InvalidArgument, envs
from jaxrl.bellman import shortfall, solve_with_stock
from jaxrl.core.types import Transition
from jaxrl.losses.q_learning import tied_policy
from jaxrl.losses.value_spaces import Backup, categorical, quantiles
from jaxrl.policies.critics import UTILITIES, critic_of, greedy
from jaxrl.policies.stocks import best_start, with_edits, with_stocks

RETURNS = (-5.0, 3.0)
"""stocks from which the return of the two coins can still change the sign"""


def coins(gamma=1.0, **settings):
    return envs.make("stock/tabular/two-coin-v0", gamma=gamma, **{"low": -5, "high": 3, "clip": RETURNS, **settings})


def transitions(env, key, actions):
    """What happens from the first step on, ``[T, ...]``, and the stocks at each."""
    params = env.default_params

    def step(carry, inputs):
        obs, state = carry
        next_obs, after, reward, terminated, _ = env.step_env(*inputs[:1], state, inputs[1], params)
        discount = 1.0 - terminated
        return (next_obs, after), (
            Transition(obs, inputs[1], reward, discount, 1 - discount, next_obs, {}),
            state.stock,
        )

    keys = jax.random.split(jax.random.key(7), len(actions))
    return jax.lax.scan(step, env.reset_env(key, params), (keys, actions))[1]


def test_an_edited_transition_is_what_happens_from_that_stock():
    """The same steps of one environment from two first stocks: either is the other with its stocks written in."""
    actions = jax.random.randint(jax.random.key(0), (12,), 0, 4)
    key = jax.random.key(1)
    made = lambda start: envs.make(  # noqa: E731
        "stock/tabular/gridworld-v0", gamma=0.8, low=start, high=start, clip=(-4, 2), layout="SF ..",
        rewards={"F": 1.0}, terminal="", slip=0.3,
    )  # fmt: skip
    (one, _), (other, stocks) = (transitions(made(start), key, actions) for start in (-2.0, 0.25))
    stock = envs.stock_of(made(0.0))
    assert not np.allclose(one.obs, other.obs)
    edited = with_stocks(one, stock, stocks)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), edited, other)

    # the return of two steps, as a replay buffer of n-step returns has it
    double = one._replace(reward=one.reward + 0.8 * jnp.roll(one.reward, -1), discount=0.8 * one.discount)
    later = with_stocks(double, stock, stocks).next_obs[:-1]
    np.testing.assert_allclose(stock.read(later), stock.read(other.next_obs[1:]), atol=1e-5)


def test_edits_keep_the_real_transitions_and_add_others():
    env = coins()
    batch, _ = transitions(env, jax.random.key(0), jnp.array([0, 1]))
    stock = envs.stock_of(env)
    edited = with_edits(batch, stock, 500, jax.random.key(1))
    jax.tree.map(lambda real, all_of_them: np.testing.assert_array_equal(all_of_them[:2], real), batch, edited)
    assert edited.reward.shape == (1002,)
    np.testing.assert_array_equal(edited.reward[2:], jnp.tile(batch.reward, 500))
    now, later = stock.read(edited.obs)[2:], stock.read(edited.next_obs)[2:]
    assert now.min() < -4.9
    assert now.max() > 2.9
    np.testing.assert_allclose(later, np.clip(now + edited.reward[2:], *RETURNS), atol=1e-6)
    assert np.isfinite(jax.tree.leaves(edited)[0]).all()


def critic(outputs, space, utility):
    """A critic whose network answers ``outputs[A, K]`` to everything."""
    env = coins()
    network = SimpleNamespace(
        cosines=None, actions=2, apply=lambda params, obs, levels: jnp.broadcast_to(outputs, (*obs.shape[:-1], 2, 4))
    )
    return critic_of(network, env, env.default_params, space, utility)  # type: ignore[arg-type]


SECOND_COIN = jnp.array([[0.0, 0, 0, 0], [-1, -1, 3, 3]])
"""quantiles of playing safe and of daring"""
OBS = envs.stock_of(coins()).write(jnp.zeros((4, 4)), jnp.array([0.0, -4.0, 1.5, -5.0]))


def test_choices_by_stock_and_return():
    """After the win safe, after the loss daring; with enough in stock both are equally good, and are mixed."""
    worth = critic(SECOND_COIN, quantiles(4, 1.0), shortfall()).values(None, OBS)
    np.testing.assert_allclose(worth, [[0, -0.5], [-4, -3], [0, 0], [-5, -4]])
    np.testing.assert_allclose(tied_policy(worth), [[1, 0], [0, 1], [0.5, 0.5], [0, 1]])
    atoms = jnp.log(jnp.array([[1e-30, 1, 1e-30, 1e-30], [0.5, 1e-30, 1e-30, 0.5]]))
    laws = categorical(4, -1.0, 3.0)  # atoms -1, 1/3, 5/3, 3
    worth = critic(atoms, laws, shortfall()).values(None, OBS)
    np.testing.assert_allclose(worth, [[0, -0.5], [-11 / 3, -3], [0, 0], [-14 / 3, -4]], atol=1e-5)
    means = critic(SECOND_COIN, quantiles(4, 1.0), None).values(None, OBS)
    np.testing.assert_allclose(means, [[0, 1]] * 4)


def test_a_utility_of_slope_one_is_the_mean_and_the_stock():
    both = critic(SECOND_COIN, quantiles(4, 1.0), UTILITIES["piecewise"](1.0, 1.0)).values(None, OBS)
    means = critic(SECOND_COIN, quantiles(4, 1.0), None).values(None, OBS)
    np.testing.assert_allclose(both, means + envs.stock_of(coins()).read(OBS)[:, None])


def test_ties_are_mixed_in_actions_and_targets():
    """Of tied actions each is taken as often as any other, and the target averages their quantiles."""
    made = critic(SECOND_COIN, quantiles(4, 1.0), shortfall())
    policy = greedy(made, ties=True)
    many = jnp.repeat(OBS, 4000, axis=0)
    actions, _ = policy.sample(None, many, policy.noise(jax.random.key(0), (len(many),)))
    np.testing.assert_allclose(actions.reshape(4, -1).mean(axis=1), [0, 1, 0.5, 1], atol=0.03)
    np.testing.assert_array_equal(policy.mode(None, OBS), [0, 1, 0, 1])
    backup = Backup(jnp.float32(2), jnp.float32(0.5), tied_policy(made.values(None, OBS[2])))
    np.testing.assert_allclose(quantiles(4, 1.0).target(SECOND_COIN, backup), 2 + 0.5 * SECOND_COIN.mean(axis=0))
    first = greedy(critic(jnp.zeros((2, 4)), quantiles(4, 1.0), None))
    assert not first.sample(None, many, first.noise(jax.random.key(0), (len(many),)))[0].any()


@pytest.mark.parametrize(("level", "value"), [(0.25, -2), (0.5, -1), (0.75, 0), (0.9, 5 / 9), (1, 1)])
def test_the_best_start_of_an_exact_critic_is_the_best_cvar(level, value):
    """The two coins: values of dynamic programming in the place of a network's."""
    stocks = np.arange(-5.0, 4.0)
    table = jnp.asarray(solve_with_stock(two_coin(), shortfall(), stocks, horizon=2).q[0, 0])  # of the first state
    env = coins()
    stock = envs.stock_of(env)

    def values(params, obs):
        return table[jnp.round(stock.read(obs) + 5).astype(int)]

    obs, _ = env.reset_env(jax.random.key(0), env.default_params)
    start = best_start(values, None, jnp.stack([obs] * 3), stock, stocks, level)
    np.testing.assert_allclose(start.value, value, atol=1e-5)
    if level == 0.75:
        assert start.stock == -2


def test_the_optimistic_start_is_the_least():
    env = coins()
    stock = envs.stock_of(env)
    values = lambda params, obs: jnp.maximum(stock.read(obs) - 1, 0)[..., None] * jnp.ones(2)  # noqa: E731
    obs, _ = env.reset_env(jax.random.key(0), env.default_params)  # the return is certain, -1
    assert best_start(values, None, obs[None], stock, np.arange(-5.0, 4), 0.5, optimistic=True).value == -1


@pytest.mark.parametrize(
    ("starts", "level", "name"), [([-6.0], 1, "starts"), ([], 1, "starts"), ([0.0], 0, "level"), ([0.0], 2, "level")]
)
def test_bad_input_of_the_search(starts, level, name):
    with pytest.raises(InvalidArgument) as error:
        best_start(lambda params, obs: obs, None, OBS, envs.stock_of(coins()), starts, level)
    assert error.value.argument == name


# --- the agent ----------------------------------------------------------------------------------------------------

TINY = DQN(
    gamma=1.0, num_envs=4, num_steps=2, num_updates=2, batch_size=16, capacity=64, learning_starts=16, target_every=2,
    hidden_sizes=(8,), space="quantiles", num_quantiles=4, huber_threshold=0.1,
)  # fmt: skip


def run(config, env, updates=6):
    """The learner's state after some updates."""
    algorithm = config.make(env, None, updates)
    update = jax.jit(algorithm.update)
    state = algorithm.init(jax.random.key(0))
    for _ in range(updates):
        state, metrics = update(state)
    return state.learner, metrics


def test_an_agent_with_the_utility_x_is_qr_dqn(trees):
    """It makes the same choices, so the same transitions and the same updates."""
    env = coins()
    (mean, _), (same, _) = (
        run(config, env) for config in (TINY, TINY.replace(utility="piecewise", utility_below=1.0, utility_above=1.0))
    )
    trees.close(mean, same, rtol=1e-4, atol=1e-5)


def test_edits_with_everything_else():
    """Prioritised, double, n-step and dueling with a categorical law: priorities are of transitions, not of edits."""
    config = TINY.replace(
        prioritised=True, double=True, dueling=True, n_step=2, space="categorical", v_min=-3.0, v_max=5.0, num_atoms=9,
        utility="nearness", stock_edits=3,
    )  # fmt: skip
    learner, metrics = run(config, coins())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((learner, metrics)) if leaf.dtype == jnp.float32)
    make = lambda edits: config.replace(stock_edits=edits).make(coins(), None, 6)  # noqa: E731
    shapes = [jax.eval_shape(make(edits).init, jax.eval_shape(jax.random.key, 0)).learner for edits in (0, 3)]
    assert jax.tree.map(lambda leaf: leaf.shape, shapes[0]) == jax.tree.map(lambda leaf: leaf.shape, learner)
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])


@pytest.mark.parametrize(
    ("name", "change", "settings"),
    [
        ("utility", {"utility": "median"}, {}),
        ("utility", {"utility": "shortfall", "space": "scalar"}, {}),
        ("utility", {"utility": "shortfall", "munchausen": True}, {}),
        ("gamma", {"utility": "shortfall", "gamma": 0.9}, {}),
        ("gamma", {"stock_edits": 1, "gamma": np.array([1.0, 0.9])}, {}),
        ("stock_edits", {"stock_edits": -1}, {}),
        ("stock_edits", {"stock_edits": 1}, {"low": 1, "high": 1, "clip": None}),
        ("utility_below", {"utility": "piecewise", "utility_below": float("nan")}, {}),
    ],
)
def test_bad_input(name, change, settings):
    env = coins(**settings)
    with pytest.raises(InvalidArgument) as error:
        TINY.replace(**change).check(env, env.default_params)
    assert error.value.argument == name


@pytest.mark.parametrize("change", [{"utility": "shortfall"}, {"stock_edits": 2}])
def test_an_environment_without_a_stock_is_refused(change):
    env = envs.make("tabular/two-coin-v0")
    with pytest.raises(InvalidArgument, match="must show a stock"):
        TINY.replace(**change).check(env, env.default_params)

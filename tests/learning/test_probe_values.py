"""PPO learns the known values and actions of the probes, every one of many seeds, within seconds.

One small config for all; each probe fails for one kind of mistake, which its docstring names.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import PPO, make, train
from jaxrl.policies.networks import actor_critic

SEEDS = 16
GAMMA = 0.8
CONFIG = PPO(
    learning_rate=1e-2,
    gamma=GAMMA,
    gae_lambda=0.9,
    num_envs=8,
    num_steps=16,
    num_epochs=4,
    num_minibatches=2,
    hidden_sizes=(16,),
    anneal_learning_rate=True,
    entropy_coefficient=0.0,
)


@pytest.fixture(scope="session")
def learnt(mesh_of):
    """Trains the config on a probe; gives the values ``[seeds, observations]`` and the greedy actions there."""
    done = {}

    def learnt(env_id, observations, config=CONFIG, updates=100, **settings):
        env = make(env_id, **settings)
        name = repr((env_id, config, updates, settings))
        if name not in done:
            done[name] = train(config, env, seeds=SEEDS, updates=updates, evaluate_every=0, mesh=mesh_of(1), tile=SEEDS)
        result = done[name]
        assert result.frozen == {}
        network, _ = actor_critic(config, env, env.default_params, shared=config.shared_torso)
        algorithm = config.make(env, updates=updates)
        obs = jnp.asarray(observations, jnp.float32).reshape(len(observations), -1)

        def judge(state):
            return values(state.learner), algorithm.policy(state, obs, jax.random.key(0))

        def values(learner):
            if not hasattr(learner, "params"):
                return values(learner.inner)  # behind a scale of observations or rewards, where values mean nothing
            return network.apply(learner.params, obs, method="critic")

        value, action = jax.vmap(judge)(result.states)
        probe = make(env_id)  # the value is stated by the bare environment, for any parameters
        exact = np.array([probe.value(o, GAMMA, env.default_params) for o in obs])
        return np.asarray(value), np.asarray(action), exact

    return learnt


def test_the_value_of_one_state(learnt):
    value, _, exact = learnt("probe/constant-v0", [1], reward=1.5)
    assert exact == [1.5]
    np.testing.assert_allclose(value, np.full((SEEDS, 1), 1.5), atol=1e-3)


def test_the_value_of_an_observation(learnt):
    value, _, exact = learnt("probe/observation-v0", [-1, 1])
    assert list(exact) == [-1, 1]
    np.testing.assert_allclose(value, np.tile(exact, (SEEDS, 1)), atol=1e-3)


def test_the_discount_over_two_steps(learnt):
    value, _, exact = learnt("probe/discount-v0", [0, 1])
    np.testing.assert_allclose(exact, [GAMMA, 1])
    np.testing.assert_allclose(value, np.tile(exact, (SEEDS, 1)), atol=1e-3)


def test_the_choice_of_an_action(learnt):
    value, action, exact = learnt("probe/action-v0", [1])
    assert (action == 1).all()
    np.testing.assert_allclose(value, np.tile(exact, (SEEDS, 1)), atol=0.01)


def test_the_choice_of_an_action_by_the_observation(learnt):
    value, action, exact = learnt("probe/joint-v0", [-1, 1])
    np.testing.assert_array_equal(action, np.tile([0, 1], (SEEDS, 1)))
    np.testing.assert_allclose(value, np.tile(exact, (SEEDS, 1)), atol=0.05)


PHASES = [0, 0.25, 0.5, 0.75]


def test_a_time_limit_is_bootstrapped_through_and_a_termination_is_not(learnt):
    """Same observations, rewards and lengths of episodes; only the flag differs."""
    terminates, _, ends = learnt("probe/terminates-v0", PHASES)
    truncates, _, goes_on = learnt("probe/truncates-v0", PHASES)
    np.testing.assert_allclose(ends, [(1 - GAMMA**k) / (1 - GAMMA) for k in (4, 3, 2, 1)], rtol=1e-6)
    np.testing.assert_allclose(goes_on, [1 / (1 - GAMMA)] * 4, rtol=1e-6)
    np.testing.assert_allclose(terminates, np.tile(ends, (SEEDS, 1)), atol=0.2)
    np.testing.assert_allclose(truncates, np.tile(goes_on, (SEEDS, 1)), atol=0.2)


@pytest.mark.parametrize("squash", [False, True])
def test_the_choice_of_a_continuous_action(learnt, squash):
    config = CONFIG.replace(squash=squash, normalise_observations=True, scale_rewards=True)
    _, action, _ = learnt("probe/target-v0", [1], config=config, updates=150)
    np.testing.assert_allclose(action[:, 0, 0], 0.5, atol=0.03)

"""REINFORCE: the direction of its steps, the probes that need no critic, an inventory, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import REINFORCE, InvalidArgument, make, train
from jaxrl.policies.networks import actor_critic

SEEDS = 16
CONFIG = REINFORCE(
    learning_rate=3e-2, gamma=0.8, num_envs=64, num_steps=8, hidden_sizes=(16,), anneal_learning_rate=True
)


@pytest.mark.parametrize("baseline", ["others", "none"])
def test_the_first_step_is_along_the_gradient_of_the_expected_return(baseline):
    """Adam's first step is the sign of the gradient; on one-step episodes the expected return is a sum over actions."""
    env = make("probe/action-v0")
    config = CONFIG.replace(num_envs=4096, num_steps=1, baseline=baseline, max_grad_norm=float("inf"))
    algorithm = config.replace(anneal_learning_rate=False).make(env)
    before = algorithm.init(jax.random.key(0))
    after, _ = jax.jit(algorithm.update)(before)
    _, policy = actor_critic(config, env, env.default_params, critic=False)
    obs, state = env.reset_env(jax.random.key(1), env.default_params)
    rewards = jnp.array(
        [env.step_env(jax.random.key(2), state, action, env.default_params)[2] for action in (0, 1)], jnp.float32
    )
    assert rewards[0] != rewards[1]

    def expected_return(params):
        log_probs = jnp.stack([policy.log_prob(params, obs, jnp.int32(a), None)[0] for a in (0, 1)])
        return jnp.sum(jnp.exp(log_probs) * rewards)

    gradient = jax.grad(expected_return)(before.learner.params)
    moved = jax.tree.map(lambda a, b: a - b, after.learner.params, before.learner.params)
    gradient, moved = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (gradient, moved))
    large = np.abs(gradient) > 0.2 * np.abs(gradient).max()
    assert large.sum() > 4
    np.testing.assert_allclose(moved[large], config.learning_rate * np.sign(gradient[large]), rtol=1e-3)


@pytest.mark.parametrize(
    ("env_id", "observations", "actions"), [("probe/action-v0", [1], [1]), ("probe/joint-v0", [-1, 1], [0, 1])]
)
def test_the_choice_of_an_action(env_id, observations, actions, mesh_of):
    env = make(env_id)
    result = train(CONFIG, env, seeds=SEEDS, updates=100, evaluate_every=0, mesh=mesh_of(1), tile=SEEDS)
    algorithm = CONFIG.make(env, updates=100)
    obs = jnp.asarray(observations, jnp.float32)[:, None]
    chosen = jax.vmap(lambda state: algorithm.policy(state, obs, jax.random.key(0)))(result.states)
    np.testing.assert_array_equal(chosen, np.tile(actions, (SEEDS, 1)))


def test_an_inventory_becomes_cheaper(mesh_of):
    config = REINFORCE(
        learning_rate=1e-2, num_envs=64, num_steps=20, hidden_sizes=(16,), squash=True, normalise_observations=True
    )
    env = make("inventory/one-store-lost-v0", lead_time=1)
    result = train(config, env, seeds=2, updates=150, evaluate_every=150 * 1280, mesh=mesh_of(2))
    costs = -result.metrics["evaluation_return"][:, -1] / env.default_params.max_steps_in_episode
    assert (costs < 8).all(), "the optimum is 5.44; ordering the middle of the action space ends far above 100"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("num_envs", {"num_envs": 1}),
        ("baseline", {"baseline": "mean"}),
        ("gamma", {"gamma": 1.5}),
        ("network", {"network": "minatar"}),
    ],
)
def test_bad_input(name, change):
    env = make("CartPole-v1")
    with pytest.raises(InvalidArgument) as error:
        train(REINFORCE(**change), env, updates=1, seeds=1)
    assert error.value.argument == name

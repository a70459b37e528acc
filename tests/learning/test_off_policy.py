"""SAC, TD3, MDPO, TRPO and PMOE learn what is known of probes, agree where one is another, refuse what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import MDPO, PMOE, PMOEPPO, PPO, SAC, TD3, TRPO, InvalidArgument, SoftMDPO, make, train
from jaxrl.core.combine import layers
from jaxrl.core.counted import WithTarget
from jaxrl.core.types import Transition
from jaxrl.engine.program import member_axes
from jaxrl.losses.policy_gradient import mirror_descent
from jaxrl.policies.networks import actor_critic
from jaxrl.sources.dataset import Card, DataSet, save
from jaxrl.stats import interquartile_interval

SEEDS = range(1000, 1008)
SMALL = {
    "num_envs": 8, "batch_size": 64, "capacity": 8192, "learning_starts": 512, "update_to_data": 0.25, "gamma": 0.8,
    "actor_learning_rate": 3e-3, "critic_learning_rate": 1e-2, "target_rate": 0.1, "hidden_sizes": (16,),
    "activation": "tanh",
}  # fmt: skip
CONTINUOUS = {
    "sac": SAC(**SMALL, temperature=0.01),
    "td3": TD3(**SMALL),
    "soft_mdpo": SoftMDPO(**SMALL, temperature=0.01, kl_coefficient=0.1, refresh_every=20),
    "pmoe": PMOE(**SMALL, temperature=0.01, num_components=3),
}


@pytest.fixture(scope="session")
def ended(mesh_of):
    """Trains a config; gives the greedy actions and the parameters that members ended with."""

    def ended(config, env_id, observations, updates=200):
        env = make(env_id)
        result = train(config, env, seeds=SEEDS, updates=updates, evaluate_every=0, mesh=mesh_of(1), tile=len(SEEDS))
        assert result.frozen == {}
        obs = jnp.asarray(observations, jnp.float32).reshape(len(observations), -1)
        algorithm, states = config.make(env, updates=updates), result.states
        axes = member_axes(states)
        actions = jax.vmap(lambda state: algorithm.policy(state, obs, jax.random.key(0)), in_axes=(axes,))(states)
        learner = result.states.learner
        while not hasattr(learner, "params"):
            learner = learner.inner if hasattr(learner, "inner") else learner.first
        return np.asarray(actions), learner.params, env

    return ended


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("soft_mdpo", "pmoe"))) for name in CONTINUOUS]
)
def test_a_continuous_action(ended, name):
    """All but one of eight seeds find the target to within a fifth of the box's half-width."""
    actions, _, _ = ended(CONTINUOUS[name], "probe/target-v0", [1.0], updates=500)
    assert (np.abs(actions[:, 0, 0] - 0.5) < 0.2).sum() >= 7


def test_discrete_actions_and_a_time_limit(ended):
    """Soft values with a small temperature: r / (1 - gamma), and the action that the observation asks for."""
    config = SAC(**SMALL, temperature=0.01)
    _, params, env = ended(config, "probe/truncates-v0", [0.0], updates=400)
    critics = config.agent(env, env.default_params).critics
    q = jax.vmap(lambda params: critics.values(params["critics"], jnp.zeros((1, 1)), None))(params)
    np.testing.assert_allclose(np.median(q, axis=0), np.full(q.shape[1:], 5.0), atol=0.5)
    actions, _, _ = ended(config, "probe/joint-v0", [-1.0, 1.0])
    assert (actions == [0, 1]).all(axis=1).sum() >= 7


def test_a_learned_temperature_brings_the_entropy_to_its_goal(mesh_of):
    config = SAC(**SMALL, initial_temperature=1.0, temperature_learning_rate=1e-2, target_entropy=-0.5)
    result = train(
        config, "probe/target-v0", seeds=SEEDS, updates=600, evaluate_every=4_000, mesh=mesh_of(1), tile=len(SEEDS)
    )
    assert abs(np.median(result.metrics["entropy"][:, -1]) + 0.5) < 0.15


def test_half_of_what_is_learned_from_is_prior_data(tmp_path, mesh_of):
    """Rewards of 1 from the environment and of 3 from the data, less a half: values of 1.5 (RLPD)."""
    env, rows = make("probe/constant-v0", continuous=True), 16
    obs, action = np.ones((rows, 1), np.float32), np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    ones = np.ones(rows, np.float32)
    data = Transition(obs, action, 3 * ones, 0 * ones, ones, obs, {})
    save(DataSet(Card(env.name, "none", 0.0, 3.0), data, np.arange(rows)), tmp_path / "data")
    config = SAC(
        **SMALL, temperature=0.01, prior=str(tmp_path / "data"), reward_offset=-0.5, target_critics=1, layer_norm=True,
        actor_value="mean", backup_entropy=False, actor_period=2,
    )  # fmt: skip
    result = train(config, env, seeds=SEEDS[:2], updates=250, evaluate_every=0, mesh=mesh_of(1), tile=2)
    *_, learner = layers(result.states.learner)
    values = config.agent(env, env.default_params).critics.values
    q = jax.vmap(lambda params: values(params, jnp.ones((1, 1)), jnp.zeros((1, 1))))(learner.params["critics"])
    np.testing.assert_allclose(q, 1.5, atol=0.2)


def test_targets_without_entropy():
    """Are those of a temperature of 0."""
    env, losses = make("Pendulum-v1"), []
    for config in (
        SAC(hidden_sizes=(8,), temperature=0.0),
        SAC(hidden_sizes=(8,), temperature=5.0, backup_entropy=False),
        SAC(hidden_sizes=(8,), temperature=5.0),
    ):
        agent, params, batch, _ = batch_and_params(config, env)
        rows = jnp.ones(32)
        transition = Transition(batch.obs, jnp.ones((32, 1)), rows, rows, 0 * rows, batch.obs, {})
        loss = config.terms(agent, lambda *_: None, -1.0)["critics"].loss
        losses.append(float(loss(params, WithTarget(transition, params["critics"]), jax.random.key(1), {})[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert abs(losses[2] - losses[0]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("config", [MDPO(learning_rate=1e-2, gamma=0.8), TRPO(gamma=0.8)], ids=["mdpo", "trpo"])
@pytest.mark.parametrize(("env_id", "best"), [("probe/target-v0", 0.5), ("probe/action-v0", 1)])
def test_on_policy(ended, config, env_id, best):
    config = config.replace(num_envs=8, num_steps=16, value_minibatches=2, value_learning_rate=1e-2, hidden_sizes=(16,))
    actions, _, _ = ended(config, env_id, [1.0], updates=100)
    assert (np.abs(actions.reshape(-1) - best) < 0.2).sum() >= 7


# --- where one is another -------------------------------------------------------------------------------------------


def batch_and_params(config, env):
    agent = config.agent(env, env.default_params)
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"actor": agent.policy.init(keys[0]), "critics": agent.critics.init(keys[1])}
    obs = jax.random.normal(keys[2], (32, *env.observation_space(env.default_params).shape))

    class Batch:
        pass

    batch = Batch()
    batch.obs = obs
    return agent, params, batch, agent.policy.init(keys[3])


def test_off_policy_mirror_descent_with_c_equal_to_the_temperature_is_sac(trees):
    """The old policy drops out: the actor's gradients are SAC's, whatever it is; with another c they are not."""
    env, gradients = make("Pendulum-v1"), []
    sac = SAC(hidden_sizes=(16,), temperature=0.2, actor_value="first")
    agent, params, batch, old = batch_and_params(sac, env)
    for config, around in [
        (sac, WithTarget(batch, None)),
        (SoftMDPO(hidden_sizes=(16,), kl_coefficient=0.2), WithTarget(WithTarget(batch, None), old)),
        (SoftMDPO(hidden_sizes=(16,), kl_coefficient=1.0), WithTarget(WithTarget(batch, None), old)),
    ]:
        loss = config.actor_loss(agent)
        key = jax.random.key(1)
        gradients.append(jax.grad(lambda actor: loss(params | {"actor": actor}, around, key, {})[0])(params["actor"]))  # noqa: B023
    trees.close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    far = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), gradients[0], gradients[2])
    assert max(jax.tree.leaves(far)) > 1e-2


def test_the_first_step_of_mirror_descent_is_a_policy_gradient(trees):
    env = make("Pendulum-v1")
    _, policy = actor_critic(MDPO(hidden_sizes=(16,)), env, env.default_params, critic=False)
    params = policy.init(jax.random.key(0))
    obs, noise = jax.random.normal(jax.random.key(1), (64, 3)), policy.noise(jax.random.key(2), (64,))
    action, log_prob = policy.sample(params, obs, noise)
    advantage, old = jax.random.normal(jax.random.key(3), (64,)), policy.outputs(params, obs)

    def log_probs(params):
        return policy.log_prob(params, obs, action, jax.random.key(0))[0]

    def mirror(params, step_size):
        kl = policy.kl(policy.outputs(params, obs), old)
        return mirror_descent(log_probs(params), log_prob, advantage, kl, step_size).mean()

    expected = jax.grad(lambda params: -jnp.mean(log_probs(params) * advantage))(params)
    for step_size in (0.01, 1.0):
        trees.close(jax.grad(mirror)(params, step_size), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_mixture_of_one_learns_as_sac_does(trees, mesh_of):
    settings = {"seeds": 2, "updates": 30, "evaluate_every": 0, "mesh": mesh_of(1), "tile": 2}
    small = SMALL | {"learning_starts": 32, "num_envs": 4}
    sac, pmoe = (train(config, "Pendulum-v1", **settings) for config in (SAC(**small), PMOE(**small, num_components=1)))
    for name in ("q", "entropy", "temperature", "episode_return"):
        np.testing.assert_allclose(sac.metrics[name], pmoe.metrics[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_ppo_with_a_mixture_of_one_is_ppo(mesh_of):
    """Update for update where no norm of all gradients is bounded, since the value of actions has its own."""
    settings = {"seeds": 2, "updates": 3, "evaluate_every": 0, "mesh": mesh_of(1), "tile": 2}
    small = {"num_envs": 4, "num_steps": 16, "num_minibatches": 2, "hidden_sizes": (16,), "max_grad_norm": float("inf")}
    small |= {"entropy_coefficient": 0.0}
    alone = train(PPO(**small), "Pendulum-v1", **settings)
    of_one = train(PMOEPPO(**small, num_components=1, q_hidden_sizes=(8,)), "Pendulum-v1", **settings)
    for name in ("value_loss", "approximate_kl", "policy_loss"):
        np.testing.assert_allclose(alone.metrics[name], of_one.metrics[name], rtol=1e-3, atol=1e-5)
    assert (of_one.metrics["least_used_expert"] == 1).all()


@pytest.mark.parametrize("experts", ["best", pytest.param("all", marks=pytest.mark.slow)])
def test_which_experts_learn(experts):
    """Of one state: only the best expert's head has a gradient, or every one's; the router has one either way."""
    env = make("Pendulum-v1")
    config = PMOE(hidden_sizes=(16,), temperature=0.2, num_components=4, experts=experts)
    agent, params, batch, _ = batch_and_params(config, env)
    batch.obs = batch.obs[:1]
    loss = config.actor_loss(agent)
    around, key = WithTarget(batch, None), jax.random.key(1)
    gradient = jax.grad(lambda actor: loss(params | {"actor": actor}, around, key, {})[0])(params["actor"])["params"]
    heads = np.asarray(gradient["FanInDense_0"]["Dense_0"]["bias"]).reshape(4, -1)
    assert (np.abs(heads).max(axis=1) > 0).sum() == (1 if experts == "best" else 4)
    assert np.abs(np.asarray(gradient["router"]["Dense_0"]["bias"])).max() > 0


@pytest.mark.parametrize("router", ["gumbel", "score"])
@pytest.mark.parametrize("entropy", ["component", "mixture"])
def test_other_routers_learn_from_the_values(router, entropy):
    """Their gradients are finite, and not 0 for the router."""
    env = make("Pendulum-v1")
    config = PMOE(hidden_sizes=(16,), temperature=0.2, router=router, entropy=entropy)
    agent, params, batch, _ = batch_and_params(config, env)
    loss, around, key = config.actor_loss(agent), WithTarget(batch, None), jax.random.key(1)
    gradient = jax.grad(lambda actor: loss(params | {"actor": actor}, around, key, {})[0])(params["actor"])["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(np.asarray(gradient["router"]["Dense_0"]["bias"])).max() > 0


@pytest.mark.slow
def test_pendulum(mesh_of):
    from experiments.command_line import load_preset, with_preset

    preset = load_preset("sac/Pendulum-v1")
    result = train(
        with_preset(SAC, preset), "Pendulum-v1", seeds=SEEDS, steps=preset.steps, evaluate_every=0, mesh=mesh_of(2)
    )
    assert interquartile_interval(result.metrics["evaluation_return"][:, -1]).value > -200


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "env", "said"),
    [
        (SAC(capacity=100), "Pendulum-v1", "capacity=100: must be at least 256"),
        (SAC(update_to_data=0.3), "Pendulum-v1", "update_to_data=0.3: must give a whole number of gradient steps"),
        (SAC(update_to_data=0.0), "Pendulum-v1", "update_to_data=0.0: must give a whole number"),
        (SAC(num_critics=2, target_critics=3), "Pendulum-v1", "target_critics=3: must be within [1, 2]"),
        (SAC(log_std_min=3.0), "Pendulum-v1", "log_std_min=3.0: must be at most log_std_max=2.0"),
        (SAC(target_entropy=5.0), "CartPole-v1", "target_entropy=5.0: must be at most log 2"),
        (SAC(actor_period=0), "Pendulum-v1", "actor_period=0: must be at least 1"),
        (SAC(prior="nowhere"), "Pendulum-v1", "path='nowhere': must be a folder"),
        (SAC(value_network=True, target_critics=1), "Pendulum-v1", "target_critics=1: must be None with a value"),
        (SAC(network="minatar"), "Pendulum-v1", "network='minatar': "),
        (TD3(), "CartPole-v1", "env='CartPole-v1': must have continuous actions"),
        (TD3(policy_delay=0), "Pendulum-v1", "policy_delay=0: must be at least 1"),
        (PMOE(num_components=0), "Pendulum-v1", "num_components=0: must be at least 1"),
        (PMOE(), "CartPole-v1", "env='CartPole-v1': must have continuous actions"),
        (PMOEPPO(num_components=0), "Pendulum-v1", "num_components=0: must be at least 1"),
        (PMOEPPO(squash=True), "Pendulum-v1", "squash=True: must be False for a mixture"),
        (PMOE(router="random"), "Pendulum-v1", "router='random': must be one of frequency"),
        (SoftMDPO(tsallis_index=1.5), "CartPole-v1", "tsallis_index=1.5: must be 1 for discrete actions"),
        (MDPO(num_policy_steps=0), "Pendulum-v1", "num_policy_steps=0: must be at least 1"),
        (MDPO(value_minibatches=3), "Pendulum-v1", "value_minibatches=3: must divide"),
        (TRPO(max_kl=0.0), "Pendulum-v1", "max_kl=0.0: must be at least 1e-09"),
    ],
)
def test_bad_input(config, env, said):
    with pytest.raises(InvalidArgument) as refused:
        train(config, env, seeds=1, updates=1)
    assert said in str(refused.value)

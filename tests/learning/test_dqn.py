"""Value-based agents learn the known values and actions of the probes, and refuse what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import DQN, PQN, InvalidArgument, UserError, make, train
from jaxrl.policies.networks import q_network
from jaxrl.stats import interquartile_interval

SEEDS = range(1000, 1008)
GAMMA = 0.8
CONFIG = DQN(
    learning_rate=1e-2,
    gamma=GAMMA,
    num_envs=8,
    num_updates=2,
    batch_size=32,
    capacity=512,
    learning_starts=64,
    target_every=10,
    hidden_sizes=(16,),
    activation="tanh",  # of 16 rectifiers that see one positive number some seeds lose all
    anneal_learning_rate=True,
    epsilon_end=0.1,
    v_min=-2.0,
    v_max=6.0,
    num_atoms=33,
    num_quantiles=8,
    huber_threshold=1.0,
)
ONE_STEP = CONFIG.replace(v_min=-1.5, v_max=1.5, num_atoms=13)
VARIANTS = {
    "dqn": {},
    "rainbow": {"double": True, "dueling": True, "prioritised": True, "n_step": 3, "space": "categorical"},
    "scalar-rainbow": {"double": True, "dueling": True, "prioritised": True, "n_step": 3, "target_rate": 0.3},
    "c51": {"space": "categorical"},
    "qr-dqn": {"space": "quantiles", "huber_threshold": 0.1},
    "iqn": {"space": "implicit", "huber_threshold": 0.1, "head_sizes": (16,)},
}


def values_of(config, env, result, observations):
    """``[seeds, observations, A]``: the action values that each member ended with."""
    obs = jnp.asarray(observations, jnp.float32).reshape(len(observations), -1)
    params = result.states.learner
    while not hasattr(params, "params"):
        params = params.inner
    if isinstance(config, DQN):
        values = config.critic(env, env.default_params).values
    else:
        network = q_network(config, env, env.default_params, layer_norm=config.layer_norm)
        values = lambda params, obs: network.apply(params, obs)[..., 0]  # noqa: E731
    return np.asarray(jax.vmap(lambda params: values(params, obs))(params.params))


@pytest.fixture(scope="session")
def learnt(mesh_of):
    """Trains a config on a probe; gives the action values and the exact values of the observations."""

    def learnt(config, env_id, observations, updates=300, **settings):
        env = make(env_id, **settings)
        result = train(config, env, seeds=SEEDS, updates=updates, evaluate_every=0, mesh=mesh_of(1), tile=len(SEEDS))
        assert result.frozen == {}
        exact = [make(env_id).value(jnp.array([o], jnp.float32), GAMMA, env.default_params) for o in observations]
        return values_of(config, env, result, observations), np.array(exact)

    return learnt


PHASES = [0, 0.25, 0.5, 0.75]
SLOW = {"dqn", "scalar-rainbow", "c51", "qr-dqn"}


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in VARIANTS if name != "iqn"]
)
def test_a_time_limit_is_bootstrapped_through(learnt, variant):
    """Final observations are kept beside the ring; n-step returns stop at the limit and go on from its successor."""
    value, exact = learnt(CONFIG.replace(**VARIANTS[variant]), "probe/truncates-v0", PHASES)
    np.testing.assert_allclose(exact, [1 / (1 - GAMMA)] * 4, rtol=1e-6)
    np.testing.assert_allclose(value, np.broadcast_to(exact[:, None], value.shape), atol=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_termination_is_not(learnt, variant):
    value, exact = learnt(CONFIG.replace(**VARIANTS[variant]), "probe/terminates-v0", PHASES, updates=1000)
    np.testing.assert_allclose(value, np.broadcast_to(exact[:, None], value.shape), atol=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "rainbow"])
def test_actions_by_the_observation(learnt, variant):
    """The better action is worth 1 and the other one -1, whatever law stands for them."""
    value, _ = learnt(ONE_STEP.replace(**VARIANTS[variant]), "probe/joint-v0", [-1, 1])
    expected = np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(value, np.broadcast_to(expected, value.shape), atol=0.15)


def test_munchausen_adds_the_bounded_log_policy(learnt):
    """Of two actions that pay 1 and -1 one is nearly certain, and the other is fined what the bound allows."""
    config = ONE_STEP.replace(
        munchausen=True, munchausen_coefficient=0.5, munchausen_low=-0.8, space="implicit", huber_threshold=0.1
    )
    value, _ = learnt(config, "probe/action-v0", [1])
    np.testing.assert_allclose(value, np.broadcast_to([-1 - 0.5 * 0.8, 1.0], value.shape), atol=0.1)


PARALLEL = PQN(
    learning_rate=1e-2, gamma=GAMMA, td_lambda=0.6, num_envs=8, num_steps=16, num_minibatches=4, hidden_sizes=(16,),
    anneal_learning_rate=True, epsilon_end=0.5,
)  # fmt: skip


@pytest.mark.parametrize("env_id", ["probe/truncates-v0", pytest.param("probe/terminates-v0", marks=pytest.mark.slow)])
def test_pqn_values(learnt, env_id):
    value, exact = learnt(PARALLEL, env_id, PHASES, updates=100)
    np.testing.assert_allclose(value, np.broadcast_to(exact[:, None], value.shape), atol=0.3)


@pytest.mark.slow
def test_cartpole(mesh_of):
    """The preset, from about 20 of a random policy to near the bound of 500."""
    from experiments.command_line import load_preset, with_preset

    for config, name in ((DQN, "dqn/CartPole-v1"), (PQN, "pqn/CartPole-v1")):
        preset = load_preset(name)
        result = train(
            with_preset(config, preset), "CartPole-v1", seeds=SEEDS, steps=preset.steps, mesh=mesh_of(2),
            evaluate_every=preset.steps // 4,
        )  # fmt: skip
        assert interquartile_interval(result.metrics["evaluation_return"][:, -1]).value > 300


def test_variants_explore_differently_on_a_process_given_by_its_kernel(mesh_of):
    """A sweep over shares of random actions, and an environment whose parameters are arrays of numpy."""
    config = CONFIG.replace(capacity=64, epsilon_start=np.array([0.2, 1.0]), epsilon_end=np.array([0.2, 1.0]))
    result = train(
        config, "tabular/bit-generator-v0", seeds=range(1000, 1004), updates=40,
        evaluate_every=0, mesh=mesh_of(1), tile=8,
    )  # fmt: skip
    greedy, random = result.metrics["episode_return"].reshape(2, 4)
    assert abs(random.mean() - 10) < 2  # of 20 fair bits
    assert greedy.mean() > 13


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("capacity", {"capacity": 64, "batch_size": 128}),
        ("capacity", {"capacity": 128, "batch_size": 8, "n_step": 17}),
        ("n_step", {"n_step": -1}),
        ("n_step", {"n_step": 2, "munchausen": True}),
        ("double", {"double": True, "munchausen": True}),
        ("num_atoms", {"num_atoms": 1}),
        ("v_min", {"space": "categorical", "v_min": 2.0, "v_max": 2.0}),
        ("v_min", {"space": "categorical", "v_min": np.array([0.0, 20.0]), "v_max": 10.0}),
        ("space", {"space": "gaussian"}),
        ("huber_threshold", {"space": "quantiles", "huber_threshold": float("inf")}),
        ("head_sizes", {"head_sizes": (0,)}),
        ("gamma", {"gamma": 1.5}),
        ("network", {"network": "minatar"}),
    ],
)
def test_bad_input(name, change):
    with pytest.raises(InvalidArgument) as error:
        train(DQN(**change), make("CartPole-v1"), updates=1, seeds=1)
    assert error.value.argument == name


@pytest.mark.parametrize("config", [DQN(), PQN()])
def test_continuous_actions_and_a_run_without_an_end_are_refused(config):
    with pytest.raises(InvalidArgument, match="must have discrete actions"):
        train(config, "Pendulum-v1", updates=1, seeds=1)
    with pytest.raises(InvalidArgument, match="updates"):
        config.make(make("CartPole-v1"))


def test_a_support_that_does_not_hold_the_returns_is_warned_of():
    """Random play on CartPole lasts long enough to earn more than 10 at a discount factor of 0.99."""
    env = make("CartPole-v1")
    with pytest.warns(UserWarning, match=r"v_max=10: random play earns discounted returns from 1 to [2-6]\d\.\d+"):
        DQN(space="categorical").check(env, env.default_params)


@pytest.mark.filterwarnings("error")
def test_a_support_that_holds_them_is_not():
    env = make("CartPole-v1")
    DQN(space="categorical", v_min=0.0, v_max=100.0).check(env, env.default_params)
    DQN(space="categorical", v_min=0.0, v_max=10.0, gamma=np.array([0.5, 0.8])).check(env, env.default_params)


def test_a_buffer_that_does_not_fit_is_refused_before_compiling(monkeypatch):
    monkeypatch.setattr("jaxrl.engine.layout.available_bytes", lambda device: 2**30)
    with pytest.raises(UserError, match=r"1000 members need about \S+ GiB: \S+ MiB of state each.*or the buffer"):
        train(DQN(capacity=1_000_000), "CartPole-v1", seeds=1000, updates=1)

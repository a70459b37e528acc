"""DQL, IDQL, QSM, FQL, FPO and DPPO: known answers, what they learn of a probe from data and by acting, what is
refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduce import diffusion_learners as known
from jaxrl import DPPO, DQL, FPO, FQL, IDQL, QSM, InvalidArgument, make, train
from jaxrl.core.types import Transition
from jaxrl.engine.program import member_axes
from jaxrl.sources.dataset import Card, DataSet, save

SEEDS = range(1000, 1008)
ENV = make("probe/target-v0")
PARAMS = ENV.default_params
ROWS = 2048
OFFLINE = {
    "num_steps": 20, "batch_size": 64, "capacity": 64, "actor_learning_rate": 3e-3, "critic_learning_rate": 1e-2,
    "target_rate": 0.1, "hidden_sizes": (32,), "activation": "tanh",
}  # fmt: skip
WIDTHS = {"base_hidden_sizes": (32, 32)}
LEARNERS = {
    "dql": DQL(**OFFLINE, **WIDTHS, eta=5.0, num_candidates=8, diffusion_steps=5, base_rate=0.1, decay_updates=None),
    "idql": IDQL(**OFFLINE, base_width=16, base_blocks=1, base_rate=0.1, num_candidates=32, decay_updates=None),
    "ifql": IDQL(**OFFLINE, base_width=16, base_blocks=1, base_rate=0.1, decay_updates=None, base="flow"),
    "qsm": QSM(**OFFLINE, base_width=32),
    "fql": FQL(**OFFLINE, **WIDTHS, alpha=0.3),
}
ON_POLICY = {"num_envs": 8, "num_steps": 16, "num_minibatches": 2, "hidden_sizes": (16,), "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What uniform actions earn."""
    random, path = np.random.default_rng(1000), tmp_path_factory.mktemp("data") / "target"
    obs, zeros = np.ones((ROWS, 1), np.float32), np.zeros(ROWS, np.float32)
    action = random.uniform(-1, 1, (ROWS, 1)).astype(np.float32)
    steps = Transition(obs, action, -np.square(action[:, 0] - 0.5), zeros, zeros + 1, obs, {})
    save(DataSet(Card(ENV.name, "uniform", -0.583, 0.0), steps, np.arange(ROWS)), path)
    return str(path)


@pytest.mark.parametrize("part", [known.imitation, known.expectiles, known.scores, known.copies, known.ratios])
def test_known_answers(part):
    rows = list(part())
    assert rows
    assert [row for row in rows if row.verdict != "holds"] == []


def actions_of(config, result, updates, count=64):
    """``[seeds, count]`` actions, as they are judged."""
    algorithm, obs = config.make(ENV, updates=updates), jnp.ones((count, 1))
    axes = member_axes(result.states)
    act = jax.vmap(lambda state: algorithm.policy(state, obs, jax.random.key(0)), in_axes=(axes,))
    return np.asarray(jax.jit(act)(result.states))[..., 0]


def learned(config, mesh, updates):
    """Actions after training, and the states."""
    result = train(config, ENV, seeds=SEEDS, updates=updates, evaluate_every=0, mesh=mesh, tile=len(SEEDS))
    assert result.frozen == {}
    return actions_of(config, result, updates), result.states


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_the_best_action_from_data(name, data, mesh_of):
    """Uniform actions are 0.58 away from the best in the mean; those of all but one of eight seeds are near it."""
    config = LEARNERS[name].replace(prior=data, offline=True)
    config.check(ENV, PARAMS)
    actions, states = learned(config, mesh_of(1), 50)
    assert states.source == ()
    assert (np.abs(actions - 0.5).mean(axis=1) < 0.2).sum() >= 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        FPO(**ON_POLICY, base_hidden_sizes=(16, 16), num_pairs=4, flow_steps=4),
        DPPO(**ON_POLICY, base_width=16, diffusion_steps=6, trained_steps=3, value_learning_rate=1e-2),
    ],
    ids=["fpo", "dppo"],
)
def test_the_best_action_by_acting(config, mesh_of):
    actions, _ = learned(config, mesh_of(1), 150)
    assert (np.abs(actions.mean(axis=1) - 0.5) < 0.2).sum() >= 7


@pytest.mark.slow
def test_acting_beside_prior_data(data, mesh_of):
    """Half of every batch from data, half from what is done."""
    config = LEARNERS["fql"].replace(
        prior=data, num_envs=8, num_steps=1, capacity=4096, learning_starts=64, update_to_data=0.5
    )
    actions, states = learned(config, mesh_of(1), 250)
    assert states.source != ()
    assert (np.abs(actions - 0.5).mean(axis=1) < 0.2).sum() >= 7


@pytest.mark.parametrize(
    ("argument", "config"),
    [
        ("prior", DQL(offline=True)),
        ("path", FQL(prior="nowhere")),
        ("eta", DQL(eta=-1.0)),
        ("temperature", DQL(temperature=0.0)),
        ("num_candidates", DQL(num_candidates=0)),
        ("expectile", IDQL(expectile=1.0)),
        ("base", IDQL(base="gaussian")),
        ("choice", IDQL(choice="worst")),
        ("q_grad", QSM(q_grad=-1.0)),
        ("schedule", QSM(schedule="sine")),
        ("alpha", FQL(alpha=-1.0)),
        ("target_value", FQL(target_value="greatest")),
        ("num_pairs", FPO(num_pairs=0)),
        ("error_in", FPO(error_in="action")),
        ("entropy_coefficient", FPO(entropy_coefficient=0.01)),
        ("squash", DPPO(squash=True)),
        ("trained_steps", DPPO(diffusion_steps=4, trained_steps=5)),
        ("low_quantile", DPPO(low_quantile=0.9, high_quantile=0.1)),
        ("pretraining", DPPO(pretraining=5)),
        ("least_std", DPPO(least_std=0.0)),
    ],
)
def test_what_cannot_be(argument, config):
    with pytest.raises(InvalidArgument) as error:
        config.check(ENV, PARAMS)
    assert error.value.argument == argument


def test_environments_that_do_not_fit(data):
    discrete, other = make("CartPole-v1"), make("MountainCarContinuous-v0")
    for config in (DQL(), IDQL(), QSM(), FQL(), FPO(), DPPO()):
        with pytest.raises(InvalidArgument, match="continuous"):
            config.check(discrete, discrete.default_params)
    with pytest.raises(InvalidArgument, match="env="):
        DQL(prior=data, offline=True).check(other, other.default_params)
    with pytest.raises(InvalidArgument, match="even"):
        DQL(prior=data, batch_size=5).check(ENV, PARAMS)
    with pytest.raises(InvalidArgument, match="pretraining"):
        DPPO(prior=data).check(ENV, PARAMS)
    with pytest.raises(InvalidArgument, match="normalise_observations"):
        DPPO(prior=data, pretraining=5, normalise_observations=True).check(ENV, PARAMS)

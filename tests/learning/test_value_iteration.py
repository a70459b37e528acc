"""Value iteration as members of the engine: the values of `solve`, played and resumed as every algorithm."""

import jax
import numpy as np
import pytest
from jaxrl.envs.tabular import garnet, machine_replacement, variants

from jaxrl import InvalidArgument, UserError, ValueIteration, make, train
from jaxrl.algorithms.value_iteration import MEASURES, SETS
from jaxrl.bellman import KL, bellman, robust, solve

ID = "tabular/machine-replacement-v0"
MACHINE = machine_replacement()
KINDS = [{"nature": nature, "radius": 0.3} for nature in ("nominal", *SETS, *MEASURES)] + [{"soft": True}]


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: str(settings))
def test_a_sweep_is_that_of_solve(settings):
    config = ValueIteration(gamma=0.8, num_sweeps=2, **settings)
    algorithm = config.make(make(ID))
    state, update = algorithm.init(None), jax.jit(algorithm.update)
    for _ in range(2):
        state, metrics = update(state)
    exact = solve(MACHINE, config.backup(), horizon=4)
    np.testing.assert_allclose(state.learner.value, exact.value[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(metrics["residual"], np.abs(exact.value[0] - exact.value[1]).max(), rtol=1e-4)


def test_radii_are_members(mesh_of, tmp_path):
    radii = np.array([0.0, 0.05, 0.1, 0.4], np.float32)
    config = ValueIteration(gamma=np.full(4, 0.8, np.float32), radius=radii, nature="kl")
    options = {"updates": 120, "evaluate_every": 60, "mesh": mesh_of(2), "directory": tmp_path}
    found = train(config, make(ID, max_steps_in_episode=50), **options)
    exact = [solve(MACHINE, bellman(robust(KL(float(radius))))) for radius in radii]
    np.testing.assert_allclose(found.states.learner.value, [one.value for one in exact], rtol=1e-4)
    np.testing.assert_allclose(found.metrics["value"][:, -1], [one.value[0] for one in exact], rtol=1e-4)
    assert (found.metrics["bound"][:, -1] < 1e-3).all()
    assert np.isfinite(found.metrics["evaluation_return"][:, -1]).all()
    again = train(config, make(ID, max_steps_in_episode=50), **options)
    np.testing.assert_array_equal(again.states.learner.value, found.states.learner.value)


def test_processes_are_members_and_policies_are_played(mesh_of):
    processes = [garnet(seed, states=20, actions=3, branching=3) for seed in range(2)]
    env = make("tabular/garnet-v0", seed=0, states=20, actions=3, branching=3, max_steps_in_episode=200)
    config = ValueIteration(gamma=0.95, num_sweeps=100)
    options = {"updates": 4, "evaluate_every": 400, "mesh": mesh_of(2)}
    found = train(config, env, env_variants=variants(processes), **options)
    for i, process in enumerate(processes):
        np.testing.assert_allclose(found.metrics["value"][i, -1], solve(process).value[0], rtol=1e-4)
    np.testing.assert_array_equal(found.states.learner.policy.argmax(-1), [solve(one).actions for one in processes])


@pytest.mark.parametrize(
    ("name", "change", "env_id"),
    [
        ("nature", {"nature": "l2"}, ID),
        ("gamma", {"gamma": 1.0}, ID),
        ("radius", {"radius": -0.1}, ID),
        ("radius", {"radius": 1.5, "nature": "cvar"}, ID),
        ("radius", {"radius": 0.0, "nature": "entropic"}, ID),
        ("temperature", {"temperature": 0.0}, ID),
        ("num_sweeps", {"num_sweeps": 0}, ID),
        ("env", {}, "CartPole-v1"),
        ("env", {}, "tabular/homeostasis-v0"),
    ],
)
def test_bad_input(name, change, env_id):
    with pytest.raises(InvalidArgument) as error:
        train(ValueIteration(**change), make(env_id), updates=1, seeds=1)
    assert error.value.argument == name


def test_undefined_compositions_are_refused():
    with pytest.raises(UserError, match="chosen together"):
        train(ValueIteration(nature="s-rectangular-l1", soft=True), make(ID), updates=1, seeds=1)

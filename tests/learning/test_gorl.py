"""GoRL: known answers, what every stage begins with, what its decoders are made of, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduce import gorl_known as known
from jaxrl import GoRL, GoRLSAC, InvalidArgument, make, train
from jaxrl.core.combine import layers
from jaxrl.core.moments import Moments
from jaxrl.engine.program import member_axes
from jaxrl.networks.actor_critic import EncoderCritic
from jaxrl.networks.torsos import MLP
from jaxrl.policies.decoders import decoder

ENV = make("Pendulum-v1", max_steps_in_episode=8)
PARAMS = ENV.default_params
SMALL = {
    "hidden_sizes": (8,), "decoder_sizes": (8,), "decoder_steps": 2, "decoder_draws": 2, "decoder_batch_size": 8,
    "decoder_epochs": 2, "refinement_envs": 2, "refinement_rollouts": 2, "refinement_steps": 8, "num_scores": 2,
    "score_episodes": 2, "num_envs": 2, "num_steps": 8,
}  # fmt: skip
PPO_SIZES = {"critic_sizes": (8,), "num_epochs": 1, "num_minibatches": 2}
SAC_SIZES = {"batch_size": 8, "capacity": 64, "learning_starts": 16, "update_to_data": 0.25}


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.slow] * (part in (known.refinements,))) for part in known.KNOWN]
)
def test_known_answers(part):
    rows = list(part())
    assert rows
    assert [row for row in rows if row.verdict != "holds"] == []


def run(config, updates, seeds=2):
    """States of the learner before and after every update, ``[seeds, updates + 1, ...]``, and metrics."""
    algorithm = config.make(ENV, PARAMS, updates)
    axes = member_axes(jax.eval_shape(algorithm.init, jax.random.key(0)))
    start = jax.jit(jax.vmap(algorithm.init, out_axes=axes))(jax.random.split(jax.random.key(0), seeds))
    update = jax.jit(jax.vmap(algorithm.update, in_axes=(axes,), out_axes=(axes, 0)))
    states, metrics = [start], []
    for _ in range(updates):
        state, measured = update(states[-1])
        states.append(state)
        metrics.append(measured)
    return algorithm, states, metrics


def test_stages(trees):
    """Updates 1, 2 | 3, 4 | 5 | 6: the decoder changes where a stage begins, and all that was learned is begun anew."""
    config = GoRL(**SMALL | {"num_scores": 0}, **PPO_SIZES, stages=(2.0, 2.0, 1.0, 1.0))
    algorithm, states, metrics = run(config, 6)
    given = [state.learner.given for state in states]
    begins = [index for index in range(1, 7) if not trees.same(given[index - 1], given[index])]
    assert begins == [3, 5, 6]
    assert all(not leaf.any() for leaf in trees.leaves(given[0].network))
    assert {float(scale) for each in given for scale in np.ravel(each.scale)} == {1.0}
    for index, state in enumerate(states[1:], 1):
        normalised, _ = layers(state.learner.inner)
        age = [1, 2, 1, 2, 1, 1][index - 1]
        np.testing.assert_array_equal(normalised.moments.count, [16 * age] * 2)
        counts = [leaf for leaf in trees.leaves(normalised.inner.optimiser) if leaf.dtype == np.int32]
        assert counts
        assert all((leaf == 2 * age).all() for leaf in counts)
        assert (metrics[index - 1]["decoder_epochs"].weight == (index in begins)).all()
    for index in begins:
        assert not trees.same(given[index].network, trees.rows(given[index].network, slice(None, None, -1)))
        np.testing.assert_array_equal(given[index].moments.count, [32, 32])
        assert (metrics[index - 1]["decoder_loss"].total > 0).all()
    judge = lambda state: algorithm.policy(state, jnp.ones((5, 3)), jax.random.key(0))  # noqa: E731
    action = jax.jit(jax.vmap(judge, in_axes=(member_axes(states[-1]),)))(states[-1])
    assert action.shape == (2, 5, 1)
    assert jnp.abs(action).max() <= 2
    assert len(np.unique(np.asarray(action).round(6))) == 2, "of each seed's own encoder, the same in equal states"


@pytest.mark.slow
def test_stages_of_an_encoder_that_goes_on(trees):
    _, states, _ = run(GoRL(**SMALL, **PPO_SIZES, stages=(1.0, 1.0), reinitialise=False, decoder="diffusion"), 2)
    normalised, _ = layers(states[-1].learner.inner.inner)
    np.testing.assert_array_equal(normalised.moments.count, [32, 32])
    assert not trees.same(states[1].learner.given, states[2].learner.given)
    assert (states[1].learner.given.scale < 1).all()
    np.testing.assert_array_equal(states[2].learner.given.scale, [1, 1])


@pytest.mark.slow
def test_sac_in_latents(trees):
    """A stage begins with an empty buffer, uniform latents and new networks; latents stay in their box."""
    config = GoRLSAC(**SMALL, **SAC_SIZES, stages=(3.0, 3.0))
    _, states, metrics = run(config, 6)
    assert [int(state.source.calls.value) for state in states] == [0, 1, 2, 3, 1, 2, 3]
    given = [state.learner.given for state in states]
    assert [index for index in range(1, 7) if not trees.same(given[index - 1], given[index])] == [4]
    counts = [int(layer.calls.value) for layer in layers(states[4].learner.inner.inner) if hasattr(layer, "calls")]
    assert counts[0] == 1
    latents = states[-1].source.ring.steps["action"]
    assert np.abs(latents).max() <= 3
    assert np.abs(latents).max() > 1
    assert all(np.isfinite(leaf).all() for leaf in trees.leaves(metrics[-1]["q"]))


@pytest.mark.slow
def test_runs_of_the_engine_go_on_where_they_stopped(trees, tmp_path, monkeypatch, mesh_of):
    from jaxrl.engine.sinks import Sink

    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 0.0)

    class Stop(Sink):
        """Interrupts in the second stage."""

        def progress(self, done, *_):
            if done == 3:
                raise KeyboardInterrupt

    config = GoRL(**SMALL, **PPO_SIZES, stages=(2.0, 2.0))
    settings = {"seeds": 2, "updates": 4, "evaluate_every": 16, "evaluation_episodes": 2, "mesh": mesh_of(1)}
    whole = train(config, ENV, **settings)
    kept = settings | {"directory": tmp_path / "run", "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        train(config, ENV, **kept, sinks=[Stop()])
    resumed = train(config, ENV, **kept)
    trees.equal(resumed.states, whole.states)
    trees.equal(resumed.metrics, whole.metrics)
    alone = train(config, ENV, **settings | {"seeds": [1]})
    np.testing.assert_allclose(alone.metrics["evaluation_return"][0], whole.metrics["evaluation_return"][1], rtol=1e-4)


# --- what it is made of -----------------------------------------------------------------------------------------


def test_an_encoder_that_begins_as_the_prior():
    obs = jax.random.normal(jax.random.key(0), (50, 4))
    for prior, deviation in ((True, 1.0), (False, np.log(2) + 1e-3)):
        torso = lambda: MLP((8,))  # noqa: E731
        network = EncoderCritic(torso, torso, 2, prior)
        apply = lambda key, network=network: network.apply(network.init(key, obs), obs, method="actor")  # noqa: E731
        mean, log_std = jax.jit(apply)(jax.random.key(1))
        np.testing.assert_allclose(jnp.exp(log_std), deviation, rtol=1e-6 if prior else 0.05)
        np.testing.assert_allclose(mean, 0, atol=0 if prior else 0.05)


def test_decoders_learn_what_depends_on_the_observation():
    """The loss of each kind falls, with any noise and with the latents; and observations are standardised."""
    obs = 5 + 3 * jax.random.normal(jax.random.key(0), (256, 1))
    action = (obs - 5) / 3 + 0.1 * jax.random.normal(jax.random.key(1), (256, 1))
    moments = Moments.empty((1,)).add(obs)

    def fall(kind, eps):
        made = decoder(kind, 1, (1,), (16,), steps=4, draws=4)
        start = made.init(jax.random.key(2), moments)
        key = jax.random.key(3)
        value, gradient = jax.value_and_grad(
            lambda network: made.loss(start._replace(network=network), obs, action, key, eps)
        )(start.network)
        network = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, start.network, gradient)
        return value - made.loss(start._replace(network=network), obs, action, key, eps)

    falls = jax.jit(lambda: jnp.stack([fall("flow", None), fall("diffusion", None), fall("flow", action)]))()
    assert (falls > 1e-3).all(), falls


def test_ends_of_stages():
    config = GoRL()
    assert config.ends(18) == (6, 12, 15)
    assert config.ends(1) == (0, 1, 1)
    assert GoRL(stages=(1.0,)).ends(7) == ()
    assert config.refinement_rows == 512_000


# --- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "kind", "settings"),
    [
        ("stages", GoRL, {"stages": ()}),
        ("stages", GoRL, {"stages": (1.0, 0.0)}),
        ("decoder", GoRL, {"decoder": "gan"}),
        ("decoder_steps", GoRL, {"decoder_steps": 0}),
        ("decoder_steps", GoRL, {"decoder": "diffusion", "decoder_steps": 1}),
        ("decoder_batch_size", GoRL, {"decoder_batch_size": 64}),
        ("decoder_sizes", GoRL, {"decoder_sizes": (0,)}),
        ("elite_data", GoRL, {"elite_data": 1.5}),
        ("refinement_noise", GoRL, {"refinement_noise": "none"}),
        ("refinement_envs", GoRL, {"refinement_envs": 0}),
        ("num_scores", GoRL, {"num_scores": -1}),
        ("anneal_learning_rate", GoRL, {"anneal_learning_rate": True}),
        ("squash", GoRL, {"squash": True}),
        ("reward_scale", GoRL, {"reward_scale": 0.0}),
        ("latent_penalty", GoRL, {"latent_penalty": -1.0}),
        ("critic_sizes", GoRL, {"critic_sizes": (0,)}),
        ("latent_bound", GoRLSAC, {"latent_bound": 0.0}),
        ("batch_size", GoRLSAC, {"batch_size": 0}),
    ],
)
def test_what_cannot_be(argument, kind, settings):
    sizes = SMALL | (PPO_SIZES if kind is GoRL else SAC_SIZES)
    with pytest.raises(InvalidArgument) as error:
        kind(**sizes | settings).check(ENV, PARAMS)
    assert error.value.argument == argument


def test_where_it_cannot_be():
    discrete = make("CartPole-v1")
    for kind in (GoRL, GoRLSAC):
        with pytest.raises(InvalidArgument, match="continuous"):
            kind().check(discrete, discrete.default_params)
    with pytest.raises(InvalidArgument, match="updates="):
        GoRL(**SMALL, **PPO_SIZES).make(ENV)
    with pytest.raises(InvalidArgument, match="kind="):
        decoder("gan", 1, (1,))

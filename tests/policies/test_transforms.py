"""Transforms of policies: their laws, whom they choose, what they send, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduce.diffusion_policies import gaussian as exact_gaussian
from jaxrl import PPO, InvalidArgument, make
from jaxrl.core.chain import chain
from jaxrl.core.combine import iterate
from jaxrl.networks.denoiser import denoiser
from jaxrl.networks.torsos import MLP
from jaxrl.policies.bases import clipped, deterministic, enclosed, gaussian, squash
from jaxrl.policies.denoising import generative
from jaxrl.policies.diffusion import ddpm, variance_preserving, vp_schedule
from jaxrl.policies.flow import flow, rectified_flow
from jaxrl.policies.transforms import (
    best,
    best_of,
    decoder_of,
    edit,
    guide,
    guide_free,
    latent,
    on_part,
    several,
    with_edits,
    with_null,
)
from jaxrl.sources.rollout import rollout

KEY = jax.random.key(0)
ROWS = 24
OBS = jax.random.normal(jax.random.key(1), (ROWS, 2))
INIT, NETWORK = denoiser(3, (2,), lambda: MLP((16,), "mish", orthogonal=False))
PARAMS = INIT(KEY)
FLOW = generative(INIT, NETWORK, rectified_flow(), flow(3), 3)
CHAIN = generative(INIT, NETWORK, variance_preserving(vp_schedule(3)), ddpm(vp_schedule(3)), 3)
NORMAL = gaussian(lambda key: None, lambda params, obs: (obs[..., :1], jnp.full_like(obs[..., :1], math.log(0.5))), 1)


def drawn(policy, params=PARAMS, obs=OBS):
    """Samples with log-probabilities, and the mode."""

    @jax.jit
    def both(params, obs):
        return policy.sample(params, obs, policy.noise(KEY, (len(obs),))), policy.mode(params, obs)

    return both(params, obs)


def first_coordinate(params, obs, action, *rest):
    return action[:, 0]


# --- candidates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [FLOW, CHAIN, NORMAL], ids=["flow", "chain", "normal"])
def test_the_best_of_one_is_the_policy(trees, policy):
    one = best_of(1, lambda *_: pytest.fail("scored a single candidate"))(policy)
    trees.equal(drawn(one), drawn(policy))


@pytest.mark.parametrize(("n", "known"), [(2, 0.5642), (8, 1.4236)])
def test_order_statistics(n, known):
    """Of N(1, 0.5^2) and the score ``a``, the mean of the best is 1 + 0.5 c_n."""
    obs = jnp.ones((40_000, 1))
    (action, _), _ = drawn(best_of(n, first_coordinate)(NORMAL), None, obs)
    assert abs(action.mean() - (1 + 0.5 * known)) < 5 * 0.5 / math.sqrt(len(obs))


def test_the_nearest_candidate_is_chosen_edited_or_not():
    """With the score ``-|a - a_k|^2`` it is candidate k, in every slot; rows keep their own candidates."""
    pool = chain(several(3), with_edits(squash(NORMAL_EDITOR, -0.3, 0.3), 2))(FLOW)
    (every, log_prob), _ = drawn(pool)
    assert every.shape == (ROWS, 5, 3)
    assert log_prob.shape == (ROWS, 5)
    assert 0 < jnp.abs(every[:, 3:] - every[:, :2]).max() <= 0.3
    for k in range(5):

        def score(params, obs, action, draw, k=k):
            return -jnp.square(action - jnp.repeat(every[:, k], 5, axis=0)).sum(axis=-1)

        noise = best(score)(pool).noise(KEY, (ROWS,))
        action, _ = best(score)(pool).sample(PARAMS, OBS, noise)
        np.testing.assert_array_equal(action, every[:, k])


def test_scores_see_what_is_sent_and_rows_their_own_observation():
    """Where the score is the sent action times the observation's sign, the best of many is at that end of the box."""
    obs = jnp.where(jnp.arange(ROWS)[:, None] % 2 == 0, 1.0, -1.0) * jnp.ones((1, 2))
    policy = best_of(64, lambda params, obs, action, draw: (action * obs[:, :1]).sum(axis=-1))(
        enclosed(gaussian(lambda key: None, lambda p, o: (jnp.zeros((*o.shape[:-1], 1)), jnp.zeros(1)), 1), -2.0, 2.0)
    )
    (action, _), mode = drawn(policy, None, obs)
    for chosen in (policy.decode(action), policy.decode(mode)):
        assert (chosen[:, 0] * obs[:, 0] > 1).all()
        assert jnp.abs(chosen).max() <= 2


def test_random_scores_are_drawn_once_for_an_observation():
    seen = []

    def score(params, obs, action, draw):
        seen.append(np.asarray(draw))
        return draw

    policy = best_of(4, score, draw=jax.random.uniform)(NORMAL)
    policy.sample(None, OBS, policy.noise(KEY, (ROWS,)))
    assert (seen[0].reshape(ROWS, 4) == seen[0][::4, None]).all()
    assert len(np.unique(seen[0])) == ROWS


def test_a_temperature_chooses_by_softmax():
    pool = several(3)(NORMAL)._replace(
        sample=lambda params, obs, noise: (
            jnp.tile(jnp.arange(3.0)[:, None], (len(obs), 1, 1)),
            jnp.zeros((len(obs), 3)),
        )
    )
    obs = jnp.zeros((30_000, 1))
    for temperature in (0.5, 1.0):
        policy = best(first_coordinate, temperature, of_choice=True)(pool)
        action, log_prob = policy.sample(None, obs, policy.noise(KEY, (len(obs),)))
        number, known = np.asarray(action[:, 0], int), jax.nn.softmax(jnp.arange(3.0) / temperature)
        np.testing.assert_allclose(np.bincount(number, minlength=3) / len(obs), known, atol=0.012)
        np.testing.assert_allclose(jnp.exp(log_prob), known[number], rtol=1e-5)
    policy = best(first_coordinate, of_choice=True)(pool)
    action, log_prob = policy.sample(None, obs, policy.noise(KEY, (len(obs),)))
    assert (action == 2).all()
    assert (log_prob == 0).all(), "the best one is certain"


NORMAL_EDITOR = gaussian(
    lambda key: None, lambda params, where: (jnp.zeros_like(where[1]), jnp.zeros_like(where[1])), 3
)


def test_a_deterministic_editor_is_among_candidates_too():
    """Which draws nothing: its noise has no numbers."""
    half = deterministic(lambda key: None, lambda params, where: jnp.full_like(where[1], 0.5))
    (every, _), _ = drawn(chain(edit(half), several(3))(NORMAL), None)
    (known, _), _ = drawn(several(3)(NORMAL), None)
    (more, _), _ = drawn(chain(several(3), with_edits(half, 2))(NORMAL), None)
    assert every.shape == (ROWS, 3, 1)
    np.testing.assert_allclose(more, jnp.concatenate([known, known[:, :2] + 0.5], axis=1), atol=1e-6)


def test_edits_stay_in_their_box_and_those_of_no_width_change_nothing(trees):
    base = drawn(FLOW)
    for width in (0.0, 0.3):
        (action, log_prob), mode = drawn(edit(squash(NORMAL_EDITOR, -width, width))(FLOW))
        assert jnp.abs(action - base[0][0]).max() <= width + 1e-6
        np.testing.assert_array_equal(mode, base[1])  # that of the editor is 0
        if width:
            assert jnp.abs(action - base[0][0]).min() > 0
            assert jnp.isfinite(log_prob).all()
        else:
            np.testing.assert_array_equal(action, base[0][0])


def test_the_density_of_an_edit_integrates_to_one():
    width = 0.05
    grid = jnp.arctanh(jnp.linspace(-1, 1, 20_001)[1:-1])[:, None]
    editor = squash(gaussian(lambda key: None, lambda p, where: (jnp.zeros(1), jnp.zeros(1)), 1), -width, width)
    density = np.exp(editor.log_prob(None, None, grid, KEY)[0])
    np.testing.assert_allclose(np.trapezoid(density, editor.decode(grid)[:, 0]), 1, atol=1e-3)


def test_chosen_actions_have_no_density():
    for transform in (best_of(2, first_coordinate), edit(NORMAL_EDITOR)):
        with pytest.raises(TypeError, match="likelihood"):
            transform(NORMAL).log_prob(None, OBS, OBS[:, :1], KEY)


def test_parts():
    base = on_part(FLOW, "base")
    params = base.init(KEY) | {"shift": jnp.float32(2)}
    plain = drawn(FLOW, params["base"])
    np.testing.assert_array_equal(drawn(base, params)[0][0], plain[0][0])
    assert base.fit_loss is not None
    assert FLOW.fit_loss is not None
    fitted = base.fit_loss(params, OBS, plain[1], KEY), FLOW.fit_loss(params["base"], OBS, plain[1], KEY)
    np.testing.assert_array_equal(*fitted)
    score = lambda params, obs, action, level: params["shift"] * action[:, 0]  # noqa: E731
    guided = guide(score, 0.5)(base)
    own = guide(lambda params, obs, action, level: 2.0 * action[:, 0], 0.5)(FLOW)
    np.testing.assert_array_equal(drawn(guided, params)[0][0], drawn(own, params["base"])[0][0])
    twice = guide(score, 0.5)(guided)
    own = guide(lambda params, obs, action, level: 2.0 * action[:, 0], 0.5)(own)
    np.testing.assert_array_equal(drawn(twice, params)[0][0], drawn(own, params["base"])[0][0])
    np.testing.assert_array_equal(guided.fit_loss(params, OBS, plain[1], KEY), fitted[0])


# --- guidance -------------------------------------------------------------------------------------------------------


def quadratic(params, obs, action, level):
    return -jnp.square(action - 1).sum(axis=-1)


@pytest.mark.parametrize("policy", [FLOW, CHAIN], ids=["flow", "chain"])
def test_guidance_of_scale_0_is_the_policy(trees, policy):
    """Up to the rounding of one product more."""
    own = drawn(policy)
    for at in ("noised", "denoised", "through"):
        trees.close(drawn(guide(quadratic, 0.0, at)(policy)), own, rtol=1e-4, atol=1e-5)
    trees.close(drawn(guide_free(lambda obs: 0 * obs, 0.0)(policy)), own, rtol=1e-4, atol=1e-5)


def test_guidance_goes_through_what_is_around_the_policy(trees):
    inside = best_of(2, first_coordinate)(clipped(guide(quadratic, 0.3)(FLOW), -0.5, 0.5))
    outside = guide(quadratic, 0.3)(best_of(2, first_coordinate)(clipped(FLOW, -0.5, 0.5)))
    found = drawn(outside)
    trees.equal(found, drawn(inside))
    assert jnp.abs(found[0][0] - drawn(best_of(2, first_coordinate)(FLOW))[0][0]).max() > 0.01
    assert jnp.abs(outside.decode(found[0][0])).max() <= 0.5


def test_guidance_moves_towards_greater_scores_however_its_gradient_is_taken():
    """N(0, 1) and ``-(a - 1)^2``: means grow with the scale."""
    policy = generative(lambda key: None, lambda *_: None, rectified_flow(), flow(20), 1)
    policy = policy.steered(lambda own: lambda params, obs: exact_gaussian(0.0, 1.0))
    obs = jnp.zeros((2000, 1))
    for at in ("noised", "denoised", "through"):
        mean = jax.jit(lambda scale, at=at: drawn(guide(quadratic, scale, at)(policy), None, obs)[0][0].mean())
        low, middle, high = (float(mean(scale)) for scale in (0.0, 0.1, 0.3))
        assert low + 0.05 < middle < high, at


def test_guidance_without_a_classifier(trees):
    """Linear in the two denoisers: of a flow's single step it is linear in the actions."""
    one_step = generative(INIT, NETWORK, rectified_flow(), flow(1), 3)
    null = lambda obs: jnp.zeros_like(obs)  # noqa: E731
    guided = guide_free(null, 2.0)(one_step)
    with_obs, without = drawn(one_step)[0][0], drawn(one_step, PARAMS, null(OBS))[0][0]
    np.testing.assert_allclose(drawn(guided)[0][0], 3 * with_obs - 2 * without, atol=1e-5)
    action = drawn(FLOW)[1]
    fit = lambda probability, obs: with_null(null, probability)(FLOW).fit_loss(PARAMS, obs, action, KEY)  # noqa: E731
    assert fit(0.0, OBS) == FLOW.fit_loss(PARAMS, OBS, action, KEY)
    assert fit(1.0, OBS) == FLOW.fit_loss(PARAMS, null(OBS), action, KEY)
    assert fit(0.5, OBS) not in (fit(0.0, OBS), fit(1.0, OBS))


# --- latents --------------------------------------------------------------------------------------------------------


def test_a_latent_is_decoded_by_its_state_and_keeps_its_density(trees):
    shifted = latent(lambda params, obs, action: action + obs[..., :1])(NORMAL)
    (z, log_prob), mode = drawn(shifted, None)
    trees.equal(((z, log_prob), mode), drawn(NORMAL, None))
    np.testing.assert_array_equal(shifted.decode(z, None, OBS), z + OBS[:, :1])
    twice = latent(lambda params, obs, action: 2 * action)(shifted)
    np.testing.assert_array_equal(twice.decode(z, None, OBS), 2 * (z + OBS[:, :1]))


def test_a_flow_is_a_decoder_and_with_a_zero_network_the_identity():
    init, network = denoiser(3, (2,), lambda: MLP((16,), "mish", orthogonal=False), zero=True)
    decode = decoder_of(generative(init, network, rectified_flow(), flow(10), 3))
    z = jax.random.normal(KEY, (ROWS, 3))
    np.testing.assert_array_equal(decode(init(KEY), OBS, z), z)


def test_ppo_with_the_identity_as_decoder_is_ppo_with_the_tanh_outside(trees):
    """Same numbers after two updates, rollouts included."""
    env = make("Pendulum-v1")
    params = env.default_params
    space = env.action_space(params)

    class Outside(PPO):
        transform = staticmethod(lambda policy: policy)

        def networks(self, env, env_params):
            policy, critic, auxiliary = super().networks(env, env_params)
            # Without the clip that PPO puts around its Gaussian.
            bare = self.transform(policy._replace(decode=lambda action, *where: action))
            return enclosed(bare, space.low, space.high), critic, auxiliary

    class Latent(Outside):
        transform = staticmethod(latent(lambda params, obs, action: action))

    states = []
    sizes = {"num_envs": 2, "num_steps": 8, "num_epochs": 1, "num_minibatches": 1, "hidden_sizes": (8,)}
    for config in (Outside(**sizes), Latent(**sizes)):
        algorithm = iterate(rollout(env, params, 2, 8), config.learner(env, params))
        state = algorithm.init(KEY)
        for _ in range(2):
            state, _ = jax.jit(algorithm.update)(state)
        states.append(state)
    trees.equal(*states)


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("n", lambda: best_of(0, first_coordinate)),
        ("temperature", lambda: best(first_coordinate, 0.0)),
        ("count", lambda: with_edits(NORMAL_EDITOR, -1)),
        ("count", lambda: drawn(chain(several(2), with_edits(NORMAL_EDITOR, 3))(FLOW))),
        ("policy", lambda: guide(quadratic, 1.0)(NORMAL)),
        ("policy", lambda: with_null(lambda obs: obs, 0.1)(NORMAL)),
        ("probability", lambda: with_null(lambda obs: obs, 1.5)),
        ("high", lambda: enclosed(NORMAL, -1.0, np.inf)),
    ],
)
def test_what_cannot_be(argument, call):
    with pytest.raises(InvalidArgument) as error:
        call()
    assert error.value.argument == argument

"""Diffusion and flow policies: known answers, one form for all families, losses, likelihoods, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduce import diffusion_policies as known
from jaxrl import InvalidArgument
from jaxrl.networks.denoiser import TimeFeatures, denoiser, in_bfloat16
from jaxrl.networks.torsos import MLP
from jaxrl.policies.denoising import (
    Denoised,
    from_action,
    from_eps,
    from_score,
    from_velocity,
    gaussian_mixture,
    generative,
    log_likelihood,
    standard_normal_log_prob,
)
from jaxrl.policies.diffusion import (
    as_exploding,
    consistency,
    cosine_schedule,
    ddim,
    ddpm,
    edm,
    evidence_bound,
    exploding_level,
    karras_sigmas,
    linear_schedule,
    renoised,
    schedule_of,
    variance_exploding,
    variance_preserving,
    vp_schedule,
)
from jaxrl.policies.flow import distillation, flow, flow_level, flow_likelihood, pushforward, rectified_flow

KEY = jax.random.key(0)
PLANE = gaussian_mixture(
    jnp.array([0.2, 0.5, 0.3]), jnp.array([[-1.0, 0.5], [0.3, -0.7], [1.2, 1.0]]), jnp.array([0.3, 0.5, 0.2])
)
PROCESSES = {
    "diffusion": variance_preserving(vp_schedule(10)),
    "edm": variance_exploding(0.7),
    "flow": rectified_flow(),
}


def failing(rows):
    rows = list(rows)
    assert rows
    return [row for row in rows if row.verdict != "holds"]


@pytest.mark.parametrize("part", [known.schedules, lambda: known.spreads(5), known.guidance, known.maps])
def test_known_answers(part):
    assert failing(part()) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", [known.spreads, lambda: known.shapes(5)])
def test_all_known_answers(part):
    assert failing(part()) == []


# --- one form -------------------------------------------------------------------------------------------------------


def test_what_a_network_finds_can_be_told_in_any_form():
    action, eps = jax.random.normal(KEY, (2, 16, 3))
    for level in (exploding_level(0.7), vp_schedule(10).level(4), flow_level(0.3)):
        x = level.noised(action, eps)
        for found in (
            from_eps(x, eps, level),
            from_action(x, action, level),
            from_score(x, Denoised(action, eps).score(level), level),
        ):
            np.testing.assert_allclose(found.action, action, atol=2e-5)
            np.testing.assert_allclose(found.eps, eps, atol=2e-5)
    level = flow_level(0.3)
    found = from_velocity(level.noised(action, eps), action - eps, level)
    np.testing.assert_allclose(found.velocity, action - eps, atol=1e-5)
    np.testing.assert_allclose(found.action, action, atol=1e-5)


def test_exact_scores_are_gradients_of_the_log_density():
    """By automatic differentiation of the noised mixture's density; and a flow's velocity by its formula."""
    x = jax.random.normal(KEY, (16, 2))
    weights, deviations = jnp.array([0.2, 0.8]), jnp.array([0.3, 0.5])
    means = jnp.array([[-1.0, 0.5], [0.3, -0.7]])

    @jax.jit
    def both(x, level):
        def log_density(x):
            variances = jnp.square(level.signal * deviations) + jnp.square(level.noise)
            square = jnp.square(x[:, None] - level.signal * means).sum(axis=-1)
            return jax.nn.logsumexp(jnp.log(weights) - 0.5 * square / variances - jnp.log(variances), axis=-1).sum()

        found = gaussian_mixture(weights, means, deviations)(x, level)
        return found.score(level), found.velocity, jax.grad(log_density)(x)

    for level in (exploding_level(0.7), vp_schedule(10).level(jnp.int32(4)), flow_level(0.3)):
        score, velocity, gradient = both(x, level)
        np.testing.assert_allclose(score, gradient, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(velocity, (x + 0.7 * score) / 0.3, atol=1e-4)


def test_exploding_and_preserving_samplers_agree_at_the_same_noise():
    schedule = vp_schedule(12)
    start = jax.random.normal(KEY, (64, 1, 2))
    sigmas = np.append(schedule.sigmas[::-1], 0.0)
    scale = np.float32(1 / np.sqrt(1 - schedule.alpha_bar[-1]))

    @jax.jit
    def both(start):
        exploding = edm(sigmas, "euler").run(as_exploding(PLANE, schedule), scale * start)
        return ddim(schedule).run(PLANE, start), exploding

    preserving, exploding = both(start)
    np.testing.assert_allclose(exploding, preserving, atol=2e-4)


def test_draws_are_of_what_is_random():
    """Deterministic samplers are functions of where they start, the others have a vector for every noisy step."""
    sigmas, schedule = karras_sigmas(8), vp_schedule(8)
    draws = [s.draws for s in (ddim(schedule), edm(sigmas), flow(8), ddpm(schedule), edm(sigmas, churn=4.0))]
    assert draws == [1, 1, 1, 8, 9]
    assert renoised([80.0]).draws == 1
    with_noise = ddim(schedule, eta=1.0)
    noise = jax.random.normal(KEY, (32, with_noise.draws, 2))
    posterior = ddpm(schedule, "posterior")
    np.testing.assert_allclose(with_noise.run(PLANE, noise), posterior.run(PLANE, noise), atol=1e-4)


def test_churn_keeps_the_distribution():
    gaussian = known.gaussian(0.0, 0.25)
    sampler = edm(karras_sigmas(64), churn=20.0, noise_scale=1.0)
    assert abs(known.spread(sampler, gaussian) - 0.5) < 0.01


def test_clipping():
    noise = 3 * jax.random.normal(KEY, (64, 10, 2))
    for clip in ("action", "x"):
        sampler = ddpm(vp_schedule(10), clip=clip, low=-0.5, high=0.5)
        assert jnp.abs(jax.jit(lambda noise, run=sampler.run: run(PLANE, noise))(noise)).max() == 0.5


# --- policies -------------------------------------------------------------------------------------------------------


def scaled(process, exact):
    """A network that finds ``params`` times what an exact one would, without observations, and its parameters."""

    def network(params, x, time, obs):
        return params * exact(x, time)

    return generative(lambda key: jnp.float32(1), network, process, flow(2), 1)


def test_losses_are_least_at_the_exact_network():
    """They are quadratic in a factor of the output, whose minimum three values tell. N(0, 0.25), one dimension."""
    gaussian, schedule = known.gaussian(0.0, 0.25), vp_schedule(10)

    def edm_output(x, time):
        sigma = jnp.exp(4 * time)
        total = jnp.square(sigma) + 0.7**2
        x = x * jnp.sqrt(total)  # as it was before it was scaled for the network
        return (gaussian(x, exploding_level(sigma)).action - 0.7**2 / total * x) * jnp.sqrt(total) / (0.7 * sigma)

    exact = {
        "diffusion": lambda x, time: gaussian(x, schedule.level(time.astype(int))).eps,
        "edm": edm_output,
        "flow": lambda x, time: gaussian(x, flow_level(time)).velocity,
    }
    actions = 0.5 * jax.random.normal(KEY, (50_000, 1))
    for name, process in PROCESSES.items():
        policy = scaled(process, exact[name])
        fit = lambda c, policy=policy: policy.fit_loss(c, actions, actions, jax.random.key(1))  # noqa: E731
        low, middle, high = jax.jit(jax.vmap(fit))(jnp.array([0.5, 1.0, 1.5]))
        best = 1 + 0.25 * (low - high) / (low - 2 * middle + high)
        assert abs(best - 1) < 0.03, name


def test_weights_and_reductions():
    init, network = denoiser(3, (2,), lambda: MLP((16,), "mish", orthogonal=False))
    policies = [generative(init, network, PROCESSES["flow"], flow(2), 3, reduce=reduce) for reduce in ("sum", "mean")]
    params = init(KEY)
    obs, action = jnp.ones((8, 2)), jnp.ones((8, 3))
    loss = lambda policy, *rest: policy.fit_loss(params, obs, action, KEY, *rest)  # noqa: E731
    np.testing.assert_allclose(loss(policies[0]), 3 * loss(policies[1]), rtol=1e-6)
    np.testing.assert_allclose(loss(policies[0], 2 * jnp.ones(8)), 2 * loss(policies[0]), rtol=1e-6)
    assert loss(policies[0], jnp.zeros(8)) == 0


def test_a_zero_network_makes_a_flow_the_identity_bit_for_bit():
    init, network = denoiser(3, (2,), lambda: MLP((16,), "mish", orthogonal=False), zero=True)
    policy = generative(init, network, rectified_flow(), flow(10), 3)
    noise = policy.noise(KEY, (32,))
    action, log_prob = jax.jit(policy.sample)(init(KEY), jnp.ones((32, 2)), noise)
    np.testing.assert_array_equal(action, noise[:, 0])
    np.testing.assert_array_equal(log_prob, 0)
    with pytest.raises(TypeError, match="likelihood"):
        policy.log_prob(init(KEY), jnp.ones((32, 2)), action, KEY)


@pytest.mark.slow
def test_two_modes_that_depend_on_the_observation_are_learned():
    """Actions ``obs +- 0.5``. A Gaussian of that mean and deviation has 29% of its mass within 0.15 of either."""
    import optax

    torso = lambda: MLP((32, 32), "mish", orthogonal=False)  # noqa: E731
    init, network = denoiser(1, (1,), torso, lambda: TimeFeatures("octaves", 8, ()))
    policy = generative(init, network, rectified_flow(), flow(10), 1)
    optimiser = optax.adam(3e-3)

    def step(state, key):
        params, inner = state
        obs_key, sign_key, key = jax.random.split(key, 3)
        obs = jax.random.uniform(obs_key, (256, 1), minval=-0.5, maxval=0.5)
        action = obs + 0.5 * jax.random.rademacher(sign_key, (256, 1), jnp.float32)
        updates, inner = optimiser.update(jax.grad(policy.fit_loss)(params, obs, action, key), inner)
        return (optax.apply_updates(params, updates), inner), None

    params = init(KEY)
    fit = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[0][0])
    params = fit((params, optimiser.init(params)), jax.random.split(jax.random.key(1), 1500))
    obs = jnp.linspace(-0.4, 0.4, 1000)[:, None]
    action, _ = jax.jit(policy.sample)(params, obs, policy.noise(jax.random.key(2), (1000,)))
    away = np.asarray(action - obs)
    assert (np.abs(np.abs(away) - 0.5) < 0.15).mean() > 0.8
    assert abs((away > 0).mean() - 0.5) < 0.1


def test_bfloat16():
    init, network = denoiser(3, (2,), lambda: MLP((16,), "mish", orthogonal=False))
    params, inputs = init(KEY), (jnp.ones((4, 3)), jnp.full((4, 1), 999.0), jnp.ones((4, 2)))
    half = in_bfloat16(network)
    out = half(params, *inputs)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, network(params, *inputs), atol=0.05)
    products = [e for e in jax.make_jaxpr(half)(params, *inputs).eqns if "dot_general" in str(e)]
    assert products
    assert "bf16" in str(products[-1])


# --- likelihoods ----------------------------------------------------------------------------------------------------


def test_a_flows_density_integrates_to_one_and_is_that_of_its_samples():
    likelihood = flow_likelihood(60)
    policy = generative(lambda key: None, lambda *_: None, rectified_flow(), flow(60, "midpoint"), 1, likelihood)
    policy = policy.steered(lambda own: lambda params, obs: known.mixture())
    grid = jnp.linspace(-1.2, 1.2, 2001)[:, None]
    log_prob, entropy = policy.log_prob(None, grid, grid, KEY)
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), grid[:, 0]), 1.0, atol=5e-3)
    # That of the mixture is -(sum w log w) + log(0.05 sqrt(2 pi e)), which do not overlap.
    exact = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)) + np.log(0.05) + 0.5 * np.log(2 * np.pi * np.e)
    assert abs(entropy.mean() - exact) < 0.1
    action, stated = policy.sample(None, grid, policy.noise(KEY, (len(grid),)))
    np.testing.assert_allclose(stated, likelihood(known.mixture(), action, KEY), rtol=1e-5)


def test_the_density_of_a_network_is_that_of_the_map_that_it_is():
    """Of one dimension: the density of the noise less the logarithm of the map's slope."""
    init, network = denoiser(1, (1,), lambda: MLP((8,), "mish", orthogonal=False))
    policy = generative(init, network, rectified_flow(), flow(40, "midpoint"), 1, flow_likelihood(40))
    noise, obs = jnp.linspace(-2, 2, 9)[:, None, None], jnp.ones((9, 1))

    @jax.jit
    def both(params):
        slope = jax.grad(lambda noise: policy.sample(params, obs, noise)[0].sum())(noise)
        action, stated = policy.sample(params, obs, noise)
        return stated, standard_normal_log_prob(noise[:, 0]) - jnp.log(slope[:, 0, 0]), action

    params = jax.tree.map(lambda leaf: 2 * leaf, init(KEY))  # else close to the identity
    stated, known_log_prob, action = both(params)
    assert jnp.ptp(action[:, 0] - noise[:, 0, 0]) > 0.1
    np.testing.assert_allclose(stated, known_log_prob, atol=1e-3)


def test_random_probes_estimate_the_divergence_without_bias():
    """On a linear slope, whose divergence is its trace and whose off-diagonal entries are all that probes get wrong."""
    matrix = jnp.array([[0.3, 0.8], [-0.5, -0.1]])
    action = jax.random.normal(KEY, (4000, 2))

    @jax.jit
    def estimates(action):
        arguments = (lambda x, t: x @ matrix.T, jnp.linspace(0, 1, 3), standard_normal_log_prob, action, KEY)
        return [log_likelihood(*arguments, probes=probes) for probes in (None, 1, 16)]

    exact, one, many = map(np.asarray, estimates(action))
    wrong = one - exact
    assert wrong.std() > 0.05
    assert abs(wrong.mean()) < 4 * wrong.std() / np.sqrt(len(wrong))
    assert (many - exact).std() < 0.4 * wrong.std()


def test_the_evidence_bound_of_a_gaussian():
    """N(0, 0.25) with 10 steps: what is left of action and noise given ``x`` has a known variance at every step."""
    v, schedule = 0.25, vp_schedule(10)
    beta, alpha_bar, before = *schedule, schedule.before
    left = v / (
        alpha_bar * v + 1 - alpha_bar
    )  # times the share of signal that of the noise, of noise that of the action
    variance = (beta * (1 - before) / (1 - alpha_bar))[1:]
    missed = (beta**2 * alpha_bar * left / (1 - beta) / (1 - alpha_bar))[1:] / (2 * variance)
    first = 0.5 * np.log(2 * np.pi * beta[0]) + (1 - alpha_bar[0]) * left[0] / (2 * beta[0])
    end = 0.5 * (alpha_bar[-1] * (v - 1) - np.log1p(-alpha_bar[-1]))
    known_bound = -(missed.sum() + first + end)
    action = 0.5 * jax.random.normal(KEY, (20_000, 1))
    estimates = np.asarray(evidence_bound(schedule, known.gaussian(0.0, v), action, jax.random.key(1)))
    assert abs(estimates.mean() - known_bound) < 4 * estimates.std() / np.sqrt(len(estimates))
    assert known_bound < -0.5 * np.log(2 * np.pi * np.e * v), "below the mean log-density"


# --- one step -------------------------------------------------------------------------------------------------------

SIGMAS = karras_sigmas(64)


def exact_consistency(factor):
    """A consistency model of N(0, 0.25) whose action is off by a factor."""

    def network(params, x, time, obs):
        sigma = jnp.exp(4 * time)
        total = jnp.square(sigma) + 1
        x, above = x * jnp.sqrt(total), sigma - 0.002
        action = factor * x * jnp.sqrt((0.25 + 0.002**2) / (0.25 + jnp.square(sigma)))
        out = (action - x / (jnp.square(above) + 1)) * jnp.sqrt(total)
        return out / jnp.where(above > 1e-6, above, 1)

    process = consistency(SIGMAS, teacher=lambda obs: known.gaussian(0.0, 0.25))
    return generative(lambda key: None, network, process, renoised([80.0, 2.0]), 1)


def test_the_exact_consistency_model_has_no_loss_and_its_samples_the_right_spread():
    action = 0.5 * jax.random.normal(KEY, (4096, 1))
    loss = jax.jit(lambda factor: exact_consistency(factor).fit_loss({}, action, action, KEY))
    assert loss(1.0) < 1e-4
    # A factor is the same at all levels but the least, where the model is the identity whatever the network says.
    assert loss(1.5) > 1e-4
    policy = exact_consistency(1.0)
    drawn, _ = policy.sample(None, action, policy.noise(KEY, (20_000,)))
    assert abs(drawn.std() - 0.5) < 0.01
    x = jnp.linspace(-1, 1, 5)[:, None]
    process = consistency(SIGMAS)
    np.testing.assert_array_equal(process.denoise(lambda x, t: 7 + x, x, exploding_level(0.002)).action, x)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    init, network = denoiser(2, (1,), lambda: MLP((16,), "mish", orthogonal=False))
    teacher = generative(init, network, rectified_flow(), flow(3), 2)

    def generate(params, noise, obs):
        return params["scale"] * teacher.sample(params["flow"], obs, noise[..., None, :])[0]

    student = pushforward(lambda key: None, generate, 2)
    params, obs = init(KEY), jnp.ones((16, 1))

    @jax.jit
    def of(scale):
        noise = student.noise(KEY, (16,))
        loss = lambda own, theirs: distillation(student, teacher)(own, theirs, obs, noise)  # noqa: E731
        return jax.value_and_grad(loss, argnums=1)({"scale": scale, "flow": params}, params)

    assert of(1.0)[0] < 1e-12
    loss, gradient = of(1.5)
    assert loss > 0.01
    assert all(jnp.abs(leaf).max() == 0 for leaf in jax.tree.leaves(gradient))


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("steps", lambda: vp_schedule(0)),
        ("steps", lambda: cosine_schedule(0)),
        ("steps", lambda: karras_sigmas(0)),
        ("steps", lambda: flow(0)),
        ("steps", lambda: flow_likelihood(0)),
        ("beta", lambda: linear_schedule(5, 0.1, 1.5)),
        ("beta", lambda: schedule_of(np.array([0.1, -0.1]))),
        ("low", lambda: vp_schedule(5, 2.0, 1.0)),
        ("low", lambda: karras_sigmas(5, 1.0, 0.5)),
        ("rho", lambda: karras_sigmas(5, rho=0.0)),
        ("eta", lambda: ddim(vp_schedule(5), eta=-1.0)),
        ("eta", lambda: ddim(vp_schedule(5), eta=3.0)),
        ("variance", lambda: ddpm(vp_schedule(5), "none")),  # type: ignore[arg-type]
        ("clip", lambda: ddpm(vp_schedule(5), clip="none")),  # type: ignore[arg-type]
        ("sigmas", lambda: edm(np.array([1.0, 2.0, 0.0]))),
        ("sigmas", lambda: renoised([0.5, 1.0])),
        ("churn", lambda: edm(karras_sigmas(5), churn=-1.0)),
        ("deviation", lambda: variance_exploding(0.0)),
    ],
)
def test_what_cannot_be(argument, call):
    with pytest.raises(InvalidArgument) as error:
        call()
    assert error.value.argument == argument

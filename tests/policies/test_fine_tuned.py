"""Chains with a likelihood for each step: DDPM without a floor under the noise, densities as sampled, what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import InvalidArgument
from jaxrl.networks.denoiser import denoiser
from jaxrl.networks.torsos import MLP
from jaxrl.policies.denoising import denoisers_of, generative
from jaxrl.policies.diffusion import cosine_schedule, ddpm, variance_preserving
from jaxrl.policies.fine_tuned import LOG_DENSITY_BOUNDS, fine_tuned
from jaxrl.policies.transforms import on_part, rematerialised

STEPS, ROWS = 4, 16
SCHEDULE = cosine_schedule(STEPS)
PROCESS, SAMPLER = variance_preserving(SCHEDULE), ddpm(SCHEDULE, "posterior", clip="action")
INIT, NETWORK = denoiser(2, (3,), lambda: MLP((16,), "mish", orthogonal=False))
BASE = generative(INIT, NETWORK, PROCESS, SAMPLER, 2)
OBS = jax.random.normal(jax.random.key(1), (ROWS, 3))


def chain_of(trained_steps, **settings):
    return fine_tuned(BASE, denoisers_of(NETWORK, PROCESS), SCHEDULE, 2, trained_steps, **settings)


def test_without_a_floor_it_is_ddpm():
    policy, params = chain_of(2, least_std=0.0, noise_bound=10.0), INIT(jax.random.key(0))
    noise = policy.noise(jax.random.key(2), (ROWS,))

    @jax.jit
    def both(params):
        chain, _ = policy.sample({"base": params, "tuned": params}, OBS, noise)
        return chain, policy.decode(chain), BASE.sample(params, OBS, noise[:, :STEPS])[0]

    chain, sent, expected = both(params)
    assert chain.shape == (ROWS, 3, 2)
    np.testing.assert_allclose(sent, expected, atol=1e-6)


def test_densities_are_those_of_the_steps_that_were_taken():
    """Of noise within its bound, above the floor, the mean over coordinates is known; what is told again agrees."""
    policy = chain_of(STEPS, least_std=0.3, least_log_prob_std=0.3, noise_bound=1.0)
    params, noise = policy.init(jax.random.key(0)), policy.noise(jax.random.key(2), (ROWS,))

    @jax.jit
    def both(params):
        chain, log_prob = policy.sample(params, OBS, noise)
        return log_prob, *policy.log_prob(params, OBS, chain, jax.random.key(0))

    log_prob, again, entropy = both(params)
    np.testing.assert_allclose(log_prob, again, atol=1e-4)
    assert log_prob.shape == (ROWS, STEPS)
    assert not entropy.any()
    z = np.clip(noise[:, -1], -1, 1)  # the last step's own deviation is 0, so the floor is its deviation
    known = np.clip(-0.5 * z**2 - np.log(0.3) - 0.5 * np.log(2 * np.pi), *LOG_DENSITY_BOUNDS).mean(axis=-1)
    np.testing.assert_allclose(log_prob[:, -1], known, atol=1e-4)


def test_the_frozen_part_gets_no_gradient():
    policy = chain_of(2)
    params, noise = policy.init(jax.random.key(0)), policy.noise(jax.random.key(2), (ROWS,))
    gradient = jax.jit(jax.grad(lambda params: policy.sample(params, OBS, noise)[0].sum()))(params)
    sizes = {part: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[part])) for part in params}
    assert sizes["base"] == 0
    assert sizes["tuned"] > 0


@pytest.mark.parametrize("trained_steps", [0, STEPS + 1])
def test_what_cannot_be(trained_steps):
    with pytest.raises(InvalidArgument, match="trained_steps"):
        chain_of(trained_steps)


def test_computing_again_changes_neither_actions_nor_gradients(trees):
    policy = on_part(BASE, "base")
    params, noise = policy.init(jax.random.key(0)), policy.noise(jax.random.key(2), (ROWS,))

    @jax.jit
    def of(params):
        def total(params, policy):
            return jnp.square(policy.sample(params, OBS, noise)[0]).sum()

        return [jax.value_and_grad(total)(params, each) for each in (policy, rematerialised(policy))]

    plain, again = of(params)
    trees.close(plain, again, rtol=1e-4, atol=1e-6)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain[1])) > 0

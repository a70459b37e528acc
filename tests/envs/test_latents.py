"""Latents as actions: what the environment inside is sent, and that a new decoder needs no new program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.transforms import DecodeActions

from jaxrl import envs
from jaxrl.errors import InvalidArgument

PENDULUM = envs.make("Pendulum-v1")


def shifted(params, obs, latent):
    return params * latent + obs[..., :1]


def test_the_contract():
    envs.check(DecodeActions(PENDULUM, shifted, jnp.float32(2), bound=3.0))


def test_the_inner_environment_gets_the_tanh_in_its_box():
    env = DecodeActions(PENDULUM, shifted, jnp.float32(2))
    params, keys = env.default_params, jax.random.split(jax.random.key(0), 4)
    obs, state = env.reset_env(keys[0], params)
    bare_obs, bare = PENDULUM.reset_env(keys[0], params.inner)
    np.testing.assert_array_equal(obs, bare_obs)
    for key, latent in zip(keys[1:], (0.3, -5.0, 40.0)):
        torque = 2 * np.tanh(2 * latent + np.asarray(obs)[:1])
        np.testing.assert_allclose(env.sent(params, obs, jnp.array([latent])), torque, rtol=1e-5)
        obs, state, reward, *_ = env.step_env(key, state, jnp.array([latent]), params)
        bare_obs, bare, bare_reward, *_ = PENDULUM.step_env(key, bare, torque, params.inner)
        np.testing.assert_allclose(obs, bare_obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(reward, bare_reward, rtol=1e-5)
    assert env.action_space(params).shape == (1,)
    assert env.action_space(params).high == np.inf
    assert DecodeActions(PENDULUM, shifted, 2.0, bound=3.0).action_space().low == -3


def test_another_decoder_is_another_argument():
    """One trace for three decoders, each of its own effect."""
    env, traces = DecodeActions(PENDULUM, shifted), []

    @jax.jit
    def sent(params):
        traces.append(params)
        return env.sent(params, jnp.zeros(3), jnp.ones(1))

    found = [float(sent(env.params(PENDULUM.default_params, jnp.float32(scale)))[0]) for scale in (0.0, 1.0, -1.0)]
    assert len(traces) == 1
    np.testing.assert_allclose(found, 2 * np.tanh([0.0, 1.0, -1.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("env", lambda: DecodeActions(envs.make("CartPole-v1"), shifted)),
        ("bound", lambda: DecodeActions(PENDULUM, shifted, bound=0.0)),
        ("env", lambda: DecodeActions(DecodeActions(PENDULUM, shifted), shifted)),
    ],
)
def test_bad_input(argument, make):
    with pytest.raises(InvalidArgument) as error:
        make()
    assert error.value.argument == argument

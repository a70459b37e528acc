"""Laws of ``descend``."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl.core.descend import descend
from jaxrl.core.types import Policy

POLICY = Policy(
    init=lambda key: {"w": jax.random.normal(key, (3,)), "b": jnp.float32(0.5)},
    noise=jax.random.normal,
    sample=lambda params, obs, noise: (obs @ params["w"] + noise, -jnp.square(noise)),
    log_prob=lambda params, obs, action, key: (action, action),
    mode=lambda params, obs: obs @ params["w"],
    decode=lambda action, *where: 10 * action,
)


def loss(params, batch, key):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"] + jax.random.normal(key)
    return jnp.mean(error**2), {"bias": params["b"]}


def test_an_update_is_optax_on_the_gradient_of_the_loss():
    optimiser = optax.adam(0.1)
    learner = descend(POLICY.init, loss, optimiser, POLICY)
    state = learner.init(jax.random.key(0))
    params, optimiser_state = POLICY.init(jax.random.key(0)), optimiser.init(state.params)
    for step in range(3):
        key = jax.random.key(10 + step)
        batch = {"x": jax.random.normal(key, (5, 3)), "y": jnp.arange(5.0)}
        state, metrics = learner.update(state, batch, key)
        value, gradient = jax.value_and_grad(lambda p, batch, key: loss(p, batch, key)[0])(params, batch, key)
        assert metrics == {"loss": value, "bias": params["b"]}
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, params)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_it_behaves_by_the_policy_and_sends_what_it_decodes():
    learner = descend(POLICY.init, loss, optax.sgd(0.1), POLICY)
    state, obs, key = learner.init(jax.random.key(0)), jnp.ones((4, 3)), jax.random.key(2)
    behaviour = learner.behaviour(state)
    noise = behaviour.noise(key, (4,))
    sent, extras = behaviour.act(obs, noise)
    np.testing.assert_allclose(extras["policy_action"], obs @ state.params["w"] + noise, rtol=1e-6)
    np.testing.assert_array_equal(extras["log_prob"], -jnp.square(noise))
    np.testing.assert_array_equal(sent, 10 * extras["policy_action"])
    np.testing.assert_array_equal(learner.policy(state, obs, key, True), 10 * (obs @ state.params["w"]))
    np.testing.assert_array_equal(learner.policy(state, obs, key, False), sent)

"""The learner that everything trained by gradients is made of."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from jaxrl.core.types import Behaviour, Key, Learner, Metrics, Policy, PyTree


class TrainState(NamedTuple):
    params: PyTree
    optimiser: PyTree


def descend(
    init: Callable[[Key], PyTree],
    loss: Callable[[PyTree, PyTree, Key], tuple[jax.Array, Metrics]],
    optimiser: optax.GradientTransformation,
    policy: Policy,
) -> Learner:
    """One step of ``optimiser`` on ``loss(params, batch, key) -> (loss, metrics)``; behaves by ``policy``.

    While acting, ``extras`` has ``log_prob``, and ``policy_action``: the action before ``policy.decode``, which is what
    ``policy.log_prob`` is to be asked about.

    Law: the parameters after an update are ``optax.apply_updates(params, optimiser.update(grad loss)[0])``.
    """

    def init_state(key):
        params = init(key)
        return TrainState(params, optimiser.init(params))

    def update(state, batch, key):
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, batch, key)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimiser_state), metrics | {"loss": value}

    def behaviour(state):
        def act(obs, noise):
            action, log_prob = policy.sample(state.params, obs, noise)
            return policy.decode(action), {"log_prob": log_prob, "policy_action": action}

        return Behaviour(policy.noise, act)

    def judge(state, obs, key, greedy):
        if greedy:
            return policy.decode(policy.mode(state.params, obs))
        noise = policy.noise(key, obs.shape[:1])
        return policy.decode(policy.sample(state.params, obs, noise)[0])

    return Learner(init_state, update, behaviour, judge)

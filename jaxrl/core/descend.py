"""The learner that everything trained by gradients is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl.core.types import Behaviour, Key, Learner, Metrics, Policy, PyTree
from jaxrl.errors import InvalidArgument


class TrainState(NamedTuple):
    params: PyTree
    optimiser: PyTree


def descend(
    init: Callable[[Key], PyTree],
    loss: Callable[[PyTree, PyTree, Key], tuple[jax.Array, Metrics]],
    optimiser: optax.GradientTransformation,
    policy: Policy,
    microbatch_size: int | None = None,
) -> Learner:
    """One step of ``optimiser`` on ``loss(params, batch, key) -> (loss, metrics)``; behaves by ``policy``.

    While acting, ``extras`` has ``log_prob``, and ``policy_action``: the action before ``policy.decode``, which is what
    ``policy.log_prob`` is to be asked about.

    Law: the parameters after an update are ``optax.apply_updates(params, optimiser.update(grad loss)[0])``, whatever
    ``microbatch_size`` is, for losses that are means over rows and use no key.

    Args:
        microbatch_size: at most so many rows of a batch ``[B, ...]`` are differentiated together, as few as make equal
            parts, and the parts' gradients averaged: for what they need to stay in a cache. All at once by default.
    """

    def value_and_gradient(params, batch, key):
        function = jax.value_and_grad(loss, has_aux=True)
        rows = jax.tree.leaves(batch)[0].shape[0]
        parts = 1 if microbatch_size is None else equal_parts(rows, microbatch_size)
        if parts == 1:
            return function(params, batch, key)

        def add(total, inputs):
            return jax.tree.map(jnp.add, total, function(params, *inputs)), None

        split = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch)
        shapes = jax.eval_shape(function, params, jax.tree.map(lambda leaf: leaf[0], split), key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        total, _ = jax.lax.scan(add, zeros, (split, jax.random.split(key, parts)))
        return jax.tree.map(lambda leaf: leaf / parts, total)

    def init_state(key):
        params = init(key)
        return TrainState(params, optimiser.init(params))

    def update(state, batch, key):
        (value, metrics), gradient = value_and_gradient(state.params, batch, key)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimiser_state), metrics | {"loss": value}

    return Learner(init_state, update, *acting(policy))


def acting(policy: Policy, parameters: Callable[[PyTree], PyTree] = lambda state: state.params) -> tuple:
    """``behaviour`` and ``policy`` of a learner that acts by ``policy`` with ``parameters(state)``."""

    def behaviour(state):
        params = parameters(state)

        def act(obs, noise):
            action, log_prob = policy.sample(params, obs, noise)
            return policy.decode(action, params, obs), {"log_prob": log_prob, "policy_action": action}

        return Behaviour(policy.noise, act)

    def judge(state, obs, key, greedy):
        params = parameters(state)
        if greedy:
            return policy.decode(policy.mode(params, obs), params, obs)
        action, _ = policy.sample(params, obs, policy.noise(key, obs.shape[:1]))
        return policy.decode(action, params, obs)

    return behaviour, judge


def judged_as_it_acts(learner: Learner) -> Learner:
    """A learner whose greedy actions are drawn as all others, for policies whose mode is no better."""

    def policy(state, obs, key, greedy):
        del greedy
        return learner.policy(state, obs, key, False)

    return learner._replace(policy=policy)


def with_clipping(optimiser: optax.GradientTransformation, max_grad_norm: Any) -> optax.GradientTransformation:
    """``optimiser`` on gradients that are scaled down to a global norm, as one vector instead of a dozen small arrays:
    6% for a single member of PPO."""
    return optax.flatten(optax.chain(optax.clip_by_global_norm(max_grad_norm), optimiser))


def step_size(learning_rate: Any, anneal: bool, updates: int | None, per_update: int = 1) -> Any:
    """A learning rate for optax: as it is, or falling linearly to 0 over ``updates`` of ``per_update`` steps each.

    Raises:
        InvalidArgument: if it is to fall and ``updates`` is not known.
    """
    if not anneal:
        return learning_rate
    if updates is None:
        raise InvalidArgument("updates", updates, "must be given when the learning rate is annealed")
    return optax.linear_schedule(learning_rate, 0.0, updates * per_update)


def equal_parts(rows: int, most: int) -> int:
    """The least number of equal parts of ``rows`` that hold at most ``most`` each."""
    return next(parts for parts in range(-(-rows // most), rows + 1) if rows % parts == 0)

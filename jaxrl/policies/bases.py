"""Policies with a likelihood in closed form: categorical and Gaussian, and the maps of the Gaussian into a box."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.errors import InvalidArgument

LOG_NORMALISER = 0.5 * math.log(2 * math.pi)


def categorical(init: Callable[[Key], PyTree], logits: Callable[[PyTree, PyTree], jax.Array]) -> Policy:
    """Actions ``0 .. A - 1`` with probabilities ``softmax(logits(params, obs))``, logits ``[..., A]``."""

    def sample(params, obs, noise):
        log_probs = jax.nn.log_softmax(logits(params, obs))
        # Inverse transform sampling: one uniform an action, where the Gumbel trick takes one and two logarithms
        # a logit.
        # Scaled to the rounded total, or noise next to 1 would choose a last action of probability 0.
        cumulative = jnp.cumsum(jnp.exp(log_probs), axis=-1)
        scaled = noise[..., None] * cumulative[..., -1:]
        action = jnp.sum(scaled >= cumulative[..., :-1], axis=-1, dtype=jnp.int32)
        return action, select_action(log_probs, action)

    def log_prob(params, obs, action, key):
        del key
        log_probs = jax.nn.log_softmax(logits(params, obs))
        entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
        return select_action(log_probs, action), entropy

    def mode(params, obs):
        return jnp.argmax(logits(params, obs), axis=-1).astype(jnp.int32)

    return Policy(init, jax.random.uniform, sample, log_prob, mode, outputs=logits, kl=categorical_kl)


def select_action(values: jax.Array, action: jax.Array) -> jax.Array:
    """``values[..., action]``: ``[..., A], [...] -> [...]``. By a mask, since a gather and its scatter gradient
    cost more."""
    chosen = action[..., None] == jnp.arange(values.shape[-1])
    return jnp.sum(jnp.where(chosen, values, 0), axis=-1)


def gaussian(init: Callable[[Key], PyTree], mean_and_log_std: Callable[[PyTree, PyTree], tuple], size: int) -> Policy:
    """Actions ``[..., size]`` from a normal distribution with a diagonal covariance; unbounded."""

    def density(noise, log_std):
        return jnp.sum(normal_log_density(noise, log_std), axis=-1)

    def noise(key, shape):
        return jax.random.normal(key, (*shape, size))

    def sample(params, obs, noise):
        mean, log_std = mean_and_log_std(params, obs)
        return mean + jnp.exp(log_std) * noise, density(noise, log_std)

    def log_prob(params, obs, action, key):
        del key
        mean, log_std = mean_and_log_std(params, obs)
        entropy = jnp.sum(log_std + LOG_NORMALISER + 0.5, axis=-1)
        return density((action - mean) * jnp.exp(-log_std), log_std), entropy

    def mode(params, obs):
        return mean_and_log_std(params, obs)[0]

    return Policy(init, noise, sample, log_prob, mode, outputs=mean_and_log_std, kl=gaussian_kl)


def normal_log_density(noise: jax.Array, log_std: jax.Array) -> jax.Array:
    """Of ``mean + exp(log_std) noise``, elementwise."""
    return -0.5 * jnp.square(noise) - log_std - LOG_NORMALISER


def log_tanh_slope(action: jax.Array) -> jax.Array:
    """``log(1 - tanh(action)^2)``, elementwise, without cancellation for large actions."""
    return 2 * (math.log(2) - action - jax.nn.softplus(-2 * action))


def categorical_kl(logits: jax.Array, others: jax.Array) -> jax.Array:
    """KL(softmax(logits), softmax(others)): ``[..., A], [..., A] -> [...]``."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def gaussian_kl(one: tuple[jax.Array, jax.Array], other: tuple[jax.Array, jax.Array]) -> jax.Array:
    """KL(one, other) of normal distributions with diagonal covariances, ``(mean, log_std)[..., size] -> [...]``. What
    a ``squash`` makes of both has the same."""
    (mean, log_std), (other_mean, other_log_std) = one, other
    log_ratio = log_std - other_log_std
    distance = (mean - other_mean) * jnp.exp(-other_log_std)
    return jnp.sum(0.5 * (jnp.exp(2 * log_ratio) + jnp.square(distance) - 1) - log_ratio, axis=-1)


def deterministic(init: Callable[[Key], PyTree], act: Callable[[PyTree, PyTree], PyTree]) -> Policy:
    """The action ``act(params, obs)`` and no other, for learners that need no likelihood: log-probabilities are 0."""

    def noise(key, shape):
        del key
        return jnp.zeros((*shape, 0))

    def sample(params, obs, noise):
        action = act(params, obs)
        return action, jnp.zeros(noise.shape[:-1])

    def log_prob(params, obs, action, key):
        raise TypeError("a deterministic policy has no likelihood")

    return Policy(init, noise, sample, log_prob, act)


def modal(policy: Policy) -> Policy:
    """Samples the mode of ``policy``; log-probabilities of samples are 0."""
    return policy._replace(
        sample=lambda params, obs, noise: (policy.mode(params, obs), jnp.zeros(obs.shape[:1])),
        steered=carried(policy, modal),
    )


def noisy(policy: Policy, deviation: float | jax.Array, size: int, low: jax.Array, high: jax.Array) -> Policy:
    """Samples ``[..., size]`` with normal noise added to each coordinate, of ``deviation`` half-widths of the box, and
    clipped into it.

    For deterministic policies that explore; the mode stays as it is.
    """
    scale = deviation * (jnp.asarray(high) - jnp.asarray(low)) / 2

    def noise(key, shape):
        inner_key, key = jax.random.split(key)
        return policy.noise(inner_key, shape), jax.random.normal(key, (*shape, size))

    def sample(params, obs, noise):
        action, log_prob = policy.sample(params, obs, noise[0])
        return jnp.clip(action + scale * noise[1], low, high), log_prob

    inside = carried(policy, lambda inner: noisy(inner, deviation, size, low, high))
    return policy._replace(noise=noise, sample=sample, steered=inside)


def clipped(policy: Policy, low: jax.Array, high: jax.Array) -> Policy:
    """Sends the environment the action clipped into the box; likelihoods stay those of the unclipped action."""
    return policy._replace(
        decode=lambda *sent: jnp.clip(policy.decode(*sent), low, high),
        steered=carried(policy, lambda inner: clipped(inner, low, high)),
    )


def stretched(policy: Policy, low: jax.Array, high: jax.Array) -> Policy:
    """Sends the environment the action, whose unit is half the box's width and whose 0 is the box's centre, clipped
    into the box; likelihoods stay those of the action before."""
    centre, half_width = (jnp.asarray(high) + jnp.asarray(low)) / 2, (jnp.asarray(high) - jnp.asarray(low)) / 2
    return policy._replace(
        decode=lambda *sent: jnp.clip(centre + half_width * policy.decode(*sent), low, high),
        steered=carried(policy, lambda inner: stretched(inner, low, high)),
    )


def enclosed(policy: Policy, low: jax.Array, high: jax.Array) -> Policy:
    """Sends the environment the tanh of the action, stretched to the box, as ``squash`` does; likelihoods stay those of
    the action before.

    Raises:
        InvalidArgument: for a box with an infinite side.
    """
    for name, side in (("low", low), ("high", high)):
        if not np.isfinite(side).all():
            raise InvalidArgument(name, side, "must be finite, for a tanh to fill the box")
    return policy._replace(
        decode=lambda *sent: into_box(policy.decode(*sent), low, high),
        steered=carried(policy, lambda inner: enclosed(inner, low, high)),
    )


def carried(policy: Policy, transform: Callable[[Policy], Policy]) -> Callable[..., Policy] | None:
    """``steered`` of ``transform(policy)``: it is the policy inside that is steered."""
    steered = policy.steered
    return None if steered is None else lambda change: transform(steered(change))


def squash(policy: Policy, low: float | jax.Array, high: float | jax.Array) -> Policy:
    """Sends ``low + (high - low) * (tanh(action) + 1) / 2``, with the likelihood of what is sent.

    Actions are kept before the tanh, so the likelihood of a stored action is exact however close to the bounds it is.
    The mode is the image of the mode. The entropy is the base policy's plus a one-sample estimate of the expected
    logarithm of the volume change, at an action drawn with ``key`` from the current parameters.
    """
    half_width = (jnp.asarray(high) - jnp.asarray(low)) / 2

    def log_volume(action):
        return jnp.sum(jnp.log(half_width) + log_tanh_slope(action), axis=-1)

    def sample(params, obs, noise):
        action, log_prob = policy.sample(params, obs, noise)
        return action, log_prob - log_volume(action)

    def log_prob(params, obs, action, key):
        base_log_prob, entropy = policy.log_prob(params, obs, action, key)
        drawn, _ = policy.sample(params, obs, policy.noise(key, action.shape[:-1]))
        return base_log_prob - log_volume(action), entropy + log_volume(drawn)

    def decode(*sent):
        return into_box(policy.decode(*sent), low, high)

    inside = carried(policy, lambda inner: squash(inner, low, high))
    return policy._replace(sample=sample, log_prob=log_prob, decode=decode, steered=inside)


def into_box(action: jax.Array, low: float | jax.Array, high: float | jax.Array) -> jax.Array:
    """``low + (high - low) * (tanh(action) + 1) / 2``, within the box though the sum is rounded."""
    centre, half_width = (jnp.asarray(high) + jnp.asarray(low)) / 2, (jnp.asarray(high) - jnp.asarray(low)) / 2
    return jnp.clip(centre + half_width * jnp.tanh(action), low, high)

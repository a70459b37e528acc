"""Mixtures of Gaussian policies: a router that weighs experts, state by state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.policies.bases import normal_log_density, select_action


class MixtureOutputs(NamedTuple):
    """The parameters of a mixture of ``K`` experts over actions of ``D`` dimensions."""

    logits: jax.Array
    """``[..., K]``, of the router"""
    mean: jax.Array
    """``[..., K, D]``"""
    log_std: jax.Array
    """``[..., K, D]``"""


def component_log_prob(outputs: MixtureOutputs, action: jax.Array) -> jax.Array:
    """``[..., K]``: the log-density of an action ``[..., D]`` under every expert; of ``[..., K, D]``, one each."""
    each = action if action.ndim == outputs.mean.ndim else action[..., None, :]
    return normal_log_density((each - outputs.mean) * jnp.exp(-outputs.log_std), outputs.log_std).sum(axis=-1)


def mixture_log_prob(outputs: MixtureOutputs, action: jax.Array) -> jax.Array:
    """``[...]``: the log-density of an action ``[..., D]`` under the mixture."""
    return jax.nn.logsumexp(jax.nn.log_softmax(outputs.logits) + component_log_prob(outputs, action), axis=-1)


def mixture(
    init: Callable[[Key], PyTree], outputs: Callable[[PyTree, PyTree], MixtureOutputs], components: int, size: int
) -> Policy:
    """Actions ``[..., size]`` of one of ``components`` experts, drawn by the router; unbounded.

    Log-probabilities are the mixture's own: the logarithm of the weighed sum of the experts' densities. The entropy is
    a one-sample estimate, with the key. The mode is the mean of the expert that the router weighs most. With one expert
    it is ``gaussian``, bit for bit but for the entropy.
    """

    def noise(key, shape):
        return jax.random.normal(key, (*shape, components, size)), jax.random.uniform(jax.random.fold_in(key, 1), shape)

    def draw(out: MixtureOutputs, noise):
        normal, uniform = noise
        expert = route(out.logits, uniform)
        action = chosen(out.mean + jnp.exp(out.log_std) * normal, expert)
        # The acting expert's density is a function of the noise alone, without rounding on the way.
        own = normal_log_density(normal, out.log_std).sum(axis=-1)
        acts = jax.nn.one_hot(expert, components, dtype=bool)
        each = jnp.where(acts, own, component_log_prob(out, action))
        return action, jax.nn.logsumexp(jax.nn.log_softmax(out.logits) + each, axis=-1)

    def sample(params, obs, noise):
        return draw(outputs(params, obs), noise)

    def log_prob(params, obs, action, key):
        out = outputs(params, obs)
        return mixture_log_prob(out, action), -draw(out, noise(key, action.shape[:-1]))[1]

    def mode(params, obs):
        out = outputs(params, obs)
        return chosen(out.mean, jnp.argmax(out.logits, axis=-1))

    return Policy(init, noise, sample, log_prob, mode, outputs=outputs)


def route(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """An expert, int32 ``[...]``, drawn from the softmax of ``[..., K]`` by one uniform number."""
    cumulative = jnp.cumsum(jax.nn.softmax(logits), axis=-1)
    scaled = uniform[..., None] * cumulative[..., -1:]
    return jnp.sum(scaled >= cumulative[..., :-1], axis=-1, dtype=jnp.int32)


def chosen(each: jax.Array, expert: jax.Array) -> jax.Array:
    """``each[..., expert, :]``: ``[..., K, D], [...] -> [..., D]``."""
    return jnp.moveaxis(select_action(jnp.moveaxis(each, -1, 0), expert[None]), 0, -1)


def score_loss(logits: jax.Array, cost: jax.Array, expert: jax.Array) -> jax.Array:
    """``[...]``: its gradient is the score-function estimate of that of ``sum_k w_k cost_k`` by an expert drawn with
    ``w = softmax(logits)``; the baseline is that sum. Costs ``[..., K]`` are constants here."""
    cost = jax.lax.stop_gradient(cost)
    mean = jax.lax.stop_gradient(jnp.sum(jax.nn.softmax(logits) * cost, axis=-1))
    return (select_action(cost, expert) - mean) * select_action(jax.nn.log_softmax(logits), expert)


def frequency_loss(logits: jax.Array, best: jax.Array) -> jax.Array:
    """``mean_k (w_k - [k is best])^2`` of one router ``[..., K]`` and the number of the expert whose action was worth
    most, ``[...]``: least where ``w`` is how often each is best (Ren et al. 2021)."""
    target = jax.nn.one_hot(best, logits.shape[-1])
    return jnp.mean(jnp.square(jax.nn.softmax(logits) - target), axis=-1)

"""Rectified flows: straight paths from noise to actions, and the one-step policies that copy them."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.policies.denoising import (
    Denoised,
    Denoisers,
    Level,
    Likelihood,
    Method,
    Process,
    Sampler,
    from_velocity,
    log_likelihood,
    noised_error,
    solve,
    standard_normal_log_prob,
)
from jaxrl.policies.diffusion import check_steps


def flow_level(t: jax.Array) -> Level:
    """``t * action + (1 - t) * eps``: noise at 0, the action at 1."""
    t = jnp.asarray(t, jnp.float32)
    return Level(t, 1 - t, t)


def rectified_flow() -> Process:
    """Trains a network that finds ``action - eps``, at uniformly random times (Lipman et al. 2023; Liu et al. 2023)."""

    def draw(key, shape):
        return flow_level(jax.random.uniform(key, (*shape, 1)))

    def denoise(network, x, level):
        return from_velocity(x, network(x, level.time), level)

    return Process(denoise, noised_error(draw, lambda found, true, level: found.velocity - true.velocity))


def times(steps: int) -> jax.Array:
    """``[steps + 1]`` from 0 to 1."""
    check_steps(steps)
    return jnp.arange(steps + 1) / steps


def flow(steps: int, method: Method = "euler") -> Sampler:
    """Follows the velocity in ``steps`` equal steps."""
    points = times(steps)

    def run(denoiser, noise):
        return solve(lambda x, t: denoiser(x, flow_level(t)).velocity, noise[..., 0, :], points, method)

    return Sampler(1, run)


def flow_likelihood(steps: int, method: Method = "midpoint", probes: int | None = None) -> Likelihood:
    """The exact log-density of what the velocity makes of noise; see ``log_likelihood``."""
    points = times(steps)

    def likelihood(denoiser, action, key):
        def slope(x, t):
            return denoiser(x, flow_level(t)).velocity

        return log_likelihood(slope, points, standard_normal_log_prob, action, key, method, probes)

    return likelihood


ErrorIn: TypeAlias = Literal["velocity", "noise"]


class Matched(NamedTuple):
    """An action and what its flow is asked about it."""

    action: jax.Array
    """``[..., D]``"""
    eps: jax.Array
    """``[..., n, D]``, noise"""
    time: jax.Array
    """``[..., n, 1]``"""


def matched(policy: Policy, velocity: Denoisers, pairs: int, size: int, error_in: ErrorIn, rank: int = 1) -> Policy:
    """A flow whose actions come with ``pairs`` random noises and times, and with minus the error of the flow at each,
    ``[..., pairs]``, in the place of their log-probability (McAllister et al. 2025). Differences between two flows
    stand for differences of log-densities, of which they bound the expectation. Entropies are 0.

    Args:
        policy: the flow, with actions ``[..., size]``; its parameters are the denoiser's.
        error_in: ``"velocity"`` or ``"noise"``, whose mean square over dimensions the error is.
        rank: number of axes of one observation.
    """

    def noise(key, shape):
        eps_key, time_key = jax.random.split(jax.random.fold_in(key, 1))
        eps, time = jax.random.normal(eps_key, (*shape, pairs, size)), jax.random.uniform(time_key, (*shape, pairs, 1))
        return policy.noise(key, shape), eps, time

    def fit(params, obs, asked: Matched) -> jax.Array:
        level, true = flow_level(asked.time), Denoised(asked.action[..., None, :], asked.eps)
        each = jnp.expand_dims(obs, -1 - rank)
        found = velocity(params, each)(level.noised(*true), level)
        error = found.velocity - true.velocity if error_in == "velocity" else found.eps - true.eps
        return -jnp.mean(jnp.square(error), axis=-1)

    def sample(params, obs, noise):
        inner, eps, time = noise
        asked = Matched(policy.sample(params, obs, inner)[0], eps, time)
        return asked, fit(params, obs, asked)

    def log_prob(params, obs, asked: Matched, key):
        del key
        found = fit(params, obs, asked)
        return found, jnp.zeros(found.shape[:-1])

    def mode(params, obs):
        action = policy.mode(params, obs)
        return Matched(action, jnp.zeros((*action.shape[:-1], 0, size)), jnp.zeros((*action.shape[:-1], 0, 1)))

    def decode(asked: Matched, *where):
        return policy.decode(asked.action, *where)

    return Policy(policy.init, noise, sample, log_prob, mode, decode, fit_loss=policy.fit_loss)


def pushforward(
    init: Callable[[Key], PyTree], generate: Callable[[PyTree, jax.Array, PyTree], jax.Array], size: int
) -> Policy:
    """Actions ``generate(params, noise[..., size], obs)`` of standard normal noise, without a likelihood: a one-step
    generator. Log-probabilities of samples are 0; the mode is what becomes of noise that is 0."""

    def noise(key, shape):
        return jax.random.normal(key, (*shape, size))

    def sample(params, obs, noise):
        return generate(params, noise, obs), jnp.zeros(noise.shape[:-1])

    def log_prob(params, obs, action, key):
        raise TypeError("a pushforward has no likelihood")

    def mode(params, obs):
        return generate(params, jnp.zeros((*obs.shape[:-1], size)), obs)

    return Policy(init, noise, sample, log_prob, mode)


def distillation(student: Policy, teacher: Policy) -> Callable[..., jax.Array]:
    """``(params, teacher_params, obs, noise) -> loss``: the mean square between the action of ``student`` and that of
    ``teacher`` of the same noise ``[..., D]`` (Park et al. 2025). The teacher gets no gradient.

    Args:
        student: a ``pushforward``.
        teacher: a policy that is a function of one noise vector, such as a flow.
    """

    def loss(params, teacher_params, obs, noise):
        goal = jax.lax.stop_gradient(teacher.sample(teacher_params, obs, noise[..., None, :])[0])
        return jnp.mean(jnp.square(student.sample(params, obs, noise)[0] - goal))

    return loss

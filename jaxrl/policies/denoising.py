"""What diffusion and flow policies share: an action behind noise, the network's view of it, and the way back.

At every level of noise ``x = signal * action + noise * eps``, ``eps ~ N(0, I)``. Three families differ in which pairs
(signal, noise) they pass through and in what their network is asked for:

- variance preserving (DDPM, Ho et al. 2020): ``signal^2 + noise^2 = 1``, the network finds ``eps``;
- variance exploding (EDM, Karras et al. 2022): ``signal = 1``, the network finds the action;
- rectified flow (Lipman et al. 2023): ``signal + noise = 1``, the network finds ``action - eps``.

A ``Denoiser`` answers for all of them in one form, the means of action and noise given ``x``; samplers, guidance and
likelihoods are written for that form once, and are tested with exact denoisers.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.networks.denoiser import Network
from jaxrl.policies.bases import normal_log_density


class Level(NamedTuple):
    """How noisy ``x = signal * action + noise * eps`` is; scalars, or ``[..., 1]``."""

    signal: jax.Array
    noise: jax.Array
    time: jax.Array
    """what the network is told of it"""

    def noised(self, action: jax.Array, eps: jax.Array) -> jax.Array:
        """``x``, ``[..., D]``."""
        return self.signal * action + self.noise * eps


class Denoised(NamedTuple):
    """What ``x`` is thought to be made of, ``[..., D]`` each."""

    action: jax.Array
    """its mean given ``x``"""
    eps: jax.Array
    """the mean of the noise given ``x``"""

    def score(self, level: Level) -> jax.Array:
        """The gradient of the log-density of ``x``."""
        return -self.eps / level.noise

    @property
    def velocity(self) -> jax.Array:
        """``action - eps``: where a rectified flow goes."""
        return self.action - self.eps


Denoiser: TypeAlias = Callable[[jax.Array, Level], Denoised]
"""``(x[..., D], level) -> Denoised``"""
Denoisers: TypeAlias = Callable[[PyTree, PyTree], Denoiser]
"""``(params, obs) -> Denoiser``"""


def from_eps(x: jax.Array, eps: jax.Array, level: Level) -> Denoised:
    """``Denoised`` where the noise is known."""
    return Denoised((x - level.noise * eps) / level.signal, eps)


def from_action(x: jax.Array, action: jax.Array, level: Level) -> Denoised:
    """``Denoised`` where the action is known."""
    return Denoised(action, (x - level.signal * action) / level.noise)


def from_score(x: jax.Array, score: jax.Array, level: Level) -> Denoised:
    """``Denoised`` where the gradient of the log-density of ``x`` is known."""
    return from_eps(x, -level.noise * score, level)


def from_velocity(x: jax.Array, velocity: jax.Array, level: Level) -> Denoised:
    """``Denoised`` where ``action - eps`` is known and ``signal + noise = 1``."""
    return Denoised(x + level.noise * velocity, x - level.signal * velocity)


def gaussian_mixture(weights: jax.Array, means: jax.Array, deviations: jax.Array) -> Denoiser:
    """The exact denoiser of actions ``[D]`` from ``K`` isotropic Gaussians, of all families.

    Args:
        weights: ``[K]``, of sum 1.
        means: ``[K, D]``.
        deviations: ``[K]``.
    """

    def denoiser(x, level):
        # Components come first, since the few dimensions of an action make a poor last axis to be next to them.
        lead = (-1, *[1] * (x.ndim - 1))
        mean, variance = means.reshape(*lead, means.shape[-1]), jnp.square(deviations).reshape(*lead, 1)
        spread = jnp.square(level.signal) * variance + jnp.square(level.noise)  # [K, ..., 1]
        away = x - level.signal * mean  # [K, ..., D]
        log_density = normal_log_density(away / jnp.sqrt(spread), 0.5 * jnp.log(spread)).sum(axis=-1)
        log_weight = jnp.log(weights).reshape(-1, *[1] * (x.ndim - 1))
        share = jax.nn.softmax(log_weight + log_density, axis=0)[..., None]
        action = jnp.sum(share * (mean + level.signal * variance / spread * away), axis=0)
        return Denoised(action, jnp.sum(share * level.noise / spread * away, axis=0))

    return denoiser


# --- policies ---------------------------------------------------------------------------------------------------


class Process(NamedTuple):
    """What a network is asked for, and what of."""

    denoise: Callable[[Callable[[jax.Array, jax.Array], jax.Array], jax.Array, Level], Denoised]
    """``(network(x, time) -> outputs, x, level) -> Denoised``"""
    error: Callable[..., jax.Array]
    """``(denoiser, slow, obs, action[..., D], key) -> [..., D]``, whose squares training makes small; ``slow`` is the
    denoiser with parameters that training does not move. That of ``noised_error`` takes ``eps[..., D]`` too, instead of
    drawing it"""


def noised_error(
    draw: Callable[[Key, tuple[int, ...]], Level], difference: Callable[[Denoised, Denoised, Level], jax.Array]
) -> Callable[..., jax.Array]:
    """``Process.error`` of a network that sees actions noised at random.

    Args:
        draw: ``(key, shape) -> levels[*shape, 1]``.
        difference: ``(found, true, level) -> [..., D]``.
    """

    def error(denoiser, slow, obs, action, key, eps=None):
        del slow, obs
        level_key, noise_key = jax.random.split(key)
        level = draw(level_key, action.shape[:-1])
        true = Denoised(action, jax.random.normal(noise_key, action.shape) if eps is None else eps)
        return difference(denoiser(level.noised(*true), level), true, level)

    return error


class Sampler(NamedTuple):
    """From noise to an action."""

    draws: int
    """standard normal vectors that one action takes; the first is where it starts"""
    run: Callable[[Denoiser, jax.Array], jax.Array]
    """``(denoiser, noise[..., draws, D]) -> action[..., D]``"""


Likelihood: TypeAlias = Callable[[Denoiser, jax.Array, Key], jax.Array]
"""``(denoiser, action[..., D], key) -> log_prob[...]``"""


def denoisers_of(network: Network, process: Process) -> Denoisers:
    """The denoiser that ``network`` is for parameters and observations."""

    def denoisers(params, obs) -> Denoiser:
        return lambda x, level: process.denoise(lambda x, time: network(params, x, time, obs), x, level)

    return denoisers


def generative(
    init: Callable[[Key], PyTree],
    network: Network,
    process: Process,
    sampler: Sampler,
    size: int,
    likelihood: Likelihood | None = None,
    reduce: Literal["sum", "mean"] = "sum",
    rank: int = 1,
    dropping: bool = False,
) -> Policy:
    """Actions ``[..., size]`` that ``sampler`` makes of noise with a network trained by ``fit_loss``; unbounded.

    ``fit_loss`` is the mean over rows of ``weights`` times the squared error, over the action's dimensions summed or
    averaged; its ``slow`` is for consistency models, its ``eps`` for all others. Samples have the log-probability that
    ``likelihood`` finds, at the price of more calls of the network, and without one 0, as those of deterministic
    policies do; then actions have no ``log_prob``. The entropy is a one-sample estimate. The mode is what becomes of
    noise that is 0 throughout.

    ``steered(change)`` is this policy with the denoisers that ``change`` makes of its own.

    Args:
        rank: number of axes of one observation.
        dropping: ``fit_loss`` gives the network a key, for dropout.
    """

    own = denoisers_of(network, process)

    def noise(key, shape):
        return jax.random.normal(key, (*shape, sampler.draws, size))

    def fit_loss(params, obs, action, key, weights=None, slow=None, eps=None):
        fixed = jax.lax.stop_gradient(params if slow is None else slow)
        trained, given = own, {} if eps is None else {"eps": eps}
        if dropping:
            key, drop_key = jax.random.split(key)
            trained = denoisers_of(functools.partial(network, key=drop_key), process)
        error = process.error(trained(params, obs), own(fixed, obs), obs, action, key, **given)
        each = (jnp.sum if reduce == "sum" else jnp.mean)(jnp.square(error), axis=-1)
        return jnp.mean(each if weights is None else weights * each)

    def steered(change: Callable[[Denoisers], Denoisers]) -> Policy:
        denoisers = change(own)

        def sample(params, obs, noise):
            denoiser = denoisers(params, obs)
            action = sampler.run(denoiser, noise)
            if likelihood is None:
                return action, jnp.zeros(action.shape[:-1])
            # The key is of estimates of the divergence alone; the same for all actions, it is as good as any.
            return action, likelihood(denoiser, action, jax.random.key(0))

        def log_prob(params, obs, action, key):
            if likelihood is None:
                raise TypeError("this policy has no likelihood; make it with one")
            denoiser, (own_key, noise_key, drawn_key) = denoisers(params, obs), jax.random.split(key, 3)
            drawn = sampler.run(denoiser, noise(noise_key, action.shape[:-1]))
            return likelihood(denoiser, action, own_key), -likelihood(denoiser, drawn, drawn_key)

        def mode(params, obs):
            still = jnp.zeros((*obs.shape[: obs.ndim - rank], sampler.draws, size))
            return sampler.run(denoisers(params, obs), still)

        again = lambda further: steered(lambda denoisers: further(change(denoisers)))  # noqa: E731
        return Policy(init, noise, sample, log_prob, mode, fit_loss=fit_loss, steered=again)

    return steered(lambda denoisers: denoisers)


# --- guidance ---------------------------------------------------------------------------------------------------

Gradient: TypeAlias = Callable[[Denoiser, jax.Array, Level], jax.Array]
"""``(denoiser, x, level) -> [..., D]``: what is added to the score of ``x``"""


def pushed(denoiser: Denoiser, gradient: Gradient, scale: float | jax.Array) -> Denoiser:
    """The denoiser whose score is greater by ``scale * gradient``; with a scale of 0 it is ``denoiser``. Where there is
    no signal, at the start of a flow, nothing is added."""

    def guided(x, level):
        found = denoiser(x, level)
        push = scale * gradient(denoiser, x, level)
        ratio = jnp.where(level.signal > 0, jnp.square(level.noise) / jnp.where(level.signal > 0, level.signal, 1), 0)
        return Denoised(found.action + ratio * push, found.eps - jnp.where(level.signal > 0, level.noise * push, 0))

    return guided


At: TypeAlias = Literal["noised", "denoised", "through"]


def gradient_of(score: Callable[[jax.Array, Level], jax.Array], at: At = "noised") -> Gradient:
    """The gradient of ``score(action[..., D], level) -> [...]``, in one of the approximations to that of
    ``log E[exp(score(action)) | x]``.

    Args:
        at: ``"noised"``: at ``x`` itself, for a score that knows noised actions, as a classifier may; ``"denoised"``:
            at the mean of the action, as if ``x`` were that; ``"through"``: of the score at the mean of the action,
            through the denoiser (Chung et al. 2023).
    """

    def gradient(denoiser, x, level):
        def total(x):
            return score(denoiser(x, level).action if at == "through" else x, level).sum()

        return jax.grad(total)(denoiser(x, level).action if at == "denoised" else x)

    return gradient


def classifier_free(conditional: Denoiser, unconditional: Denoiser, weight: float | jax.Array) -> Denoiser:
    """``(1 + weight) conditional - weight unconditional`` (Ho and Salimans 2022)."""

    def guided(x, level):
        mix = lambda yes, no: (1 + weight) * yes - weight * no  # noqa: E731
        return jax.tree.map(mix, conditional(x, level), unconditional(x, level))

    return guided


# --- ordinary differential equations ----------------------------------------------------------------------------

Slope: TypeAlias = Callable[[PyTree, jax.Array], PyTree]
"""``(x, point) -> dx/dpoint``"""


def _moved(x: PyTree, slope: PyTree, length: jax.Array) -> PyTree:
    return jax.tree.map(lambda x, slope: x + length * slope, x, slope)


def euler(slope: Slope, x: PyTree, start: jax.Array, end: jax.Array) -> PyTree:
    """One step of the first order."""
    return _moved(x, slope(x, start), end - start)


def midpoint(slope: Slope, x: PyTree, start: jax.Array, end: jax.Array) -> PyTree:
    """One step of the second order, with the slope half-way."""
    half = (start + end) / 2
    return _moved(x, slope(_moved(x, slope(x, start), half - start), half), end - start)


def heun(slope: Slope, x: PyTree, start: jax.Array, end: jax.Array) -> PyTree:
    """One step of the second order, with the mean of the slopes at both ends."""
    first = slope(x, start)
    second = slope(_moved(x, first, end - start), end)
    return _moved(x, jax.tree.map(lambda a, b: (a + b) / 2, first, second), end - start)


METHODS: dict[str, Callable[[Slope, PyTree, jax.Array, jax.Array], PyTree]] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
}
Method: TypeAlias = Literal["euler", "midpoint", "heun"]


def solve(slope: Slope, x: PyTree, points: jax.Array, method: Method = "euler") -> PyTree:
    """Follows ``slope`` from ``points[0]`` to ``points[-1]``, one step from each to the next."""
    step = METHODS[method]

    def body(x, ends):
        return step(slope, x, *ends), None

    points = jnp.asarray(points, jnp.float32)
    return jax.lax.scan(body, x, (points[:-1], points[1:]))[0]


def with_divergence(slope: Slope, probes: jax.Array) -> Slope:
    """``((x, _), point) -> (slope, divergence[...])`` of a slope of rows ``[..., D]`` that do not see each other.

    Args:
        probes: ``[P, ..., D]``, against which the Jacobian is taken on both sides; the unit vectors make it exact, and
            vectors of random signs times ``P^-0.5`` an estimate (Hutchinson 1990).
    """

    def augmented(state, point):
        x = state[0]
        # Backwards, for which alone the layers of our networks have a rule.
        value, pull = jax.vjp(lambda x: slope(x, point), x)
        each = jax.vmap(lambda probe: jnp.sum(probe * pull(jnp.broadcast_to(probe, x.shape))[0], axis=-1))(probes)
        return value, each.sum(axis=0)

    return augmented


def log_likelihood(
    slope: Slope,
    points: jax.Array,
    start_log_prob: Callable[[jax.Array], jax.Array],
    action: jax.Array,
    key: Key,
    method: Method = "midpoint",
    probes: int | None = None,
) -> jax.Array:
    """``[...]``: the log-density at ``points[-1]`` of what ``slope`` makes of noise at ``points[0]``, by the
    instantaneous change of variables (Chen et al. 2018).

    Args:
        start_log_prob: ``(x[..., D]) -> [...]``, of the noise.
        key: of the probes.
        probes: number of random vectors that estimate the divergence; exact by default, for ``D`` calls of the slope's
            derivative.
    """
    size = action.shape[-1]
    if probes is None:
        vectors = jnp.eye(size)
    else:
        vectors = jax.random.rademacher(key, (probes, *action.shape), jnp.float32) * probes**-0.5
    backwards = jnp.asarray(points, jnp.float32)[::-1]
    state = (action, jnp.zeros(action.shape[:-1]))
    start, change = solve(with_divergence(slope, vectors), state, backwards, method)
    return start_log_prob(start) + change


def standard_normal_log_prob(x: jax.Array) -> jax.Array:
    """``[..., D] -> [...]``."""
    return normal_log_density(x, jnp.zeros(())).sum(axis=-1)

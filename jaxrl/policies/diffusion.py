"""Diffusion: schedules, processes and samplers of DDPM, DDIM, EDM and consistency models."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.types import Key, PyTree
from jaxrl.errors import InvalidArgument
from jaxrl.policies.bases import normal_log_density
from jaxrl.policies.denoising import (
    METHODS,
    Denoiser,
    Level,
    Likelihood,
    Method,
    Process,
    Sampler,
    from_action,
    from_eps,
    log_likelihood,
    noised_error,
    standard_normal_log_prob,
)

# --- schedules --------------------------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """Of a variance preserving chain of ``T`` steps; index 0 is step 1, which has the least noise."""

    beta: np.ndarray
    """``[T]``: the variance that a step adds"""
    alpha_bar: np.ndarray
    """``[T]``: the share of the action's variance that is left, ``cumprod(1 - beta)``"""

    @property
    def before(self) -> np.ndarray:
        """``[T]``: ``alpha_bar`` one step less noisy; 1 before step 1."""
        return np.concatenate([[1.0], self.alpha_bar[:-1]])

    def level(self, step: jax.Array) -> Level:
        """Of ``step``, 1 .. T, which is the time too."""
        alpha_bar = jnp.asarray(self.alpha_bar, jnp.float32)[step - 1]
        return Level(jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar), jnp.asarray(step, jnp.float32))

    @property
    def sigmas(self) -> np.ndarray:
        """``[T]``: noise over signal of every step, the noise of a variance exploding process at the same point."""
        return np.sqrt((1 - self.alpha_bar) / self.alpha_bar)


def check_steps(steps: int) -> None:
    """Raises InvalidArgument for fewer steps than one."""
    if steps < 1:
        raise InvalidArgument("steps", steps, "must be at least 1")


def schedule_of(beta: np.ndarray) -> Schedule:
    """The schedule with these variances.

    Raises:
        InvalidArgument: unless they lie between 0 and 1.
    """
    beta = np.asarray(beta, np.float64)
    check_steps(len(beta))
    if not ((beta > 0) & (beta < 1)).all():
        raise InvalidArgument("beta", beta, "must lie between 0 and 1, both excluded")
    return Schedule(beta, np.cumprod(1 - beta))


def vp_schedule(steps: int, low: float = 0.1, high: float = 10.0) -> Schedule:
    """The variance preserving process of Song et al. (2021), whose rate of noise rises linearly from ``low`` to
    ``high``, cut into ``steps``: how noisy the last one is does not depend on their number."""
    check_steps(steps)
    if not 0 < low <= high:
        raise InvalidArgument("low", low, f"must be positive and at most high={high:g}")
    t = np.arange(1, steps + 1)
    return schedule_of(-np.expm1(-low / steps - 0.5 * (high - low) * (2 * t - 1) / steps**2))


def cosine_schedule(steps: int) -> Schedule:
    """``alpha_bar`` falls as a squared cosine (Nichol and Dhariwal 2021), a step's variance is at most 0.999."""
    check_steps(steps)
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return schedule_of(np.minimum(1 - f[1:] / f[:-1], 0.999))


def linear_schedule(steps: int, low: float = 1e-4, high: float = 2e-2) -> Schedule:
    """Variances rise linearly from ``low`` to ``high`` (Ho et al. 2020): with few steps there is almost no noise at the
    last one."""
    check_steps(steps)
    return schedule_of(np.linspace(low, high, steps))


SCHEDULES = {"vp": vp_schedule, "cosine": cosine_schedule, "linear": linear_schedule}


def karras_sigmas(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> np.ndarray:
    """``[steps + 1]`` noises from ``high`` to ``low``, and 0 (Karras et al. 2022).

    Raises:
        InvalidArgument: for fewer steps than one, or bounds that do not rise from above 0.
    """
    check_steps(steps)
    if not 0 < low < high:
        raise InvalidArgument("low", low, f"must be between 0 and high={high:g}")
    if not rho > 0:
        raise InvalidArgument("rho", rho, "must be positive")
    share = np.arange(steps) / max(steps - 1, 1)
    return np.append((high ** (1 / rho) + share * (low ** (1 / rho) - high ** (1 / rho))) ** rho, 0.0)


# --- variance preserving ----------------------------------------------------------------------------------------


def variance_preserving(schedule: Schedule) -> Process:
    """Trains a network that finds the noise, at a uniformly random step (Ho et al. 2020)."""

    def draw(key, shape):
        return schedule.level(jax.random.randint(key, (*shape, 1), 1, len(schedule.beta) + 1))

    def denoise(network, x, level):
        return from_eps(x, network(x, level.time), level)

    return Process(denoise, noised_error(draw, lambda found, true, level: found.eps - true.eps))


class Posterior(NamedTuple):
    """The step from ``x_t`` to ``x_{t-1}``: ``action * a + x * x_t + eps * e`` plus noise of deviation ``std``, for the
    steps ``T .. 1``, ``[T]`` each."""

    action: np.ndarray
    x: np.ndarray
    eps: np.ndarray
    std: np.ndarray


def chain(schedule: Schedule, posterior: Posterior, clip: Literal["action", "x"] | None, low, high) -> Sampler:
    """The sampler that takes the steps of ``posterior``; no noise is drawn for steps without."""
    steps, noisy = len(schedule.beta), int((posterior.std > 0).sum())
    if clip not in (None, "action", "x"):
        raise InvalidArgument("clip", clip, "must be one of None, action, x")

    def run(denoiser, noise):
        def step(x, inputs):
            number, c, index = inputs
            found = denoiser(x, schedule.level(number))
            action = jnp.clip(found.action, low, high) if clip == "action" else found.action
            x = c.action * action + c.x * x + c.eps * found.eps
            if noisy:
                # A step without noise reads some vector, and multiplies it by 0.
                x = x + c.std * jnp.take(noise, index, axis=-2)
            return jnp.clip(x, low, high) if clip == "x" else x, None

        coefficients = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), posterior)
        index = np.minimum(np.arange(1, steps + 1), noisy)
        inputs = (jnp.arange(steps, 0, -1), coefficients, jnp.asarray(index))
        return jax.lax.scan(step, noise[..., 0, :], inputs)[0]

    return Sampler(1 + noisy, run)


def ddpm(
    schedule: Schedule,
    variance: Literal["beta", "posterior"] = "beta",
    clip: Literal["action", "x"] | None = None,
    low: float | jax.Array = -1.0,
    high: float | jax.Array = 1.0,
) -> Sampler:
    """The chain of Ho et al. (2020), which adds noise at every step but the last.

    Args:
        variance: of that noise: what the forward step added, or what is left of it once the action is known. With few
            steps the latter's actions spread too little even with an exact denoiser.
        clip: what is kept within ``low`` and ``high``: what the action is thought to be before a step, or what every
            step gives.
    """
    return chain(schedule, ddpm_posterior(schedule, variance), clip, low, high)


def ddpm_posterior(schedule: Schedule, variance: Literal["beta", "posterior"] = "beta") -> Posterior:
    """The steps of ``ddpm``."""
    if variance not in ("beta", "posterior"):
        raise InvalidArgument("variance", variance, "must be one of beta, posterior")
    beta, alpha_bar, before = (each[::-1] for each in (*schedule, schedule.before))
    left = (1 - before) / (1 - alpha_bar)
    std = np.sqrt(beta if variance == "beta" else beta * left)
    std[-1] = 0.0
    return Posterior(np.sqrt(before) * beta / (1 - alpha_bar), np.sqrt(1 - beta) * left, np.zeros_like(beta), std)


def ddim(
    schedule: Schedule,
    eta: float = 0.0,
    clip: Literal["action", "x"] | None = None,
    low: float | jax.Array = -1.0,
    high: float | jax.Array = 1.0,
) -> Sampler:
    """The chain of Song et al. (2021): with ``eta=0`` a function of where it starts, with ``eta=1`` DDPM's with the
    posterior's variance. See ``ddpm``."""
    if not eta >= 0:
        raise InvalidArgument("eta", eta, "must be at least 0")
    _, alpha_bar, before = (each[::-1] for each in (*schedule, schedule.before))
    std = eta * np.sqrt((1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before))
    if not (1 - before - std**2 >= -1e-12).all():
        raise InvalidArgument("eta", eta, "must leave no step with more noise than its level has")
    rest = np.sqrt(np.maximum(1 - before - std**2, 0))
    return chain(schedule, Posterior(np.sqrt(before), np.zeros_like(rest), rest, std), clip, low, high)


def evidence_bound(schedule: Schedule, denoiser: Denoiser, action: jax.Array, key: Key) -> jax.Array:
    """``[...]``: an unbiased estimate of a lower bound of the log-density of ``action`` (Ho et al. 2020).

    The chain's variance is the posterior's, and ``beta`` at step 1, where that is 0. Every step is drawn once.
    """
    steps = len(schedule.beta)
    beta, alpha_bar, before = (jnp.asarray(each, jnp.float32) for each in (*schedule, schedule.before))
    variance = beta * (1 - before) / (1 - alpha_bar)
    weights = jnp.where(
        jnp.arange(steps) > 0,
        jnp.square(beta) / (2 * jnp.where(variance > 0, variance, 1) * (1 - beta) * (1 - alpha_bar)),
        0,
    )

    def cost(total, inputs):
        number, weight, key = inputs
        eps, level = jax.random.normal(key, action.shape), schedule.level(number)
        x = level.noised(action, eps)
        found = denoiser(x, level)
        last = normal_log_density((action - found.action) / jnp.sqrt(beta[0]), 0.5 * jnp.log(beta[0]))
        missed = weight * jnp.square(eps - found.eps)
        return total + jnp.sum(jnp.where(number == 1, -last, missed), axis=-1), None

    inputs = (jnp.arange(1, steps + 1), weights, jax.random.split(key, steps))
    total, _ = jax.lax.scan(cost, jnp.zeros(action.shape[:-1]), inputs)
    end = alpha_bar[-1]  # of the divergence of x_T from the noise that a chain starts from
    prior = 0.5 * jnp.sum(end * jnp.square(action) - end - jnp.log1p(-end), axis=-1)
    return -(total + prior)


def as_exploding(denoiser: Denoiser, schedule: Schedule) -> Denoiser:
    """A variance preserving denoiser, asked about ``action + sigma eps``; times between steps are interpolated."""
    sigmas = jnp.asarray(schedule.sigmas, jnp.float32)

    def exploding(x, level):
        time = jnp.interp(level.noise, sigmas, jnp.arange(1.0, len(sigmas) + 1))
        signal = jax.lax.rsqrt(1 + jnp.square(level.noise))
        return denoiser(signal * x, Level(signal, signal * level.noise, time))

    return exploding


# --- variance exploding -----------------------------------------------------------------------------------------


def exploding_level(sigma: jax.Array) -> Level:
    """``action + sigma eps``; the time is ``log(sigma) / 4``."""
    sigma = jnp.asarray(sigma, jnp.float32)
    return Level(jnp.ones_like(sigma), sigma, jnp.log(sigma) / 4)


def variance_exploding(deviation: float = 1.0, mean_log: float = -1.2, std_log: float = 1.2) -> Process:
    """EDM (Karras et al. 2022): a network between inputs and outputs of unit variance at every level, trained at
    log-normal ones.

    Args:
        deviation: of the actions, 1 for standardised ones.
        mean_log, std_log: of the logarithm of the noise.
    """
    if not deviation > 0:
        raise InvalidArgument("deviation", deviation, "must be positive")

    def draw(key, shape):
        return exploding_level(jnp.exp(mean_log + std_log * jax.random.normal(key, (*shape, 1))))

    def denoise(network, x, level):
        sigma, total = level.noise, jnp.square(level.noise) + deviation**2
        out = network(x * jax.lax.rsqrt(total), level.time)
        action = deviation**2 / total * x + sigma * deviation * jax.lax.rsqrt(total) * out
        return from_action(x, action, level)

    def difference(found, true, level):
        weight = jnp.sqrt(jnp.square(level.noise) + deviation**2) / (level.noise * deviation)
        return weight * (found.action - true.action)

    return Process(denoise, noised_error(draw, difference))


def edm(
    sigmas: np.ndarray,
    method: Method = "heun",
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.05, 50.0),
    noise_scale: float = 1.003,
) -> Sampler:
    """The sampler of Karras et al. (2022): the probability flow in the noise, and before every step, with ``churn``,
    some noise added that the step takes away again.

    Args:
        sigmas: ``[N + 1]`` falling noises, the last one 0, to where a single slope leads.
        churn: of all steps together; a step's noise grows by at most ``sqrt(2) - 1`` of it.
        churn_range: the noises at which any is added.
        noise_scale: deviation of what is added, in units of what would keep the level.
    """
    sigmas = np.asarray(sigmas, np.float64)
    if not (len(sigmas) >= 2 and (np.diff(sigmas) < 0).all() and sigmas[-1] == 0):
        raise InvalidArgument("sigmas", sigmas, "must fall to 0")
    if not churn >= 0:
        raise InvalidArgument("churn", churn, "must be at least 0")
    starts = sigmas[:-1]
    inside = (starts >= churn_range[0]) & (starts <= churn_range[1])
    growth = np.where(inside, min(churn / len(starts), math.sqrt(2) - 1), 0.0)
    churned = starts * (1 + growth)
    added = noise_scale * np.sqrt(churned**2 - starts**2)

    def run(denoiser, noise):
        def slope(x, sigma):
            return denoiser(x, exploding_level(sigma)).eps

        def step(x, inputs, method=method):
            index, start, end, extra = inputs
            if churn:
                x = x + extra * jnp.take(noise, index, axis=-2)
            return METHODS[method](slope, x, start, end), None

        numbers = jnp.arange(1, len(starts) + 1)
        inputs = (numbers, *(jnp.asarray(each, jnp.float32) for each in (churned, sigmas[1:], added)))
        x = jnp.float32(sigmas[0]) * noise[..., 0, :]
        x, _ = jax.lax.scan(step, x, jax.tree.map(lambda leaf: leaf[:-1], inputs))
        return step(x, jax.tree.map(lambda leaf: leaf[-1], inputs), "euler")[0]

    return Sampler(1 + len(starts) * (churn > 0), run)


def exploding_likelihood(sigmas: np.ndarray, method: Method = "heun", probes: int | None = None) -> Likelihood:
    """The exact log-density at the least noise of what the probability flow makes of ``N(0, sigma_0^2)``; see
    ``log_likelihood``.

    Args:
        sigmas: as of ``edm``.
    """
    sigmas = np.asarray(sigmas)[:-1]
    greatest = float(sigmas[0])

    def likelihood(denoiser, action, key):
        def slope(x, sigma):
            return denoiser(x, exploding_level(sigma)).eps

        def start(x):
            return standard_normal_log_prob(x / greatest) - x.shape[-1] * math.log(greatest)

        return log_likelihood(slope, jnp.asarray(sigmas), start, action, key, method, probes)

    return likelihood


# --- consistency ------------------------------------------------------------------------------------------------


def consistency(
    sigmas: np.ndarray,
    deviation: float = 1.0,
    teacher: Callable[[PyTree], Denoiser] | None = None,
    method: Method = "heun",
) -> Process:
    """A network that gives one action for all points of a path of the probability flow, and the point itself at the
    least noise (Song et al. 2023); ``renoised`` is its sampler.

    It is trained to give one action at neighbouring levels. The less noisy point is the teacher's step from the noisier
    one; without a teacher it has the same noise at its own level. Its action is that of slow parameters.

    Args:
        sigmas: as of ``edm``.
        teacher: ``(obs) -> Denoiser``.
        method: of the teacher's steps.
    """
    levels, least = jnp.asarray(sigmas[:-1], jnp.float32), float(sigmas[-2])

    def denoise(network, x, level):
        sigma, above = level.noise, level.noise - least
        total = jnp.square(sigma) + deviation**2
        out = network(x * jax.lax.rsqrt(total), level.time)
        skip = deviation**2 / (jnp.square(above) + deviation**2)
        return from_action(x, skip * x + above * deviation * jax.lax.rsqrt(total) * out, level)

    def error(denoiser, slow, obs, action, key):
        level_key, noise_key = jax.random.split(key)
        index = jax.random.randint(level_key, (*action.shape[:-1], 1), 0, len(levels) - 1)
        eps = jax.random.normal(noise_key, action.shape)
        noisier, cleaner = levels[index], levels[index + 1]
        x = action + noisier * eps
        if teacher is None:
            before = action + cleaner * eps
        else:
            show = teacher(obs)
            before = METHODS[method](lambda x, sigma: show(x, exploding_level(sigma)).eps, x, noisier, cleaner)
        goal = jax.lax.stop_gradient(slow(before, exploding_level(cleaner)).action)
        return denoiser(x, exploding_level(noisier)).action - goal

    return Process(denoise, error)


def renoised(sigmas: Sequence[float], least: float = 0.002) -> Sampler:
    """One call of a consistency model at ``sigmas[0]``, and one more for every further, lesser noise that its action is
    given again."""
    if not (len(sigmas) >= 1 and (np.diff(sigmas) < 0).all() and sigmas[-1] >= least):
        raise InvalidArgument("sigmas", sigmas, f"must fall and be at least {least:g}")
    scales = np.sqrt(np.square(sigmas) - least**2)
    scales[0] = sigmas[0]

    def run(denoiser, noise):
        def step(action, inputs):
            sigma, scale, z = inputs
            return denoiser(action + scale * z, exploding_level(sigma)).action, None

        inputs = (jnp.asarray(sigmas, jnp.float32), jnp.asarray(scales, jnp.float32), jnp.moveaxis(noise, -2, 0))
        return jax.lax.scan(step, jnp.zeros_like(noise[..., 0, :]), inputs)[0]

    return Sampler(len(sigmas), run)

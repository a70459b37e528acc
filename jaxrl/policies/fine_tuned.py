"""The steps of a diffusion as actions of their own, each with a likelihood, the last of them trained (DPPO)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.types import Policy
from jaxrl.errors import InvalidArgument
from jaxrl.policies.bases import normal_log_density
from jaxrl.policies.denoising import Denoiser, Denoisers, Level
from jaxrl.policies.diffusion import Schedule, ddpm_posterior

LOG_DENSITY_BOUNDS = (-5.0, 2.0)
"""of one coordinate of one step (Ren et al. 2024)"""


class Steps(NamedTuple):
    """Of a chain, the noisiest first, ``[k, 1]`` each; see ``Posterior``."""

    level: Level
    action: jax.Array
    x: jax.Array
    std: jax.Array


def steps_of(schedule: Schedule) -> Steps:
    """All steps of DDPM's chain with the posterior's variance."""
    numbers = np.arange(len(schedule.beta), 0, -1)
    level = Level(*(leaf[:, None] for leaf in schedule.level(jnp.asarray(numbers))))
    action, x, _, std = (jnp.asarray(leaf, jnp.float32)[:, None] for leaf in ddpm_posterior(schedule, "posterior"))
    return Steps(level, action, x, std)


def step_mean(denoiser: Denoiser, x: jax.Array, steps: Steps) -> jax.Array:
    """Where a step goes on average; the action is held within [-1, 1] on the way. ``[..., D]`` of one step, or
    ``[..., k, D]`` of ``k`` of them at once."""
    action = jnp.clip(denoiser(x, steps.level).action, -1, 1)
    return steps.action * action + steps.x * x


def fine_tuned(
    base: Policy,
    denoisers: Denoisers,
    schedule: Schedule,
    size: int,
    trained_steps: int,
    least_std: float | jax.Array = 0.1,
    least_log_prob_std: float | jax.Array = 0.1,
    noise_bound: float = 3.0,
    rank: int = 1,
) -> Policy:
    """Chains ``[..., trained_steps + 1, size]`` of the last steps from noise to an action, which is at their end, each
    step with the log-density of what it made of what it was given, ``[..., trained_steps]``. Parameters have the parts
    ``base``, of all steps before, which get no gradient, and ``tuned``, of these.

    A log-density is the mean over coordinates, each held within ``LOG_DENSITY_BOUNDS``: not that of the vector.
    Entropies are 0, for the spread is given. The mode is what becomes of noise that is 0 throughout.

    Args:
        base: the diffusion, for its ``init``; the tuned part starts from the same parameters.
        least_std: of the noise that a step adds, the last one too.
        least_log_prob_std: of the normal density of what a step made.
        noise_bound: of standard normal noise that steps add, on both sides.
        rank: number of axes of one observation.
    """
    number = len(schedule.beta)
    if not 1 <= trained_steps <= number:
        raise InvalidArgument("trained_steps", trained_steps, f"must be within [1, {number}], the steps of the chain")
    steps, frozen = steps_of(schedule), number - trained_steps
    before, trained = (
        jax.tree.map(lambda leaf, part=part: leaf[part], steps) for part in (slice(frozen), slice(frozen, None))
    )

    def init(key):
        params = base.init(key)
        return {"base": params, "tuned": jax.tree.map(jnp.copy, params)}

    def noise(key, shape):
        return jax.random.normal(key, (*shape, number + 1, size))

    def density(x, mean, std) -> jax.Array:
        std = jnp.maximum(std, least_log_prob_std)
        return jnp.clip(normal_log_density((x - mean) / std, jnp.log(std)), *LOG_DENSITY_BOUNDS).mean(axis=-1)

    def sample(params, obs, noise):
        def stepping(denoiser: Denoiser):
            def step(x, inputs):
                steps, z = inputs
                mean = step_mean(denoiser, x, steps)
                z = jnp.clip(z, -noise_bound, noise_bound)
                after = mean + jnp.maximum(steps.std, least_std) * z
                return after, (x, density(after, mean, steps.std))

            return step

        drawn = jnp.moveaxis(noise, -2, 0)
        own = denoisers(jax.lax.stop_gradient(params["base"]), obs)
        x, _ = jax.lax.scan(stepping(own), drawn[0], (before, drawn[1 : 1 + frozen]))
        tuned = stepping(denoisers(params["tuned"], obs))
        x, (chain, log_prob) = jax.lax.scan(tuned, x, (trained, drawn[1 + frozen :]))
        chain = jnp.concatenate([chain, x[None]])
        return jnp.moveaxis(chain, 0, -2), jnp.moveaxis(log_prob, 0, -1)

    def log_prob(params, obs, chain, key):
        del key
        given, made = chain[..., :-1, :], chain[..., 1:, :]
        denoiser = denoisers(params["tuned"], jnp.expand_dims(obs, -1 - rank))
        found = density(made, step_mean(denoiser, given, trained), trained.std)
        return found, jnp.zeros(found.shape[:-1])

    def mode(params, obs):
        lead = obs.shape[: obs.ndim - rank]
        return sample(params, obs, jnp.zeros((*lead, number + 1, size)))[0]

    return Policy(init, noise, sample, log_prob, mode, decode=lambda chain, *where: chain[..., -1, :])

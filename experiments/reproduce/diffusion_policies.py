"""Diffusion and flow policies against known answers: ``python -m experiments.reproduce.diffusion_policies [--quick]``.

The quick checks are exact: schedules, what every sampler makes of one Gaussian with its exact score, guidance, maps and
likelihoods. Without ``--quick``, samples of a mixture of two Gaussians are held against what samplers of as many steps
are known to give, with several seeds.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.table import Row, exact, within

INTRODUCTION = (
    "Samplers run with exact scores, so that what they miss is theirs. The output of one Gaussian is linear in the"
    " noise, and its deviation is exact. Of the mixture 0.3 N(-0.8, 0.05²) + 0.7 N(0.8, 0.05²), 200,000 samples of each"
    " seed; every seed must be within 0.004 of the share of samples above 0, and within 0.003 of their mean and"
    " deviation."
)


@dataclass
class Sizes(Arguments):
    """What to check."""

    seeds: int = 5
    """Of the samples of the mixture."""


# --- schedules --------------------------------------------------------------------------------------------------

BETAS = {
    ("vp", 5): (0.195875, 0.458818, 0.635781, 0.754878, 0.835031),
    ("cosine", 5): (0.101294, 0.279544, 0.473635, 0.724052, 0.999),
}
ALPHA_BARS = {("vp", 5): (0.804125, 0.435178, 0.158500, 0.038852, 0.006409)}
KARRAS = (
    80, 57.586, 40.786, 28.375, 19.352, 12.910, 8.401, 5.315, 3.257, 1.923, 1.088, 0.5853, 0.2964, 0.1395, 0.05995,
    0.02294, 0.00753, 0.002,
)  # fmt: skip


def schedules() -> Iterator[Row]:
    """Constants of the schedules."""
    from jaxrl.policies.diffusion import SCHEDULES, karras_sigmas, linear_schedule, vp_schedule

    for (name, steps), known in BETAS.items():
        error = np.abs(SCHEDULES[name](steps).beta - known).max()
        yield exact(f"{name} schedule of {steps} steps, largest error of beta", error, 0.0, 5.1e-7)
    for (name, steps), known in ALPHA_BARS.items():
        error = np.abs(SCHEDULES[name](steps).alpha_bar - known).max()
        yield exact(f"{name} schedule of {steps} steps, largest error of alpha_bar", error, 0.0, 5.1e-7)
    for index, known in ((0, 0.057764), (-1, 0.613452)):
        yield exact(f"vp schedule of 10 steps, beta[{index}]", vp_schedule(10).beta[index], known, 5.1e-7)
    for steps in (1, 7, 50):
        last = vp_schedule(steps).alpha_bar[-1]
        yield exact(f"vp schedule of {steps} steps, last alpha_bar", last, math.exp(-5.05), 1e-9)
    yield exact("linear schedule of 10 steps, last alpha_bar", linear_schedule(10).alpha_bar[-1], 0.903739, 5.1e-7)
    sigmas = karras_sigmas(18)
    error = np.abs(sigmas[:-1] / KARRAS - 1).max()
    yield exact("Karras' noises of 18 steps, largest relative error", error, 0.0, 7e-4)
    yield exact("Karras' noises of 18 steps, the last", sigmas[-1], 0.0, 0.0)


# --- one Gaussian -----------------------------------------------------------------------------------------------

SPREADS = {
    "ddim vp": {5: 0.32221, 10: 0.40505, 20: 0.45088, 50: 0.48032, 100: 0.49056},
    "ddpm vp, variance beta": {5: 0.44348, 10: 0.50891, 20: 0.51443, 50: 0.50827, 100: 0.50457},
    "ddpm vp, variance posterior": {5: 0.29540, 10: 0.36425, 20: 0.41431, 50: 0.45743, 100: 0.47624},
    "ddim cosine": {5: 0.36212, 10: 0.42691, 20: 0.46213},
    "ddpm cosine, variance beta": {5: 0.50482, 10: 0.52172, 20: 0.51582},
    "ddpm cosine, variance posterior": {5: 0.32805, 10: 0.38866, 20: 0.43230},
    "flow euler": {5: 0.36923, 10: 0.43078, 20: 0.46425, 100: 0.49265},
    "flow midpoint": {5: 0.49911, 10: 0.49988, 20: 0.49999},
    "edm heun": {5: 1.25789, 10: 0.60980, 18: 0.52762, 32: 0.50784, 64: 0.50182},
    "edm euler": {5: 0.23363, 10: 0.36521, 18: 0.42303, 32: 0.45619, 64: 0.47793},
}
"""deviation of what samplers make of N(0, 0.25), by kind and steps"""


def sampler_of(kind: str, steps: int):
    """The sampler that a row of the tables is about."""
    from jaxrl.policies.diffusion import SCHEDULES, ddim, ddpm, edm, karras_sigmas
    from jaxrl.policies.flow import flow

    method, _, detail = kind.partition(" ")
    if method == "flow":
        return flow(steps, detail)
    if method == "edm":
        return edm(karras_sigmas(steps), detail)
    name, _, variance = detail.partition(", variance ")
    schedule = SCHEDULES[name](steps)
    return ddpm(schedule, variance) if method == "ddpm" else ddim(schedule)


def spread(sampler, denoiser) -> float:
    """The exact deviation of the output of a sampler that is linear in its noise, with one dimension."""
    import jax
    import jax.numpy as jnp

    each = jax.jit(lambda noise: sampler.run(denoiser, noise))(jnp.eye(sampler.draws)[..., None])
    return float(np.linalg.norm(np.asarray(each, np.float64)))


def spreads(most: int = 1000) -> Iterator[Row]:
    """What every sampler of at most so many steps makes of N(0, 0.25)."""
    denoiser = gaussian(0.0, 0.25)
    for kind, table in SPREADS.items():
        for steps, known in table.items():
            if steps <= most:
                ours = spread(sampler_of(kind, steps), denoiser)
                yield exact(f"deviation of N(0, 0.25) by {kind}, {steps} steps", ours, known, 1e-5)


def gaussian(mean: float, variance: float):
    """The exact denoiser of a normal distribution of one dimension."""
    import jax.numpy as jnp

    from jaxrl.policies.denoising import gaussian_mixture

    return gaussian_mixture(jnp.ones(1), jnp.full((1, 1), mean), jnp.full((1,), math.sqrt(variance)))


# --- guidance ---------------------------------------------------------------------------------------------------

GUIDED = {18: (0.79527, 0.22352), 64: (0.79551, 0.20151), 256: (0.79553, 0.20008)}
"""mean and variance by steps"""
OVERCONFIDENT = (1.27320, 0.01836)
"""with 256 steps and the gradient at the mean of the action"""


def guidance() -> Iterator[Row]:
    """N(0, 1) guided by ``-(a - 1)^2 / 0.5``, whose posterior is N(0.8, 0.2)."""
    import jax.numpy as jnp

    from jaxrl.policies.denoising import gradient_of, pushed
    from jaxrl.policies.diffusion import edm, karras_sigmas

    prior = gaussian(0.0, 1.0)

    def exactly(denoiser, x, level):
        known, left = 1 / (1 + jnp.square(level.noise)), jnp.square(level.noise) / (1 + jnp.square(level.noise))
        return known * (1 - known * x) / (0.25 + left)

    through = gradient_of(lambda action, level: -jnp.square(action - 1).sum(axis=-1) / 0.5, "through")
    cases = [(steps, exactly, "exact", known) for steps, known in GUIDED.items()]
    for steps, gradient, name, (mean, variance) in [*cases, (256, through, "at the mean of the action", OVERCONFIDENT)]:
        run = edm(karras_sigmas(steps)).run
        zero, one = np.asarray(run(pushed(prior, gradient, 1.0), jnp.array([[[0.0]], [[1.0]]])), np.float64)[:, 0]
        what = f"guidance of N(0, 1), gradient {name}, {steps} steps"
        yield exact(f"{what}: mean", zero, mean, 1.1e-5)
        yield exact(f"{what}: variance", (one - zero) ** 2, variance, 1.1e-5)


# --- maps and likelihoods ---------------------------------------------------------------------------------------


def maps() -> Iterator[Row]:
    """The maps that flows and consistency models are of a Gaussian, and densities by the change of variables."""
    import jax
    import jax.numpy as jnp
    from scipy import stats

    from jaxrl.policies.denoising import from_eps, solve
    from jaxrl.policies.diffusion import (
        Schedule,
        cosine_schedule,
        ddim,
        exploding_level,
        exploding_likelihood,
        karras_sigmas,
        linear_schedule,
        variance_exploding,
    )
    from jaxrl.policies.flow import flow, flow_likelihood

    x, key, variance = jnp.linspace(-2.5, 2.5, 11)[:, None], jax.random.key(0), 0.25
    moved, centred = gaussian(0.3, variance), gaussian(0.0, variance)
    action = flow(100, "midpoint").run(moved, x[:, None])
    error = jnp.abs(action - (0.3 + 0.5 * x)).max()
    yield exact("flow map of N(0.3, 0.25), 100 midpoint steps, largest error", error, 0.0, 1e-3)
    for name, denoiser, mean, likelihood in (
        ("flow, 100 midpoint steps", moved, 0.3, flow_likelihood(100)),
        ("probability flow, 512 Heun steps", centred, 0.0, exploding_likelihood(karras_sigmas(512))),
    ):
        known = stats.norm.logpdf(np.asarray(action)[:, 0], mean, 0.5)
        error = np.abs(np.asarray(likelihood(denoiser, action, key)) - known).max()
        yield exact(f"log-density of N({mean:g}, 0.25) by the {name}, largest error", error, 0.0, 1e-3)

    least = 0.002
    for sigma in (0.5, 80.0):
        points = np.geomspace(sigma, least, 257)
        reached = solve(lambda x, s: centred(x, exploding_level(s)).eps, sigma * x, points, "heun")
        known = sigma * x * math.sqrt((variance + least**2) / (variance + sigma**2))
        error = jnp.abs(reached - known).max()
        yield exact(f"consistency function of N(0, 0.25) at noise {sigma:g}, largest error", error, 0.0, 1e-3)

    # The cosine schedule without its last step, as a decoder has it that starts where there is signal left.
    cosine = Schedule(*(each[:-1] for each in cosine_schedule(10)))
    for name, schedule, known in (("linear", linear_schedule(10), 1.051910), ("cosine", cosine, 6.442673)):
        gain = ddim(schedule).run(lambda x, level: from_eps(x, 0 * x, level), jnp.ones((1, 1, 1)))
        yield exact(f"{name} schedule, gain of DDIM where no noise is found", gain[0, 0], known, 2e-6 * known)
    unit, actions = gaussian(0.0, 1.0), jax.random.normal(key, (200_000, 1))
    errors = variance_exploding().error(unit, unit, None, actions, jax.random.key(1))
    yield exact("weighted loss of EDM's exact denoiser of N(0, 1)", jnp.square(errors).mean(), 1.0, 0.015)


# --- a mixture --------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """Of samples of the mixture."""

    share: float
    """of samples above 0"""
    mean: float
    """of those"""
    deviation: float
    """of those"""


SHAPES = {
    "edm heun": {
        10: Shape(0.700, 0.834, 0.054),
        18: Shape(0.700, 0.8046, 0.0531),
        32: Shape(0.698, 0.8008, 0.0510),
        64: Shape(0.698, 0.8002, 0.0503),
    },
    "ddpm vp, variance beta": {
        5: Shape(0.681, 0.707, 0.182),
        10: Shape(0.683, 0.782, 0.089),
        20: Shape(0.693, 0.798, 0.034),
        50: Shape(0.697, 0.7995, 0.0435),
        100: Shape(0.697, 0.7998, 0.0480),
    },
    "ddpm vp, variance posterior": {
        5: Shape(0.748, 0.692, 0.186),
        10: Shape(0.727, 0.786, 0.071),
        50: Shape(0.705, 0.799, 0.0286),
    },
    "ddim vp": {
        5: Shape(0.7175, 0.703, 0.179),
        10: Shape(0.701, 0.787, 0.071),
        20: Shape(0.696, 0.797, 0.024),
        100: Shape(0.694, 0.799, 0.038),
    },
    "flow euler": {
        5: Shape(0.728, 0.778, 0.089),
        10: Shape(0.713, 0.795, 0.029),
        20: Shape(0.706, 0.797, 0.035),
        100: Shape(0.701, 0.799, 0.047),
    },
}
TOLERANCES = Shape(0.004, 0.003, 0.003)
SAMPLES = 200_000


def mixture():
    """The exact denoiser of 0.3 N(-0.8, 0.05^2) + 0.7 N(0.8, 0.05^2)."""
    import jax.numpy as jnp

    from jaxrl.policies.denoising import gaussian_mixture

    return gaussian_mixture(jnp.array([0.3, 0.7]), jnp.array([[-0.8], [0.8]]), jnp.array([0.05, 0.05]))


def shapes(seeds: int, most: int = 1000) -> Iterator[Row]:
    """What samplers of at most so many steps make of the mixture."""
    for kind, table in SHAPES.items():
        for steps, known in table.items():
            if steps <= most:
                found = [shape_of(kind, steps, seed) for seed in range(seeds)]
                for name, values, reference, tolerance in zip(Shape._fields, zip(*found), known, TOLERANCES):
                    yield within(f"mixture by {kind}, {steps} steps: {name}", values, reference, tolerance)


def shape_of(kind: str, steps: int, seed: int) -> Shape:
    """What one seed's samples look like."""
    import jax

    sampler = sampler_of(kind, steps)

    def draw(key):
        return sampler.run(mixture(), jax.random.normal(key, (SAMPLES, sampler.draws, 1)))[:, 0]

    x = np.asarray(jax.jit(draw)(jax.random.key(seed)), np.float64)
    above = x[x > 0]
    return Shape(float((x > 0).mean()), float(above.mean()), float(above.std()))


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    for part in (schedules, spreads, guidance, maps):
        yield part()
    if not arguments.quick:
        yield shapes(arguments.seeds)


if __name__ == "__main__":
    title = "Diffusion and flow policies: known answers"
    sys.exit(reproduce_parts("diffusion_policies", __doc__, title, INTRODUCTION, parts, Sizes))

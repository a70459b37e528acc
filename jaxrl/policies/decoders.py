"""Decoders: conditional generators that are a function of one latent, trained on actions without it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp

from jaxrl.core.moments import Moments
from jaxrl.core.scaled import OBSERVATION_BOUND
from jaxrl.core.types import Key, PyTree
from jaxrl.errors import InvalidArgument
from jaxrl.networks.denoiser import TimeFeatures, denoiser
from jaxrl.networks.torsos import MLP
from jaxrl.policies.denoising import generative
from jaxrl.policies.diffusion import Schedule, cosine_schedule, ddim, linear_schedule, variance_preserving
from jaxrl.policies.flow import flow, rectified_flow
from jaxrl.policies.transforms import decoder_of, repeated


class DecoderParams(NamedTuple):
    """Parameters of a decoder."""

    network: PyTree
    moments: Moments
    """of the observations that it was trained on"""
    scale: jax.Array
    """what latents are multiplied by first, ``[]``: 1 for all that are trained"""


class Decoder(NamedTuple):
    """A generator ``a = g(s, z)`` of actions that are not bounded, from latents ``z ~ N(0, I)``."""

    init: Callable[[Key, Moments], DecoderParams]
    """``(key, moments) -> params``, to be trained"""
    identity: Callable[[], DecoderParams]
    """``() -> params`` with which it does next to nothing, all weights 0"""
    decode: Callable[[DecoderParams, jax.Array, jax.Array], jax.Array]
    """``(params, obs[..., *O], latent[..., D]) -> action[..., D]``"""
    loss: Callable[..., jax.Array]
    """``(params, obs[B, *O], action[B, D], key, eps=None) -> []``: the mean square error of the generative model.
    Actions are paired with fresh noise; with ``eps[B, D]`` each with its own"""


def without_last(schedule: Schedule) -> Schedule:
    """Ends one step before there is almost nothing left of the action."""
    return Schedule(schedule.beta[:-1], schedule.alpha_bar[:-1])


def decoder(
    kind: Literal["flow", "diffusion"],
    size: int,
    obs_shape: tuple[int, ...],
    sizes: tuple[int, ...] = (64, 64, 64, 64),
    steps: int = 10,
    draws: int = 8,
) -> Decoder:
    """The decoders of GoRL (arXiv:2512.02581).

    The flow takes ``steps`` Euler steps; with weights of 0 it is the identity, bit for bit. The diffusion is DDIM on
    the cosine schedule of ``steps`` levels, of which the last is left out; with weights of 0 it multiplies by
    ``1 / sqrt(alpha_bar)`` of where it starts: 6.44 with 10 steps. Its ``identity`` is the authors', whose schedule is
    the linear one, of gain 1.052: as such a decoder is linear, latents are scaled to it here instead.

    Both see observations standardised by the moments of their data, and eight Fourier features of a time within [0, 1].
    Time runs from noise to action, the other way round than the authors'; and the diffusion is not trained at its level
    without noise, which is never asked for.

    Args:
        kind: which of the two.
        size: of an action, ``D``.
        sizes: widths of the layers of the network.
        steps: of the network for one action; the diffusion takes one less.
        draws: times and noises that each action is trained with in a step.

    Raises:
        InvalidArgument: for another kind, or sizes that are too small.
    """
    least = 1 if kind == "flow" else 2
    for name, value, smallest in (("steps", steps, least), ("draws", draws, 1), ("size", size, 1)):
        if value < smallest:
            raise InvalidArgument(name, value, f"must be at least {smallest}")
    if kind not in ("flow", "diffusion"):
        raise InvalidArgument("kind", kind, "must be one of flow, diffusion")

    init_network, network = denoiser(
        size,
        obs_shape,
        lambda: MLP(sizes, "swish", orthogonal=False),
        lambda: TimeFeatures("octaves", 8, ()),
    )
    rank = len(obs_shape)
    if kind == "flow":
        gain, asked = 1.0, cast(Any, network)
        process, sampler = rectified_flow(), flow(steps)
    else:
        schedule = without_last(cosine_schedule(steps))
        gain = float((schedule.alpha_bar[-1] / linear_schedule(steps).alpha_bar[-1]) ** 0.5)
        process, sampler = variance_preserving(schedule), ddim(schedule)

        def asked(params, x, time, obs):
            return network(params, x, time / steps, obs)

    policy = generative(init_network, asked, process, sampler, size, reduce="mean", rank=rank)
    fit_loss: Any = policy.fit_loss
    generate = decoder_of(policy)

    def shown(params: DecoderParams, obs: jax.Array) -> jax.Array:
        return jnp.clip(params.moments.standardise(obs), -OBSERVATION_BOUND, OBSERVATION_BOUND)

    def init(key, moments):
        return DecoderParams(init_network(key), moments, jnp.float32(1))

    def identity():
        shapes = jax.eval_shape(init_network, jax.eval_shape(lambda: jax.random.key(0)))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return DecoderParams(zeros, Moments.empty(obs_shape), jnp.float32(gain))

    def decode(params, obs, latent):
        return generate(params.network, shown(params, obs), params.scale * latent)

    def loss(params, obs, action, key, eps=None):
        obs, action, eps = repeated((shown(params, obs), action, eps), draws)
        return fit_loss(params.network, obs, action, key, eps=eps)

    return Decoder(init, identity, decode, loss)

"""Networks that tell an action from its noise: of the noised action, of how noisy it is, and of the observation."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.core.types import Key, PyTree
from jaxrl.networks.initialisers import FanInDense
from jaxrl.networks.torsos import ACTIVATIONS, MLP

Network: TypeAlias = Callable[..., jax.Array]
"""``(params, x[..., D], time, obs[..., *O], key=None) -> outputs[..., D]``; ``time`` is ``[]`` or ``[..., 1]``, the key
of training is for networks with dropout"""


class TimeFeatures(nn.Module):
    """Cosines and sines of a time, and dense layers on them: ``[..., 1] -> [..., F]``.

    Attributes:
        kind: their frequencies: ``"geometric"`` from 1 down to 1e-4, for times that count steps (Vaswani et al. 2017);
            ``"octaves"`` 1, 2, 4, ..., for times within [0, 1]; ``"learned"`` from N(0, 0.2^2) times 2 pi; ``"none"``
            for the time itself in their place.
        size: number of features before the dense layers, half of them cosines.
        sizes: of the dense layers, the last without an activation.
    """

    kind: Literal["geometric", "octaves", "learned", "none"] = "geometric"
    size: int = 16
    sizes: Sequence[int] = (32, 16)
    activation: str = "mish"

    @nn.compact
    def __call__(self, time):
        x = time if self.kind == "none" else self.waves(time)
        for index, size in enumerate(self.sizes):
            x = FanInDense(size)(ACTIVATIONS[self.activation](x) if index else x)
        return x

    def waves(self, time: jax.Array) -> jax.Array:
        """``[..., size]``."""
        half = self.size // 2
        if self.kind == "learned":
            frequencies = 2 * math.pi * self.param("frequencies", nn.initializers.normal(0.2), (half,))
        elif self.kind == "octaves":
            frequencies = 2.0 ** jnp.arange(half)
        else:
            frequencies = jnp.exp(-math.log(1e4) * jnp.arange(half) / max(half - 1, 1))
        angles = time * frequencies
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class ResidualMLP(nn.Module):
    """A dense layer, then blocks that standardise, widen fourfold and add what they find to what they got:
    ``[..., size]`` (Hansen-Estruch et al. 2023).

    Attributes:
        dropout: share of the features that a block drops, in calls with ``dropping``; these need a key named
            ``dropout``.
    """

    size: int = 256
    blocks: int = 3
    activation: str = "mish"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, dropping: bool = False):
        activation = ACTIVATIONS[self.activation]
        x = FanInDense(self.size)(x)
        for _ in range(self.blocks):
            inside = nn.Dropout(self.dropout, deterministic=False)(x) if dropping else x
            inside = activation(FanInDense(4 * self.size)(nn.LayerNorm()(inside)))
            x = x + FanInDense(self.size)(inside)
        return activation(x)


class PreActivationMLP(nn.Module):
    """A dense layer, then pairs of dense layers, each behind an activation, that add what they find to what they got:
    ``[..., size]`` (Ren et al. 2024).

    Attributes:
        pairs: number of pairs.
    """

    size: int = 512
    pairs: int = 1
    activation: str = "relu"

    @nn.compact
    def __call__(self, x):
        activation = ACTIVATIONS[self.activation]
        x = FanInDense(self.size)(x)
        for _ in range(self.pairs):
            inside = FanInDense(self.size)(activation(x))
            x = x + FanInDense(self.size)(activation(inside))
        return x


class Denoiser(nn.Module):
    """``outputs`` numbers of a noised action, a time and an observation, on one torso: ``[..., outputs]``.

    Attributes:
        torso: makes the torso, of flat features.
        time_features: makes what the torso sees of the time.
        rank: number of axes of one observation.
        zero: start from outputs of 0.
    """

    torso: Callable[[], nn.Module]
    time_features: Callable[[], nn.Module]
    outputs: int
    rank: int = 1
    zero: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, obs: jax.Array, dropping: bool = False) -> jax.Array:
        lead = x.shape[:-1]
        # One time for all rows, as a sampler's step has, is looked at once.
        features = self.time_features()(jnp.atleast_1d(time).astype(jnp.float32)).astype(x.dtype)
        time = jnp.broadcast_to(features, (*lead, features.shape[-1]))
        obs = obs.reshape(*obs.shape[: obs.ndim - self.rank], -1).astype(x.dtype)
        obs = jnp.broadcast_to(obs, (*lead, obs.shape[-1]))
        call: Any = {"dropping": True} if dropping else {}
        features = self.torso()(jnp.concatenate([x, time, obs], axis=-1), **call)
        if self.zero:
            zeros = nn.initializers.zeros
            return nn.Dense(self.outputs, kernel_init=zeros, bias_init=zeros)(features)
        return FanInDense(self.outputs)(features)


def denoiser(
    size: int,
    obs_shape: tuple[int, ...],
    torso: Callable[[], nn.Module] = lambda: MLP((256, 256, 256), "mish", orthogonal=False),
    time_features: Callable[[], nn.Module] = TimeFeatures,
    zero: bool = False,
) -> tuple[Callable[[Key], PyTree], Network]:
    """``init`` of a ``Denoiser`` and the function that it is, for actions ``[size]``.

    By default it is Diffusion-QL's (Wang et al. 2022).
    """
    module = Denoiser(torso, time_features, size, len(obs_shape), zero)

    def init(key):
        return module.init(key, jnp.zeros(size), jnp.zeros(()), jnp.zeros(obs_shape))

    def network(params, x, time, obs, key=None) -> Any:
        if key is None:
            return module.apply(params, x, time, obs)
        return module.apply(params, x, time, obs, True, rngs={"dropout": key})

    return init, network


def in_bfloat16(network: Network) -> Network:
    """``network`` with its products in bfloat16, parameters kept and outputs given in float32: for accelerators."""

    def half(leaf):
        return leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf

    def apply(params, x, time, obs, key=None):
        # Not the time: of steps beyond 256 bfloat16 has no odd ones.
        params, x, obs = jax.tree.map(half, (params, x, obs))
        return network(params, x, time, obs, key).astype(jnp.float32)

    return apply

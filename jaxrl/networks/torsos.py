"""From observations to features, with any leading axes."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import FanInDense, orthogonal


@jax.custom_vjp
def elu(x: jax.Array) -> jax.Array:
    """``x`` above 0, ``exp(x) - 1`` below (Clevert et al. 2016).

    Half the cost of ``expm1``, whose precision next to 0 a network has no use for, and its gradient is a function of
    the output, which the next layer keeps anyway.
    """
    return jnp.maximum(x, jnp.exp(jnp.minimum(x, 0)) - 1)


def _elu_forward(x):
    y = elu(x)
    return y, y


def _elu_backward(y, cotangent):
    return (cotangent * jnp.minimum(y + 1, 1),)


elu.defvjp(_elu_forward, _elu_backward)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "swish": nn.swish,
    "gelu": nn.gelu,
    "elu": elu,
    "mish": jax.nn.mish,
}
Activation: TypeAlias = Literal["tanh", "relu", "swish", "gelu", "elu", "mish"]


class MLP(nn.Module):
    """Dense layers of ``sizes``, each followed by ``activation``, on flattened observations: ``[..., sizes[-1]]``.

    Attributes:
        rank: number of axes of one observation; 1 for ``[..., features]``.
        orthogonal: start from orthogonal weights and no biases; else from ``FanInDense``'s with ``variance``.
        layer_norm: standardise the features of every layer before its activation (Ba et al. 2016).
        dropout: share of the features of every layer that is set to 0, before they are standardised, in calls with
            ``dropping`` (Hiraoka et al. 2022); these need a key named ``dropout``.
    """

    sizes: Sequence[int]
    activation: str = "tanh"
    rank: int = 1
    orthogonal: bool = True
    layer_norm: bool = False
    dropout: float = 0.0
    variance: float = 1 / 3

    @nn.compact
    def __call__(self, x, dropping: bool = False):
        x = x if x.dtype == jnp.bfloat16 else x.astype(jnp.float32)
        x = x.reshape(*x.shape[: x.ndim - self.rank], -1)
        for size in self.sizes:
            x = (
                nn.Dense(size, kernel_init=orthogonal(2**0.5)) if self.orthogonal else FanInDense(size, self.variance)
            )(x)
            if dropping:
                x = nn.Dropout(self.dropout, deterministic=False)(x)
            x = ACTIVATIONS[self.activation](nn.LayerNorm()(x) if self.layer_norm else x)
        return x


class Patches(nn.Module):
    """A ``size x size`` convolution without padding, as one matrix product: ``[..., H, W, C]`` to
    ``[..., H', W', features]``.

    A convolution whose kernels differ between members becomes a grouped one under ``vmap``, for which XLA has no fast
    program; a product of patches stays a batched product.
    """

    features: int
    size: int = 3

    @nn.compact
    def __call__(self, x):
        height, width = (length - self.size + 1 for length in x.shape[-3:-1])
        shifts = [(i, j) for i in range(self.size) for j in range(self.size)]
        patches = jnp.concatenate([x[..., i : i + height, j : j + width, :] for i, j in shifts], axis=-1)
        return nn.Dense(self.features, kernel_init=orthogonal(2**0.5))(patches)


class MinAtarCNN(nn.Module):
    """One 3x3 convolution with 16 channels, then dense layers (Young and Tian 2019): ``[..., 10, 10, C]``
    to features."""

    sizes: Sequence[int] = (128,)
    activation: str = "relu"
    rank: int = 3
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x):
        x = Patches(16)(x.astype(jnp.float32))
        if self.layer_norm:
            x = nn.LayerNorm()(x)
        x = ACTIVATIONS[self.activation](x)
        return MLP(self.sizes, self.activation, self.rank, layer_norm=self.layer_norm)(x)

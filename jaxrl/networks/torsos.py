"""From observations to features, with any leading axes."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import orthogonal

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "swish": nn.swish,
    "gelu": nn.gelu,
    "elu": nn.elu,
}


class MLP(nn.Module):
    """Dense layers of ``sizes``, each followed by ``activation``, on flattened observations: ``[..., sizes[-1]]``.

    Attributes:
        rank: number of axes of one observation; 1 for ``[..., features]``.
    """

    sizes: Sequence[int]
    activation: str = "tanh"
    rank: int = 1

    @nn.compact
    def __call__(self, x):
        x = x.astype(jnp.float32).reshape(*x.shape[: x.ndim - self.rank], -1)
        for size in self.sizes:
            x = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=orthogonal(2**0.5))(x))
        return x


class MinAtarCNN(nn.Module):
    """One 3x3 convolution with 16 channels, then dense layers (Young and Tian 2019): ``[..., 10, 10, C]`` to
    features."""

    sizes: Sequence[int] = (128,)
    activation: str = "relu"
    rank: int = 3

    @nn.compact
    def __call__(self, x):
        x = x.astype(jnp.float32)
        x = nn.Conv(16, (3, 3), padding="VALID", kernel_init=orthogonal(2**0.5))(x)
        x = ACTIVATIONS[self.activation](x)
        return MLP(self.sizes, self.activation, self.rank)(x)

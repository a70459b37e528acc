"""Weight initialisers."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


def orthogonal(scale: float = 1.0) -> Callable[..., jax.Array]:
    """A matrix with orthonormal rows or columns times ``scale``, uniform (Haar) among them.

    The polar factor of a Gaussian matrix, by Newton-Schulz iteration: matrix products only, so a population of members
    is one batched product. (A batched QR is slow on accelerators, and several of them in one program deadlock
    jax 0.10.2
    on CPU.)

    Returns:
        ``(key, shape, dtype) -> array``; leading axes of a kernel are flattened into its rows.
    """

    def init(key, shape, dtype=jnp.float32):
        rows, columns = math.prod(shape[:-1]), shape[-1]
        gaussian = jax.random.normal(key, (max(rows, columns), min(rows, columns)), jnp.float32)
        # Singular values start in (0, 1]; each iteration multiplies a small one by 1.5 and squares the distance to 1.
        start = gaussian / jnp.sqrt(jnp.sum(jnp.square(gaussian)))

        def iteration(_, q):
            gram = jnp.matmul(q.T, q, precision="highest")
            return 1.5 * q - 0.5 * jnp.matmul(q, gram, precision="highest")

        q = jax.lax.fori_loop(0, 48, iteration, start)
        return (scale * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)

    return init


fan_in_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""U(-1, 1) / sqrt(fan in): what PyTorch starts its dense layers from; a third of LeCun's variance."""


class FanInDense(nn.Module):
    """A dense layer whose weights and biases both start from U(-1, 1) / sqrt(fan in), as PyTorch's do.

    Attributes:
        features: size of the output.
        bias: a constant that the biases start from instead.
    """

    features: int
    bias: float | None = None

    @nn.compact
    def __call__(self, x):
        bound = x.shape[-1] ** -0.5

        def uniform(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        bias = uniform if self.bias is None else nn.initializers.constant(self.bias)
        return nn.Dense(self.features, kernel_init=fan_in_uniform, bias_init=bias)(x)

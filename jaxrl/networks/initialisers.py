"""Weight initialisers."""

import math
from collections.abc import Callable
from typing import Any

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


class FanInDense(nn.Module):
    """A dense layer whose weights and biases both start from U(-1, 1) / sqrt(fan in), as PyTorch's do.

    Attributes:
        features: size of the output.
        variance: of a weight times fan in. PyTorch's third lets a signal fade by as much in every layer; with LeCun's 1
            it stays.
        bias: a constant that the biases start from instead.
    """

    features: int
    variance: float = 1 / 3
    bias: float | None = None

    @nn.compact
    def __call__(self, x):
        bound = x.shape[-1] ** -0.5

        def uniform(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        bias = uniform if self.bias is None else nn.initializers.constant(self.bias)
        weights = nn.initializers.variance_scaling(self.variance, "fan_in", "uniform")
        dense = nn.Dense(self.features, kernel_init=weights, bias_init=bias, dot_general=dot_general)
        return dense(x)


# --- products whose gradient is fast on a CPU -------------------------------------------------------------------


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``x[..., I] @ kernel[I, O]``.

    On a CPU the kernel's gradient is computed from ``x`` transposed in memory, 20% faster than summing over the rows of
    both as they lie.
    """
    return x @ kernel


def _product_forward(x, kernel):
    return product(x, kernel), (x, kernel)


def _product_backward(saved, cotangent):
    x, kernel = saved
    columns = x.reshape(-1, x.shape[-1]).T
    if jax.default_backend() == "cpu":
        columns = jax.lax.optimization_barrier(columns)
    return cotangent @ kernel.T, columns @ cotangent.reshape(-1, cotangent.shape[-1])


product.defvjp(_product_forward, _product_backward)


def dot_general(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None, **_: Any) -> jax.Array:
    """``product``, called as flax's dense layers call ``jax.lax.dot_general``."""
    del dimension_numbers, precision  # always the last axis with the first, at the default precision
    return product(x, kernel)

"""Attention over sets of tokens, some of which may not be there."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import dot_general

xavier = nn.initializers.xavier_uniform()


class SetAttention(nn.Module):
    """Every token looks at all that are there: ``[..., n, D], [..., n] -> [..., n, D]`` (Vaswani et al. 2017).

    Logits are not divided by the root of the heads' size, as Drakulic et al. (2023) have it: in residual branches that
    start at 0 they need not be. Queries and keys have no biases: those of keys cancel in the softmax.

    Attributes:
        heads: that ``D`` is divided among.
        implementation: of ``jax.nn.dot_product_attention``; ``"cudnn"`` is its flash attention, for half precision on
            NVIDIA GPUs.
    """

    heads: int = 12
    implementation: Literal["xla", "cudnn"] | None = None

    @nn.compact
    def __call__(self, x: jax.Array, present: jax.Array) -> jax.Array:
        *lead, n, width = x.shape

        def each(key, shape, dtype=jnp.float32):
            """As three layers of their own, which are one product."""
            keys = jax.random.split(key, 3)
            return jnp.concatenate([xavier(key, (shape[0], width), dtype) for key in keys], axis=1)

        joint = nn.Dense(3 * width, use_bias=False, kernel_init=each, dot_general=dot_general, name="projections")(x)
        query, key, value = jnp.split(joint, 3, axis=-1)
        value = value + self.param("value_bias", nn.initializers.zeros, (width,)).astype(value.dtype)

        def by_head(tokens):
            return tokens.reshape(-1, n, self.heads, width // self.heads)

        mask = jnp.broadcast_to(present, (*lead, n)).reshape(-1, 1, 1, n)
        found = jax.nn.dot_product_attention(
            by_head(query), by_head(key), by_head(value), mask=mask, scale=1.0, implementation=self.implementation
        )
        output = nn.Dense(width, kernel_init=xavier, dot_general=dot_general, name="output")
        return output(found.reshape(*lead, n, width))


class SetTransformer(nn.Module):
    """Layers of attention and of a dense network on each token, not standardised, each weighted by a number that starts
    at 0 (ReZero, Bachlechner et al. 2020): ``[..., n, D], [..., n] -> [..., n, D]``.

    At the start it is the identity. There is no position: permuting tokens permutes the output; tokens that are not
    ``present`` change nothing in those that are.

    Attributes:
        layers: of attention and dense network each.
        heads: of the attention.
        hidden: width inside the dense networks.
    """

    layers: int = 9
    heads: int = 12
    hidden: int = 512
    implementation: Literal["xla", "cudnn"] | None = None

    @nn.compact
    def __call__(self, x: jax.Array, present: jax.Array) -> jax.Array:
        def weighted(name: str, branch: jax.Array) -> jax.Array:
            return self.param(name, nn.initializers.zeros, ()).astype(branch.dtype) * branch

        for layer in range(self.layers):
            attention = SetAttention(self.heads, self.implementation, name=f"attention_{layer}")
            x = x + weighted(f"attention_weight_{layer}", attention(x, present))
            wide = nn.relu(nn.Dense(self.hidden, kernel_init=xavier, dot_general=dot_general, name=f"widen_{layer}")(x))
            narrow = nn.Dense(x.shape[-1], kernel_init=xavier, dot_general=dot_general, name=f"narrow_{layer}")
            x = x + weighted(f"dense_weight_{layer}", narrow(wide))
        return x

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


class CrossAttention(nn.Module):
    """Tokens look at others, ``[..., m, D], [..., n, D], [..., n] -> [..., m, D]``, as those of ``SetAttention`` do at
    each other.

    Attributes:
        heads: that ``D`` is divided among.
    """

    heads: int = 12

    @nn.compact
    def __call__(self, x: jax.Array, others: jax.Array, present: jax.Array) -> jax.Array:
        width = x.shape[-1]

        def dense(size: int, name: str, bias: bool = False) -> nn.Dense:
            return nn.Dense(size, use_bias=bias, kernel_init=xavier, dot_general=dot_general, name=name)

        def by_head(tokens):
            return tokens.reshape(-1, tokens.shape[-2], self.heads, width // self.heads)

        query, key, value = dense(width, "query")(x), dense(width, "key")(others), dense(width, "value", True)(others)
        mask = jnp.broadcast_to(present, others.shape[:-1]).reshape(-1, 1, 1, others.shape[-2])
        found = jax.nn.dot_product_attention(by_head(query), by_head(key), by_head(value), mask=mask, scale=1.0)
        return dense(width, "output", True)(found.reshape(x.shape))


class SetPerceiver(nn.Module):
    """A transformer of a fixed number of learned latents in between: they look at the tokens, then for all layers at
    each other, and last the tokens look at them (Jaegle et al. 2022): ``[..., n, D], [..., n] -> [..., n, D]``.

    Its cost is linear in the number of tokens. As ``SetTransformer`` it starts as the identity, knows no position, and
    tokens that are not ``present`` change nothing in those that are.

    Attributes:
        latents: how many.
        layers: among the latents.
    """

    latents: int
    layers: int = 9
    heads: int = 12
    hidden: int = 512

    @nn.compact
    def __call__(self, x: jax.Array, present: jax.Array) -> jax.Array:
        width = x.shape[-1]
        own = self.param("latents", nn.initializers.normal(width**-0.5), (self.latents, width))
        own = jnp.broadcast_to(own, (*x.shape[:-2], self.latents, width)).astype(x.dtype)
        everyone = jnp.ones(own.shape[:-1], bool)
        own = own + CrossAttention(self.heads, name="look_in")(own, x, present)
        own = SetTransformer(self.layers, self.heads, self.hidden, name="trunk")(own, everyone)
        weight = self.param("look_out_weight", nn.initializers.zeros, ()).astype(x.dtype)
        return x + weight * CrossAttention(self.heads, name="look_out")(x, own, everyone)

"""Networks that score what a solution may be continued with, of the tokens of a combinatorial sub-instance."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.envs.combinatorial.problem import Tokens
from jaxrl.networks.attention import SetPerceiver, SetTransformer, xavier
from jaxrl.networks.initialisers import dot_general, product

IMPOSSIBLE = -1e9
"""the logit of an action that is not allowed: finite, so that its gradient is 0 and not NaN"""


dense = partial(nn.Dense, kernel_init=xavier, dot_general=dot_general)


class CostEmbedding(nn.Module):
    """Embeddings of nodes that are known by the costs between them: ``[..., n, F], [..., n, n], [..., n]`` to
    ``[..., n, width]``.

    Each layer adds to a node what it hears of the others, weighed by a softmax of minus the cost of going there, and
    by one of minus the cost of coming from there. Costs are counted in their mean. (The authors' layer was not
    published.)
    """

    width: int
    layers: int = 2

    @nn.compact
    def __call__(self, features: jax.Array, cost: jax.Array, valid: jax.Array) -> jax.Array:
        pairs = valid[..., :, None] & valid[..., None, :] & ~jnp.eye(valid.shape[-1], dtype=bool)
        count = jnp.maximum(pairs.sum(axis=(-2, -1), keepdims=True), 1)
        mean = jnp.sum(jnp.where(pairs, cost, 0), axis=(-2, -1), keepdims=True) / count
        cost = cost / jnp.maximum(mean, 1e-9)
        sharpness = self.param("sharpness", nn.initializers.constant(4.0), (2,))
        x = dense(self.width)(features)
        for _ in range(self.layers):
            heard = [x]
            for scale, there in zip(sharpness, (cost, jnp.swapaxes(cost, -2, -1))):
                weights = jax.nn.softmax(jnp.where(pairs, -scale * there, IMPOSSIBLE), axis=-1)
                nearest = jnp.min(jnp.where(pairs, there, jnp.inf), axis=-1, keepdims=True)
                heard += [weights @ x, jnp.where(jnp.isfinite(nearest), nearest, 0.0)]
            hidden = dense(self.width)(jnp.concatenate(heard, axis=-1))
            x = x + nn.relu(hidden)
        return x


class ConstructionNetwork(nn.Module):
    """One logit for each action of a sub-instance, which is encoded anew at every step (Drakulic et al. 2023): tokens
    with any leading axes to ``[..., n, flags]``.

    Embeddings of the nodes, a learned vector added to that of the origin and one to that of the destination, a
    ``SetTransformer``, and a linear head. Logits of actions that are not allowed are ``IMPOSSIBLE``. At the start
    logits are linear in the features.

    Attributes:
        flags: of an action, see ``jaxrl.envs.combinatorial.problem``.
        matrix: nodes are known by their costs.
        latents: of a ``SetPerceiver`` in the transformer's place; None for none.
    """

    flags: int = 1
    matrix: bool = False
    layers: int = 9
    width: int = 192
    heads: int = 12
    hidden: int = 512
    implementation: Literal["xla", "cudnn"] | None = None
    latents: int | None = None

    @nn.compact
    def __call__(self, tokens: Tokens) -> jax.Array:
        features = tokens.features.astype(jnp.float32)
        if self.matrix:
            assert tokens.cost is not None
            x = CostEmbedding(self.width)(features, tokens.cost, tokens.valid)
        else:
            x = dense(self.width, name="embedding")(features)
        for name in ("origin", "destination"):
            mark = self.param(name, nn.initializers.normal(self.width**-0.5), (self.width,))
            x = x + getattr(tokens, name)[..., None] * mark
        if self.latents is None:
            trunk: Any = SetTransformer(self.layers, self.heads, self.hidden, self.implementation)
        else:
            trunk = SetPerceiver(self.latents, self.layers, self.heads, self.hidden)
        return jnp.where(tokens.allowed, dense(self.flags, name="head")(trunk(x, tokens.valid)), IMPOSSIBLE)


class EncodedOnceNetwork(nn.Module):
    """The same trunk on the whole instance, encoded once, for comparison with ``ConstructionNetwork``.

    At a step the embeddings of origin and destination, the mean of those that can still be gone to, and the budget make
    a query, which attends to the latter and then scores them, by products with their keys (Kool et al. 2019). All
    products of embeddings are made once: ``encode`` gives rows of nodes, ``choose`` looks at these alone. Where no
    token is marked as the destination none is special before the first step, so that all starts share the rows.

    Attributes:
        clip: logits are this times a tanh; None leaves them as they are.
    """

    flags: int = 1
    layers: int = 9
    width: int = 192
    heads: int = 12
    hidden: int = 512
    clip: float | None = None

    def setup(self):
        self.embedding = dense(self.width)
        self.mark = self.param("destination", nn.initializers.normal(self.width**-0.5), (self.width,))
        self.trunk = SetTransformer(self.layers, self.heads, self.hidden)
        self.context = self.param("context", xavier, (3 * self.width + 1, self.width))
        self.context_bias = self.param("context_bias", nn.initializers.zeros, (self.width,))
        self.glimpse = dense(2 * self.width)
        self.output = dense(self.width)
        self.keys = dense(self.flags * self.width)

    def encode(self, whole: Tokens) -> jax.Array:
        """Rows ``[..., n, C]`` of the nodes of an instance that is at its start, for ``choose``."""
        x = self.embedding(whole.features.astype(jnp.float32)) + whole.destination[..., None] * self.mark
        x = self.trunk(x, whole.valid)
        parts = jnp.split(self.context[:-1], 3)
        return jnp.concatenate([*(product(x, part) for part in parts), self.glimpse(x), self.keys(x)], axis=-1)

    def choose(
        self, rows: jax.Array, origin: jax.Array, destination: jax.Array, allowed: jax.Array, budget: jax.Array
    ) -> jax.Array:
        """Logits ``[..., k, n, flags]`` of ``k`` partial solutions of each instance.

        Args:
            rows: ``[..., n, C]`` by ``encode``.
            origin: int32 ``[..., k]``, the slot to go on from, negative where there is none.
            destination: likewise.
            allowed: bool ``[..., k, n, flags]``.
            budget: ``[..., k]``, what is left of it.
        """
        leaving, ending, others, key, value, *keys = jnp.split(rows, 5 + self.flags, axis=-1)
        open_to = allowed.any(axis=-1)

        def at(nodes, slot):
            found = jnp.take_along_axis(nodes, jnp.maximum(slot, 0)[..., None], axis=-2)
            return jnp.where(slot[..., None] >= 0, found, 0.0)

        share = open_to / jnp.maximum(open_to.sum(axis=-1, keepdims=True), 1)
        query = at(leaving, origin) + at(ending, destination) + share @ others
        query = query + jnp.log1p(budget)[..., None] * self.context[-1] + self.context_bias
        size = self.width // self.heads

        def by_head(array):
            return array.reshape(*array.shape[:-1], self.heads, size)

        weights = jnp.einsum("...khd,...nhd->...hkn", by_head(query), by_head(key)) / size**0.5
        weights = jax.nn.softmax(jnp.where(open_to[..., None, :, :], weights, IMPOSSIBLE), axis=-1)
        seen = jnp.einsum("...hkn,...nhd->...khd", weights, by_head(value)).reshape(query.shape)
        query = nn.relu(query + self.output(seen)) / self.width**0.5
        scores = jnp.stack([jnp.einsum("...kd,...nd->...kn", query, each) for each in keys], axis=-1)
        if self.clip is not None:
            scores = self.clip * jnp.tanh(scores)
        return jnp.where(allowed, scores, IMPOSSIBLE)

    def __call__(
        self, whole: Tokens, origin: jax.Array, destination: jax.Array, allowed: jax.Array, budget: jax.Array
    ) -> jax.Array:
        """Logits ``[..., n, flags]`` of one partial solution, whose arguments have no axis ``k``."""
        now = (origin[..., None], destination[..., None], allowed[..., None, :, :], budget[..., None])
        return self.choose(self.encode(whole), *now)[..., 0, :, :]

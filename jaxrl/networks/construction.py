"""Networks that score what a solution may be continued with, of the tokens of a combinatorial sub-instance."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.envs.combinatorial.problem import Tokens
from jaxrl.networks.attention import SetTransformer, xavier
from jaxrl.networks.initialisers import dot_general

IMPOSSIBLE = -1e9
"""the logit of an action that is not allowed: finite, so that its gradient is 0 and not NaN"""


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
        x = nn.Dense(self.width, kernel_init=xavier, dot_general=dot_general)(features)
        for _ in range(self.layers):
            heard = [x]
            for scale, there in zip(sharpness, (cost, jnp.swapaxes(cost, -2, -1))):
                weights = jax.nn.softmax(jnp.where(pairs, -scale * there, IMPOSSIBLE), axis=-1)
                nearest = jnp.min(jnp.where(pairs, there, jnp.inf), axis=-1, where=pairs, initial=jnp.inf)
                distance = jnp.where(jnp.isfinite(nearest), nearest, 0.0)[..., None]
                heard += [weights.astype(x.dtype) @ x, distance.astype(x.dtype)]
            hidden = nn.Dense(self.width, kernel_init=xavier, dot_general=dot_general)(jnp.concatenate(heard, axis=-1))
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
    """

    flags: int = 1
    matrix: bool = False
    layers: int = 9
    width: int = 192
    heads: int = 12
    hidden: int = 512
    implementation: Literal["xla", "cudnn"] | None = None

    @nn.compact
    def __call__(self, tokens: Tokens) -> jax.Array:
        features = tokens.features.astype(jnp.float32)
        if self.matrix:
            x = CostEmbedding(self.width)(features, tokens.cost, tokens.valid)
        else:
            x = nn.Dense(self.width, kernel_init=xavier, dot_general=dot_general, name="embedding")(features)
        for name in ("origin", "destination"):
            mark = self.param(name, nn.initializers.normal(self.width**-0.5), (self.width,))
            x = x + getattr(tokens, name)[..., None] * mark
        trunk = SetTransformer(self.layers, self.heads, self.hidden, self.implementation)
        head = nn.Dense(self.flags, kernel_init=xavier, dot_general=dot_general, name="head")
        return jnp.where(tokens.allowed, head(trunk(x, tokens.valid)), IMPOSSIBLE)

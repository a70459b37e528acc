"""Message passing on a graph whose structure is fixed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxrl.networks.initialisers import FanInDense
from jaxrl.networks.torsos import MLP, elu


class MessagePassing(nn.Module):
    """Embeddings of nodes and edges that exchange messages (Alvo et al. 2023, the policy on the supply network).

    One network embeds all nodes, one all edges from the embeddings at their ends and their own features; then, in each
    step, ``node += N(node, incoming / sqrt(in-degree), outgoing / sqrt(out-degree))`` with the sums of the edges'
    embeddings, and ``edge += M(edge, source, target)``, with the same ``N`` and ``M`` in all steps. The parameters fit
    any graph and any number of steps, and renumbering nodes and edges renumbers the output. Weights start with LeCun's
    variance: these are a dozen layers one after the other, through which PyTorch's lets hardly anything pass.

    Attributes:
        steps: of message passing.
        sizes: hidden layers of each network.
        width: of the embeddings.
    """

    steps: int = 1
    sizes: Sequence[int] = (32, 32)
    width: int = 32

    @nn.compact
    def __call__(
        self, nodes: jax.Array, edges: jax.Array, sources: np.ndarray, targets: np.ndarray
    ) -> tuple[jax.Array, jax.Array]:
        """Embeddings of nodes ``[..., n, width]`` and of edges ``[..., E, width]``.

        Args:
            nodes: ``[..., n, features]``.
            edges: ``[..., E, features]``.
            sources, targets: ``[E]`` numbers of the nodes at their ends; ``n`` for none, whose embedding is 0.
        """
        count = nodes.shape[-2]
        leaving, entering = (
            (ends[None] == np.arange(count)[:, None]).astype(np.float32) for ends in (sources, targets)
        )
        leaving_mean, entering_mean = (
            ends / np.sqrt(np.maximum(ends.sum(axis=1, keepdims=True), 1)) for ends in (leaving, entering)
        )

        def embedding():
            hidden = MLP(self.sizes, "elu", orthogonal=False, variance=1.0)
            output = FanInDense(self.width, variance=1.0)
            return lambda features: elu(output(hidden(features)))

        embed_node, embed_edge, update_node, update_edge = (embedding() for _ in range(4))

        def at_ends(nodes):
            padded = jnp.concatenate([nodes, jnp.zeros((*nodes.shape[:-2], 1, nodes.shape[-1]))], axis=-2)
            return padded[..., sources, :], padded[..., targets, :]

        nodes = embed_node(nodes)
        edges = embed_edge(jnp.concatenate([*at_ends(nodes), edges], axis=-1))
        for _ in range(self.steps):
            nodes = nodes + update_node(jnp.concatenate([nodes, entering_mean @ edges, leaving_mean @ edges], axis=-1))
            edges = edges + update_edge(jnp.concatenate([edges, *at_ends(nodes)], axis=-1))
        return nodes, edges

"""Supply networks: which nodes hold stock, and along which edges goods flow."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxrl.errors import InvalidArgument

OUTSIDE = -1
"""source of an edge from a supplier outside the network, whose stock is unlimited"""


@dataclass(frozen=True)
class Network:
    """A directed acyclic network of ``n`` nodes that hold stock, the last ``stores`` of which meet demand.

    Attributes:
        nodes: ``n``.
        stores: ``K``.
        edges: ``(source, target)`` of each of ``E`` edges; source ``OUTSIDE`` for an outside supplier.
        pipeline: ``P``, slots of each node's inventory vector: on hand, then what arrives 1, 2, ... periods later. An
            order with lead time ``L`` enters slot ``L - 1`` of the next period, so it is at least the longest lead
            time.
        flow_through: nodes that keep nothing: whatever is on hand is shipped, in proportion to the orders.

    Raises:
        InvalidArgument: if the network is cyclic or disconnected, or a number is out of range.
    """

    nodes: int
    stores: int
    edges: tuple[tuple[int, int], ...]
    pipeline: int = 2
    flow_through: tuple[int, ...] = ()

    def __post_init__(self):
        if self.nodes < 1:
            raise InvalidArgument("nodes", self.nodes, "must be at least 1")
        if not 1 <= self.stores <= self.nodes:
            raise InvalidArgument("stores", self.stores, f"must be within 1 .. {self.nodes}, the number of nodes")
        if self.pipeline < 2:
            raise InvalidArgument("pipeline", self.pipeline, "must be at least 2 slots")
        first_store = self.nodes - self.stores
        for edge in self.edges:
            if len(edge) != 2:
                raise InvalidArgument("edges", edge, "must be pairs of a source and a target")
            source, target = edge
            if not (OUTSIDE <= source < self.nodes and 0 <= target < self.nodes):
                raise InvalidArgument("edges", edge, f"must join nodes 0 .. {self.nodes - 1}, or {OUTSIDE} to a node")
            if source >= first_store:
                raise InvalidArgument("edges", edge, f"must not leave a store; stores are {first_store} and above")
            if self.edges.count(edge) > 1:
                raise InvalidArgument("edges", edge, "must be given once")
        for node in self.flow_through:
            if not 0 <= node < first_store:
                raise InvalidArgument("flow_through", node, f"must be nodes before the stores, 0 .. {first_store - 1}")
        self._check_reached()

    def _check_reached(self) -> None:
        """Every node gets goods from outside, every node but stores passes some on, and none gets its own back."""
        waiting, reached = set(range(self.nodes)), {OUTSIDE}
        while waiting:
            ready = {n for n in waiting if all(s in reached for s, t in self.edges if t == n)}
            if not ready:
                raise InvalidArgument("edges", self.edges, f"must have no cycle; one passes through {min(waiting)}")
            waiting -= ready
            reached |= ready
        for node in range(self.nodes):
            if not any(target == node for _, target in self.edges):
                raise InvalidArgument("edges", self.edges, f"must lead to every node; none leads to {node}")
            if node < self.nodes - self.stores and not any(source == node for source, _ in self.edges):
                raise InvalidArgument("edges", self.edges, f"must lead on from every node but stores; {node} has none")

    @cached_property
    def sources(self) -> np.ndarray:
        """``[E]`` source of each edge, ``OUTSIDE`` included."""
        return np.array([source for source, _ in self.edges])

    @cached_property
    def targets(self) -> np.ndarray:
        """``[E]`` target of each edge."""
        return np.array([target for _, target in self.edges])

    @cached_property
    def leaving(self) -> np.ndarray:
        """``[n, E]``: 1 where an edge leaves a node."""
        return (self.sources[None] == np.arange(self.nodes)[:, None]).astype(np.float32)

    @cached_property
    def entering(self) -> np.ndarray:
        """``[n, E]``: 1 where an edge enters a node."""
        return (self.targets[None] == np.arange(self.nodes)[:, None]).astype(np.float32)

    @cached_property
    def inside(self) -> np.ndarray:
        """``[I]`` indices of the edges within the network."""
        return np.flatnonzero(self.sources != OUTSIDE)

    @cached_property
    def suppliers(self) -> np.ndarray:
        """``[O]`` indices of the edges from outside suppliers."""
        return np.flatnonzero(self.sources == OUTSIDE)

    @property
    def one_edge_each(self) -> bool:
        """Whether edge ``i`` is the only one that enters node ``i``."""
        return [target for _, target in self.edges] == list(range(self.nodes))

    @cached_property
    def downstream(self) -> np.ndarray:
        """``[n, n]``: 1 where the second node is the first one or gets goods from it, directly or not."""
        reach = np.eye(self.nodes, dtype=np.float32)
        direct = self.leaving @ self.entering.T
        for _ in range(self.nodes):
            reach = np.minimum(reach + reach @ direct, 1)
        return reach

    def passing(self, demand: Any) -> Any:
        """``[n]``: what reaches the stores ``[K]`` by way of each node, if each of them gets its demand."""
        return self.downstream[:, self.first_store :] @ demand

    @property
    def first_store(self) -> int:
        """Number of the first store; stores are the nodes from here on."""
        return self.nodes - self.stores

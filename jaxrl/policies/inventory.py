"""Policies for supply networks: levels of stock, and networks that end in orders which can be carried out.

Each factory takes an ``InventoryNetwork`` and its parameters and returns ``(init, act)``: ``init(key) -> params`` and
``act(params, obs[..., D]) -> orders[..., E]``. The environment cuts orders that exceed what their source has.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxrl.envs.inventory import InventoryNetwork, InventoryParams, View
from jaxrl.errors import InvalidArgument
from jaxrl.networks.graph import MessagePassing
from jaxrl.networks.initialisers import FanInDense
from jaxrl.networks.torsos import MLP

Act: TypeAlias = Callable[[Any, jax.Array], jax.Array]


class OrderPolicy(NamedTuple):
    """A deterministic policy whose actions are orders."""

    init: Callable[[jax.Array], Any]
    """``(key) -> params``"""
    act: Act
    """``(params, obs[..., D]) -> orders[..., E]``"""


# --- levels of stock --------------------------------------------------------------------------------------------


def base_stock(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (), capped: bool = False):
    """Each node orders what its stock, on hand and in transit, is short of its level; one learned level a node.

    A node with several suppliers splits its order among them in learned shares.

    Args:
        capped: no order along an edge exceeds a learned number.
    """
    network = env.network

    def init(key):
        del key
        weights = {"level": jnp.full(network.nodes, 10.0), "share": jnp.zeros(len(network.edges))}
        return weights | ({"cap": jnp.full(len(network.edges), 10.0)} if capped else {})

    def act(weights, obs):
        position = env.view(obs, params).inventory.sum(axis=-1)
        short = jnp.maximum(jax.nn.softplus(weights["level"]) - position, 0)
        shares = jnp.exp(weights["share"])
        shares = shares / (network.entering @ shares)[network.targets]
        orders = short[..., network.targets] * shares
        return jnp.minimum(orders, jax.nn.softplus(weights["cap"])) if capped else orders

    return OrderPolicy(init, act)


def capped_base_stock(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = ()):
    """``base_stock`` with a learned upper bound on each order (Xin 2021)."""
    return base_stock(env, params, sizes, capped=True)


def echelon_stock(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = ()):
    """Each node orders what its echelon, itself and all nodes downstream, is short of its level (Clark and Scarf 1960).

    A level is the sum of a learned positive number for each node of the echelon, so that levels grow upstream.
    """
    network = env.network
    if not network.one_edge_each:
        raise InvalidArgument("policy", "echelon_stock", f"needs nodes with one supplier each, not {network.edges}")

    def init(key):
        del key
        return jnp.zeros(network.nodes)

    def act(weights, obs):
        stock = env.view(obs, params).inventory.sum(axis=-1)
        level = network.downstream @ jax.nn.softplus(weights + 10)
        return jnp.maximum(level - stock @ network.downstream.T, 0)

    return OrderPolicy(init, act)


# --- networks ---------------------------------------------------------------------------------------------------


def scale(env: InventoryNetwork, view: View) -> jax.Array:
    """``[n]`` what the goods of each node are counted in: twice the mean demand that passes through it."""
    return 2 * jnp.maximum(env.network.passing(view.demand_mean), 1e-6)


def scaled(env: InventoryNetwork, view: View) -> View:
    """The same with goods counted in their node's ``scale``, mean demands in the mean of the stores'.

    The paper's networks read stock as it is. Then heads of single seeds are saturated from the start, order nothing or
    everything, and never learn.
    """
    of_nodes = scale(env, view)
    of_stores = of_nodes[env.network.first_store :]
    return view._replace(
        inventory=view.inventory / of_nodes[:, None],
        past_demand=view.past_demand / of_stores[:, None],
        demand_mean=view.demand_mean / of_stores.mean(),
        demand_std=view.demand_std / of_stores,
    )


class Vanilla(nn.Module):
    """Dense layers, then one number for each edge."""

    sizes: Sequence[int]
    outputs: int

    @nn.compact
    def __call__(self, x):
        return FanInDense(self.outputs)(MLP(self.sizes, "elu", orthogonal=False)(x))


def vanilla(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (32, 32, 32)):
    """Dense layers on all inventories, ``scaled``, and heads that keep orders within what there is.

    A single store orders ``softplus(x + 1)``. In a network outside orders are ``sigmoid(x)`` of four times the mean
    demand of all stores; a node that serves one other ships ``sigmoid(x)`` of what it has, one that serves several
    splits it by a softmax over ``x`` and, unless it keeps nothing, a constant 1 for what it keeps.
    """
    network = env.network
    module = Vanilla(tuple(sizes), len(network.edges))
    size = network.nodes * network.pipeline

    def init(key):
        return module.init(key, jnp.zeros(size))

    def act(weights, obs):
        view = env.view(obs, params)
        x: Any = module.apply(weights, scaled(env, view).inventory.reshape(*obs.shape[:-1], size))
        return jax.nn.softplus(x + 1) if network.nodes == 1 else allocated(env, view, x)

    return OrderPolicy(init, act)


def allocated(env: InventoryNetwork, view: View, x: jax.Array) -> jax.Array:
    """Orders ``[..., E]`` from a number for each edge, as ``vanilla`` describes."""
    network = env.network
    on_hand = view.inventory[..., 0]
    most = 4 * jnp.sum(view.demand_mean)
    parts: list[Any] = [None] * len(network.edges)
    for edge in network.suppliers:
        parts[edge] = jax.nn.sigmoid(x[..., edge]) * most
    for node in range(network.first_store):
        edges = np.flatnonzero(network.sources == node)
        logits = x[..., edges]
        if len(edges) == 1 and node not in network.flow_through:
            share = jax.nn.sigmoid(logits)
        elif node in network.flow_through:
            share = jax.nn.softmax(logits, axis=-1)
        else:
            kept = jnp.ones((*logits.shape[:-1], 1))
            share = jax.nn.softmax(jnp.concatenate([logits, kept], axis=-1), axis=-1)[..., :-1]
        shipped = share * jnp.maximum(on_hand[..., node, None], 0)
        for place, edge in enumerate(edges):
            parts[edge] = shipped[..., place]
    return jnp.stack(parts, axis=-1)


def store_features(view: View) -> jax.Array:
    """``[..., K, F]`` what is known of each store beside its stock: past demand and the calendar where there are any,
    the costs, and else the moments of demand."""
    leading, stores = view.inventory.shape[:-2], view.demand_mean.shape[0]

    def of_each(values):
        return jnp.broadcast_to(values, (*leading, stores))[..., None]

    features = [of_each(view.holding[-stores:]), of_each(view.underage)]
    if view.past_demand.shape[-1]:
        calendar = view.calendar[..., None, :]
        features += [view.past_demand, jnp.broadcast_to(calendar, (*leading, stores, calendar.shape[-1]))]
    else:
        features += [of_each(view.demand_mean), of_each(view.demand_std)]
    return jnp.concatenate(features, axis=-1)


class DataDriven(nn.Module):
    """Dense layers, then a number that is not negative for each edge."""

    sizes: Sequence[int]
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.relu(FanInDense(self.outputs, bias=1.0)(MLP(self.sizes, "elu", orthogonal=False)(x)))


def data_driven(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (64, 64)):
    """Dense layers on all inventories, past demand, costs, the calendar and lead times; orders are ``relu(x)``."""
    network = env.network
    module = DataDriven(tuple(sizes), len(network.edges))

    def inputs(obs):
        view = env.view(obs, params)
        leading = obs.shape[:-1]
        parts = [view.inventory.reshape(*leading, -1), store_features(view).reshape(*leading, -1)]
        return jnp.concatenate([*parts, jnp.broadcast_to(view.lead_time, (*leading, len(network.edges)))], axis=-1)

    def init(key):
        space = env.observation_space(params)
        return module.init(key, inputs(jnp.zeros(space.shape)))

    def act(weights, obs) -> Any:
        return module.apply(weights, inputs(obs))

    return OrderPolicy(init, act)


class SymmetryAware(nn.Module):
    """A context of everything, and one network that all stores share."""

    @nn.compact
    def __call__(self, everything, stores, warehouses):
        context = nn.sigmoid(FanInDense(256)(MLP((256,), "elu", orthogonal=False)(everything)))

        def with_context(features):
            shape = (*features.shape[:-1], context.shape[-1])
            return jnp.concatenate([features, jnp.broadcast_to(context[..., None, :], shape)], axis=-1)

        store = FanInDense(1)(MLP((32, 32), "elu", orthogonal=False)(with_context(stores)))
        warehouse = FanInDense(1)(MLP((16, 16), "elu", orthogonal=False)(with_context(warehouses)))
        return store[..., 0], warehouse[..., 0]


def symmetry_aware(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = ()):
    """One network for all stores, told of the others by a context of all inventories (Alvo et al., second version).

    Goods are ``scaled``. A store's order is ``softplus(x)`` times its ``scale``, a warehouse's ``sigmoid(x)`` of four
    times the mean demand of all stores.
    """
    network = env.network
    if (
        not network.one_edge_each
        or network.nodes == network.stores
        or (network.sources[network.first_store :] < 0).any()
    ):
        raise InvalidArgument("policy", "symmetry_aware", "needs warehouses, and stores with one of them each")
    module, first = SymmetryAware(), network.first_store

    def outputs(weights, obs, function: Callable[..., Any]) -> tuple[Any, View]:
        view = env.view(obs, params)
        seen, leading = scaled(env, view), obs.shape[:-1]
        inventory = seen.inventory
        lead_time = jnp.broadcast_to(view.lead_time[..., first:, None], (*leading, network.stores, 1))
        stores = jnp.concatenate([inventory[..., first:, :], store_features(seen), lead_time], axis=-1)
        return function(weights, inventory.reshape(*leading, -1), stores, inventory[..., :first, :]), view

    def init(key):
        obs = jnp.zeros(env.observation_space(params).shape)
        return outputs(key, obs, module.init)[0]

    def act(weights, obs):
        (store, warehouse), view = outputs(weights, obs, module.apply)
        most = 4 * jnp.sum(view.demand_mean)
        return jnp.concatenate(
            [jax.nn.sigmoid(warehouse) * most, jax.nn.softplus(store) * scale(env, view)[first:]], axis=-1
        )

    return OrderPolicy(init, act)


class SupplyGraph(nn.Module):
    """Message passing, then a number within (0, 1) for each edge, 1/4 at the start."""

    steps: int
    sizes: Sequence[int]

    @nn.compact
    def __call__(self, nodes, edges, sources, targets):
        _, edges = MessagePassing(self.steps, self.sizes)(nodes, edges, sources, targets)
        hidden = MLP(self.sizes, "elu", orthogonal=False, variance=1.0)(edges)
        return nn.sigmoid(FanInDense(1, variance=1.0, bias=-float(np.log(3)))(hidden))[..., 0]


def graph(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (32, 32)):
    """Message passing on the supply network, whose parameters fit a network of any size (Alvo et al., third version).

    Beside the network's edges there is one from each store to its customers and, where stock may be kept, one from
    each node to itself: a node's orders and what it would keep are scaled down together to what it has. Messages pass
    once between warehouses and stores, and once for each level of a deeper network. Goods are ``scaled``. An order is
    ``sigmoid(x)`` of four times the mean demand that passes through its target, and starts at that mean. The paper's
    are ``softplus(x + 5)``: orders that grow with stock without a bound let stock explode. Renumbering the stores
    renumbers the orders.
    """
    network = env.network
    n, first = network.nodes, network.first_store
    outside = np.where(network.sources < 0, n, network.sources)
    keepers = np.array([node for node in range(first) if node not in network.flow_through], int)
    # the network's edges, then those of the customers, then those of what is kept
    sources = np.concatenate([outside, np.arange(first, n), keepers])
    targets = np.concatenate([network.targets, np.full(network.stores, n), keepers])
    extra = len(sources) - len(network.edges)
    depth = longest_path(network.edges)
    module = SupplyGraph(depth if depth > 2 else 1, tuple(sizes))

    def inputs(obs):
        view = env.view(obs, params)
        leading = obs.shape[:-1]
        seen = scaled(env, view)
        stores = store_features(seen)
        # features of other nodes: holding cost, and the cost of ordering from outside
        ordering = network.entering[:first] @ jnp.where(network.sources < 0, params.edge_cost, 0)
        others = jnp.stack([view.holding[:first], ordering], axis=-1)
        others = jnp.broadcast_to(others, (*leading, first, 2))
        padding = [(0, 0)] * (len(leading) + 1) + [(0, stores.shape[-1] - 2)]
        statics = jnp.concatenate([jnp.pad(others, padding), stores], axis=-2)
        lead_time = jnp.broadcast_to(view.lead_time, (*leading, len(network.edges)))
        lead_time = jnp.concatenate([lead_time, jnp.zeros((*leading, extra))], axis=-1)
        return view, jnp.concatenate([seen.inventory, statics], axis=-1), lead_time[..., None]

    def init(key):
        _, nodes, edges = inputs(jnp.zeros(env.observation_space(params).shape))
        return module.init(key, nodes, edges, sources, targets)

    def act(weights, obs):
        view, nodes, edges = inputs(obs)
        asked: Any = module.apply(weights, nodes, edges, sources, targets)
        asked = asked * 2 * scale(env, view)[np.minimum(targets, n - 1)]  # of customers nothing is asked
        orders, kept = asked[..., : len(network.edges)], asked[..., len(network.edges) + network.stores :]
        if not len(keepers):
            return orders  # the environment ships all there is in proportion
        leaving = (sources[None] == keepers[:, None])[:, : len(network.edges)].astype(np.float32)
        total = orders @ leaving.T + kept
        share = jnp.minimum(1, jnp.maximum(view.inventory[..., keepers, 0], 0) / (total + 1e-10))
        return orders * jnp.where(np.isin(network.sources, keepers), share @ leaving, 1)

    return OrderPolicy(init, act)


def longest_path(edges: Sequence[tuple[int, int]]) -> int:
    """Edges on the longest way from outside into the network."""
    length = {node: 0 for edge in edges for node in edge}
    for _ in length:
        for source, target in edges:
            length[target] = max(length[target], length[source] + 1)
    return max(length.values())


POLICIES: dict[str, Callable[..., OrderPolicy]] = {
    "vanilla": vanilla,
    "base_stock": base_stock,
    "capped_base_stock": capped_base_stock,
    "echelon_stock": echelon_stock,
    "data_driven": data_driven,
    "symmetry_aware": symmetry_aware,
    "graph": graph,
}

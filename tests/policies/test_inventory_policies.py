"""Policies of supply networks: what they compute, and what renumbering the stores does to them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.inventory import OUTSIDE, InventoryNetwork, InventoryParams, Network
from jaxrl.envs.inventory.data import demand_series
from jaxrl.envs.inventory.demand import normal
from jaxrl.envs.inventory.settings import (
    many_warehouses,
    one_store_lost,
    one_warehouse,
    real_store,
    serial,
    transshipment,
)

from jaxrl import InvalidArgument
from jaxrl.policies.inventory import POLICIES

KEY = jax.random.key(0)
SALES = np.random.default_rng(0).integers(0, 9, (5, 1, 40))
ENVS = {
    "one store": one_store_lost,
    "chain": serial,
    "warehouse": lambda: one_warehouse(3),
    "centre": lambda: transshipment(3),
    "two warehouses": many_warehouses,
    "data": lambda: real_store(demand_series(SALES, np.arange(40.0), history=4, warm_up=2), lead_time=(1, 3)),
}
SIZES = (8, 6)
FITS = [
    *(("vanilla", name) for name in ("one store", "chain", "two warehouses")),
    *(("graph", name) for name in ("chain", "centre", "data")),
    *(("data_driven", name) for name in ("two warehouses", "data")),
    ("base_stock", "two warehouses"),
    ("capped_base_stock", "one store"),
    ("echelon_stock", "warehouse"),
    ("symmetry_aware", "warehouse"),
    ("symmetry_aware", "centre"),
]


@functools.cache
def env_of(name):
    return ENVS[name]()


@functools.cache
def orders_of(policy, name):
    env = env_of(name)
    orders = POLICIES[policy](env, env.default_params, sizes=SIZES)
    return env, jax.jit(orders.init), jax.jit(orders.act)


def policy_of(policy, name, scale=1.0):
    """The environment, the policy's parameters, scaled so that outputs differ more, and its compiled function."""
    env, init, act = orders_of(policy, name)
    return env, jax.tree.map(lambda leaf: np.float32(scale) * np.asarray(leaf), init(KEY)), act


@functools.cache
def shipping(env):
    """Shipments of many ``(inventory[B, n, P], orders[B, E])``."""
    return jax.jit(jax.vmap(env.ship))


def observations(env, shape, seed=0):
    """Observations with stock that may be anything: none, owed, or a lot."""
    generator, count = np.random.default_rng(seed), int(np.prod(shape))
    n, slots = env.network.nodes, env.network.pipeline
    stock = generator.uniform(0, 20, (count, n, slots)) * generator.integers(0, 2, (count, n, slots))
    stock[:, : env.network.first_store, 0] *= generator.integers(0, 2, (count, env.network.first_store))
    stock[:, env.network.first_store :, 0] -= generator.uniform(0, 20, (count, env.network.stores))
    others = generator.uniform(1, 3, (count, *env.observation_space(env.default_params).shape))
    obs = np.concatenate([stock.reshape(count, -1), others[:, n * slots :]], axis=1)
    return np.float32(obs).reshape(*shape, -1)


def stock_of(env, obs):
    """``[..., n, P]``"""
    n, slots = env.network.nodes, env.network.pipeline
    return np.float64(obs[..., : n * slots]).reshape(*obs.shape[:-1], n, slots)


# --- all of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "name"), FITS)
def test_leading_axes_are_a_batch_and_orders_can_be_placed(policy, name):
    env, params, act = policy_of(policy, name, 2.0)
    obs = observations(env, (2, 3))
    many, one = act(params, obs), act(params, obs[1, 2])
    assert many.shape == (2, 3, len(env.network.edges))
    assert one.shape == (len(env.network.edges),)
    np.testing.assert_allclose(many[1, 2], one, rtol=1e-4, atol=1e-4)
    assert np.isfinite(many).all()
    assert (many >= 0).all()
    assert len(np.unique(many)) > 2, "they tell observations apart"


@pytest.mark.parametrize(("policy", "name"), FITS)
def test_parameters_depend_on_the_key_where_there_are_any_to_draw(policy, name, trees):
    init = orders_of(policy, name)[1]
    assert trees.same(init(KEY), init(KEY))
    assert trees.same(init(KEY), init(jax.random.key(1))) == ("stock" in policy)


def ships_all_that_is_asked(env, obs, orders):
    """Asserts that the environment carries the orders out as they stand."""
    shipped = shipping(env)(np.float32(stock_of(env, obs)), orders)
    np.testing.assert_allclose(shipped, orders, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["chain", "warehouse", "two warehouses"])
@pytest.mark.parametrize("policy", ["vanilla", "graph"])
def test_networks_order_no_more_than_there_is(policy, name):
    env, params, act = policy_of(policy, name)
    obs = observations(env, (20,))
    orders = act(params, obs)
    ships_all_that_is_asked(env, obs, orders)
    on_hand = stock_of(env, obs)[:, : env.network.first_store, 0]
    empty = np.array([on_hand[:, source] <= 0 for source in env.network.sources[env.network.inside]]).T
    assert (np.asarray(orders)[:, env.network.inside][empty] == 0).all()
    assert empty.any()
    assert not empty.all()


@pytest.mark.parametrize("policy", ["vanilla", "graph", "symmetry_aware"])
def test_a_centre_ships_all_it_has(policy):
    env, params, act = policy_of(policy, "centre")
    obs = observations(env, (20,))
    inventory = stock_of(env, obs)
    shipped = np.asarray(shipping(env)(np.float32(inventory), act(params, obs)))
    np.testing.assert_allclose(shipped[:, 1:].sum(1), inventory[:, 0, 0], rtol=1e-4, atol=1e-4)
    assert (inventory[:, 0, 0] > 0).any()


# --- levels -------------------------------------------------------------------------------------------------------


def softplus(x):
    return np.log1p(np.exp(np.float64(x)))


def test_base_stock_fills_up_to_its_level_and_splits_by_its_shares():
    env, _, act = policy_of("base_stock", "two warehouses")
    network, generator = env.network, np.random.default_rng(0)
    params = {
        "level": generator.normal(20, 20, network.nodes).astype(np.float32),
        "share": generator.normal(0, 1, len(network.edges)).astype(np.float32),
    }
    obs = observations(env, (10,))
    position = stock_of(env, obs).sum(-1)
    orders = act(params, obs)
    for e, (_, target) in enumerate(network.edges):
        rivals = [i for i, edge in enumerate(network.edges) if edge[1] == target]
        share = np.exp(params["share"][e]) / np.exp(params["share"][rivals]).sum()
        expected = np.maximum(softplus(params["level"][target]) - position[:, target], 0) * share
        np.testing.assert_allclose(orders[:, e], expected, rtol=1e-4, atol=1e-4)


def test_a_cap_bounds_each_order():
    env, _, act = policy_of("capped_base_stock", "one store")
    obs = observations(env, (50,))
    position = stock_of(env, obs).sum((-1, -2))
    params = {"level": np.float32([30.0]), "share": np.zeros(1, np.float32), "cap": np.float32([6.0])}
    expected = np.clip(softplus(30) - position, 0, softplus(6))
    np.testing.assert_allclose(act(params, obs)[:, 0], expected, rtol=1e-4, atol=1e-4)
    assert len(np.unique(expected)) > 3


def test_levels_start_at_ten_as_published():
    for name in ("base_stock", "capped_base_stock"):
        _, params, act = policy_of(name, "one store")
        assert act(params, jnp.zeros(4)).item() == pytest.approx(softplus(10))


def test_echelon_levels_grow_upstream_by_what_each_node_adds():
    env = env_of("chain")
    act = orders_of("echelon_stock", "chain")[2]
    weights = np.float32([-3.0, 4.0, 0.0, 9.0])
    levels = np.cumsum(softplus(weights + 10)[::-1])[::-1]
    orders = act(weights, jnp.zeros(16))
    np.testing.assert_allclose(orders, levels, rtol=1e-5)
    assert (np.diff(orders) < 0).all()
    obs = observations(env, (20,))
    stock = stock_of(env, obs).sum(-1)
    for node in range(4):
        expected = np.maximum(levels[node] - stock[:, node:].sum(1), 0)
        np.testing.assert_allclose(act(weights, obs)[:, node], expected, rtol=1e-4, atol=1e-3)


def test_the_echelon_of_a_warehouse_is_itself_and_all_its_stores():
    env, _, act = policy_of("echelon_stock", "warehouse")
    weights = np.float32([2.0, -1.0, 0.0, 3.0])
    obs = observations(env, (20,))
    stock, added = stock_of(env, obs).sum(-1), softplus(weights + 10)
    expected = np.maximum(added - stock, 0)
    expected[:, 0] = np.maximum(added.sum() - stock.sum(1), 0)
    np.testing.assert_allclose(act(weights, obs), expected, rtol=1e-4, atol=1e-3)


# --- units of goods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "name"), [("vanilla", "two warehouses"), ("graph", "chain"), ("symmetry_aware", "warehouse")]
)
def test_networks_do_not_depend_on_the_unit_that_goods_are_counted_in(policy, name):
    env, weights, _ = policy_of(policy, name)
    params, obs = env.default_params, observations(env, (20,))
    act = jax.jit(lambda params, obs: POLICIES[policy](env, params, sizes=SIZES).act(weights, obs))
    dozens = params.replace(demand_mean=12 * params.demand_mean, demand_std=12 * params.demand_std)
    orders = np.asarray(act(params, obs))
    np.testing.assert_allclose(act(dozens, 12 * obs), 12 * orders, rtol=1e-3, atol=1e-3)
    assert orders.std(axis=0).max() > 1e-2
    assert abs(act(dozens, obs) - orders).max() > 1


@pytest.mark.parametrize("name", ["chain", "centre"])
def test_orders_of_the_graph_policy_start_near_the_mean_demand(name):
    env, weights, act = policy_of("graph", name)
    network, mean = env.network, np.asarray(env.default_params.demand_mean)
    orders = np.asarray(act(weights, np.float32(np.full(env.observation_space(env.default_params).shape, mean.mean()))))
    outside = network.sources == OUTSIDE
    assert (abs(orders[outside] / mean.sum() - 1) < 0.4).all()


# --- vanilla ------------------------------------------------------------------------------------------------------


def forward(layers, x):
    """Dense layers with ELU between them, by their parameters in the order of their names."""
    *hidden, last = layers
    for layer in hidden:
        x = x @ np.float64(layer["Dense_0"]["kernel"]) + np.float64(layer["Dense_0"]["bias"])
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return x @ np.float64(last["Dense_0"]["kernel"]) + np.float64(last["Dense_0"]["bias"])


def logits_of(env, params, obs):
    params, network = params["params"], env.network
    hidden = [params["MLP_0"][name] for name in sorted(params["MLP_0"])]
    demand = np.zeros(network.nodes)
    demand[network.first_store :] = env.default_params.demand_mean
    passing = [sum(demand[other] for other in reached(network, node)) for node in range(network.nodes)]
    inventory = np.float64(stock_of(env, obs)) / (2 * np.array(passing))[:, None]
    return forward([*hidden, params["FanInDense_0"]], inventory.reshape(len(obs), -1))


def reached(network, node):
    """The node and all that get goods from it."""
    onward = {int(target) for source, target in network.edges if source == node}
    return {node}.union(*(reached(network, other) for other in onward))


def test_vanilla_of_one_store_is_softplus():
    env, params, act = policy_of("vanilla", "one store", 2.0)
    obs = observations(env, (20,))
    np.testing.assert_allclose(act(params, obs), softplus(logits_of(env, params, obs) + 1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["chain", "warehouse", "centre", "two warehouses"])
def test_vanilla_splits_what_there_is_by_a_softmax_with_a_constant(name):
    env, params, act = policy_of("vanilla", name)
    network = env.network
    obs = observations(env, (20,))
    logits, on_hand = logits_of(env, params, obs), np.maximum(stock_of(env, obs)[..., 0], 0)
    most = 4 * float(env.default_params.demand_mean.sum())
    orders = np.asarray(act(params, obs))
    for e, (source, _) in enumerate(network.edges):
        rivals = np.exp(logits[:, network.sources == source]).sum(1)
        if source == OUTSIDE:
            expected = most / (1 + np.exp(-logits[:, e]))
            assert (orders[:, e] > 0).all()
            assert (orders[:, e] < most).all()
        elif name == "chain":
            expected = on_hand[:, source] / (1 + np.exp(-logits[:, e]))
        else:
            kept = 0 if name == "centre" else np.e
            expected = on_hand[:, source] * np.exp(logits[:, e]) / (rivals + kept)
        np.testing.assert_allclose(orders[:, e], expected, rtol=2e-3, atol=2e-3)


def test_networks_start_from_the_published_weights():
    """U(-1, 1) / sqrt(fan in), weights and biases: larger ones starve the store for ever."""
    _, params, _ = policy_of("vanilla", "two warehouses")
    scaled = []
    for layer in [*params["params"]["MLP_0"].values(), params["params"]["FanInDense_0"]]:
        kernel, bias = (np.asarray(layer["Dense_0"][name]) for name in ("kernel", "bias"))
        bound = len(kernel) ** -0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert 0.3 * bound < np.abs(bias).max() <= bound
        scaled.append(kernel.ravel() / bound)
    scaled = np.concatenate(scaled)  # a layer alone is too small: 10% is four standard errors of them all
    assert len(scaled) > 250
    assert scaled.std() == pytest.approx(1 / np.sqrt(3), rel=0.1)


# --- what else they see -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["data_driven", "graph"])
def test_what_was_drawn_the_past_and_the_calendar_matter(policy):
    env, params, act = policy_of(policy, "data", 2.0)
    obs = observations(env, (1,))[0]
    view = env.view(jnp.arange(len(obs)), env.default_params)
    for part in ("inventory", "past_demand", "calendar", "underage", "lead_time"):
        other = obs.copy()
        other[np.asarray(getattr(view, part)).astype(int).ravel()] += 3
        assert abs(act(params, other) - act(params, obs)).max() > 1e-4, part


# --- renumbering --------------------------------------------------------------------------------------------------

STORES = 4


def shop(places=range(STORES), order=None, flow_through=()):
    """Two warehouses, the second behind the first as well, and stores of which store ``i`` stands at ``places[i]``."""
    generator = np.random.default_rng(5)
    served = [(0, 0), (0, 1), (1, 1), (1, 2), (0, 3), (1, 3)]
    edges = [(OUTSIDE, 0), (OUTSIDE, 1), (0, 1), *((w, 2 + int(places[s])) for w, s in served)]
    lead_time, edge_cost = generator.integers(1, 5, len(edges)), generator.uniform(0, 1, len(edges))
    order = np.arange(len(edges)) if order is None else order
    of_stores = np.empty((4, STORES))
    of_stores[:, list(places)] = generator.uniform(1, 9, (4, STORES))
    holding, underage, mean, std = of_stores
    params = InventoryParams(
        holding=(0.3, 0.4, *holding), underage=underage, edge_cost=edge_cost[order], lead_time=lead_time[order],
        demand_mean=mean, demand_std=std, initial_periods=4,
    )  # fmt: skip
    network = Network(2 + STORES, STORES, tuple(edges[i] for i in order), 4, flow_through)
    return InventoryNetwork(network, normal(), params)


@pytest.mark.parametrize("flow_through", [(), (0,), (0, 1)])
def test_renumbering_stores_and_edges_renumbers_the_orders_of_the_graph_policy(flow_through):
    generator = np.random.default_rng(1)
    places, order = generator.permutation(STORES), generator.permutation(9)
    first, second = shop(flow_through=flow_through), shop(places, order, flow_through)
    policies = [POLICIES["graph"](env, env.default_params, sizes=(8,)) for env in (first, second)]
    params = jax.jit(policies[0].init)(KEY)
    obs = observations(first, (6,))
    stock = obs.reshape(6, 6, 4)
    moved = stock.copy()
    moved[:, 2 + places] = stock[:, 2:]
    orders, other = jax.jit(policies[0].act)(params, obs), jax.jit(policies[1].act)(params, moved.reshape(6, -1))
    assert np.asarray(orders).std(0).min() > 0
    np.testing.assert_allclose(other, orders[:, order], rtol=1e-4, atol=1e-4)


def test_a_node_that_keeps_nothing_ships_beside_one_that_keeps():
    env = shop(flow_through=(0,))
    policy = POLICIES["graph"](env, env.default_params, sizes=(8,))
    obs = observations(env, (20,))
    inventory = stock_of(env, obs)[..., 0]
    orders = jax.jit(lambda key, obs: policy.act(policy.init(key), obs))(KEY, obs)
    shipped = np.asarray(shipping(env)(np.float32(stock_of(env, obs)), orders))
    sent = [shipped[:, env.network.sources == node].sum(1) for node in range(2)]
    np.testing.assert_allclose(sent[0], inventory[:, 0], rtol=1e-4, atol=1e-4)
    assert (sent[1] <= inventory[:, 1] + 1e-4).all()
    assert (sent[1][inventory[:, 1] > 0] < inventory[inventory[:, 1] > 0, 1]).any()


def test_the_graph_policy_runs_on_more_stores_and_on_longer_chains_with_the_same_parameters(trees):
    for few, many in ((one_warehouse(3), one_warehouse(7)), (serial(), serial((1, 2, 4, 3, 2, 1), (1.0,) * 6))):
        policies = [POLICIES["graph"](env, env.default_params, sizes=(8,)) for env in (few, many)]
        trees.equal(*(jax.tree.map(jnp.shape, jax.eval_shape(policy.init, KEY)) for policy in policies))
        obs = observations(many, (4,))
        orders = jax.jit(policies[1].act)(jax.jit(policies[0].init)(KEY), obs)
        assert orders.shape == (4, len(many.network.edges))
        ships_all_that_is_asked(many, obs, orders)


def test_alike_stores_are_treated_alike_by_the_graph_policy():
    env = one_warehouse(4, symmetric=True)
    policy = POLICIES["graph"](env, env.default_params, sizes=(8,))
    obs = observations(env, (1,))[0].reshape(5, 4)
    obs[2] = obs[1]
    obs[0, 0] = 20
    orders = np.asarray(jax.jit(lambda obs: policy.act(policy.init(KEY), obs))(obs.ravel()))
    assert orders[2] == pytest.approx(orders[1], rel=1e-5)
    assert abs(orders[3] - orders[1]) > 1e-4


def test_renumbering_stores_renumbers_the_orders_of_the_symmetry_aware_policy():
    """If the context, which sees all stock in its order, is told of it: by the rows of its first layer."""
    place = np.array([2, 0, 1])
    env = env_of("warehouse")
    params, generator = env.default_params, np.random.default_rng(0)

    def moved(values, first=1):
        out = np.array(values)
        out[first + place] = np.array(values)[first:]
        return out

    other = params.replace(
        holding=moved(params.holding), lead_time=moved(params.lead_time), underage=moved(params.underage, 0),
        demand_mean=moved(params.demand_mean, 0), demand_std=moved(params.demand_std, 0),
    )  # fmt: skip
    weights = orders_of("symmetry_aware", "warehouse")[1](KEY)
    told = jax.tree.map(np.array, weights)
    layer = told["params"]["MLP_0"]["FanInDense_0"]["Dense_0"]
    assert layer["kernel"].shape == (16, 256), "the context's"
    layer["kernel"] = moved(layer["kernel"].reshape(4, 4, 256)).reshape(16, 256)
    stock = generator.uniform(0, 20, (4, 4)).astype(np.float32)
    orders = np.asarray(orders_of("symmetry_aware", "warehouse")[2](weights, stock.ravel()))
    renumbered = jax.jit(POLICIES["symmetry_aware"](env, other).act)(told, moved(stock).ravel())
    np.testing.assert_allclose(renumbered, moved(orders), rtol=1e-4)
    assert len(np.unique(orders)) == 4
    assert 0 < orders[0] < 4 * params.demand_mean.sum()


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("echelon_stock", "two warehouses"),
        ("symmetry_aware", "two warehouses"),
        ("symmetry_aware", "one store"),
    ],
)
def test_policies_that_do_not_fit_a_network_are_refused(policy, name):
    env = env_of(name)
    with pytest.raises(InvalidArgument, match=f"^policy='{policy}'"):
        POLICIES[policy](env, env.default_params)

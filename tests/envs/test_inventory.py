"""The inventory networks against a slow simulator written from the order of events, and against known optima."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.inventory import OUTSIDE, SETTINGS, InventoryNetwork, InventoryParams, Network, simulate
from jaxrl.envs.inventory.data import demand_series
from jaxrl.envs.inventory.demand import Demand, normal
from jaxrl.envs.inventory.environment import drawn_bounds
from jaxrl.envs.inventory.optimal import (
    backlogged_newsvendor,
    best_base_stock,
    best_capped_base_stock,
    clark_scarf,
    lost_sales_optimum,
    transshipment_bound,
)
from jaxrl.envs.inventory.settings import (
    many_warehouses,
    one_store_backlogged,
    one_store_lost,
    one_warehouse,
    real_store,
    retail_store,
    serial,
    transshipment,
)
from scipy import stats

from jaxrl import InvalidArgument, UserError, envs

KEY = jax.random.key(0)
LANES, PERIODS = 6, 12
RANDOM = range(12)
"""seeds of random networks"""

# --- random networks, simulated twice -----------------------------------------------------------------------------


def random_network(generator):
    """Outside suppliers and every earlier node may supply a node; edges in any order."""
    stores, first = int(generator.integers(1, 4)), int(generator.integers(0, 4))
    edges = set()
    for node in range(first + stores):
        suppliers = [OUTSIDE, *range(min(node, first))]
        chosen = generator.choice(suppliers, generator.integers(1, len(suppliers) + 1), replace=False)
        edges |= {(int(source), node) for source in chosen}
    for node in range(first):
        if not any(source == node for source, _ in edges):
            edges.add((node, int(generator.integers(node + 1, first + stores))))
    order = generator.permutation(len(edges))
    edges = tuple(sorted(edges)[i] for i in order)
    flow_through = tuple(node for node in range(first) if generator.random() < 0.3)
    return Network(first + stores, stores, edges, int(generator.integers(2, 6)), flow_through)


def random_env(seed):
    generator = np.random.default_rng(seed)
    network = random_network(generator)
    n, stores, edges = network.nodes, network.stores, len(network.edges)
    params = InventoryParams(
        holding=generator.uniform(0, 2, n),
        underage=generator.uniform(0, 9, stores),
        edge_cost=generator.uniform(0, 1, edges),
        lead_time=generator.integers(1, network.pipeline + 1, edges),
        demand_mean=generator.uniform(1, 6, stores),
        demand_std=generator.uniform(0.1, 2, stores),
        demand_correlation=0.3,
        initial_periods=generator.integers(0, network.pipeline + 1, n),
    )
    lost, profit, window = seed % 2 == 0, seed % 3 == 0, seed % 4
    return InventoryNetwork(network, normal(clipped=lost), params, lost=lost, profit=profit, window=window, lean=False)


@functools.cache
def random_run(seed):
    """An environment, the lead times, orders and demand of some lanes, and what came of them, time first."""
    env = random_env(seed)
    generator = np.random.default_rng(1000 + seed)
    edges, stores = len(env.network.edges), env.network.stores
    lead_times = generator.integers(1, env.network.pipeline + 1, (LANES, edges)).astype(np.int32)
    orders = generator.normal(2, 4, (PERIODS, LANES, edges)).astype(np.float32)
    demand = generator.normal(3, 2, (PERIODS, LANES, stores)).astype(np.float32)
    demand = np.maximum(demand, 0) if env.lost else demand

    @jax.jit
    def run(keys, lead_times, orders, demand):
        def lane(key, lead_time, orders, demand):
            params = env.default_params.replace(lead_time=lead_time)
            obs, start = env.reset_env(key, params)

            def period(state, inputs):
                obs, state, reward = env.advance(state, *inputs, params)
                return state, (obs, state, reward)

            return (obs, start), jax.lax.scan(period, start, (orders, demand))[1]

        return jax.vmap(lane, in_axes=(0, 0, 1, 1), out_axes=(0, 1))(keys, lead_times, orders, demand)

    start, happened = run(jax.random.split(jax.random.key(seed), LANES), lead_times, orders, demand)
    return env, lead_times, orders, demand, *jax.device_get((start, happened))


def reference_period(env, inventory, orders, demand, lead_time):
    """The next inventory ``[n, P]``, shipments and cost of one period, in double precision and plain loops."""
    network = env.network
    holding, underage, edge_cost = (
        np.float64(getattr(env.default_params, name)) for name in ("holding", "underage", "edge_cost")
    )
    first, (n, slots) = network.nodes - network.stores, inventory.shape
    shipments = [max(0.0, order) for order in orders]
    for node in range(first):
        leaving = [e for e, (source, _) in enumerate(network.edges) if source == node]
        on_hand, asked = max(inventory[node, 0], 0.0), sum(shipments[e] for e in leaving)
        if asked > on_hand or (node in network.flow_through and asked > 0):
            for e in leaving:
                shipments[e] *= on_hand / asked
    post, cost = inventory[:, 0].copy(), 0.0
    for e, (source, _) in enumerate(network.edges):
        cost += edge_cost[e] * shipments[e]
        if source != OUTSIDE:
            post[source] -= shipments[e]
    for store in range(network.stores):
        node = first + store
        stock = post[node]
        post[node] -= demand[store]
        cost += -underage[store] * min(stock, demand[store]) if env.profit else underage[store] * max(-post[node], 0)
    cost += sum(holding[node] * max(post[node], 0.0) for node in range(n))
    if env.lost:
        for node in range(first, n):
            post[node] = max(post[node], 0.0)
    new = np.zeros((n, slots))
    for node in range(n):
        new[node, 0] = post[node] + inventory[node, 1]
        for slot in range(1, slots - 1):
            new[node, slot] = inventory[node, slot + 1]
    for e, (_, target) in enumerate(network.edges):
        new[target, lead_time[e] - 1] += shipments[e]
    return new, np.array(shipments), cost


def test_the_random_networks_have_everything():
    """Or what follows would not test much."""
    all_envs = [random_env(seed) for seed in RANDOM]
    networks = [env.network for env in all_envs]
    assert any(network.flow_through for network in networks)
    assert any(len(network.suppliers) == len(network.edges) for network in networks), "no warehouse"
    assert any(len(network.edges) > network.nodes for network in networks), "several suppliers of one node"
    assert any(source != OUTSIDE and target < network.first_store for network in networks
               for source, target in network.edges), "warehouses behind warehouses"  # fmt: skip
    assert len({(env.lost, env.profit) for env in all_envs}) == 4
    assert len({env.window for env in all_envs}) == 4


@pytest.mark.parametrize("seed", RANDOM)
def test_advance_is_the_order_of_events(seed):
    env, lead_times, orders, demand, (first_obs, start), (obs, states, reward) = random_run(seed)
    for lane in range(LANES):
        inventory = np.float64(start.inventory[lane])
        past = [np.float64(start.past_demand[lane])[:, w] for w in range(env.window)]
        for t in range(PERIODS):
            inventory, shipments, cost = reference_period(
                env, inventory, np.float64(orders[t, lane]), np.float64(demand[t, lane]), lead_times[lane]
            )
            past = [*past, demand[t, lane]][1:] if env.window else []
            close = {"rtol": 1e-4, "atol": 2e-4}
            np.testing.assert_allclose(states.inventory[t, lane], inventory, **close)
            np.testing.assert_allclose(states.last.shipments[t, lane], shipments, **close)
            np.testing.assert_array_equal(states.last.demand[t, lane], demand[t, lane])
            np.testing.assert_allclose(states.last.cost[t, lane], cost, **close)
            np.testing.assert_allclose(reward[t, lane], -cost / env.network.stores, **close)
            seen = [states.inventory[t, lane].ravel(), *([np.stack(past, 1).ravel()] if past else [])]
            np.testing.assert_array_equal(obs[t, lane], np.concatenate(seen))
        assert states.time[-1, lane] == PERIODS
        expected = np.concatenate([start.inventory[lane].ravel(), start.past_demand[lane].ravel()])
        np.testing.assert_array_equal(first_obs[lane], expected)


@pytest.mark.parametrize("seed", RANDOM)
def test_units_are_conserved(seed):
    """On hand, in transit and sold are what there was and what came from outside."""
    env, _, _, demand, (_, start), (_, states, _) = random_run(seed)
    network = env.network
    before = np.concatenate([start.inventory[None], states.inventory])[:-1, :, network.first_store :, 0]
    sold = np.minimum(before, demand) if env.lost else demand
    bought = states.last.shipments[..., network.suppliers].sum((0, 2))
    total = states.inventory[-1].sum((1, 2)) + sold.sum((0, 2))
    np.testing.assert_allclose(total, start.inventory.sum((1, 2)) + bought, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("seed", RANDOM)
def test_no_node_ships_more_than_it_has_and_a_centre_ships_all(seed):
    env, _, orders, _, (_, start), (_, states, _) = random_run(seed)
    network = env.network
    before = np.concatenate([start.inventory[None], states.inventory])[:-1, ..., 0]
    shipments = states.last.shipments
    assert (shipments >= 0).all()
    assert (shipments[..., network.suppliers] == np.maximum(orders, 0)[..., network.suppliers]).all()
    for node in range(network.first_store):
        leaving = network.sources == node
        shipped, asked = shipments[..., leaving].sum(-1), np.maximum(orders[..., leaving], 0).sum(-1)
        assert (shipped <= np.maximum(before[..., node], 0) * (1 + 1e-6) + 1e-6).all()
        everything = before[..., node] if node in network.flow_through else np.minimum(before[..., node], asked)
        np.testing.assert_allclose(shipped, np.where(asked > 0, everything, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", RANDOM)
def test_stock_of_stores_is_negative_only_where_demand_waits(seed):
    env, *_, (_, states, _) = random_run(seed)
    at_stores = states.inventory[..., env.network.first_store :, :]
    assert (at_stores < 0).any() != env.lost
    assert (states.inventory[..., 1:] >= 0).all(), "in transit"


# --- single periods -----------------------------------------------------------------------------------------------


def state_with(env, inventory):
    state = env.reset_env(KEY, env.default_params)[1]
    return state.replace(inventory=jnp.asarray(inventory, jnp.float32))


@pytest.mark.parametrize("lead_time", [1, 2, 4])
def test_an_order_serves_the_demand_from_its_lead_time_on(lead_time):
    env = one_store_lost(lead_time=lead_time, underage=3.0)
    state, costs = state_with(env, jnp.zeros((1, 4))), []
    for t in range(6):
        order = jnp.array([7.0 if t == 0 else 0.0])
        _, state, reward = env.advance(state, order, jnp.array([2.0]), env.default_params)
        costs.append(-float(reward))
    unmet, left = [6.0] * lead_time, [5.0, 3.0, 1.0, 3.0]
    assert costs == (unmet + left + [6.0] * 6)[:6], "three units of 7 are left after demand of 2, 2, 2"


def test_a_large_stock_that_costs_nothing_decouples_the_stores():
    env = one_warehouse(stores=4, warehouse_holding=0.0)
    params, generator = env.default_params, np.random.default_rng(0)
    inventory = generator.uniform(0, 9, (5, 4)).astype(np.float32)
    inventory[0] = 1e5
    orders, demand = generator.uniform(0, 9, 5), generator.uniform(0, 9, 4)
    _, after, reward = env.advance(state_with(env, inventory), orders, jnp.float32(demand), params)
    rewards = []
    for store in range(4):
        alone = one_store_lost(
            lead_time=int(params.lead_time[1 + store]),
            underage=float(params.underage[store]),
            holding=float(params.holding[1 + store]),
        )
        start = state_with(alone, inventory[1 + store][None])
        _, own, own_reward = alone.advance(start, orders[1 + store], jnp.float32(demand[[store]]), alone.default_params)
        np.testing.assert_array_equal(after.inventory[1 + store], own.inventory[0])
        rewards.append(own_reward)
    assert reward == pytest.approx(np.mean(rewards), rel=1e-6)


def test_profit_is_the_price_of_what_is_sold_less_holding():
    series = demand_series(np.full((1, 1, 20), 4.0), history=2, warm_up=1)
    env = real_store(series, holding=0.5, underage=(10.0, 10.0), lead_time=(1, 1))
    state = state_with(env, [[6.0, 0.0, 0.0, 0.0]])
    _, state, reward = env.advance(state, jnp.zeros(1), jnp.array([4.0]), env.default_params)
    assert reward == 40 - 0.5 * 2
    _, state, reward = env.advance(state, jnp.zeros(1), jnp.array([4.0]), env.default_params)
    assert reward == 20, "two units left to sell, and no penalty for the two asked for in vain"
    assert state.inventory[0, 0] == 0


def test_edge_costs_are_of_what_is_shipped_from_outside_and_inside():
    params = InventoryParams(
        holding=0.0, underage=0.0, edge_cost=(2.0, 5.0), lead_time=1, demand_mean=1.0, demand_std=0.0, initial_periods=0
    )
    env = InventoryNetwork(Network(2, 1, ((OUTSIDE, 0), (0, 1))), normal(), params)
    reward = env.advance(state_with(env, [[3.0, 0], [0, 0]]), jnp.array([4.0, 10.0]), jnp.zeros(1), env.default_params)
    assert reward[2] == -(2 * 4 + 5 * 3)


# --- episodes -----------------------------------------------------------------------------------------------------

TAGGED = demand_series(
    1000.0 * np.arange(3)[:, None, None] + np.arange(60.0),
    calendar=np.stack([np.arange(60.0), -np.arange(60.0)], 1),
    history=4,
    warm_up=2,
)
"""every entry tells which one it is"""


@functools.cache
def setting(env_id):
    """A registered environment; the data of retail stores is made for a few products only."""
    return envs.make(env_id, **({"products": 8} if "retail" in env_id else {}))


def test_the_contract_holds_with_windows_drawn_parameters_and_the_last_period():
    """``test_contract.py`` has it for all that are registered."""
    env = InventoryNetwork(
        Network(4, 2, ((OUTSIDE, 0), (OUTSIDE, 1), (0, 2), (1, 2), (1, 3)), 3, flow_through=(0,)),
        normal(),
        InventoryParams(
            holding=1.0, underage=1.0, edge_cost=0.0, lead_time=1, demand_mean=3.0, demand_std=1.0, initial_periods=2,
            **drawn_bounds(underage=(1.0, 2.0), lead_time=(1, 3)),
        ),
        window=3,
        lean=False,
    )  # fmt: skip
    envs.check(env)


@pytest.mark.parametrize("env_id", [f"inventory/{name}-v0" for name in ("one-store-lost", "serial", "retail-network")])
def test_a_step_is_an_advance_with_the_demand_that_its_key_draws(env_id, trees):
    env = setting(env_id)
    params = env.default_params

    @jax.jit
    def both(key, action):
        _, state = env.reset_env(key, params)
        demand = env.demand.draw(key, state.demand, state.time, params)
        stepped = env.step_env(key, state, action, params)
        assert demand.shape == (env.network.stores,)
        return stepped, env.advance(state, action, demand, params)

    (*stepped, terminated, info), advanced = both(KEY, 3 * jnp.ones(env.num_actions))
    trees.equal(tuple(stepped), advanced)
    assert not terminated
    assert info == {}


def test_initial_stock_is_uniform_in_the_slots_that_start_with_some():
    env = many_warehouses()
    params = env.default_params.replace(initial_periods=jnp.array([1.0, 0, 2, 0, *[4] * 8]))
    reset = jax.jit(jax.vmap(lambda key: env.reset_env(key, params)[1].inventory))
    stock = np.asarray(reset(jax.random.split(KEY, 4000)))
    means = np.asarray(params.demand_mean)
    served = {0: means[[2, 3, 4, 6, 7, 8]].sum(), 2: means[0], 4: means[2]}
    for node, most in served.items():
        slots = int(params.initial_periods[node])
        assert stats.kstest(stock[:, node, :slots].ravel() / most, "uniform").pvalue > 1e-3
        assert (stock[:, node, slots:] == 0).all()
    assert (stock[:, [1, 3]] == 0).all()
    correlation = np.corrcoef(stock.reshape(4000, -1)[:, stock.reshape(4000, -1).std(0) > 0].T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / np.sqrt(4000), "slots are independent"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_replayed_demand_and_what_is_seen_before_it_are_the_data(split):
    env = real_store(TAGGED, split, lead_time=(1, 3), lean=False)
    params, (begin, end) = env.default_params, TAGGED.periods(split)
    length = end - begin

    @jax.jit
    def episodes(keys):
        obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(keys, params)

        def step(carry, _):
            obs, state = carry
            stepped = jax.vmap(env.step_env, in_axes=(0, 0, None, None))(keys, state, jnp.ones(1), params)
            return stepped[:2], (env.view(obs, params), stepped[1], env.is_truncated(stepped[1], params))

        return jax.lax.scan(step, (obs, state), length=length)[1]

    views, states, truncated = jax.device_get(episodes(jax.random.split(KEY, 24)))
    assert set(np.unique(states.demand)) == {0, 1, 2}
    assert (states.demand == states.demand[0]).all(), "one product an episode"
    np.testing.assert_array_equal(truncated, (np.arange(length) == length - 1)[:, None].repeat(24, 1))
    for lane, product in enumerate(states.demand[0]):
        for t in range(length):
            now = begin + t
            np.testing.assert_array_equal(states.last.demand[t, lane], TAGGED.sales[product, :, now])
            np.testing.assert_array_equal(views.past_demand[t, lane], TAGGED.sales[product, :, now - 4 : now])
            np.testing.assert_array_equal(views.calendar[t, lane], TAGGED.calendar[now])


def test_recorded_demand_is_a_leaf_of_the_parameters():
    """So that one program serves other data: here each product alone, scaled up."""
    env = real_store(TAGGED, lead_time=(1, 3))
    traced = jax.jit(lambda params: env.draw_noise(KEY, env.reset_env(KEY, params)[1], params, 5))
    begin = TAGGED.periods("train")[0]
    for product in range(3):
        sales = 2 * TAGGED.sales[[product]]
        demand = traced(env.default_params.replace(sales=jnp.asarray(sales)))
        np.testing.assert_array_equal(demand, sales[0, :, begin : begin + 5].T)
    assert traced._cache_size() == 1


@pytest.mark.parametrize("other", [{"sales": TAGGED.sales[..., 1:]}, {"sales": None}, {"calendar": np.zeros((3, 1))}])
def test_recorded_demand_of_another_shape_is_refused(other):
    env = real_store(TAGGED, lead_time=(1, 3))
    with pytest.raises(InvalidArgument, match=f"the shape of {next(iter(other))}"):
        env.check_params(env.default_params.replace(**other))


def drawing(stores=2):
    network = Network(stores + 1, stores, ((OUTSIDE, 0), *((0, 1 + store) for store in range(stores))), 4)
    params = InventoryParams(
        holding=1.0, underage=1.0, edge_cost=0.0, lead_time=1, demand_mean=3.0, demand_std=1.0, initial_periods=2,
        **drawn_bounds(underage=((1.0, 5.0), (2.0, 5.0)), lead_time=((1, 2, 1), (3, 2, 4))),
    )  # fmt: skip
    return InventoryNetwork(network, normal(), params, window=2)


def test_drawn_parameters_are_uniform_within_their_bounds_and_lead_times_whole():
    env = drawing()
    reset = jax.jit(jax.vmap(lambda key: env.reset_env(key, env.default_params)[1].drawn))
    drawn = reset(jax.random.split(KEY, 3000))
    underage, lead_time = np.asarray(drawn["underage"]), np.asarray(drawn["lead_time"])
    assert stats.kstest(underage[:, 0] - 1, "uniform").pvalue > 1e-3
    assert (underage[:, 1] == 5).all()
    assert lead_time.dtype.kind == "i"
    for edge, (low, high) in enumerate([(1, 3), (2, 2), (1, 4)]):
        counts = np.bincount(lead_time[:, edge], minlength=6)
        assert counts[low : high + 1].sum() == 3000
        assert high == low or stats.chisquare(counts[low : high + 1]).pvalue > 1e-3
    assert abs(np.corrcoef(lead_time[:, 0], lead_time[:, 2])[0, 1]) < 4 / np.sqrt(3000)


def test_what_is_drawn_does_not_depend_on_how_the_parameters_arrive(trees):
    """As constants of the program, in the order that they were given in, or traced, in the order of their names."""
    env = drawing()
    constant = env.reset_env(KEY, env.default_params)
    trees.equal(constant, jax.jit(env.reset_env)(KEY, env.default_params))


def test_what_is_drawn_is_what_counts():
    env = drawing()
    _, state = env.reset_env(KEY, env.default_params)
    state = state.replace(
        inventory=jnp.zeros((3, 4)).at[0, 0].set(99),
        drawn={"underage": jnp.array([2.0, 3.0]), "lead_time": jnp.array([3, 2, 4])},
    )
    _, after, reward = env.advance(state, jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 100.0]), env.default_params)
    assert reward == -(99 - 6 + 2 * 10 + 3 * 100) / 2
    np.testing.assert_array_equal(after.inventory, [[93, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 4]])


@pytest.mark.parametrize("make", [drawing, lambda: real_store(TAGGED, lead_time=(1, 3)), many_warehouses])
def test_a_view_undoes_an_observation(make):
    env = make()
    params = env.default_params

    def seen(leading, key):
        reset = env.reset_env
        for _ in leading:
            reset = jax.vmap(reset, in_axes=(0, None))
        obs, state = reset(jax.random.split(key, leading) if leading else key, params)
        return env.view(obs, params), state

    # The key is an argument: XLA would take long to fold a program of constants.
    for leading, (view, state) in jax.jit(lambda key: {shape: seen(shape, key) for shape in ((), (2, 3))})(KEY).items():
        np.testing.assert_array_equal(view.inventory, state.inventory)
        np.testing.assert_array_equal(view.past_demand, state.past_demand)
        assert view.past_demand.shape == (*leading, env.network.stores, env.window)
        for name in ("underage", "lead_time"):
            np.testing.assert_array_equal(getattr(view, name), state.drawn.get(name, getattr(params, name)))
        assert view.calendar.shape == (*leading, env.demand.features)
        for name in ("holding", "demand_mean", "demand_std"):
            np.testing.assert_array_equal(getattr(view, name), getattr(params, name))


def test_the_paper_s_warehouses_serve_its_stores():
    edges = dict(zip(setting("inventory/many-warehouses-v0").network.edges,
                     setting("inventory/many-warehouses-v0").default_params.lead_time.tolist()))  # fmt: skip
    assert [store for store in range(10) if (0, 2 + store) in edges] == [2, 3, 4, 6, 7, 8]
    assert [store for store in range(10) if (1, 2 + store) not in edges] == [6]
    assert [edges[1, 2 + store] for store in (0, 1, 2, 3, 4, 5, 7, 8, 9)] == [2, 1, 2, 2, 1, 2, 2, 2, 2]
    assert [edges[0, 2 + store] for store in (2, 3, 4, 6, 7, 8)] == [6, 6, 6, 6, 5, 6]

    env = setting("inventory/retail-network-v0")
    edges = dict(zip(env.network.edges, env.default_params.lead_time.tolist()))
    assert [edges[OUTSIDE, warehouse] for warehouse in range(3)] == [3, 3, 3]
    for store in range(21):
        expected = (
            None if store in (3, 14) else 6 if store <= 4 or 14 <= store <= 18 else 5,
            None if store in (5, *range(10, 14)) else 2 if store in (*range(5, 8), *range(9, 14), 20) else 1,
            None if store == 11 else 4 if store in (4, 19) else 6 if store in (5, 13) else 5,
        )
        assert tuple(edges.get((warehouse, 3 + store)) for warehouse in range(3)) == expected
    np.testing.assert_allclose(env.default_params.edge_cost[:3], [0.5, 1.5, 0.7])
    assert not env.default_params.edge_cost[3:].any()


def test_the_name_is_one_that_makes_the_environment():
    """A run's directory holds it, for ``load_run``."""
    for env_id in SETTINGS:
        assert setting(env_id).name == env_id


# --- demand -------------------------------------------------------------------------------------------------------

DRAWS = 200_000


def draws_of(env, count=DRAWS):
    _, state = env.reset_env(KEY, env.default_params)
    return np.float64(jax.jit(lambda key: env.draw_noise(key, state, env.default_params, count))(KEY))


@pytest.mark.parametrize("mean", [0.0, 0.3, 5.0, 40.0])
def test_poisson_demand_has_the_probabilities_of_its_mean(mean):
    demand = draws_of(one_store_lost(demand_mean=mean))[:, 0]
    assert (demand == np.floor(demand)).all()
    if mean == 0:
        assert (demand == 0).all()
        return
    assert abs(demand.mean() - mean) < 4 * np.sqrt(mean / DRAWS)
    values = np.arange(stats.poisson.ppf(1e-3, mean), stats.poisson.ppf(1 - 1e-3, mean))
    counts = [(demand < values[0]).sum(), *((demand == v).sum() for v in values), (demand > values[-1]).sum()]
    expected = [stats.poisson.cdf(values[0] - 1, mean), *stats.poisson.pmf(values, mean),
                stats.poisson.sf(values[-1], mean)]  # fmt: skip
    counts, expected = zip(*((c, e) for c, e in zip(counts, expected) if e > 0))
    assert stats.chisquare(counts, DRAWS * np.array(expected) / np.sum(expected)).pvalue > 1e-3
    assert abs(np.corrcoef(demand[1:], demand[:-1])[0, 1]) < 4 / np.sqrt(DRAWS)


@pytest.mark.parametrize("mean", [0.3, 2.0, 5.0, 7.3, 40.0, 200.0])
def test_the_largest_uniform_number_draws_no_absurd_poisson_demand(mean, monkeypatch):
    """Rounded probabilities need not add up to 1, and what is missing must not go to the last count."""
    env = one_store_lost(demand_mean=mean)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, np.nextafter(np.float32(1), 0)))
    drawn = env.demand.draw(KEY, (), jnp.int32(0), env.default_params)
    assert drawn[0] <= stats.poisson.isf(1e-9, mean)


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_normal_demand_has_the_moments_of_its_parameters(clipped, correlation):
    mean, std = np.array([3.0, 1.0, 6.0]), np.array([1.0, 1.5, 2.0])
    params = InventoryParams(
        holding=1.0, underage=1.0, edge_cost=0.0, lead_time=1, demand_mean=mean, demand_std=std,
        demand_correlation=correlation, initial_periods=0,
    )  # fmt: skip
    env = InventoryNetwork(Network(3, 3, tuple((OUTSIDE, store) for store in range(3))), normal(clipped), params)
    demand = draws_of(env)
    if clipped:
        assert (demand.min(0) == 0).all()
        expected = mean * stats.norm.cdf(mean / std) + std * stats.norm.pdf(mean / std)
        none = stats.norm.cdf(-mean / std)
        assert (np.abs((demand == 0).mean(0) - none) < 4 * np.sqrt(none / DRAWS)).all()
    else:
        expected = mean
        assert (np.abs(demand.std(0) - std) < 4 * std / np.sqrt(2 * DRAWS)).all()
        matrix = np.corrcoef(demand.T)
        error = max(4 * (1 - correlation**2) / np.sqrt(DRAWS), 1e-5)
        assert (np.abs(matrix - np.where(np.eye(3), 1, correlation)) < error).all()
    assert (np.abs(demand.mean(0) - expected) < 4 * demand.std(0) / np.sqrt(DRAWS)).all()
    sums = demand.sum(1)
    assert abs(np.corrcoef(sums[1:], sums[:-1])[0, 1]) < 4 / np.sqrt(DRAWS)


@pytest.mark.parametrize("factory", [one_store_lost, one_store_backlogged, serial])
def test_more_slots_leave_the_start_as_it_is(factory):
    """A store starts with stock in as many slots as its lead times need, however many there are."""
    filled = []
    for pipeline in (None, 20):
        env = factory(pipeline=pipeline)
        inventory = env.reset_env(KEY, env.default_params)[1].inventory
        filled.append((np.asarray(inventory) > 0).sum(axis=-1).tolist())
    assert filled[0] == filled[1] == [0] * (len(filled[0]) - 1) + [4]


# --- simulate -----------------------------------------------------------------------------------------------------


def patterned(**settings):
    """A store whose demand is a function of time and of the episode's number within 0 .. 4."""
    demand = Demand(
        lambda key, params: jax.random.randint(key, (), 0, 5),
        lambda key, state, times, params: ((7 * times + 3 * state) % 11)[..., None].astype(jnp.float32),
    )
    params = InventoryParams(
        holding=1.0, underage=4.0, edge_cost=0.5, lead_time=2, demand_mean=5.0, demand_std=1.0, initial_periods=0
    )
    return InventoryNetwork(Network(1, 1, ((OUTSIDE, 0),), 3), demand, params, **settings)


def patterned_costs(number, periods, rounded):
    """The costs of a base-stock policy of level 17.6, period by period."""
    on_hand, underway, costs = 0.0, 0.0, []
    for t in range(periods):
        order = max(17.6 - on_hand - underway, 0.0)
        order = round(order) if rounded else order
        left = on_hand - (7 * t + 3 * number) % 11
        costs.append(max(left, 0.0) + 4 * max(-left, 0.0) + 0.5 * order)
        on_hand, underway = max(left, 0.0) + underway, order
    return np.array(costs)


@pytest.mark.parametrize(
    ("periods", "ignore", "rounded"), [(1, 0, False), (5, 4, True), (128, 0, False), (129, 77, False), (300, 130, True)]
)
def test_simulate_is_the_sum_over_periods_in_blocks_or_not(periods, ignore, rounded):
    env, keys = patterned(), jax.random.split(KEY, 16)
    costs = jax.jit(
        lambda keys: simulate(
            env,
            lambda obs: jnp.maximum(17.6 - obs.sum(-1, keepdims=True), 0),
            keys,
            periods,
            ignore=ignore,
            round_orders=rounded,
        )
    )(keys)
    expected = [patterned_costs(number, periods, rounded)[ignore:].mean() for number in range(5)]
    distance = np.abs(np.asarray(costs)[:, None] - expected)
    assert (distance.min(1) < 1e-4 * np.abs(expected).max()).all()
    assert len(np.unique(distance.argmin(1))) > 1, "scenarios start by their keys"


def counting_demand(env):
    """The mean demand of scenarios: what it costs to have nothing and order nothing, at a price of 1."""
    params = env.default_params.replace(
        underage=jnp.ones(1), holding=jnp.zeros(1), initial_periods=jnp.zeros(1), edge_cost=jnp.zeros(1)
    )
    policy = lambda obs: jnp.zeros((len(obs), 1))  # noqa: E731
    return jax.jit(lambda keys, periods: simulate(env, policy, keys, periods, params), static_argnums=1)


def test_blocks_of_demand_are_independent():
    """Else the deviation of their mean would be larger by the root of the number of blocks, three."""
    env, count, periods = one_store_lost(pipeline=4), 4000, 300
    means = np.asarray(counting_demand(env)(jax.random.split(KEY, count), periods))
    assert abs(means.mean() - 5) < 4 * np.sqrt(5 / (count * periods))
    variance = 5 / periods
    assert abs(means.var() - variance) < 4 * variance * np.sqrt(2 / count)


def test_a_scenario_is_its_key():
    env, keys = one_warehouse(stores=2), jax.random.split(KEY, 6)
    cost = jax.jit(lambda keys: simulate(env, lambda obs: jnp.full((*obs.shape[:-1], 3), 5.0), keys, 7))
    np.testing.assert_allclose(cost(keys)[2:4], cost(keys[2:4]), rtol=1e-6)
    assert len(np.unique(cost(keys))) == 6


def test_with_no_price_for_what_is_missing_no_order_is_best():
    env = one_store_lost(lead_time=2, underage=0.0)
    keys = jax.random.split(KEY, 64)

    @jax.jit
    def cost(level):
        return simulate(env, lambda obs: jnp.maximum(level - obs.sum(-1, keepdims=True), 0), keys, 40).mean()

    costs = [float(cost(level)) for level in (0.0, 5.0, 10.0, 20.0, 40.0)]
    assert sorted(set(costs)) == costs, "costs rise with the level"


def test_without_orders_and_a_price_only_what_is_left_costs():
    env = one_store_lost(underage=0.0, holding=2.0)
    state, costs = state_with(env, [[10.0, 4.0, 3.0, 0.0]]), []
    for _ in range(5):
        _, state, reward = env.advance(state, jnp.zeros(1), jnp.array([5.0]), env.default_params)
        costs.append(-float(reward))
    assert costs == [10.0, 8.0, 4.0, 0.0, 0.0]


@functools.cache
def levelled(lost):
    """``(levels[S], underage) -> cost[S]`` of base-stock policies, with lost demand or not and the same traces."""
    env = InventoryNetwork(
        Network(1, 1, ((OUTSIDE, 0),), 2),
        normal(),
        InventoryParams(
            holding=1.0, underage=1.0, edge_cost=0.0, lead_time=2, demand_mean=5.0, demand_std=1.6, initial_periods=0
        ),
        lost=lost,
    )
    keys = jax.random.split(KEY, 128)

    @jax.jit
    def cost(levels, underage):
        params = env.default_params.replace(underage=underage[None])

        def one(level):
            return simulate(
                env, lambda obs: jnp.maximum(level - obs.sum(-1, keepdims=True), 0), keys, 150, params, ignore=30
            ).mean()

        return jax.vmap(one)(levels)

    return cost


def test_lost_demand_approaches_waiting_demand_from_below_as_it_gets_dear():
    levels = jnp.linspace(12.0, 26.0, 15)
    ratios = []
    for price in (4.0, 19.0, 99.0, 999.0):
        lost, waiting = (levelled(kind)(levels, jnp.float32(price)) for kind in (True, False))
        ratios.append(float(lost.min() / waiting.min()))
        at = int(waiting.argmin())
        assert lost[at] <= waiting[at] + 1e-4, "at the level that is best for waiting demand"
    assert sorted(ratios) == ratios
    assert ratios[0] < 0.9
    assert 0.97 < ratios[-1] <= 1


# --- known optima -------------------------------------------------------------------------------------------------


def agrees(costs, expected, precision):
    """The mean of scenarios is what is expected within four standard errors, which are small."""
    costs = np.float64(costs)
    error = costs.std() / np.sqrt(len(costs))
    assert 4 * error < precision * expected, "the test could hardly fail"
    assert abs(costs.mean() - expected) < 4 * error, (costs.mean(), expected, error)


@pytest.fixture(scope="module")
def lost_store():
    """``(lead time, underage, level, cap) -> cost[B]`` of a capped base-stock policy in whole units."""
    env, keys = one_store_lost(pipeline=4), jax.random.split(KEY, 3000)

    @jax.jit
    def cost(lead_time, underage, level, cap):
        params = env.default_params.replace(
            lead_time=jnp.full(1, lead_time, jnp.int32), underage=jnp.full(1, underage, jnp.float32)
        )
        return simulate(
            env,
            lambda obs: jnp.clip(level - obs.sum(-1, keepdims=True), 0, cap),
            keys,
            400,
            params,
            ignore=50,
            round_orders=True,
        )

    return cost


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 4.0), (1, 39.0), (2, 9.0), (3, 4.0), (4, 19.0)])
def test_best_base_stock_costs_what_was_computed(lost_store, lead_time, underage):
    if lead_time == 4:
        cost, level = 9.2319, 31  # takes seconds to compute
    else:
        cost, level = best_base_stock(lead_time, 5.0, underage)
    agrees(lost_store(lead_time, underage, float(level), 1e6), cost, 0.02)


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 9.0), (2, 4.0), (2, 39.0)])
def test_best_capped_base_stock_costs_what_was_computed(lost_store, lead_time, underage):
    cost, level, cap = best_capped_base_stock(lead_time, 5.0, underage)
    agrees(lost_store(lead_time, underage, float(level), float(cap)), cost, 0.02)


@pytest.mark.parametrize("lead_time", [1, 3])
def test_the_optimal_policy_of_lost_demand_costs_what_was_computed(lead_time):
    optimum = lost_sales_optimum(lead_time, 5.0, 9.0)
    env, keys = one_store_lost(lead_time=lead_time, underage=9.0), jax.random.split(KEY, 3000)
    policy = lambda obs: optimum.order(obs)[..., None]  # noqa: E731
    costs = jax.jit(lambda keys: simulate(env, policy, keys, 400, ignore=50, round_orders=True))(keys)
    agrees(costs, optimum.cost, 0.02)


@pytest.fixture(scope="module")
def backlogged_store():
    """``(lead time, underage, level) -> cost[B]`` of a base-stock policy where demand waits."""
    env, keys = one_store_backlogged(lead_time=10), jax.random.split(KEY, 3000)

    @jax.jit
    def cost(lead_time, underage, level):
        params = env.default_params.replace(
            lead_time=jnp.full(1, lead_time, jnp.int32), underage=jnp.full(1, underage, jnp.float32)
        )
        return simulate(
            env, lambda obs: jnp.maximum(level - obs.sum(-1, keepdims=True), 0), keys, 400, params, ignore=50
        )

    return cost


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 4.0), (4, 9.0), (4, 39.0), (10, 19.0)])
def test_the_newsvendors_level_costs_what_was_computed_where_demand_waits(backlogged_store, lead_time, underage):
    cost, level = backlogged_newsvendor(lead_time, 5.0, 1.6, underage)
    agrees(backlogged_store(lead_time, underage, level), cost, 0.02)


@pytest.fixture(scope="module")
def chain():
    """``(lead time of the last node, underage, echelon levels[4]) -> cost[B]``."""
    env, keys = serial(), jax.random.split(KEY, 2000)

    @jax.jit
    def cost(lead_time, underage, levels):
        params = env.default_params.replace(
            lead_time=env.default_params.lead_time.at[3].set(lead_time), underage=jnp.full(1, underage, jnp.float32)
        )

        def policy(obs):
            stock = obs.reshape(*obs.shape[:-1], 4, 4).sum(-1)
            echelon = jnp.cumsum(stock[..., ::-1], -1)[..., ::-1]
            return jnp.maximum(levels - echelon, 0)

        return simulate(env, policy, keys, 400, params, ignore=60)

    return cost


@pytest.mark.parametrize(("lead_time", "underage"), [(1, 39.0), (2, 4.0), (4, 9.0)])
def test_clark_and_scarfs_levels_cost_what_was_computed(chain, lead_time, underage):
    cost, levels = clark_scarf((2, 4, 3, lead_time), (0.1, 0.2, 0.5, 1.0), 5.0, 2.0, underage)
    agrees(chain(lead_time, underage, jnp.float32(levels)), cost, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("stores", "lead_time", "correlation", "underage"), [(5, 2, 0.5, 4.0), (3, 6, 0.0, 9.0)])
def test_a_balanced_centre_costs_little_more_than_the_lower_bound(stores, lead_time, correlation, underage):
    env = transshipment(stores, lead_time, underage, correlation)
    params = env.default_params
    means, stds = np.float64(params.demand_mean), np.float64(params.demand_std)
    bound = transshipment_bound(means, stds, correlation, 3, lead_time, underage)

    def policy(obs):
        stock = obs.reshape(*obs.shape[:-1], env.network.nodes, -1)
        position, centre = stock[..., 1:, :].sum(-1), stock[..., :1, 0]
        # to the same risk everywhere: shares that bring all stores to one number of deviations above their mean demand
        surplus = position - (lead_time + 1) * means
        common = (surplus.sum(-1, keepdims=True) + centre) / stds.sum()
        ship = jnp.maximum(common * stds - surplus, 0)
        order = jnp.maximum(bound.level - stock.sum((-1, -2))[..., None], 0)
        return jnp.concatenate([order, ship], -1)

    costs = jax.jit(lambda keys: simulate(env, policy, keys, 1000, ignore=100))(jax.random.split(KEY, 2000))
    costs = np.float64(costs)
    error = costs.std() / np.sqrt(len(costs))
    assert bound.cost_per_store - 4 * error < costs.mean() < 1.01 * bound.cost_per_store + 4 * error


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("nodes", (0, 0, ())),
        ("stores", (2, 0, ((OUTSIDE, 0), (0, 1)))),
        ("stores", (1, 2, ((OUTSIDE, 0),))),
        ("pipeline", (1, 1, ((OUTSIDE, 0),), 1)),
        ("edges", (1, 1, ())),  # no supplier
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 2)))),  # no such node
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 1), (-2, 1)))),
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 1), (0, OUTSIDE)))),
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 1), (1, 0)))),  # leaves a store
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 1), (0, 1)))),  # twice
        ("edges", (3, 1, ((OUTSIDE, 0), (0, 1), (1, 0), (1, 2)))),  # in a circle
        ("edges", (3, 1, ((0, 1), (1, 0), (1, 2)))),  # nothing from outside
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 0), (0, 1)))),  # to itself
        ("edges", (3, 1, ((OUTSIDE, 0), (0, 2), (1, 2)))),  # 1 has no supplier
        ("edges", (3, 1, ((OUTSIDE, 0), (OUTSIDE, 1), (0, 2)))),  # 1 serves nobody
        ("edges", (2, 1, ((OUTSIDE, 0), (0, 1, 2)))),
        ("flow_through", (2, 1, ((OUTSIDE, 0), (0, 1)), 2, (1,))),
        ("flow_through", (2, 1, ((OUTSIDE, 0), (0, 1)), 2, (-1,))),
    ],
)
def test_networks_that_are_none_are_refused(argument, arguments):
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        Network(*arguments)


GOOD = InventoryParams(
    holding=1.0, underage=4.0, edge_cost=0.0, lead_time=2, demand_mean=5.0, demand_std=1.0, initial_periods=1
)


@pytest.mark.parametrize(
    ("argument", "fields"),
    [
        *((name, {name: -1}) for name in ("holding", "underage", "edge_cost", "lead_time", "initial_periods")),
        *((name, {name: np.nan}) for name in ("holding", "underage", "edge_cost", "lead_time", "demand_mean")),
        *((name, {name: (1.0, 1.0)}) for name in ("holding", "underage", "edge_cost", "lead_time", "demand_std")),
        *((name, {name: None}) for name in ("holding", "underage", "lead_time", "demand_mean")),
        ("holding", {"holding": (1.0, np.inf, 1.0)}),
        ("holding", {"holding": "dear"}),
        ("underage", {"underage": [[4.0]]}),
        ("demand_mean", {"demand_mean": -5.0}),
        ("demand_std", {"demand_std": -1.0}),
        ("demand_correlation", {"demand_correlation": -0.1}),
        ("demand_correlation", {"demand_correlation": 1.1}),
        ("demand_correlation", {"demand_correlation": np.nan}),
        ("lead_time", {"lead_time": 0}),
        ("lead_time", {"lead_time": 1.5}),
        ("lead_time", {"lead_time": (1, 2, 4)}),  # beyond the pipeline
        ("underage", drawn_bounds(underage=(3.0, 2.0))),
        ("underage", drawn_bounds(underage=(-1.0, 2.0))),
        ("underage", drawn_bounds(underage=(1.0, np.nan))),
        ("lead_time", drawn_bounds(lead_time=(1, 4))),
        ("lead_time", drawn_bounds(lead_time=(0, 2))),
        ("lead_time", drawn_bounds(lead_time=(1.5, 2))),
        ("lead_time", drawn_bounds(lead_time=((1, 2), (2, 2)))),
        ("lower", {"lower": {"underage": 1.0}}),
        ("lower", {"upper": {"underage": 1.0}}),
        ("parameter drawn for each episode", drawn_bounds(holding=(1.0, 2.0))),
    ],
)
def test_parameters_out_of_range_are_refused(argument, fields):
    network = Network(3, 1, ((OUTSIDE, 0), (0, 1), (1, 2)), 3)
    InventoryNetwork(network, normal(), GOOD)
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        InventoryNetwork(network, normal(), dataclasses.replace(GOOD, **fields))


def test_a_negative_window_is_refused():
    with pytest.raises(InvalidArgument, match=r"^window=-1"):
        InventoryNetwork(Network(1, 1, ((OUTSIDE, 0),)), normal(), GOOD, window=-1)


@pytest.mark.parametrize(
    ("argument", "env_id", "settings"),
    [
        ("lead_time", "one-store-lost", {"lead_time": 0}),
        ("lead_time", "one-store-lost", {"lead_time": 3, "pipeline": 2}),
        ("demand_mean", "one-store-lost", {"demand_mean": -5.0}),
        ("demand_mean", "one-store-lost", {"demand_mean": float("nan")}),
        ("underage", "one-store-lost", {"underage": -1.0}),
        ("holding", "serial", {"holding": (1.0, 2.0)}),
        ("lead_time", "serial", {"lead_times": (1, 2, 3, -4)}),
        ("nodes", "serial", {"lead_times": ()}),
        ("stores", "one-warehouse", {"stores": 0}),
        ("demand_correlation", "transshipment", {"demand_correlation": 2.0}),
        ("stores", "transshipment", {"stores": -1}),
        ("split", "pizza-store", {"split": "exam"}),
    ],
)
def test_settings_out_of_range_are_refused_by_name(argument, env_id, settings):
    with pytest.raises(UserError, match=f"^{argument}="):
        envs.make(f"inventory/{env_id}-v0", **settings)


def test_data_of_several_stores_is_refused_for_one():
    with pytest.raises(InvalidArgument, match="series"):
        real_store(demand_series(np.ones((2, 3, 60)), history=4, warm_up=2))


@pytest.mark.parametrize(("periods", "ignore"), [(10, 10), (10, -1), (10, 11), (0, 0)])
def test_periods_that_do_not_count_are_fewer_than_all(periods, ignore):
    with pytest.raises(InvalidArgument, match=r"^ignore="):
        simulate(patterned(), jnp.ones_like, jax.random.split(KEY, 2), periods, ignore=ignore)


def test_retail_stores_are_made_for_as_many_products_as_asked():
    env = retail_store(products=8)
    assert env.window == 16
    reset = jax.jit(jax.vmap(lambda key: env.reset_env(key, env.default_params)[1].demand))
    assert set(np.unique(reset(jax.random.split(KEY, 200)))) == set(range(8))

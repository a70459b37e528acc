"""The search for base-stock policies against exact optima, and against what it must not be worse than."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.inventory import InventoryNetwork, InventoryParams, simulate
from jaxrl.envs.inventory.demand import normal
from jaxrl.envs.inventory.optimal import capped_base_stock_cost
from jaxrl.envs.inventory.search import base_stock_orders, best_simulated_base_stock, first_choices
from jaxrl.envs.inventory.settings import bipartite, many_warehouses, one_store_lost, one_warehouse, serial

from jaxrl.errors import InvalidArgument

KEYS = jax.random.split(jax.random.key(0), 128)
STORE = one_store_lost(lead_time=1, underage=4.0)  # one program for all costs and lead times


def store(lead_time, underage):
    return STORE.default_params.replace(lead_time=jnp.array([lead_time]), underage=jnp.array([underage], jnp.float32))


@pytest.mark.parametrize(
    ("lead_time", "underage", "level", "cost"), [(1, 4, 12, 4.1628), (1, 39, 16, 7.8626), (2, 39, 22, 9.1903)]
)
def test_one_store_has_the_best_level(lead_time, underage, level, cost):
    found = best_simulated_base_stock(STORE, KEYS, 260, 60, store(lead_time, underage), whole=True)
    assert found.levels.tolist() == [level]
    assert np.isinf(found.caps).all()
    assert found.cost == pytest.approx(cost, rel=0.03)
    assert found.interval[0] < cost < found.interval[1]


@pytest.mark.parametrize(("lead_time", "underage", "cost"), [(1, 4, 4.0654), (2, 9, 6.1191)])
def test_one_store_has_a_capped_policy_within_a_fraction_of_the_best(lead_time, underage, cost):
    found = best_simulated_base_stock(STORE, KEYS, 260, 60, store(lead_time, underage), capped=True, whole=True)
    (level,), (cap,) = found.levels.astype(int), found.caps.astype(int)
    assert capped_base_stock_cost(int(level), int(cap), lead_time, 5.0, underage) < 1.005 * cost
    assert found.interval[0] < 1.005 * cost
    assert found.interval[1] > cost


def test_a_chain_comes_near_to_its_echelon_optimum():
    """Clark and Scarf's cost for these lead times and p = 4."""
    env = serial((2, 4, 3, 2), underage=4.0)
    found = best_simulated_base_stock(env, KEYS[:64], 260, 60, echelon=True)
    assert found.echelon
    assert found.cost == pytest.approx(7.5984, rel=0.03)
    assert found.interval[0] < 1.01 * 7.5984
    again = simulate(env, base_stock_orders(env, found), KEYS[:64], 260, ignore=60)
    assert np.mean(again) == pytest.approx(found.searched_cost, rel=1e-4)


def test_a_network_costs_no_more_than_with_shared_factors():
    env = one_warehouse(3)
    params = env.default_params
    found = best_simulated_base_stock(env, KEYS[:64], 80, 30, echelon=False)
    assert found.levels.shape == (4,)
    assert found.suppliers.tolist() == [0, 1, 2, 3]
    mean, std, lead = (np.asarray(x) for x in (params.demand_mean, params.demand_std, params.lead_time[1:] + 1))
    pooled = np.sqrt(0.5 * std.sum() ** 2 + 0.5 * (std**2).sum())
    for factor in (0.0, 1.0, 2.0):
        levels = np.append(mean.sum() * 4 + pooled * 2 * factor, mean * lead + factor * std * np.sqrt(lead))
        shared = found._replace(levels=levels)
        cost = simulate(env, base_stock_orders(env, shared), KEYS[:64], 80, ignore=30).mean()
        assert found.searched_cost < cost


def test_stores_change_to_the_supplier_that_pays():
    """Two alike stores, near to one warehouse and far from another that costs nothing: where the near one is dear both
    order from the far one, where it costs nothing as well both do from the near one."""
    network, lead_time = bipartite(np.array([[1, 1], [4, 4]]), (2, 2))
    params = InventoryParams(
        holding=(0.3, 0.3, 1.0, 1.0), underage=9.0, edge_cost=0.0, lead_time=lead_time,
        demand_mean=5.0, demand_std=2.0, initial_periods=(0, 0, 2, 2),
    )  # fmt: skip
    env = InventoryNetwork(network, normal(), params)
    for edge_cost, source in ((5.0, 1), (0.0, 0)):
        costs = jnp.zeros(len(network.edges)).at[0].set(edge_cost)
        found = best_simulated_base_stock(
            env, KEYS[:32], 60, 20, env.default_params.replace(edge_cost=costs), echelon=False
        )
        assert network.sources[found.suppliers[2:]].tolist() == [source, source]
        assert found.levels[1 - source] == 0  # a warehouse without stores keeps nothing


def test_first_choices_are_the_nearest_and_the_cheapest_supplier():
    env = many_warehouses()
    nearest, cheapest = (env.network.sources[edges[2:]] for edges in first_choices(env.network, env.default_params))
    assert nearest.tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 1, 1]
    assert cheapest.tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(InvalidArgument, match="keys"):
        best_simulated_base_stock(STORE, KEYS[:1], 10)
    with pytest.raises(InvalidArgument, match="ignore"):
        best_simulated_base_stock(STORE, KEYS, 10, 10)

"""The settings of Alvo et al. (2023), each a small factory of one general environment.

Where the paper's experiments draw costs and moments at random, the constants below are the values that they have there.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxrl.envs.inventory.data import DemandSeries, pizza_sales, retail_sales
from jaxrl.envs.inventory.demand import Demand, normal, poisson, replay
from jaxrl.envs.inventory.environment import InventoryNetwork, InventoryParams, drawn_bounds
from jaxrl.envs.inventory.network import OUTSIDE, Network

from jaxrl.errors import InvalidArgument

MEANS = (3.743, 4.75, 4.555, 3.801, 6.852, 3.425, 2.598, 7.266, 5.902, 4.933)
DEVIATIONS = (1.765, 2.124, 1.622, 1.405, 1.714, 1.59, 0.879, 2.701, 2.127, 2.391)
HOLDING = (1.0856, 1.0232, 1.0071, 1.0662, 0.9958, 0.8287, 0.8464, 1.0433, 1.1636, 0.8864)
UNDERAGE = (10.2367, 9.3307, 6.9748, 8.447, 10.5191, 9.0594, 7.2865, 10.909, 11.459, 11.6148)
LEAD_TIMES = (2, 3, 2, 2, 2, 3, 3, 3, 3, 3)
# of ten stores from two warehouses; 0 where there is no edge
FROM_TWO = ((0, 0, 6, 6, 6, 0, 6, 5, 6, 0), (2, 1, 2, 2, 1, 2, 0, 2, 2, 2))
# of 21 stores from three warehouses
FROM_THREE = (
    (6, 6, 6, 0, 6, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0, 6, 6, 6, 6, 5, 5),
    (1, 1, 1, 1, 1, 0, 2, 2, 1, 2, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2),
    (5, 5, 5, 5, 4, 6, 5, 5, 5, 5, 5, 0, 5, 6, 5, 5, 5, 5, 5, 4, 5),
)


def one_store_lost(
    lead_time: int = 4,
    underage: float = 9.0,
    holding: float = 1.0,
    demand_mean: float = 5.0,
    pipeline: int | None = None,
    lean: bool = True,
) -> InventoryNetwork:
    """One store and one supplier, with Poisson demand that is lost if it is not met.

    Args:
        pipeline: slots of the inventory vector; at least four by default, so that lead times up to four are members of
            one program.
    """
    params = InventoryParams(underage=underage, holding=holding, demand_mean=demand_mean, demand_std=demand_mean**0.5)
    demand = poisson(_beyond_tail(demand_mean))
    return _one_store(lead_time, params, pipeline, demand, lost=True, env_id="inventory/one-store-lost-v0", lean=lean)


def one_store_backlogged(
    lead_time: int = 4,
    underage: float = 9.0,
    holding: float = 1.0,
    demand_mean: float = 5.0,
    demand_std: float = 1.6,
    pipeline: int | None = None,
    lean: bool = True,
) -> InventoryNetwork:
    """One store and one supplier, with clipped normal demand that waits until it is met.

    Args:
        pipeline: see ``one_store_lost``.
    """
    params = InventoryParams(underage=underage, holding=holding, demand_mean=demand_mean, demand_std=demand_std)
    env_id = "inventory/one-store-backlogged-v0"
    return _one_store(lead_time, params, pipeline, normal(), lost=False, env_id=env_id, lean=lean)


def _one_store(
    lead_time: int, params: InventoryParams, pipeline: int | None, demand: Demand, **arguments: Any
) -> InventoryNetwork:
    slots, initial_periods = _slots([lead_time], pipeline)
    params = dataclasses.replace(params, edge_cost=0.0, lead_time=lead_time, initial_periods=initial_periods)
    return InventoryNetwork(Network(1, 1, ((OUTSIDE, 0),), slots), demand, params, **arguments)


def serial(
    lead_times: Sequence[int] = (2, 4, 3, 4),
    holding: Sequence[float] = (0.1, 0.2, 0.5, 1.0),
    underage: float = 9.0,
    demand_mean: float = 5.0,
    demand_std: float = 2.0,
    pipeline: int | None = None,
    lean: bool = True,
) -> InventoryNetwork:
    """Echelons in a row, the last one a store where demand waits; order from the most upstream one down."""
    n = len(lead_times)
    slots, initial_periods = _slots(lead_times, pipeline)
    edges = tuple((node - 1 if node else OUTSIDE, node) for node in range(n))
    params = InventoryParams(
        holding=tuple(holding),
        underage=underage,
        edge_cost=0.0,
        lead_time=tuple(lead_times),
        demand_mean=demand_mean,
        demand_std=demand_std,
        initial_periods=(0,) * (n - 1) + (initial_periods,),
    )
    return InventoryNetwork(
        Network(n, 1, edges, slots), normal(), params, lost=False, env_id="inventory/serial-v0", lean=lean
    )


def one_warehouse(
    stores: int = 3,
    lost: bool = True,
    symmetric: bool = False,
    warehouse_holding: float = 0.3,
    warehouse_lead_time: int = 3,
    demand_correlation: float = 0.5,
    lean: bool = True,
) -> InventoryNetwork:
    """A warehouse that serves many stores, with clipped normal demand.

    Args:
        stores: ``K``. The first ten are the paper's; more of them repeat these.
        symmetric: all stores alike, with the first one's numbers.
    """
    which = np.arange(_at_least_one("stores", stores)) % len(MEANS) * (0 if symmetric else 1)
    lead_times = [warehouse_lead_time, *_of(LEAD_TIMES, which)]
    slots = max(4, *lead_times)
    edges = ((OUTSIDE, 0), *((0, 1 + store) for store in range(stores)))
    params = InventoryParams(
        holding=(warehouse_holding, *_of(HOLDING, which)),
        underage=_of(UNDERAGE, which),
        edge_cost=0.0,
        lead_time=lead_times,
        demand_mean=_of(MEANS, which),
        demand_std=_of(DEVIATIONS, which),
        demand_correlation=demand_correlation,
        initial_periods=(0, *(max(2, lead) for lead in lead_times[1:])),
    )
    network = Network(stores + 1, stores, edges, slots)
    return InventoryNetwork(network, normal(), params, lost=lost, env_id="inventory/one-warehouse-v0", lean=lean)


def transshipment(
    stores: int = 5,
    lead_time: int = 6,
    underage: float = 9.0,
    demand_correlation: float = 0.5,
    warehouse_lead_time: int = 3,
    lean: bool = True,
) -> InventoryNetwork:
    """A centre that keeps no stock and ships to many stores, where demand waits; normal demand, not clipped."""
    which = np.arange(_at_least_one("stores", stores)) % len(MEANS)
    slots = max(4, lead_time, warehouse_lead_time)
    edges = ((OUTSIDE, 0), *((0, 1 + store) for store in range(stores)))
    params = InventoryParams(
        holding=(0.0, *([1.0] * stores)),
        underage=underage,
        edge_cost=0.0,
        lead_time=[warehouse_lead_time] + [lead_time] * stores,
        demand_mean=_of(MEANS, which),
        demand_std=_of(DEVIATIONS, which),
        demand_correlation=demand_correlation,
        initial_periods=(0, *([max(2, lead_time)] * stores)),
    )
    network = Network(stores + 1, stores, edges, slots, flow_through=(0,))
    return InventoryNetwork(
        network, normal(clipped=False), params, lost=False, env_id="inventory/transshipment-v0", lean=lean
    )


def many_warehouses(
    lost: bool = True,
    demand_correlation: float = 0.5,
    lean: bool = True,
) -> InventoryNetwork:
    """Two warehouses, one near and dear and one far and cheap, that serve ten stores."""
    lead_times = np.array(FROM_TWO)
    network, edge_lead_times = bipartite(lead_times, (3, 3))
    params = InventoryParams(
        holding=(0.3, 0.4, *HOLDING),
        underage=UNDERAGE,
        edge_cost=(0.5, 1.5, *([0.0] * (len(network.edges) - 2))),
        lead_time=edge_lead_times,
        demand_mean=MEANS,
        demand_std=DEVIATIONS,
        demand_correlation=demand_correlation,
        initial_periods=(0, 0, *np.max(lead_times, axis=0)),
    )
    return InventoryNetwork(network, normal(), params, lost=lost, env_id="inventory/many-warehouses-v0", lean=lean)


def bipartite(lead_times: np.ndarray, warehouse_lead_times: Sequence[int]) -> tuple[Network, list[int]]:
    """Warehouses that serve stores: the network, and the lead time of each of its edges.

    Args:
        lead_times: ``[warehouses, stores]`` periods, 0 where a warehouse does not serve a store.
        warehouse_lead_times: ``[warehouses]``, from outside.
    """
    lead_times = np.asarray(lead_times)
    warehouses, stores = lead_times.shape
    served = [(w, s) for w in range(warehouses) for s in range(stores) if lead_times[w, s]]
    edges = (*((OUTSIDE, w) for w in range(warehouses)), *((w, warehouses + s) for w, s in served))
    periods = [*map(int, warehouse_lead_times), *(int(lead_times[w, s]) for w, s in served)]
    return Network(warehouses + stores, stores, edges, max(4, *periods)), periods


def real_store(
    series: DemandSeries,
    split: str = "train",
    holding: float = 1.0,
    underage: tuple[float, float] = (6.3, 11.7),
    lead_time: tuple[int, int] = (4, 6),
    env_id: str = "inventory/real-store-v0",
    lean: bool = True,
) -> InventoryNetwork:
    """One store whose demand is replayed from data, each episode a product of the data with a price and a lead time
    of its own; the objective is profit.

    Args:
        split: ``train``, ``validation`` or ``test``; an episode is that part of the data from its first to its last
            period.
        underage, lead_time: bounds of what is drawn for each episode.
    """
    if len(series.stores) != 1:
        raise InvalidArgument("series", series.stores, "must be of one store")
    network = Network(1, 1, ((OUTSIDE, 0),), max(4, lead_time[1]))
    params = InventoryParams(
        holding=holding,
        underage=underage[0],
        edge_cost=0.0,
        lead_time=lead_time[0],
        **drawn_bounds(underage=underage, lead_time=lead_time),
    )
    return _replayed(series, split, network, params, env_id, lean)


def _replayed(
    series: DemandSeries, split: str, network: Network, params: InventoryParams, env_id: str, lean: bool
) -> InventoryNetwork:
    """Profit on demand from data, over the whole of one split."""
    if split not in series.splits:
        raise InvalidArgument("split", split, f"must be one of {', '.join(series.splits)}")
    begin, end = series.periods(split)
    known = series.sales[..., : series.train[1]]  # of each store, over products and time
    params = dataclasses.replace(
        params,
        max_steps_in_episode=end - begin,
        demand_mean=known.mean(axis=(0, 2)),
        demand_std=known.std(axis=(0, 2)),
        first_period=begin,
        initial_periods=0,
        sales=series.sales,
        calendar=series.calendar,
    )
    return InventoryNetwork(
        network,
        replay(*series.calendar.shape),
        params,
        profit=True,
        window=series.history,
        env_id=env_id,
        lean=lean,
        validation=series.periods("validation") if split == "train" else None,
    )


def retail_store(products: int = 32_768, split: str = "train", lean: bool = True) -> InventoryNetwork:
    """One store that sells one product of a synthetic weekly retail chain; see ``real_store`` and ``retail_sales``."""
    series = retail_sales(products=products, stores=1)
    return real_store(series, split, env_id="inventory/retail-store-v0", lean=lean)


def retail_network(products: int = 288, split: str = "train", lean: bool = True) -> InventoryNetwork:
    """Three warehouses and 21 stores of a synthetic weekly retail chain; each episode sells one product at prices drawn
    for each store. See ``retail_sales``."""
    lead_times = np.array(FROM_THREE)
    stores = lead_times.shape[1]
    network, edge_lead_times = bipartite(lead_times, (3, 3, 3))
    holding = np.random.default_rng(73).uniform(0.7, 1.3, stores)
    params = InventoryParams(
        holding=(0.3, 0.4, 0.2, *holding),
        underage=9.0,
        edge_cost=(0.5, 1.5, 0.7, *([0.0] * (len(network.edges) - 3))),
        lead_time=edge_lead_times,
        **drawn_bounds(underage=(6.3, 11.7)),
    )
    series = retail_sales(products=products, stores=stores)
    return _replayed(series, split, network, params, "inventory/retail-network-v0", lean)


def pizza_store(split: str = "train", lean: bool = True) -> InventoryNetwork:
    """One kitchen that stocks one of 32 pizzas a day, by the sales of a year; see ``real_store`` and
    ``pizza_sales``."""
    series = pizza_sales()
    return real_store(series, split, lead_time=(1, 3), env_id="inventory/pizza-store-v0", lean=lean)


SETTINGS: dict[str, Any] = {
    "inventory/one-store-lost-v0": one_store_lost,
    "inventory/one-store-backlogged-v0": one_store_backlogged,
    "inventory/serial-v0": serial,
    "inventory/one-warehouse-v0": one_warehouse,
    "inventory/transshipment-v0": transshipment,
    "inventory/many-warehouses-v0": many_warehouses,
    "inventory/retail-store-v0": retail_store,
    "inventory/retail-network-v0": retail_network,
    "inventory/pizza-store-v0": pizza_store,
}


def _of(values: Sequence[float], which: np.ndarray) -> list[float]:
    return [values[i] for i in which]


def _slots(lead_times: Sequence[int], pipeline: int | None) -> tuple[int, int]:
    """Slots of the inventory vector, and how many of a store's start with stock: as many as there would be by default,
    so that more slots leave the start as it is."""
    needed = max([4, *lead_times])
    return (needed, needed) if pipeline is None else (pipeline, min(needed, pipeline))


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise InvalidArgument(name, value, "must be at least 1")
    return value


def _beyond_tail(mean: float) -> int:
    """A count that Poisson demand exceeds about once in 1e15 draws."""
    if not 0 <= mean < float("inf"):
        raise InvalidArgument("demand_mean", mean, "must be finite and not negative")
    return int(mean + 8 * mean**0.5 + 16)

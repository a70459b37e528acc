"""What ``experiments.reproduce.hdpo`` trains: instances of inventory problems, policies and how they are trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxrl.envs.inventory import optimal
from jaxrl.envs.inventory.settings import DEVIATIONS, MEANS

from jaxrl import HDPO

LEAD_TIMES, UNDERAGES = (1, 2, 3, 4), (4.0, 9.0, 19.0, 39.0)
GRID = [(lead, underage) for lead in LEAD_TIMES for underage in UNDERAGES]


@dataclass(frozen=True)
class Setting:
    """Instances of one environment that differ in numbers, and what is trained on them.

    Attributes:
        variants: fields of the environment's parameters, a value for each instance; none for one instance as it is.
        names: of the instances.
        optimum: exact cost of each instance, or a lower bound; None where neither is known.
        policy: ``(instance) -> (inventory[B, n, P] -> orders[B, E])``, the optimal one, for common random numbers.
        bounds: percent by which the mean and the worst instance may exceed the optimum.
        capped: exact cost of the best capped base stock of instances that must be below it.
    """

    title: str
    env: str
    config: Any
    updates: int
    env_settings: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, list] = field(default_factory=dict)
    names: list[str] = field(default_factory=lambda: [""])
    optimum: list[float] | None = None
    policy: Callable[[int], Callable] | None = None
    bounds: tuple[float | None, float] = (None, 0.0)
    capped: dict[int, float] = field(default_factory=dict)
    round_orders: bool = False
    test: dict[str, int] = field(default_factory=lambda: {"scenarios": 2048, "periods": 1000, "ignore": 200})


def hdpo(policy: str, learning_rate: float, **arguments: Any) -> HDPO:
    """What all trainings here have in common."""
    common = {"batch_size": 256, "num_scenarios": None, "anneal_learning_rate": True}
    return HDPO(**(common | {"policy": policy, "learning_rate": learning_rate} | arguments))


def clark_scarf(lead_time: int, underage: float) -> Any:
    """The optimum of the serial setting."""
    return optimal.clark_scarf((2, 4, 3, lead_time), (0.1, 0.2, 0.5, 1.0), 5.0, 2.0, underage)


# --- optimum known ------------------------------------------------------------------------------------------------


def lost() -> Setting:
    """One store, lost demand."""
    optima = [optimal.lost_sales_optimum(lead, 5.0, underage) for lead, underage in GRID]

    def policy(instance):
        return lambda inventory: optima[instance].order(inventory[:, 0]).astype(jnp.float32)[:, None]

    capped = {
        i: optimal.best_capped_base_stock(lead, 5.0, underage).cost
        for i, (lead, underage) in enumerate(GRID)
        if lead >= 2
    }
    return Setting(
        title="one store, lost demand, vanilla",
        env="inventory/one-store-lost-v0",
        variants={"lead_time": [lead for lead, _ in GRID], "underage": [underage for _, underage in GRID]},
        names=[f"L {lead}, p {underage:g}" for lead, underage in GRID],
        optimum=[optimum.cost for optimum in optima],
        policy=policy,
        config=hdpo("vanilla", 1e-2),
        updates=3000,
        bounds=(0.25, 0.6),
        capped=capped,
        round_orders=True,
    )


def backlogged() -> Setting:
    """One store, backlogged demand."""
    instances = [(lead, underage) for lead in (1, 4, 7, 10, 15, 20) for underage in UNDERAGES]
    optima = [optimal.backlogged_newsvendor(lead, 5.0, 1.6, underage) for lead, underage in instances]

    def policy(instance):
        level = optima[instance].level
        return lambda inventory: (level - inventory.sum(axis=-1)).clip(0)

    return Setting(
        title="one store, backlogged demand, base stock",
        env="inventory/one-store-backlogged-v0",
        env_settings={"pipeline": 20},
        variants={
            "lead_time": [lead for lead, _ in instances],
            "underage": [underage for _, underage in instances],
            "initial_periods": [max(4, lead) for lead, _ in instances],
        },
        names=[f"L {lead}, p {underage:g}" for lead, underage in instances],
        optimum=[optimum.cost for optimum in optima],
        policy=policy,
        config=hdpo("base_stock", 0.5, batch_size=32, horizon=200),
        updates=3200,
        bounds=(None, 0.15),
    )


def serial(policy: str, instances: list[tuple[int, float]], updates: int, **config: Any) -> Setting:
    """Echelons in a row."""
    optima = [clark_scarf(lead, underage) for lead, underage in instances]

    def echelon(instance):
        levels = jnp.asarray(optima[instance].levels, jnp.float32)

        def orders(inventory):
            echelon_stock = jnp.cumsum(inventory.sum(axis=-1)[:, ::-1], axis=-1)[:, ::-1]
            return jnp.maximum(levels - echelon_stock, 0)

        return orders

    traces = config.get("num_scenarios")
    return Setting(
        title=f"serial, {policy.replace('_', ' ')}" + (f", {traces} traces" if traces else ""),
        env="inventory/serial-v0",
        variants={
            "lead_time": [(2, 4, 3, lead) for lead, _ in instances],
            "underage": [underage for _, underage in instances],
        },
        names=[f"L {lead}, p {underage:g}" for lead, underage in instances],
        optimum=[optimum.cost for optimum in optima],
        policy=echelon,
        config=hdpo(policy, **config),
        updates=updates,
        bounds=(None, 0.6),
    )


LEVELS = {"learning_rate": 0.5, "batch_size": 32, "horizon": 100}
SERIAL_VANILLA = {"learning_rate": 1e-2, "max_grad_norm": 1.0, "hidden_sizes": (32, 32), "batch_size": 64}
DENSE = {"learning_rate": 1e-2, "max_grad_norm": 1.0, "hidden_sizes": (128, 128), "batch_size": 128}
GRAPH = {"learning_rate": 3e-3, "max_grad_norm": 1.0, "hidden_sizes": (32, 32), "batch_size": 64}


def transshipment(
    policy: str, stores: int, lead_time: int, instances: list[tuple[float, float]], updates: int, **config: Any
) -> Setting:
    """A centre without stock and its stores, against the lower bound of free rebalancing."""
    bounds = [
        optimal.transshipment_bound(MEANS[:stores], DEVIATIONS[:stores], correlation, 3, lead_time, underage)
        for correlation, underage in instances
    ]
    return Setting(
        title=f"transshipment, {stores} stores, L {lead_time}, {policy}",
        env="inventory/transshipment-v0",
        env_settings={"stores": stores, "lead_time": lead_time},
        variants={"demand_correlation": [c for c, _ in instances], "underage": [p for _, p in instances]},
        names=[f"rho {correlation:g}, p {underage:g}" for correlation, underage in instances],
        optimum=[bound.cost_per_store for bound in bounds],
        config=hdpo(policy, **config),
        updates=updates,
        bounds=(None, 1.0),
    )


AGAINST_OPTIMUM: dict[str, Callable[[], Setting]] = {
    "lost": lost,
    "backlogged": backlogged,
    "serial_echelon": partial(serial, "echelon_stock", GRID, 2400, **LEVELS),
    "serial_vanilla": partial(serial, "vanilla", GRID, 5000, **SERIAL_VANILLA),
    "transshipment_3": partial(transshipment, "vanilla", 3, 2, [(0.0, 4.0)], 1500, **DENSE),
    "transshipment_5": partial(transshipment, "vanilla", 5, 6, [(0.0, 4.0), (0.5, 9.0)], 1500, **DENSE),
    "transshipment_10": partial(transshipment, "vanilla", 10, 6, [(0.5, 9.0)], 3000, **DENSE),
    "transshipment_graph": partial(transshipment, "graph", 3, 2, [(0.0, 4.0)], 1500, **GRAPH),
}

# --- no optimum known ---------------------------------------------------------------------------------------------


def warehouses(title: str, env: str, policy: str, updates: int, **config: Any) -> Setting:
    """Warehouses and stores whose unmet demand is lost, one instance."""
    return Setting(title=f"{title}, lost demand", env=env, config=hdpo(policy, **config), updates=updates)


one_warehouse = partial(warehouses, "one warehouse, 3 stores", "inventory/one-warehouse-v0")
many_warehouses = partial(warehouses, "2 warehouses, 10 stores", "inventory/many-warehouses-v0")
AGAINST_BASE_STOCK: dict[str, Callable[[], Setting]] = {
    "one_warehouse_vanilla": partial(one_warehouse, "vanilla", 3000, **DENSE),
    "one_warehouse_graph": partial(one_warehouse, "graph", 1500, **GRAPH),
    "many_warehouses_vanilla": partial(many_warehouses, "vanilla", 3000, **DENSE),
}

# the same problem with few traces for one policy and more for the other: the better policy may have fewer
FEW = {"batch_size": 32, "development_scenarios": 256, "development_every": 50}
SERIAL_L4 = [(4, 9.0)]
DATA_EFFICIENCY: dict[str, tuple[Callable[[], Setting], Callable[[], Setting]]] = {
    "serial_traces": (
        partial(serial, "graph", SERIAL_L4, 2000, num_scenarios=64, **GRAPH | FEW | {"learning_rate": 1e-3}),
        partial(serial, "vanilla", SERIAL_L4, 3000, num_scenarios=256, **SERIAL_VANILLA | FEW),
    ),
    "one_warehouse_traces": (
        partial(one_warehouse, "graph", 1000, num_scenarios=64, **GRAPH | FEW),
        partial(one_warehouse, "vanilla", 3000, num_scenarios=128, **DENSE | FEW),
    ),
}

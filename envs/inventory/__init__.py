"""Inventory control in supply networks: one general environment, the settings of Alvo et al. (2023), and what is known
of their optima."""

from jaxrl.envs.inventory.environment import InventoryNetwork, InventoryParams, InventoryState, View
from jaxrl.envs.inventory.network import OUTSIDE, Network
from jaxrl.envs.inventory.settings import SETTINGS
from jaxrl.envs.inventory.simulation import simulate

__all__ = [
    "OUTSIDE",
    "SETTINGS",
    "InventoryNetwork",
    "InventoryParams",
    "InventoryState",
    "Network",
    "View",
    "simulate",
]

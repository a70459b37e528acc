"""Environment transforms that ``make`` knows by a prefix: ``make("stock/Breakout-MinAtar", gamma=0.99)``.

Settings that a transform has are its own, and all others those of the environment inside.
"""

from jaxrl.envs.combinatorial.environment import Quotient
from jaxrl.envs.transforms.stock import AugmentStock, Stock, StockState, next_stock

TRANSFORMS = {"quotient": Quotient, "stock": AugmentStock}
"""transforms by prefix"""

__all__ = ["TRANSFORMS", "AugmentStock", "Quotient", "Stock", "StockState", "next_stock"]

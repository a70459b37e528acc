"""Environment transforms that ``make`` knows by a prefix: ``make("stock/Breakout-MinAtar", gamma=0.99)``.

Settings that a transform has are its own, and all others those of the environment inside. ``DecodeActions`` has no
prefix: it needs a decoder.
"""

from jaxrl.envs.combinatorial.environment import Quotient
from jaxrl.envs.transforms.latents import DecodeActions, DecodedParams, LatentState
from jaxrl.envs.transforms.stock import AugmentStock, Stock, StockState, next_stock

TRANSFORMS = {"quotient": Quotient, "stock": AugmentStock}
"""transforms by prefix"""

__all__ = [
    "TRANSFORMS",
    "AugmentStock",
    "DecodeActions",
    "DecodedParams",
    "LatentState",
    "Quotient",
    "Stock",
    "StockState",
    "next_stock",
]

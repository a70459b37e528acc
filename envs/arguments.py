"""Checks of arguments that are numbers."""

from typing import Any

import numpy as np

from jaxrl.errors import InvalidArgument


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``, or InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidArgument(name, value, f"must be a whole number of at least {least}")
    return int(value)


def within(name: str, value: Any, low: float = -np.inf, high: float = np.inf) -> float:
    """A number argument within [low, high], or InvalidArgument."""
    if isinstance(value, bool | str) or not low <= value <= high or not np.isfinite(value):
        least = "that is finite" if low == -np.inf else f"of at least {low:g}"
        bounds = f"within [{low:g}, {high:g}]" if high < np.inf else least
        raise InvalidArgument(name, value, f"must be a number {bounds}")
    return float(value)


def positive(name: str, value: Any) -> float:
    """A number argument above 0, or InvalidArgument."""
    if within(name, value, 0) == 0:
        raise InvalidArgument(name, value, "must be above 0")
    return float(value)

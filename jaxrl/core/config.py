"""What an algorithm's config is made of: floating-point fields are hyperparameters, the others shape the program."""

from typing import Any

import numpy as np
from flax import struct

from jaxrl.errors import InvalidArgument


def static(default: Any, **settings: Any) -> Any:
    """A field that shapes the program: equal for all members of one compiled population.

    Args:
        settings: of ``dataclasses.field``, such as ``kw_only``.
    """
    return struct.field(pytree_node=False, default=default, **settings)


def check_within(config: Any, **bounds: tuple[float, float]) -> None:
    """Checks that fields lie in closed intervals; a field may hold one value or a vector of variants, or None.

    Raises:
        InvalidArgument: naming the first field that does not.
    """
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if value is None:
            continue
        try:
            inside = np.all((np.asarray(value, float) >= low) & (np.asarray(value, float) <= high))
        except (TypeError, ValueError):
            inside = False
        if not inside:
            allowed = f"must be at least {low:g}" if np.isinf(high) else f"must be within [{low:g}, {high:g}]"
            raise InvalidArgument(name, value, allowed)


def check_one_of(config: Any, **choices: Any) -> None:
    """Checks that fields have one of the values given.

    Raises:
        InvalidArgument: naming the first field that has not.
    """
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise InvalidArgument(name, getattr(config, name), f"must be one of {', '.join(map(str, allowed))}")

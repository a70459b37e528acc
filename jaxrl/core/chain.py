"""Applying transforms in order."""

from collections.abc import Callable
from functools import reduce
from typing import TypeVar

T = TypeVar("T")


def chain(*transforms: Callable[[T], T]) -> Callable[[T], T]:
    """Composes transforms of one kind of thing, applied left to right.

    Laws: ``chain()`` is the identity; ``chain(f)`` is ``f``; ``chain(f, chain(g, h))``, ``chain(chain(f, g), h)`` and
    ``chain(f, g, h)`` are the same; ``chain(f, g)(x) == g(f(x))``.

    Example:
        >>> chain(lambda x: x + 1, lambda x: 10 * x)(2)
        30
    """
    return lambda thing: reduce(lambda result, transform: transform(result), transforms, thing)

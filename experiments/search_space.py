"""What a sweep varies: ``learning_rate=1e-4,3e-4``, ``clip=uniform(0.1,0.3)`` and the like, as configs."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.command_line import parse
from jaxrl.errors import InvalidArgument, UserError, unknown

RANGES = ("uniform", "log", "int")


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter of a search space.

    Attributes:
        kind: ``choice`` among ``values``; or ``uniform``, ``log`` (uniform in the logarithm) or ``int`` from ``low`` to
            ``high``, both included.
    """

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def sample(self, generator: np.random.Generator) -> Any:
        """One value at random."""
        if self.kind == "choice":
            return self.values[generator.integers(len(self.values))]
        if self.kind == "int":
            return int(generator.integers(int(self.low), int(self.high), endpoint=True))
        if self.kind == "log":
            return float(np.exp(generator.uniform(np.log(self.low), np.log(self.high))))
        return float(generator.uniform(self.low, self.high))


def parse_dimension(algorithm: type, option: str, text: str) -> Dimension:
    """``name=1,2,3``, ``name=uniform(0,1)``, ``name=log(1e-5,1e-2)`` or ``name=int(1,8)``.

    Args:
        algorithm: the dataclass whose field it is.
        option: where it was given, for error messages: ``grid``, ``random`` or ``optuna``.

    Raises:
        UserError: for an unknown field, values not of its type, or a range that is none.
    """
    name, equals, written = text.partition("=")
    name = name.replace("-", "_")
    fields = [field.name for field in dataclasses.fields(algorithm)]
    if not equals:
        raise InvalidArgument(option, text, "must be name=values, such as learning_rate=1e-4,3e-4")
    if name not in fields:
        raise unknown("hyperparameter", name, fields)
    call = re.fullmatch(r"(\w+)\((.*)\)", written)
    if call is None:
        words = [word.strip() for word in written.split(",")]
        if not all(words):
            raise InvalidArgument(option, text, "must have a value between every two commas")
        return Dimension(name, "choice", tuple(parse_value(algorithm, option, name, word) for word in words))
    kind, words = call[1], call[2].split(",")
    if kind not in RANGES:
        raise unknown("distribution", kind, RANGES)
    try:
        low, high = map(float, words)
    except ValueError:
        raise InvalidArgument(option, text, f"must be {kind}(low,high) with two numbers") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (kind == "log" and low <= 0):
        raise InvalidArgument(option, text, f"must have {'0 < ' if kind == 'log' else ''}low < high")
    for end in (low, high):  # also refuses a float range for a field that is an int, and the other way round
        parse_value(algorithm, option, name, str(int(end)) if kind == "int" and end.is_integer() else str(end))
    return Dimension(name, kind, low=low, high=high)


def parse_value(algorithm: type, option: str, name: str, word: str) -> Any:
    """A value of a field; ``64x64`` stands for a tuple."""
    kind = type(getattr(algorithm(), name))
    argument = f"--{name.replace('_', '-')}"
    if kind is bool:
        if word.lower() not in ("true", "false"):
            raise InvalidArgument(option, f"{name}={word}", "must be true or false")
        return word.lower() == "true"
    words = word.split("x") if kind is tuple else [word]
    try:
        parsed, left = parse(algorithm, [argument, *words])
    except UserError as error:
        raise InvalidArgument(option, f"{name}={word}", f"is not a value of {name} ({error})") from error
    if left:
        raise InvalidArgument(option, f"{name}={word}", f"is not a value of {name}")
    return getattr(parsed, name)


def space(algorithm: type, option: str, texts: Sequence[str]) -> list[Dimension]:
    """The dimensions of a search space.

    Raises:
        UserError: if there is none, one is given twice, or one is wrong.
    """
    dimensions = [parse_dimension(algorithm, option, text) for text in texts]
    names = [dimension.name for dimension in dimensions]
    if not names:
        raise InvalidArgument(option, "", "must name at least one hyperparameter, such as learning_rate=1e-4,3e-4")
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(option, name, "must be given once")
    return dimensions


def grid(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Every combination of the values, the last dimension varying fastest."""
    for dimension in dimensions:
        if dimension.kind != "choice":
            raise InvalidArgument("grid", f"{dimension.name}={dimension.kind}(...)", "must be a list of values")
    names = [dimension.name for dimension in dimensions]
    return [dict(zip(names, values)) for values in itertools.product(*(dimension.values for dimension in dimensions))]


def draw(dimensions: Sequence[Dimension], number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Configs at random, each of which depends on its number and the seed alone."""
    return [
        {dimension.name: dimension.sample(generator) for dimension in dimensions}
        for generator in (np.random.default_rng([seed, index]) for index in range(number))
    ]


def edges(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Settings in which every choice and both ends of every range occur: what a search may come to, to be checked."""
    ends = {d.name: d.values or tuple(map(int if d.kind == "int" else float, (d.low, d.high))) for d in dimensions}
    most = max(map(len, ends.values()))
    return [{name: values[place % len(values)] for name, values in ends.items()} for place in range(most)]


def members_apart(config: Any, settings: dict[int, dict[str, Any]]) -> list[tuple[Any, dict[str, Any], list[int]]]:
    """Groups of settings that one compiled program can train.

    Args:
        settings: by their numbers, all of the same hyperparameters.

    Returns:
        for each group its config, whose varied floating-point fields are vectors; the values of its static ones; and
        the numbers of its settings, in the order of the vectors.
    """
    vectors = vector_fields(config)
    groups: dict[tuple, list[int]] = {}
    for number, setting in settings.items():
        groups.setdefault(tuple((k, v) for k, v in setting.items() if k not in vectors), []).append(number)
    apart = []
    for static, numbers in groups.items():
        names = [name for name in settings[numbers[0]] if name in vectors]
        varied = {name: np.array([settings[number][name] for number in numbers], np.float32) for name in names}
        apart.append((config.replace(**dict(static), **varied), dict(static), numbers))
    return apart


def vector_fields(config: Any) -> set[str]:
    """The fields that may differ between members of one program: those flax does not keep out of the tree."""
    return {field.name for field in dataclasses.fields(config) if field.metadata.get("pytree_node", True)}

"""The examples of docstrings, in every module that has some."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def with_examples():
    """Names of the modules whose source has examples."""
    found = []
    for room, package in (("jaxrl", "jaxrl"), ("envs", "jaxrl.envs")):
        for file in sorted((ROOT / room).rglob("*.py")):
            if ">>> " in file.read_text():
                found.append(".".join([package, *file.relative_to(ROOT / room).with_suffix("").parts]))
    return [name.removesuffix(".__init__") for name in found]


def test_main_functions_have_examples():
    assert {
        "jaxrl.core.chain",
        "jaxrl.core.combine",
        "jaxrl.advantages.returns",
        "jaxrl.engine.train",
        "jaxrl.envs.registry",
        "jaxrl.stats",
    } <= set(with_examples())


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", with_examples())
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0

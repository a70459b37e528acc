"""Fixtures of the tests of the engine's guarantees."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny.py, which the process that is killed imports as well

from tiny import TINY, train_tiny


@pytest.fixture(scope="module", autouse=True)
def _programs_once(programs_once):
    """Most runs here differ in seeds, chunks and interruptions."""


@pytest.fixture(scope="session")
def tiny():
    """A PPO config of 16 steps an update, small enough to compile in seconds."""
    return TINY


@pytest.fixture(scope="session")
def run():
    """``train_tiny``, which trains but once for equal requests that leave no trace."""
    done = {}

    def run(*arguments, **settings):
        name = repr((arguments, sorted(settings.items())))
        if name not in done or "directory" in settings or "sinks" in settings:
            done[name] = train_tiny(*arguments, **settings)
        return done[name]

    return run

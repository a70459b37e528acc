"""What tests of documentation share."""

import gymnax
import pytest


@pytest.fixture
def registry():
    """Takes back what examples register."""
    factories, ids = dict(gymnax.registration._registry), list(gymnax.registered_envs)
    yield
    gymnax.registration._registry.clear()
    gymnax.registration._registry.update(factories)
    gymnax.registered_envs[:] = ids

"""What tests of documentation share."""

import gymnax
import pytest
from jaxrl.envs import registry as environments


@pytest.fixture
def registry():
    """Takes back what examples register."""
    factories, ids = dict(gymnax.registration._registry), list(gymnax.registered_envs)
    transforms = dict(environments._TRANSFORMS)
    yield
    environments._TRANSFORMS.clear()
    environments._TRANSFORMS.update(transforms)
    gymnax.registration._registry.clear()
    gymnax.registration._registry.update(factories)
    gymnax.registered_envs[:] = ids

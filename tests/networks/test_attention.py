"""The transformer of sets: what it may and may not see, and where it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.networks.attention import SetPerceiver, SetTransformer

TRUNKS = {
    "transformer": SetTransformer(layers=2, heads=3, hidden=16),
    "perceiver": SetPerceiver(latents=4, layers=1, heads=3, hidden=16),
}
WIDTH, TOKENS = 12, 7


@pytest.fixture(scope="module", params=TRUNKS)
def inputs(request):
    """Tokens of a batch of 2, two of them not there in the second row, parameters away from the start and there, and
    the trunk."""
    trunk = TRUNKS[request.param]
    x = jax.random.normal(jax.random.key(0), (2, TOKENS, WIDTH))
    present = jnp.ones((2, TOKENS), bool).at[1, 2].set(False).at[1, 5].set(False)
    params = trunk.init(jax.random.key(1), x, present)
    leaves, treedef = jax.tree.flatten(params)
    moved = [leaf + 0.3 if leaf.ndim < 2 else leaf for leaf in leaves]
    return x, present, jax.tree.unflatten(treedef, moved), params, jax.jit(trunk.apply)


def test_starts_as_the_identity(inputs):
    x, present, _, start, apply = inputs
    np.testing.assert_array_equal(apply(start, x, present), x)


def test_permuting_tokens_permutes_the_output(inputs):
    x, present, params, _, apply = inputs
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    straight = apply(params, x, present)
    assert jnp.abs(straight - x).max() > 0.1
    np.testing.assert_allclose(apply(params, x[:, order], present[:, order]), straight[:, order], atol=1e-5)


def test_absent_tokens_change_nothing(inputs):
    """Masked tokens are as good as left out, whatever they hold."""
    x, present, params, _, apply = inputs
    kept = np.flatnonzero(present[1])
    full = apply(params, x.at[1, 2].set(50.0), present)[1, kept]
    np.testing.assert_allclose(full, apply(params, x[1:, kept], present[1:, kept])[0], atol=1e-5)


def test_present_tokens_see_each_other(inputs):
    x, present, params, _, apply = inputs
    changed = apply(params, x.at[0, 4].add(1.0), present) - apply(params, x, present)
    assert (jnp.abs(changed[0]).max(axis=-1) > 1e-4).all()
    assert jnp.abs(changed[1]).max() == 0

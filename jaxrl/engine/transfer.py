"""Members between host and devices: a group's share of the population, and the groups put together again."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxrl.engine.population import Layout
from jaxrl.engine.program import MemberState, Program, member_axes


def scatter(program: Program, layout: Layout, tree: Any, group: int) -> Any:
    """One group of leaves ``[members, ...]``, spread over the devices."""
    index = layout.indices(group)
    axes = member_axes(tree)
    return program.place(
        jax.tree.map(lambda axis, leaf: leaf if axis is None else leaf[index], axes, tree, is_leaf=is_none), axes
    )


def gather(layout: Layout, parts: Sequence[Any]) -> Any:
    """The groups' leaves ``[group, ...]`` put together as ``[members, ...]`` on the host; keys stay typed."""

    def join(axis, *leaves):
        if axis is None:
            return leaves[0]
        if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
            implementation = jax.random.key_impl(leaves[0])
            return jax.random.wrap_key_data(join(0, *map(jax.random.key_data, leaves)), impl=implementation)
        return np.concatenate([np.asarray(leaf)[: layout.real(g)] for g, leaf in enumerate(leaves)])

    return jax.tree.map(join, member_axes(parts[0]), *parts, is_leaf=is_none)


def gathered_shapes(layout: Layout, part: Any) -> Any:
    """Shapes and dtypes of what ``gather`` makes of parts like this one."""

    host = SingleDeviceSharding(jax.local_devices()[0])

    def shape(axis, leaf):
        if axis is None:
            return jax.tree.map(lambda inner: jax.ShapeDtypeStruct(inner.shape, inner.dtype, sharding=host), leaf)
        return jax.ShapeDtypeStruct((layout.members, *leaf.shape[1:]), leaf.dtype, sharding=host)

    return jax.tree.map(shape, member_axes(part), part, is_leaf=is_none)


def is_none(node: Any) -> bool:
    return node is None


def evaluation_keys(program: Program, keys: jax.Array, evaluation: int) -> jax.Array:
    """Keys that depend on the member and the evaluation only, away from those of training."""
    one = lambda key: jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), evaluation)  # noqa: E731
    return program.place(jax.vmap(one)(keys), 0)


def training_metrics(layout: Layout, states: Sequence[MemberState]) -> dict[str, np.ndarray]:
    """What members reported since the last evaluation, averaged; NaN where nothing was, as before an episode's end."""
    totals = gather(layout, [state.totals for state in states])
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: average.total / average.weight for name, average in totals.items()}

"""Members between host and devices: the groups that a population is trained in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxrl.engine.layout import Layout
from jaxrl.engine.population import Population
from jaxrl.engine.program import Program, member_axes


@dataclass
class Groups:
    """A population on the devices, in groups that follow one another on the host.

    Attributes:
        instances, keys: of each group, leaves ``[devices * tile]``.
        states: of each group; empty until the population is started or restored.
    """

    program: Program
    layout: Layout
    population: Population
    root_seed: int
    instances: list[Any]
    keys: list[jax.Array]
    states: list[Any]

    @classmethod
    def place(cls, program: Program, layout: Layout, population: Population, root_seed: int) -> "Groups":
        """The instances and keys of a population on the devices; states come later."""
        keys = population.keys(root_seed)
        instances = [scatter(program, layout, population.instances, g) for g in range(layout.groups)]
        group_keys = [scatter(program, layout, keys, g) for g in range(layout.groups)]
        return cls(program, layout, population, root_seed, instances, group_keys, [])

    def state(self) -> Any:
        """The state of the whole population on the host, leaves ``[members, ...]``."""
        return self.gather(self.states)

    def learners(self) -> Any:
        """The learners' part of ``state``, which is small beside a replay buffer."""
        return self.gather([state.algorithm.learner for state in self.states])

    def take(self) -> Any:
        """The same as ``state``, whose memory on the devices is given back leaf by leaf: there is nothing left here."""
        states, self.states = self.states, []
        return gather(self.layout, states, release=True)

    def gather(self, parts: Sequence[Any]) -> Any:
        """The groups' leaves ``[devices * tile, ...]`` put together as ``[members, ...]`` on the host; keys stay
        typed."""
        return gather(self.layout, parts)

    def state_shapes(self, members: int) -> Any:
        """Shapes and dtypes of the host's state of so many members."""
        return gathered_shapes(members, self.states[0])

    def select(self, index: np.ndarray) -> "Groups":
        """Some of the members, by their place, without their states yet.

        They make fewer groups of the same size, so that the compiled programs stay in use and nobody's numbers change.
        """
        layout = replace(self.layout, members=len(index))
        return Groups.place(self.program, layout, self.population.take(index), self.root_seed)

    def load(self, state: Any) -> None:
        """Takes the state of the whole population, leaves ``[members, ...]`` on the host."""
        self.states = [scatter(self.program, self.layout, state, g) for g in range(self.layout.groups)]

    def training_metrics(self) -> dict[str, np.ndarray]:
        """What members reported since the last evaluation, averaged; NaN where nothing was, as before an episode's
        end."""
        totals = gather(self.layout, [state.totals for state in self.states])
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: average.total / average.weight for name, average in totals.items()}

    def evaluation_keys(self, group: int, evaluation: int) -> jax.Array:
        """A group's keys for one evaluation."""
        return self.program.place(evaluation_keys(self.keys[group], evaluation), 0)


def evaluation_keys(keys: jax.Array, evaluation: int) -> jax.Array:
    """Keys that depend on the member and the evaluation only, away from those of training."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), evaluation))(keys)


def scatter(program: Program, layout: Layout, tree: Any, group: int) -> Any:
    """One group of leaves ``[members, ...]``, spread over the devices."""
    axes, chosen = member_axes(tree), select_members(tree, layout.indices(group))
    # A program takes its state over, so what all members share is a buffer of its own in each group.
    own = jax.tree.map(
        lambda axis, leaf: jax.tree.map(jnp.copy, leaf) if axis is None else leaf, axes, chosen, is_leaf=is_none
    )
    return program.place(own, axes)


def select_members(tree: Any, index: np.ndarray | int) -> Any:
    """Some members of leaves ``[members, ...]``; of one alone, without that axis, for a number."""
    return jax.tree.map(
        lambda axis, leaf: leaf if axis is None else leaf[index], member_axes(tree), tree, is_leaf=is_none
    )


def gather(layout: Layout, parts: Sequence[Any], release: bool = False) -> Any:
    """The groups' leaves ``[group, ...]`` put together as ``[members, ...]`` on the host; keys stay typed.

    Args:
        release: delete every leaf as soon as it has been copied, so that there are never two of all.
    """

    def join(axis, *leaves):
        if axis is None:
            return leaves[0]
        if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
            implementation = jax.random.key_impl(leaves[0])
            return jax.random.wrap_key_data(join(0, *map(jax.random.key_data, leaves)), impl=implementation)
        whole = np.empty((layout.members, *leaves[0].shape[1:]), leaves[0].dtype)
        for g, leaf in enumerate(leaves):
            own = whole[g * layout.group :][: layout.real(g)]
            # Shard by shard: an array that is asked for all of itself keeps what it answered.
            for shard in leaf.addressable_shards:
                rows = own[shard.index[0]]
                rows[...] = np.asarray(shard.data)[: len(rows)]
            if release:
                leaf.delete()
        return whole

    return jax.tree.map(join, member_axes(parts[0]), *parts, is_leaf=is_none)


def gathered_shapes(members: int, part: Any) -> Any:
    """Shapes and dtypes of what ``gather`` makes of parts like this one."""
    host = SingleDeviceSharding(jax.local_devices()[0])

    def shape(axis, leaf):
        if axis is None:
            return jax.tree.map(lambda inner: jax.ShapeDtypeStruct(inner.shape, inner.dtype, sharding=host), leaf)
        return jax.ShapeDtypeStruct((members, *leaf.shape[1:]), leaf.dtype, sharding=host)

    return jax.tree.map(shape, member_axes(part), part, is_leaf=is_none)


def is_none(node: Any) -> bool:
    return node is None

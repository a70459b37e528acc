"""Members, and how they are laid out: a member is one (hyperparameters, seed)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxrl.core import random
from jaxrl.errors import InvalidArgument, UserError

CACHE_BYTES = 2**20
"""working set of one tile on a CPU core: about a level-2 cache"""


@dataclass(frozen=True)
class Population:
    """The members of a run, configs outermost: member ``c * len(seeds) + s`` has config ``c`` and seed ``seeds[s]``.

    Attributes:
        config: the algorithm's dataclass with every leaf of shape ``[members]``.
        seed: ``[members]`` integers.
        config_index: ``[members]`` integers.
        member: ``[members]`` integers, their numbers in the whole population.
    """

    config: Any
    seed: np.ndarray
    config_index: np.ndarray
    member: np.ndarray

    @property
    def size(self) -> int:
        return len(self.seed)

    def take(self, index: np.ndarray) -> "Population":
        """Some of the members, by their place in this population."""
        config = jax.tree.map(lambda leaf: leaf[index], self.config)
        return Population(config, self.seed[index], self.config_index[index], self.member[index])

    def keys(self, root: int) -> jax.Array:
        """``[members]`` keys; that of seed ``i`` is ``fold_in(key(root), i)`` whoever else is there."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(random.key(root), self.seed.astype(np.uint32))


def populate(config: Any, seeds: int | Sequence[int]) -> Population:
    """Crosses a config, whose leaves may have one leading axis of ``C`` variants, with seeds.

    Raises:
        InvalidArgument: for no seeds, negative or repeated ones, or leaves with different leading axes.
    """
    variants, seed = variants_of(config), np.asarray(checked_seeds(seeds), np.int64)
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(config)]
    members = [np.repeat(np.broadcast_to(leaf, (variants,)), len(seed)) for leaf in leaves]
    return Population(
        config=jax.tree.unflatten(jax.tree.structure(config), members),
        seed=np.tile(seed, variants),
        config_index=np.repeat(np.arange(variants), len(seed)),
        member=np.arange(variants * len(seed)),
    )


def population_size(config: Any, seeds: int | Sequence[int]) -> int:
    """How many members ``populate`` makes of the same arguments. Costs nothing, however many they are."""
    return variants_of(config) * len(checked_seeds(seeds))


def checked_seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    """The seeds asked for by number or by name."""
    named = range(int(seeds)) if isinstance(seeds, int | np.integer) else list(seeds)
    fine = isinstance(named, range) or (
        len(set(named)) == len(named)
        and all(isinstance(seed, int | np.integer) and 0 <= seed < 2**32 for seed in named)
    )
    if not fine or not 1 <= len(named) <= 2**32:
        raise InvalidArgument(
            "seeds", seeds, "must be a number of at least 1 and at most 2**32, or distinct integers within [0, 2**32)"
        )
    return named


def variants_of(config: Any) -> int:
    """``C``, the length of the leaves that are vectors, or 1."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(config)]
    lengths = {shape[0] for shape in shapes if len(shape) == 1}
    if len(lengths) > 1 or 0 in lengths or any(len(shape) > 1 for shape in shapes):
        raise InvalidArgument(
            "config",
            [shape for shape in shapes if shape],
            "hyperparameters must be scalars or vectors of one length, a value for each variant",
        )
    return lengths.pop() if lengths else 1


@dataclass(frozen=True)
class Layout:
    """How members are grouped: a group is one call of the compiled program, ``tile`` members on each of ``devices``.

    Groups follow one another on the host and the last is filled up with copies of its last member.
    """

    members: int
    devices: int
    tile: int

    @property
    def group(self) -> int:
        return self.devices * self.tile

    @property
    def groups(self) -> int:
        return -(-self.members // self.group)

    def indices(self, group: int) -> np.ndarray:
        """``[group]`` member indices of a group, filled up."""
        start = group * self.group
        return np.minimum(np.arange(start, start + self.group), self.members - 1)

    def real(self, group: int) -> int:
        """How many members of a group are not filling."""
        return min(self.group, self.members - group * self.group)


def plan(
    members: int,
    devices: int,
    state_bytes: int,
    work_bytes: int,
    memory: int,
    tile: int | None,
    on_cpu: bool,
) -> Layout:
    """Chooses the tile from the estimated bytes per member, before anything is compiled.

    Args:
        state_bytes: state of one member, which is held for all members at once.
        work_bytes: what one member needs beyond that while its tile is running.
        memory: bytes there are.
        tile: members per device and call, or None to choose.

    Raises:
        UserError: if the states of all members with one tile at work exceed ``memory``.
    """
    if tile is not None and tile < 1:
        raise InvalidArgument("tile", tile, "must be at least 1")
    devices = min(devices, members)
    per_device = -(-members // devices)
    spare = memory - members * state_bytes
    most = spare // (devices * max(work_bytes, 1))
    if most < (tile or 1):
        needed = members * state_bytes + devices * (tile or 1) * work_bytes
        raise UserError(
            f"seeds: {members} members need about {readable(needed)}: {readable(state_bytes)} of state each, and"
            f" {readable(work_bytes)} each for the {devices * (tile or 1)} at work; {readable(memory)} are available."
            " Train fewer members at once, or shrink the networks, the rollout or the buffer"
        )
    if tile is None:
        cached = max(1, min(16, power_of_two(CACHE_BYTES // max(state_bytes, 1)))) if on_cpu else per_device
        largest = max(1, min(most, cached, per_device))
        rounds = -(-per_device // largest)
        tile = -(-per_device // rounds)
    return Layout(members, devices, min(tile, per_device))


def power_of_two(number: int) -> int:
    """The greatest power of two that is no greater, or 0: vectorised loops over members have no remainder then."""
    return 1 << number.bit_length() - 1 if number else 0


def readable(size: float) -> str:
    """Bytes in words: ``1536 -> '1.5 KiB'``."""
    power = min(4, int(math.log(max(size, 1), 1024)))
    return f"{size / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"

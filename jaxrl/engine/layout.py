"""How members are laid out: in groups that the devices train one after the other, a tile of members each."""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from jaxrl.core import random
from jaxrl.engine.hosts import Process
from jaxrl.engine.memory import available_bytes, peak_bytes, tree_bytes
from jaxrl.engine.population import Instance, instance_shapes
from jaxrl.errors import InvalidArgument, UserError

CACHE_BYTES = 2**20
"""states of one tile's learners on a CPU core: about a level-2 cache"""
WORK_BYTES = 2**24
"""what a tile needs beside its states at most: about a core's share of a level-3 cache"""


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


def lay_out(
    make: Any, instances: Instance, process: Process, members: int, devices: list[Any], tile: int | None
) -> tuple[Layout, int]:
    """The layout of a process's members that the estimated memory allows, and the bytes of one member's state."""
    instance = instance_shapes(instances)
    state = jax.eval_shape(lambda one, key: make(one).init(key), instance, jax.eval_shape(random.key, 0))
    state_bytes = tree_bytes(state)
    work_bytes = peak_bytes(lambda one, state: make(one).update(state), instance, state)
    on_cpu = devices[0].platform == "cpu"
    memory = available_bytes(devices[0]) * (1 if on_cpu else len(devices))
    # planned for the largest share, so that all processes have the same tile and round alike
    largest = len(process._replace(index=0).share(members))
    learner_bytes = tree_bytes(state.learner)
    layout = plan(largest, len(devices), state_bytes, work_bytes, memory, tile, on_cpu, learner_bytes)
    return replace(layout, members=len(process.share(members))), state_bytes


def plan(
    members: int,
    devices: int,
    state_bytes: int,
    work_bytes: int,
    memory: int,
    tile: int | None,
    on_cpu: bool,
    learner_bytes: int | None = None,
) -> Layout:
    """Chooses the tile from the estimated bytes per member, before anything is compiled.

    Args:
        state_bytes: state of one member, which is held for all members at once.
        work_bytes: what one member needs beyond that while its tile is running.
        memory: bytes there are.
        tile: members per device and call, or None to choose.
        learner_bytes: of the state, what every update goes through and should stay in a cache; all of it by default.
            The rest may be a replay buffer, of which an update reads a few rows.

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
        largest = min(most, per_device)
        if on_cpu:
            through = state_bytes if learner_bytes is None else learner_bytes
            cached = min(CACHE_BYTES // max(through, 1), WORK_BYTES // max(work_bytes, 1))
            largest = min(largest, 16, max(1, power_of_two(cached)))
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

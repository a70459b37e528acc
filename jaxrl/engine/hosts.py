"""Several processes that train one population, each its own members: no array and no loop spans two of them.

``jax.distributed`` tells the processes of one another. They meet when the directory is taken, and in the directory
itself at the end, when the first of them draws the picture of the whole: no collective operation waits for hours.
"""

from typing import NamedTuple

import jax

from jaxrl.errors import InvalidArgument


class Process(NamedTuple):
    """Which of how many processes this is."""

    index: int
    count: int

    def share(self, members: int) -> range:
        """The numbers of this process's members: blocks of equal size, the last one shorter.

        Raises:
            InvalidArgument: if the processes are too many for each to have a member.
        """
        size = -(-members // self.count)
        if size * (self.count - 1) >= members:
            raise InvalidArgument("seeds", members, f"must give each of {self.count} processes a member")
        return range(size * self.index, min(size * (self.index + 1), members))

    def wait(self, name: str) -> None:
        """Returns once all processes are here."""
        if self.count > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(name)


def this_process() -> Process:
    return Process(jax.process_index(), jax.process_count())


ALONE = Process(0, 1)

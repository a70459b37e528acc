"""A run for the tests to kill: ``trainee.py DIRECTORY REQUEST PAUSE_AT``.

Every chunk is one update and is saved. Prints a line for each event, so that the killer can choose its moment. In
checkpoint number ``PAUSE_AT`` of this process, if not 0, it waits to be killed: written by orbax and not yet renamed.
"""

import json
import sys
import time

import jaxrl

jaxrl.use_all_cores(8)

from tiny import train_tiny  # noqa: E402

import jaxrl.engine.train as engine  # noqa: E402
from jaxrl.engine import checkpoint  # noqa: E402
from jaxrl.engine.sinks import Sink  # noqa: E402


def say(event):
    print(event, flush=True)


class Events(Sink):
    """Says what happens."""

    def begin(self, plan, updates):
        say("begin")

    def say(self, message):
        say(message)

    def progress(self, done, steps_per_second, seconds_left, latest):
        say(f"progress {done}")


def main():
    engine.CHUNK_SECONDS = 0.0
    directory, request, pause_at = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    checksum, save, saves = checkpoint.checksum, checkpoint.save, 0

    def counted_save(*arguments):
        nonlocal saves
        saves += 1
        save(*arguments)

    def pausing_checksum(file):
        if saves and saves == pause_at:
            say("inside a checkpoint write")
            time.sleep(600)
        return checksum(file)

    checkpoint.save, checkpoint.checksum = counted_save, pausing_checksum
    request |= {"directory": directory, "checkpoint_seconds": 0, "sinks": [Events()]}
    train_tiny(**request)
    say("finished")


if __name__ == "__main__":
    main()

"""The estimate of the bytes a program needs, where it writes into what it is given."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.engine.layout import plan
from jaxrl.engine.memory import peak_bytes

BUFFER = jax.ShapeDtypeStruct((10_000,), jnp.float32)
ROW = jax.ShapeDtypeStruct((10,), jnp.float32)


def written(buffer, row):
    return jax.lax.dynamic_update_slice(buffer, row, (3,))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (written, 0),
        (lambda buffer, row: buffer.at[jnp.array([7])].set(row[0]), 0),
        (lambda buffer, row: written(written(buffer, row), 2 * row), 0),
        (lambda buffer, row: (written(buffer, row), buffer), 40_000),  # what is still read has to be copied
        (lambda buffer, row: written(buffer + 1, row), 40_000),
        # what a loop is given is not its own
        (lambda buffer, row: jax.lax.scan(lambda c, _: (c + written(buffer, row)[0], None), row[0], None, 3), 40_000),
    ],
)
def test_a_write_into_what_nobody_reads_any_more_takes_no_memory(function, expected):
    assert expected <= peak_bytes(function, BUFFER, ROW) <= expected + 500


def test_a_replay_buffer_does_not_make_the_tile_smaller():
    """As long as there is memory for all: an update goes through the learner, and reads a few rows of the buffer."""
    settings = {"devices": 1, "work_bytes": 2**10, "memory": 2**34, "tile": None, "on_cpu": True}
    assert plan(64, state_bytes=2**26, **settings).tile == 1
    assert plan(64, state_bytes=2**26, learner_bytes=2**16, **settings).tile == 16


@pytest.mark.slow
def test_replay_takes_the_memory_that_is_estimated():
    """What a process holds while it trains grows with the buffer by the bytes of its leaves, within 5%: there is no
    copy. When the states are brought to the host it is one leaf more."""
    program = """
import resource, sys
from jaxrl import SAC, train
from jaxrl.engine.memory import tree_bytes
from jaxrl.engine.sinks import Sink

def held():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

class Training(Sink):
    def write(self, evaluation, rows):
        self.held = held()

config = SAC(hidden_sizes=(8,), batch_size=8, learning_starts=64, capacity=int(sys.argv[1]))
training = Training()
result = train(config, "Pendulum-v1", seeds=8, steps=2_000, evaluate_every=500, sinks=[training])
print(tree_bytes(result.states.source), training.held, held())
"""

    def measured(capacity):
        command = [sys.executable, "-c", program, str(capacity)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return np.array(output.split()[-3:], float)

    estimate, training, end = measured(2_000_000) - measured(1_000)
    assert estimate > 5e8
    np.testing.assert_allclose(training, estimate, rtol=0.05)
    assert end < 1.45 * estimate

"""How many bytes a program needs, from its trace alone, and how many there are."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def tree_bytes(tree: Any) -> int:
    """Bytes of all leaves of a tree of arrays or shapes."""
    return sum(array_bytes(leaf) for leaf in jax.tree.leaves(tree))


def array_bytes(array: Any) -> int:
    if not hasattr(array, "shape"):
        return np.asarray(array).nbytes
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        array = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(array.shape, array.dtype))
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def peak_bytes(function: Any, *arguments: Any) -> int:
    """The most bytes alive at once in ``function(*arguments)`` beside its arguments, were every operation run in order.

    An upper estimate by liveness over the trace: XLA fuses many of the counted arrays away and reuses others. The
    arguments may be overwritten: a write into an array that nobody reads any more takes no memory of its own.
    """
    return jaxpr_peak(jax.make_jaxpr(function)(*arguments).jaxpr, owns_arguments=True)


IN_PLACE = ("dynamic_update_slice", "scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul")
"""primitives that write into their first operand where they may"""


def jaxpr_peak(jaxpr: Any, owns_arguments: bool = False) -> int:
    """``peak_bytes`` of a jaxpr, whose arguments may be overwritten if it owns them."""
    arguments = [*jaxpr.invars, *jaxpr.constvars] if not owns_arguments else []
    last_use = {}
    for position, equation in enumerate(jaxpr.eqns):
        for variable in equation.invars:
            if not hasattr(variable, "val"):  # a literal has a value, a variable has not
                last_use[variable] = position
    for variable in jaxpr.outvars:
        if not hasattr(variable, "val"):
            last_use[variable] = len(jaxpr.eqns)
    live = peak = 0
    alive = {}
    for position, equation in enumerate(jaxpr.eqns):
        inner = max((jaxpr_peak(sub) for sub in inner_jaxprs(equation)), default=0)
        operand = equation.invars[0] if equation.primitive.name in IN_PLACE else None
        if not hasattr(operand, "val") and last_use.get(operand) == position and operand not in arguments:
            alive[equation.outvars[0]] = alive.pop(operand, 0)  # 0 for an argument, which is not counted
        else:
            for variable in equation.outvars:
                alive[variable] = array_bytes(variable.aval)
                live += alive[variable]
        peak = max(peak, live + inner)
        for variable in [v for v in alive if last_use.get(v, -1) <= position]:
            live -= alive.pop(variable)
    return peak


def inner_jaxprs(equation: Any) -> list[Any]:
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, list | tuple) else (value,):
            item = getattr(item, "jaxpr", item)  # a closed jaxpr holds one
            if hasattr(item, "eqns"):
                found.append(item)
    return found


def available_bytes(device: Any) -> int:
    """Memory that can still be allocated on a device; for CPU devices that of the machine."""
    if device.platform != "cpu":
        statistics = device.memory_stats() or {}
        if "bytes_limit" in statistics:
            return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    limits = [Path("/sys/fs/cgroup/memory.max")]
    free = []
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    free += [int(p.read_text()) for p in limits if p.exists() and p.read_text().strip().isdigit()]
    return min(free, default=2**62)

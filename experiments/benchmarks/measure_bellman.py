"""One measurement of jaxrl's dynamic programming for ``bellman_speed``: prints a JSON line."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Solves the processes of the case in ``argv[1]``."""
    import jax
    import numpy as np

    import jaxrl

    case = json.loads(sys.argv[1])
    jaxrl.use_all_cores(members=case["processes"])
    from jaxrl.bellman import KL, L1, SRectangularL1, bellman, robust, solve, solve_many, sparse_mdp

    with np.load(case["path"]) as arrays:
        parts = [arrays[name][: case["processes"]] for name in ("successors", "probabilities", "rewards")]
        exact = arrays["values"][: case["processes"]]
    processes = [sparse_mdp(*one, discount=case["discount"]) for one in zip(*parts)]
    backup = {
        "nominal": bellman(),
        "L1": bellman(robust(L1(0.2))),
        "KL": bellman(robust(KL(0.1))),
        "s-rectangular L1": bellman(robust(SRectangularL1(0.5))),
    }[case["backup"]]
    options = {"method": case["method"], "tolerance": case["error"] / float(np.abs(exact).max())}

    def solved() -> Any:
        if len(processes) > 1:
            return solve_many(processes, backup, **options)
        return solve(processes[0], backup, **options)

    measured, found = timed(solved, case["solves"])
    if case["backup"] != "nominal":  # nobody else's value: its own, far more exact
        exact = solve(processes[0], backup, tolerance=1e-13).value[None]
    value = np.asarray(found.value).reshape(exact.shape)
    sweeps = int(np.sum(found.iterations))
    print(
        json.dumps(
            measured
            | {
                "sweeps": sweeps / len(processes),
                "updates_per_second": sweeps * parts[0][0].size / measured["seconds"],
                "error": float(np.abs(value - exact).max()),
                "devices": len(jax.devices()),
            }
        )
    )


def timed(solved: Callable[[], Any], solves: int) -> tuple[dict[str, float], Any]:
    """The seconds of a solve, the median of several after a first one, how much longer that took, the processor's
    seconds, which other programs on the machine stretch less, and what it found."""
    seconds, processor, found = [], [], None
    for _ in range(solves + 1):
        begun, worked = time.perf_counter(), time.process_time()
        found = solved()
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - worked)
    median = statistics.median(seconds[1:])
    measured = {"seconds": median, "processor_seconds": statistics.median(processor[1:])}
    return measured | {"compile_seconds": seconds[0] - median}, found


if __name__ == "__main__":
    main()

"""One measurement of Rejax for the speed tables: prints a JSON line. Runs in Rejax's environment, without jaxrl."""

import json
import resource
import sys
import time

from experiments.benchmarks.rejax_algorithms import create


def main() -> None:
    """Trains the case in ``argv[1]`` once; compiled before the clock starts."""
    import jax

    case = json.loads(sys.argv[1])
    iteration = case["config"]["num_envs"] * case["config"]["num_steps"]
    steps = -(-case["steps"] // iteration) * iteration
    algorithm = create(case, steps, case["evaluation"])
    keys = jax.random.split(jax.random.key(0), case["members"])
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(algorithm.train)).lower(keys).compile()
    compile_seconds = time.perf_counter() - start
    start, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(keys))
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(
        json.dumps(
            {
                "steps_per_second": case["members"] * steps / seconds,
                "steps_per_processor_second": case["members"] * steps / processor,
                "compile_seconds": compile_seconds,
                "train_seconds": seconds,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()

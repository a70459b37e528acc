"""One measurement of HDPO for ``hdpo_speed``: prints a JSON line."""

import json
import resource
import sys
import time


def main() -> None:
    """Trains, or simulates, the case in ``argv[1]`` once."""
    import jaxrl

    case = json.loads(sys.argv[1])
    jaxrl.use_all_cores(members=case["members"])
    measured = simulation(case) if case["policy"] is None else training(case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(measured | {"peak_bytes": peak}))


def training(case: dict) -> dict:
    """Store-periods a second, forward and backward, of members trained side by side."""
    import jaxrl

    env = jaxrl.make(case["env"], **case["env_settings"])
    config = jaxrl.HDPO(
        policy=case["policy"],
        hidden_sizes=tuple(case["hidden_sizes"]),
        batch_size=case["batch_size"],
        horizon=case["horizon"],
        num_scenarios=case["batch_size"],
        development_every=10**6,  # neither side judges while it is measured
    )
    result = jaxrl.train(config, env, seeds=case["members"], updates=case["updates"], evaluate_every=0)
    store_periods = case["members"] * int(result.environment_steps[-1]) * env.network.stores
    return {
        "store_periods_per_second": store_periods / result.seconds["train"],
        "compile_seconds": result.seconds["compile"],
        "layout": vars(result.layout),
    }


def simulation(case: dict) -> dict:
    """Store-periods a second of a base-stock policy, on every device at once."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec
    from jaxrl.envs.inventory import simulate

    import jaxrl
    from jaxrl.core import random
    from jaxrl.policies.inventory import base_stock

    env = jaxrl.make(case["env"], **case["env_settings"])
    policy = base_stock(env, env.default_params)
    weights = policy.init(jax.random.key(0))
    mesh = Mesh(np.array(jax.devices()), ("member",))

    def cost(keys):
        parts = keys.reshape(-1, case["batch_size"])
        return jax.lax.map(
            lambda part: simulate(env, lambda obs: policy.act(weights, obs), part, case["horizon"]).mean(), parts
        )

    spec = PartitionSpec("member")
    run = jax.jit(jax.shard_map(cost, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    number = len(jax.devices()) * case["batch_size"] * case["updates"]
    keys = jax.random.split(random.key(0), number)
    begun = time.perf_counter()
    compiled = run.lower(keys).compile()
    compile_seconds = time.perf_counter() - begun
    jax.block_until_ready(compiled(keys))
    begun = time.perf_counter()
    jax.block_until_ready(jnp.sum(compiled(keys)))
    seconds = time.perf_counter() - begun
    return {
        "store_periods_per_second": number * case["horizon"] * env.network.stores / seconds,
        "compile_seconds": compile_seconds,
    }


if __name__ == "__main__":
    main()

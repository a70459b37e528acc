"""The steps/s that this machine's matrix products alone would allow, for the speed tables: prints a JSON line."""

import json
import math
import sys
import time
from itertools import pairwise
from typing import Any


def main() -> None:
    """Measures the rate of the hidden layer's product at the minibatch's shape on all cores at once."""
    import jaxrl

    jaxrl.use_all_cores()
    case = json.loads(sys.argv[1])
    rows, flops = (inventory_work if "horizon" in case else ppo_work)(case)
    rate = product_rate(rows, case["hidden_sizes"][-1])
    print(json.dumps({"flops_per_second": rate, "flops_per_step": flops, "steps_per_second": rate / flops}))


def product_rate(rows: int, width: int, members: int = 8) -> float:
    """Floating-point operations a second of products ``[rows, width] x [width, width]`` of members side by side, on all
    devices at once."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec

    products = max(20, int(2e9 / (members * rows * width**2)))
    devices = jax.devices()
    mesh = Mesh(np.array(devices), ("member",))

    def chain(x, w):
        return jax.lax.fori_loop(0, products, lambda _, x: jnp.einsum("mbi,mio->mbo", x, w), x)

    spec = PartitionSpec("member")
    run = jax.jit(jax.shard_map(chain, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False))
    x = jnp.ones((len(devices) * members, rows, width))
    w = jnp.broadcast_to(jnp.eye(width), (len(devices) * members, width, width))
    jax.block_until_ready(run(x, w))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(run(x, w))
        seconds.append(time.perf_counter() - start)
    return 2 * len(devices) * members * products * rows * width * width / min(seconds)


def ppo_work(case: dict[str, Any]) -> tuple[int, int]:
    """Rows of a minibatch, and floating-point operations of an environment step."""
    import jaxrl

    env = jaxrl.make(case["env"])
    inputs = math.prod(env.observation_space(env.default_params).shape)
    space = env.action_space(env.default_params)
    actions = int(space.n) if hasattr(space, "n") else space.shape[0]
    rows = case["num_envs"] * case["num_steps"] // case["num_minibatches"]
    return rows, flops_per_step(inputs, actions, case["hidden_sizes"], case["num_epochs"])


def inventory_work(case: dict[str, Any]) -> tuple[int, float]:
    """Scenarios differentiated together, and floating-point operations of a store and period: the policy forward, and
    backward to its weights and to the state before, which all earlier orders acted on."""
    import jaxrl

    env = jaxrl.make(case["env"], **case["env_settings"])
    sizes = [env.network.nodes * env.network.pipeline, *case["hidden_sizes"], len(env.network.edges)]
    flops = 6 * sum(a * b for a, b in pairwise(sizes))
    return jaxrl.HDPO().microbatch_size, flops / env.network.stores


def flops_per_step(inputs: int, actions: int, hidden: list[int], epochs: int) -> int:
    """Floating-point operations of the matrix products of one environment step of PPO with separate networks.

    Acting takes the actor forward and labelling the critic; each epoch both forward and backward, where the first layer
    needs no gradient of its input.
    """
    total = 0
    for outputs in (actions, 1):
        sizes = [inputs, *hidden, outputs]
        weights = sum(a * b for a, b in pairwise(sizes))
        total += 2 * weights + epochs * (6 * weights - 2 * sizes[0] * sizes[1])
    return total


if __name__ == "__main__":
    main()

"""The steps/s that this machine's matrix products alone would allow, for ``ppo_speed``: prints a JSON line."""

import json
import math
import sys
import time
from itertools import pairwise


def main() -> None:
    """Measures the rate of the hidden layer's product at the minibatch's shape on all cores at once."""
    import jaxrl

    jaxrl.use_all_cores()
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec

    case = json.loads(sys.argv[1])
    env = jaxrl.make(case["env"])
    inputs = math.prod(env.observation_space(env.default_params).shape)
    space = env.action_space(env.default_params)
    actions = int(space.n) if hasattr(space, "n") else space.shape[0]
    rows = case["num_envs"] * case["num_steps"] // case["num_minibatches"]
    width, members, products = case["hidden_sizes"][-1], 8, 500
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
    rate = 2 * len(devices) * members * products * rows * width * width / min(seconds)
    print(
        json.dumps(
            {
                "flops_per_second": rate,
                "flops_per_step": (flops := flops_per_step(inputs, actions, case["hidden_sizes"], case["num_epochs"])),
                "steps_per_second": rate / flops,
            }
        )
    )


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

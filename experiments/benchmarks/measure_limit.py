"""The steps/s that this machine's matrix products alone would allow, for the speed tables: prints a JSON line."""

import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any


def main() -> None:
    """Measures the rate of the hidden layer's product at the minibatch's shape on all cores at once."""
    import jaxrl

    jaxrl.use_all_cores()
    case = json.loads(sys.argv[1])
    work = {"PPO": ppo_work, "DQN": dqn_work, "SAC": off_policy_work, "TD3": off_policy_work}
    rows, width, flops = work.get(case.get("algorithm", ""), inventory_work)(case)
    rate = product_rate(rows, width)
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


def ppo_work(case: dict[str, Any]) -> tuple[int, int, float]:
    """Rows of a minibatch, width of the hidden layer, and floating-point operations of an environment step.

    Actor and critic are networks of their own. Acting takes the actor forward and labelling the critic; each epoch both
    forward and backward.
    """
    config, (inputs, actions) = case["config"], inputs_and_actions(case)
    flops = 0
    for outputs in (actions, 1):
        sizes = [inputs, *config["hidden_sizes"], outputs]
        flops += forward(sizes) + config["num_epochs"] * forward_and_backward(sizes)
    rows = config["num_envs"] * config["num_steps"] // config["num_minibatches"]
    return rows, config["hidden_sizes"][-1], flops


def dqn_work(case: dict[str, Any]) -> tuple[int, int, float]:
    """The same of scalar Q-learning. Acting takes the network forward; each row of a gradient step takes the target
    network forward, with double Q-learning the online one too, and that forward and backward."""
    config, (inputs, actions) = case["config"], inputs_and_actions(case)
    sizes = [inputs, *config["hidden_sizes"], actions + config["dueling"]]
    rows = config["num_updates"] * config["batch_size"] / (config["num_envs"] * config["num_steps"])
    flops = forward(sizes) + rows * ((1 + config["double"]) * forward(sizes) + forward_and_backward(sizes))
    return config["batch_size"], config["hidden_sizes"][-1], flops


def off_policy_work(case: dict[str, Any]) -> tuple[int, int, float]:
    """The same of SAC and TD3. Acting takes the actor forward; each row of a gradient step takes the actor and the
    target critics forward and the critics forward and backward; a step of the actor takes it forward and backward, and
    all critics of SAC's, or one of TD3's, forward and back to the action."""
    config, (inputs, actions) = case["config"], inputs_and_actions(case)
    td3 = case["algorithm"] == "TD3"
    actor = [inputs, *config["hidden_sizes"], actions if td3 else 2 * actions]
    critic = [inputs + actions, *config["hidden_sizes"], 1]
    critics = config["num_critics"]
    climbed, period = (1, config["policy_delay"]) if td3 else (critics, 1)
    row = forward(actor) + critics * (forward(critic) + forward_and_backward(critic))
    row += (forward_and_backward(actor) + climbed * 2 * forward(critic)) / period
    rows = config["update_to_data"] * config["batch_size"]
    return config["batch_size"], config["hidden_sizes"][-1], forward(actor) + rows * row


def inputs_and_actions(case: dict[str, Any]) -> tuple[int, int]:
    """Widths of an observation, and of an action or the number of discrete ones."""
    import jaxrl

    env = jaxrl.make(case["env"], **case["env_settings"])
    space = env.action_space(env.default_params)
    inputs = math.prod(env.observation_space(env.default_params).shape)
    return inputs, int(space.n) if hasattr(space, "n") else space.shape[0]


def forward(sizes: Sequence[int]) -> int:
    """Floating-point operations of the products of dense layers of these widths, for one row."""
    return 2 * sum(a * b for a, b in pairwise(sizes))


def forward_and_backward(sizes: Sequence[int]) -> int:
    """The same with the gradient; the first layer needs none of its input."""
    return 3 * forward(sizes) - 2 * sizes[0] * sizes[1]


def inventory_work(case: dict[str, Any]) -> tuple[int, int, float]:
    """Scenarios differentiated together, width of the widest layer, and floating-point operations of a store and
    period: the policy forward, and backward to its weights and to the state before, which all earlier orders acted
    on."""
    import jaxrl

    env = jaxrl.make(case["env"], **case["env_settings"])
    sizes = [env.network.nodes * env.network.pipeline, *case["hidden_sizes"], len(env.network.edges)]
    return jaxrl.HDPO().microbatch_size, case["hidden_sizes"][-1], 3 * forward(sizes) / env.network.stores


if __name__ == "__main__":
    main()

"""One measurement of diffusion policies for ``denoiser_speed``: prints a JSON line."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any


def main() -> None:
    """Measures the case in ``argv[1]`` once, on all cores at once."""
    import jaxrl

    jaxrl.use_all_cores()
    case = json.loads(sys.argv[1])
    print(json.dumps(candidates(case) if case["kind"] == "candidates" else chain(case)))


def seconds_on_all_devices(function: Callable[..., Any], *arguments: Any, repeats: int = 10) -> float:
    """The least time of ``function``, of ``repeats`` after one to compile, of one copy of the arguments a device."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec

    devices = jax.devices()
    spec = PartitionSpec("member")
    copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(devices), *leaf.shape)), arguments)

    def own(*copies):
        return jax.vmap(function)(*copies)

    mesh = Mesh(np.array(devices), ("member",))
    run = jax.jit(jax.shard_map(own, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    jax.block_until_ready(run(*copies))
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(run(*copies))
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def chain(case: dict[str, Any]) -> dict[str, Any]:
    """Rows a second of the denoiser, inside DDPM's chain, and of the products of its layers alone."""
    import jax

    from jaxrl.policies.denoising import denoisers_of
    from jaxrl.policies.diffusion import ddpm, variance_preserving, vp_schedule

    rows, steps, devices = case["rows"], case["steps"], len(jax.devices())
    init, network, sizes = network_of(case)
    schedule = vp_schedule(steps)
    sampler, denoisers = ddpm(schedule, clip="x"), denoisers_of(network, variance_preserving(schedule))
    obs = jax.random.normal(jax.random.key(0), (rows, case["obs"]))
    noise = jax.random.normal(jax.random.key(1), (rows, sampler.draws, case["actions"]))
    seconds = seconds_on_all_devices(
        lambda params, obs, noise: sampler.run(denoisers(params, obs), noise), init(jax.random.key(2)), obs, noise
    )
    bare = products_alone(rows, sizes, steps)
    return {
        "rows_per_second": devices * rows * steps / seconds,
        "limit_rows_per_second": devices * rows * steps / bare,
        "flops_per_row": 2 * sum(a * b for a, b in sizes),
    }


def network_of(case: dict[str, Any]) -> tuple[Callable, Callable, list[tuple[int, int]]]:
    """``init``, the network, and the sizes of its layers, but for those of the time alone, of which rows share one."""
    from jaxrl.networks.denoiser import ResidualMLP, TimeFeatures, denoiser
    from jaxrl.networks.torsos import MLP

    width, actions, obs = case["width"], case["actions"], case["obs"]
    if case["network"] == "residual":  # EXPO's
        init, network = denoiser(
            actions,
            (obs,),
            lambda: ResidualMLP(width, case["blocks"], "swish"),
            lambda: TimeFeatures("learned", 128, (256, 256), "swish"),
        )
        inside = [(width, 4 * width), (4 * width, width)] * case["blocks"]
        return init, network, [(actions + 256 + obs, width), *inside, (width, actions)]
    widths = [width] * case["blocks"]
    init, network = denoiser(actions, (obs,), lambda: MLP(widths, "mish", orthogonal=False))  # Diffusion-QL's
    return init, network, [*pairwise([actions + 16 + obs, *widths]), (width, actions)]


def products_alone(rows: int, sizes: Sequence[tuple[int, int]], steps: int) -> float:
    """Seconds of ``steps`` rounds of products ``[rows, a] x [a, b]`` of these sizes, one after the other."""
    import jax
    import jax.numpy as jnp

    weights = [jnp.full(size, size[0] ** -1.0) for size in sizes]
    inputs = jnp.ones((rows, sizes[0][0]))

    def rounds(inputs, *weights):
        def once(_, x):
            found = x
            for weight in weights:
                found = found @ weight
            # The next round waits for this one.
            return x.at[:, : found.shape[1]].set(found)

        return jax.lax.fori_loop(0, steps, once, inputs)

    return seconds_on_all_devices(rounds, inputs, *weights)


def candidates(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of an action of EXPO, of one candidate and of several, and of the critics' part of it alone."""
    import jax
    import jax.numpy as jnp

    import jaxrl

    env = jaxrl.make(case["env"])
    obs = jax.random.normal(jax.random.key(0), (case["rows"], *env.observation_space(env.default_params).shape))
    found = {}
    for count in (1, case["count"]):
        config = jaxrl.EXPO(num_proposals=count, num_edits=0)
        agent = config.agent(env, env.default_params)
        params = agent.base.init(jax.random.key(1)) | agent.editor.init(jax.random.key(2))
        params["critics"] = agent.critics.init(jax.random.key(3))
        noise = agent.policy.noise(jax.random.key(4), (case["rows"],))
        action = jax.random.uniform(jax.random.key(5), (case["rows"] * count, env.num_actions))
        every = jnp.repeat(obs, count, axis=0)
        uniform = jax.random.uniform(jax.random.key(6), (config.num_critics,))

        def act(params, obs, noise, policy=agent.policy):
            return policy.sample(params, obs, noise)[0]

        def score(params, obs, action, uniform, config=config, critics=agent.critics):
            return config.least(critics, params, obs, action, uniform)

        found[f"act_{count}"] = seconds_on_all_devices(act, params, obs, noise)
        found[f"score_{count}"] = seconds_on_all_devices(score, params["critics"], every, action, uniform)
    count = case["count"]
    return {
        "act_seconds": found["act_1"],
        "act_ratio": found[f"act_{count}"] / found["act_1"],
        "score_seconds": found["score_1"],
        "score_ratio": found[f"score_{count}"] / found["score_1"],
    }


if __name__ == "__main__":
    main()

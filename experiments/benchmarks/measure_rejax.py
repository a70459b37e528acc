"""One measurement of Rejax for ``ppo_speed``: prints a JSON line. Runs in Rejax's environment, without jaxrl."""

import json
import resource
import sys
import time


def main() -> None:
    """Trains the case in ``argv[1]`` once; compiled before the clock starts."""
    import jax
    import jax.numpy as jnp
    from rejax import PPO

    case = json.loads(sys.argv[1])
    iteration = case["num_envs"] * case["num_steps"]
    steps = -(-case["steps"] // iteration) * iteration
    evaluation = {} if case["evaluation"] else {"eval_freq": steps, "skip_initial_evaluation": True}
    env = {"env": case["env"]}
    if case["env"].startswith("brax/"):
        env["env_params"] = {"backend": "spring"}
    algorithm = PPO.create(
        **env,
        num_envs=case["num_envs"],
        num_steps=case["num_steps"],
        num_epochs=case["num_epochs"],
        num_minibatches=case["num_minibatches"],
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": tuple(case["hidden_sizes"])},
        learning_rate=2.5e-4,
        max_grad_norm=0.5,
        total_timesteps=steps,
        **evaluation,
    )
    if not case["evaluation"]:
        algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: jnp.zeros(()))
    keys = jax.random.split(jax.random.key(0), case["members"])
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(algorithm.train)).lower(keys).compile()
    compile_seconds = time.perf_counter() - start
    start = time.perf_counter()
    jax.block_until_ready(compiled(keys))
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "steps_per_second": case["members"] * steps / seconds,
                "compile_seconds": compile_seconds,
                "train_seconds": seconds,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()

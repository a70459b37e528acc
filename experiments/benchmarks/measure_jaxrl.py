"""One measurement of jaxrl for ``ppo_speed``: prints a JSON line."""

import json
import resource
import sys


def main() -> None:
    """Trains the case in ``argv[1]`` once."""
    import jaxrl

    case = json.loads(sys.argv[1])
    jaxrl.use_all_cores(members=case["members"])
    config = jaxrl.PPO(
        num_envs=case["num_envs"],
        num_steps=case["num_steps"],
        num_epochs=case["num_epochs"],
        num_minibatches=case["num_minibatches"],
        hidden_sizes=tuple(case["hidden_sizes"]),
    )
    settings = {"backend": "spring"} if case["env"].startswith("brax/") else {}
    evaluation = {} if case["evaluation"] else {"evaluate_every": 0}
    env = jaxrl.make(case["env"], **settings)
    result = jaxrl.train(config, env, seeds=case["members"], steps=case["steps"], **evaluation)
    seconds = result.seconds["train"] + result.seconds["evaluate"]
    steps = case["members"] * int(result.environment_steps[-1])
    print(
        json.dumps(
            {
                "steps_per_second": steps / seconds,
                "compile_seconds": result.seconds["compile"],
                "train_seconds": result.seconds["train"],
                "evaluate_seconds": result.seconds["evaluate"],
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "layout": vars(result.layout),
            }
        )
    )


if __name__ == "__main__":
    main()

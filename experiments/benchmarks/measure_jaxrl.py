"""One measurement of jaxrl for the speed tables: prints a JSON line."""

import json
import resource
import sys
import time


def main() -> None:
    """Trains the case in ``argv[1]`` once."""
    import jaxrl

    case = json.loads(sys.argv[1])
    jaxrl.use_all_cores(members=case["members"])

    from jaxrl.engine.sinks import Sink

    class Processor(Sink):
        def compiled(self, advance):
            self.begun = time.process_time()

    processor = Processor()
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in case["config"].items()}
    result = jaxrl.train(
        getattr(jaxrl, case["algorithm"])(**fields),
        jaxrl.make(case["env"], **case["env_settings"]),
        seeds=case["members"],
        steps=case["steps"],
        evaluate_every=None if case["evaluation"] else 0,
        sinks=[processor],
    )
    processor_seconds = time.process_time() - processor.begun
    seconds = result.seconds["train"] + result.seconds["evaluate"]
    steps = case["members"] * int(result.environment_steps[-1])
    print(
        json.dumps(
            {
                "steps_per_second": steps / seconds,
                "steps_per_processor_second": steps / processor_seconds,
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

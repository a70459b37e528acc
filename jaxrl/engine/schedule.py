"""How long a run is and when it is judged, from what was asked for."""

from collections.abc import Mapping
from typing import Any

from jaxrl.envs import make as make_env
from jaxrl.errors import InvalidArgument


def whole_updates(steps: int | None, updates: int | None, steps_per_update: int) -> int:
    """The number of updates that ``steps`` or ``updates`` ask for."""
    if steps is not None and updates is None:
        name, value, count = "steps", steps, -(-steps // steps_per_update)
    elif updates is not None and steps is None:
        name, value, count = "updates", updates, updates
    else:
        raise InvalidArgument("steps", steps, "give either steps or updates")
    if value < 1:
        raise InvalidArgument(name, value, "must be at least 1")
    if count >= 2**31:
        raise InvalidArgument(name, value, f"must be less than 2**31 updates of {steps_per_update} steps")
    return count


def evaluation_schedule(every: int | None, updates: int, steps_per_update: int) -> list[int]:
    """The updates after which metrics are reported, ascending; the last is ``updates``."""
    if every is not None and every < 0:
        raise InvalidArgument("evaluate_every", every, "must be a number of environment steps, or 0 for never")
    if every == 0:
        return [updates]
    interval = -(-updates // 10) if every is None else -(-every // steps_per_update)
    return [*range(interval, updates, interval), updates]


def planned_evaluations(
    config: Any, env: str, env_settings: Mapping[str, Any], steps: int, evaluate_every: int | None
) -> int:
    """How many evaluations ``train`` makes of the same arguments."""
    made = make_env(env, **env_settings)
    steps_per_update = config.make(made, made.default_params, updates=1).steps_per_update
    return len(evaluation_schedule(evaluate_every, whole_updates(steps, None, steps_per_update), steps_per_update))


def check_evaluation(episodes: int, batch: int | None) -> None:
    if episodes < 1:
        raise InvalidArgument("evaluation_episodes", episodes, "must be at least 1; evaluate_every=0 judges never")
    if batch is not None and (batch < 1 or episodes % batch):
        raise InvalidArgument("evaluation_batch", batch, f"must divide evaluation_episodes={episodes}")

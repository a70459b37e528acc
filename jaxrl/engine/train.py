"""The training engine: a population of members, in jitted chunks, with everything on disk that a run needs to go on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from gymnax.environments.environment import Environment
from jax.sharding import Mesh

from jaxrl.core import random
from jaxrl.engine.memory import available_bytes, peak_bytes, tree_bytes
from jaxrl.engine.population import Layout, Population, plan, populate, population_size, readable
from jaxrl.engine.program import FINITE, Program
from jaxrl.engine.run_directory import RunDirectory
from jaxrl.engine.sinks import Sink
from jaxrl.engine.transfer import evaluation_keys, gather, gathered_shapes, scatter, training_metrics
from jaxrl.envs import make as make_env
from jaxrl.errors import InvalidArgument

CHUNK_SECONDS = 2.0
"""how long the devices run on before the host looks: with up to 8 groups, progress is about this old at most"""


@dataclass
class Result:
    """What a run leaves in memory.

    Attributes:
        states: the final ``AlgorithmState`` of all members, leaves ``[members, ...]``.
        metrics: name to values ``[members, evaluations]``.
        members: a row a member: seed, config and hyperparameters.
        updates: ``[evaluations]``, the updates after which the metrics were taken.
        environment_steps: ``[evaluations]``, the same in environment steps of each member.
        frozen: the members that turned non-finite, with the update at which they did; leave them out of statistics.
        seconds: wall-clock time by what it was spent on: ``compile``, ``train``, ``evaluate``, ``save``.
        steps_per_second: environment steps of all members over the seconds of training; NaN if none were left to do.
        layout: how the members were grouped.
    """

    states: Any
    metrics: dict[str, np.ndarray]
    members: pd.DataFrame
    updates: np.ndarray
    environment_steps: np.ndarray
    frozen: dict[int, int]
    seconds: dict[str, float]
    steps_per_second: float
    layout: Layout
    directory: Path | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """One row a member and evaluation."""
        return pd.concat(
            [
                self.members.assign(
                    environment_steps=steps, **{name: values[:, index] for name, values in self.metrics.items()}
                )
                for index, steps in enumerate(self.environment_steps)
            ],
            ignore_index=True,
        )


@dataclass
class Clock:
    """Wall-clock seconds by what they were spent on."""

    spent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("compile", "train", "evaluate", "save"), 0.0)
    )

    def measure(self, what: str, function: Any, *arguments: Any) -> Any:
        """The result of ``function(*arguments)``, once it is there."""
        start = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        self.spent[what] += time.perf_counter() - start
        return result


def train(
    config: Any,
    env: str | Environment,
    *,
    seeds: int | Sequence[int] = 1,
    steps: int | None = None,
    updates: int | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = 16,
    evaluation_batch: int | None = None,
    env_settings: Mapping[str, Any] | None = None,
    env_params: Any = None,
    directory: str | Path | None = None,
    resume: bool = True,
    overwrite: bool = False,
    checkpoint_seconds: float = 60.0,
    mesh: Mesh | None = None,
    tile: int | None = None,
    root_seed: int = 0,
    sinks: Sequence[Sink] = (),
) -> Result:
    """Trains every (config, seed) pair at once.

    Args:
        config: an algorithm's dataclass such as ``PPO()``. Floating-point fields may be vectors of ``C`` values: ``C``
            variants, each trained with every seed.
        env: an id known to ``jaxrl.envs.make``, or an environment.
        seeds: how many, or which.
        steps: environment steps of each member, rounded up to whole updates. Give this or ``updates``.
        updates: iterations of each member.
        evaluate_every: environment steps between evaluations, rounded up to whole updates; a tenth of the run by
            default. With 0 nothing is judged, and the training metrics of the whole run are one row.
        evaluation_episodes: greedy episodes of each member at each evaluation.
        evaluation_batch: how many of these run at once; all by default.
        env_settings: arguments of ``jaxrl.envs.make``, for an ``env`` given by its id.
        env_params: parameters of the environment, its own by default.
        directory: where metrics and checkpoints go; without one nothing is written.
        resume: go on from the directory's last checkpoint. With False a directory that holds a run is refused.
        overwrite: delete the run that the directory holds.
        checkpoint_seconds: least time between two checkpoints; there is always one at the end.
        mesh: devices on one axis named ``member``; all local devices by default.
        tile: members per device in one call of the program; by default from the memory estimate and the cache.
        root_seed: the key that the keys of all seeds derive from.
        sinks: told of progress and of every row, beside the directory's Parquet files.

    Raises:
        UserError: for whatever the caller can mend; before anything is compiled.
    """
    env_name = env if isinstance(env, str) else env.name
    env_settings = dict(env_settings or {})
    if env_settings and not isinstance(env, str):
        raise InvalidArgument("env_settings", env_settings, "must be empty for an environment that is made already")
    env = make_env(env, **env_settings) if isinstance(env, str) else env
    env_params = env.default_params if env_params is None else env_params
    config.check(env, env_params)
    members = population_size(config, seeds)
    steps_per_update = config.make(env, env_params, updates=1).steps_per_update
    updates = whole_updates(steps, updates, steps_per_update)
    schedule = evaluation_schedule(evaluate_every, updates, steps_per_update)
    check_evaluation(evaluation_episodes, evaluation_batch)
    max_steps = getattr(env_params, "max_steps_in_episode", None)
    if max_steps is None and evaluate_every != 0:
        raise InvalidArgument("evaluate_every", evaluate_every, "must be 0: episodes of this environment have no limit")

    def make(config):
        return config.make(env, env_params, updates)

    devices = list(mesh.devices.flat) if mesh is not None else jax.devices()
    layout, state_bytes = lay_out(make, config, members, devices, tile)
    population = populate(config, seeds)
    program = Program(
        make,
        env,
        env_params,
        Mesh(np.array(devices[: layout.devices]), ("member",)),
        evaluation_episodes,
        evaluation_batch or evaluation_episodes,
        max_steps if evaluate_every != 0 else None,
    )
    run = None
    if directory is not None:
        request = {
            "algorithm": type(config).__name__,
            "config": {name: plain(getattr(config, name)) for name in config.__dataclass_fields__},
            "env": env_name,
            "env_settings": env_settings,
            "env_params": repr(env_params),
            "seeds": list(dict.fromkeys(population.seed.tolist())),
            "updates": updates,
            "schedule": [schedule[0], len(schedule)],
            "evaluation_episodes": evaluation_episodes if evaluate_every != 0 else 0,
            "root_seed": root_seed,
        }
        run = RunDirectory.open(Path(directory), request, resume=resume, overwrite=overwrite)
        sinks = [*sinks, run]
    try:
        for sink in sinks:
            sink.begin(
                f"{population.size} members, {readable(state_bytes)} of state each; {layout.groups} group(s) of"
                f" {layout.devices} device(s) x {layout.tile} members; {updates} updates of {steps_per_update} steps",
                updates,
            )
        return run_schedule(
            program, population, layout, schedule, steps_per_update, root_seed, run, checkpoint_seconds, sinks
        )
    finally:
        for sink in sinks:
            sink.close()


def run_schedule(
    program: Program,
    population: Population,
    layout: Layout,
    schedule: list[int],
    steps_per_update: int,
    root_seed: int,
    run: RunDirectory | None,
    checkpoint_seconds: float,
    sinks: Sequence[Sink],
) -> Result:
    """Advances all groups in step through the schedule of evaluations."""
    clock = Clock()
    members = member_table(population)
    keys = population.keys(root_seed)
    groups = range(layout.groups)
    configs = [scatter(program, layout, population.config, g) for g in groups]
    group_keys = [scatter(program, layout, keys, g) for g in groups]

    start = clock.measure("compile", program.compiled_start, configs[0], group_keys[0])
    states = [start(configs[g], group_keys[g]) for g in groups]
    done, history = 0, []
    if run is not None:
        done, saved, history = run.restore(gathered_shapes(layout, states[0]), schedule)
        if done:
            states = [scatter(program, layout, saved, g) for g in groups]
            for sink in sinks:
                sink.say(f"resumed after {done} of {schedule[-1]} updates")
    begun = done

    advance = judge = None
    if done < schedule[-1]:
        advance = clock.measure("compile", program.compiled_advance, configs[0], states[0])
        if program.evaluation_steps is not None:
            judge = clock.measure("compile", program.compiled_judge, configs[0], states[0], group_keys[0])
        for sink in sinks:
            sink.say(f"compiled in {clock.spent['compile']:.1f} s")
    last_save, seconds_per_update, latest = time.perf_counter(), None, {}
    for evaluation, target in enumerate(schedule):
        fresh = done == (schedule[evaluation - 1] if evaluation else 0)
        while done < target:
            count = min(chunk_length(seconds_per_update, layout.groups), target - done)
            before = clock.spent["train"]
            for g in groups:
                states[g] = clock.measure(
                    "train", advance, configs[g], states[g], np.int32(done), np.int32(count), np.bool_(fresh)
                )
            seconds_per_update = (clock.spent["train"] - before) / count
            done, fresh = done + count, False
            for sink in sinks:
                sink.progress(
                    done,
                    population.size * (done - begun) * steps_per_update / clock.spent["train"],
                    (schedule[-1] - done) * seconds_per_update,
                    latest,
                )
            if run is not None and done < target and time.perf_counter() - last_save > checkpoint_seconds:
                clock.measure("save", run.save, done, gather(layout, states))
                last_save = time.perf_counter()
        if evaluation < len(history):
            continue
        metrics = training_metrics(layout, states)
        if judge is not None:
            judged = [
                clock.measure(
                    "evaluate", judge, configs[g], states[g], evaluation_keys(program, group_keys[g], evaluation)
                )
                for g in groups
            ]
            metrics |= gather(layout, judged)
        frozen_at = gather(layout, [state.frozen_at for state in states])
        metrics = {name: np.where(frozen_at == FINITE, value, np.nan) for name, value in metrics.items()}
        metrics["frozen_at"] = frozen_at
        history.append(metrics)
        latest = {name: float(np.nanmean(value)) for name, value in metrics.items() if np.isfinite(value).any()}
        rows = members.assign(
            evaluation=evaluation,
            updates=target,
            environment_steps=np.int64(target) * steps_per_update,
            wall_seconds=sum(clock.spent.values()),
            **metrics,
        )
        for sink in sinks:
            sink.write(evaluation, rows)
        if run is not None and (target == schedule[-1] or time.perf_counter() - last_save > checkpoint_seconds):
            clock.measure("save", run.save, done, gather(layout, states))
            last_save = time.perf_counter()

    state = gather(layout, states)
    frozen_at = np.asarray(state.frozen_at)
    trained = population.size * (schedule[-1] - begun) * steps_per_update
    result = Result(
        states=state.algorithm,
        metrics={name: np.stack([row[name] for row in history], axis=1) for name in history[0]},
        members=members,
        updates=np.array(schedule),
        environment_steps=np.array(schedule, np.int64) * steps_per_update,
        frozen={int(m): int(frozen_at[m]) for m in np.flatnonzero(frozen_at != FINITE)},
        seconds=clock.spent,
        steps_per_second=trained / clock.spent["train"] if trained else float("nan"),
        layout=layout,
        directory=run.path if run is not None else None,
    )
    if run is not None:
        run.finish(result)
    return result


# --- what is asked for ------------------------------------------------------------------------------------------


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


def chunk_length(seconds_per_update: float | None, groups: int) -> int:
    """Updates until the host looks again, from how long one of all groups takes; a single one to find that out.

    A group's call lasts an eighth of ``CHUNK_SECONDS`` at least: changing over to the next group is to cost nothing.
    """
    if seconds_per_update is None:
        return 1
    return max(1, round(CHUNK_SECONDS * max(1, groups / 8) / seconds_per_update))


def check_evaluation(episodes: int, batch: int | None) -> None:
    if episodes < 1:
        raise InvalidArgument("evaluation_episodes", episodes, "must be at least 1; evaluate_every=0 judges never")
    if batch is not None and (batch < 1 or episodes % batch):
        raise InvalidArgument("evaluation_batch", batch, f"must divide evaluation_episodes={episodes}")


def lay_out(make: Any, config: Any, members: int, devices: list[Any], tile: int | None) -> tuple[Layout, int]:
    """The layout that the estimated memory allows, and the bytes of one member's state."""
    config = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((), jnp.float32), config)
    state = jax.eval_shape(lambda config, key: make(config).init(key), config, jax.eval_shape(random.key, 0))
    state_bytes = tree_bytes(state)
    work_bytes = peak_bytes(lambda config, state: make(config).update(state), config, state)
    on_cpu = devices[0].platform == "cpu"
    memory = available_bytes(devices[0]) * (1 if on_cpu else len(devices))
    return plan(members, len(devices), state_bytes, work_bytes, memory, tile, on_cpu), state_bytes


def plain(value: Any) -> Any:
    """A config's value as JSON has it."""
    if isinstance(value, np.ndarray | jax.Array):
        return np.asarray(value).tolist()
    return list(value) if isinstance(value, tuple) else value


def member_table(population: Population) -> pd.DataFrame:
    """A row a member: its number, seed, config and every hyperparameter that may differ."""
    config = population.config
    hyperparameters = {
        name: getattr(config, name)
        for name in config.__dataclass_fields__
        if isinstance(getattr(config, name), np.ndarray)
    }
    return pd.DataFrame(
        {
            "member": np.arange(population.size),
            "config": population.config_index,
            "seed": population.seed,
            **hyperparameters,
        }
    )

"""The training engine: a population of members, in jitted chunks, with everything on disk that a run needs to go on."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from gymnax.environments.environment import Environment
from jax.sharding import Mesh

from jaxrl.engine.hosts import this_process
from jaxrl.engine.layout import Layout, lay_out, readable
from jaxrl.engine.population import (
    Instance,
    Population,
    checked_env_fields,
    checked_seeds,
    populate,
    population_size,
    variants_of,
)
from jaxrl.engine.program import FINITE, Program
from jaxrl.engine.run_directory import RunDirectory
from jaxrl.engine.schedule import check_evaluation, evaluation_schedule, whole_updates
from jaxrl.engine.sinks import Sink, metric_names
from jaxrl.engine.transfer import Groups, select_members
from jaxrl.envs import check_params
from jaxrl.envs import make as make_env
from jaxrl.errors import InvalidArgument

CHUNK_SECONDS = 2.0
"""how long the devices run on before the host looks: with up to 8 groups, progress is about this old at most"""


@dataclass
class Result:
    """What a run leaves in memory.

    Attributes:
        states: the final ``AlgorithmState`` of the members trained to the end, leaves ``[members, ...]``.
        kept: their numbers: all, unless ``keep`` gave some up.
        metrics: name to values ``[members, evaluations]``; NaN after a member was given up.
        members: a row a member: seed, config and hyperparameters.
        frame: a row a member and evaluation, as the run's directory keeps them.
        updates: ``[evaluations]``, the updates after which the metrics were taken.
        environment_steps: ``[evaluations]``, the same in environment steps of each member.
        frozen: the members that turned non-finite, with the update at which they did; leave them out of statistics.
        seconds: wall-clock time by what it was spent on: ``compile``, ``train``, ``evaluate``, ``save``.
        steps_per_second: environment steps of all members over the seconds of training; NaN if none were left to do.
        layout: how the members were grouped.
    """

    states: Any
    kept: np.ndarray
    metrics: dict[str, np.ndarray]
    members: pd.DataFrame
    frame: pd.DataFrame
    updates: np.ndarray
    environment_steps: np.ndarray
    frozen: dict[int, int]
    seconds: dict[str, float]
    steps_per_second: float
    layout: Layout
    directory: Path | None = None


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
    env_variants: Mapping[str, Any] | None = None,
    directory: str | Path | None = None,
    resume: bool = True,
    overwrite: bool = False,
    checkpoint_seconds: float = 60.0,
    mesh: Mesh | None = None,
    tile: int | None = None,
    root_seed: int = 0,
    keep: Callable[[pd.DataFrame], Sequence[int]] | None = None,
    keep_learners: bool = False,
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
        env_variants: fields of these that differ between variants, each ``C`` values: variant ``i`` has value ``i`` of
            each, and of the config's vectors. So many environments are one program, as many hyperparameters are.
        directory: where metrics and checkpoints go; without one nothing is written.
        resume: go on from the directory's last checkpoint. With False a directory that holds a run is refused.
        overwrite: delete the run that the directory holds.
        checkpoint_seconds: least time between two checkpoints; there is always one at the end.
        mesh: devices on one axis named ``member``; all local devices by default.
        tile: members per device in one call of the program; by default from the memory estimate and the cache.
        root_seed: the key that the keys of all seeds derive from.
        keep: is given the rows of each evaluation but the last, one a member still in training, and returns the numbers
            of the members that go on (``SuccessiveHalving`` is one). A function of the rows alone, since a resumed run
            asks again. What goes on is bit for bit what it would be without the others given up.
        keep_learners: keep what had been learned at every evaluation in the directory, for ``LoadedRun.at``.
        sinks: told of progress and of every row, beside the directory's Parquet files.

    Raises:
        UserError: for whatever the caller can mend; before anything is compiled.

    Example:
        >>> from jaxrl import PPO
        >>> config = PPO(num_envs=2, num_steps=8, hidden_sizes=(8,))
        >>> result = train(config, "CartPole-v1", seeds=2, steps=32, evaluate_every=16, evaluation_episodes=1)
        >>> result.metrics["evaluation_return"].shape, result.environment_steps.tolist()
        ((2, 2), [16, 32])
    """
    env_name = env if isinstance(env, str) else env.name
    env_settings = dict(env_settings or {})
    if env_settings and not isinstance(env, str):
        raise InvalidArgument("env_settings", env_settings, "must be empty for an environment that is made already")
    env = make_env(env, **env_settings) if isinstance(env, str) else env
    env_params = env.default_params if env_params is None else env_params
    config.check(env, env_params)
    env_fields = checked_env_fields(env_params, env_variants)
    for variant in range(variants_of(config, env_fields) if env_fields else 1):
        own = {name: field[variant] for name, field in env_fields.items()}
        check_params(env, Instance(config, own).env_params(env_params))
    members = population_size(config, seeds, env_fields)
    first = jax.tree.map(lambda leaf: np.ravel(leaf)[0], config)
    steps_per_update = first.make(env, env_params, updates=1).steps_per_update
    updates = whole_updates(steps, updates, steps_per_update)
    schedule = evaluation_schedule(evaluate_every, updates, steps_per_update)
    check_evaluation(evaluation_episodes, evaluation_batch)
    max_steps = getattr(env_params, "max_steps_in_episode", None)
    if max_steps is None and evaluate_every != 0:
        raise InvalidArgument("evaluate_every", evaluate_every, "must be 0: episodes of this environment have no limit")

    def make(instance):
        return instance.config.make(env, instance.env_params(env_params), updates)

    devices = list(mesh.devices.flat) if mesh is not None else jax.local_devices()
    process = this_process()
    if keep is not None and process.count > 1:
        raise InvalidArgument(
            "keep", keep, f"must be None with {process.count} processes: each sees its own members only"
        )
    if keep_learners and (directory is None or keep is not None or process.count > 1):
        raise InvalidArgument("keep_learners", True, "must be False without a directory, with keep or many processes")
    layout, state_bytes = lay_out(make, Instance(config, env_fields), process, members, devices, tile)
    population = populate(config, seeds, env_fields).take(np.array(process.share(members)))
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
            "env_variants": {name: field.tolist() for name, field in env_fields.items()},
            "seeds": list(dict.fromkeys(int(seed) for seed in checked_seeds(seeds))),
            "updates": updates,
            "schedule": [schedule[0], len(schedule)],
            "evaluation_episodes": evaluation_episodes if evaluate_every != 0 else 0,
            "root_seed": root_seed,
            "keep": None if keep is None else getattr(keep, "__qualname__", repr(keep)),
            "processes": process.count,
        }
        run = RunDirectory.open(Path(directory), request, resume=resume, overwrite=overwrite, process=process)
        sinks = [*sinks, run]
    try:
        for sink in sinks:
            sink.begin(
                f"{population.size} members, {readable(state_bytes)} of state each; {layout.groups} group(s) of"
                f" {layout.devices} device(s) x {layout.tile} members; {updates} updates of {steps_per_update} steps",
                updates,
            )
        groups = Groups.place(program, layout, population, root_seed)
        return run_schedule(groups, schedule, steps_per_update, run, checkpoint_seconds, keep, keep_learners, sinks)
    finally:
        for sink in sinks:
            sink.close()


def run_schedule(
    groups: Groups,
    schedule: list[int],
    steps_per_update: int,
    run: RunDirectory | None,
    checkpoint_seconds: float,
    keep: Callable[[pd.DataFrame], Sequence[int]] | None,
    keep_learners: bool,
    sinks: Sequence[Sink],
) -> Result:
    """Advances all groups in step through the schedule of evaluations."""
    clock, program = Clock(), groups.program
    members = member_table(groups.population)
    start = clock.measure("compile", program.compiled_start, groups.instances[0], groups.keys[0])
    groups.states = [start(*arguments) for arguments in zip(groups.instances, groups.keys)]
    done, tables = 0, []
    if run is not None:

        def state_shapes(updates, tables):
            return groups.state_shapes(len(going_on(groups, keep, tables, schedule, updates)))

        done, saved, tables = run.restore(state_shapes, schedule)
        if done:
            groups = groups.select(going_on(groups, keep, tables, schedule, done))
            groups.load(saved)
            for sink in sinks:
                sink.say(f"resumed after {done} of {schedule[-1]} updates")
    advance = judge = None
    if done < schedule[-1]:
        advance = clock.measure("compile", program.compiled_advance, groups.instances[0], groups.states[0])
        if program.evaluation_steps is not None:
            judge = clock.measure(
                "compile", program.compiled_judge, groups.instances[0], groups.states[0], groups.keys[0]
            )
        for sink in sinks:
            sink.compiled(advance)
            sink.say(f"compiled in {clock.spent['compile']:.1f} s")
    last_save, seconds_per_update, latest, trained = time.perf_counter(), None, {}, 0
    for evaluation, target in enumerate(schedule):
        fresh = done == (schedule[evaluation - 1] if evaluation else 0)
        while done < target:
            count = min(chunk_length(seconds_per_update, groups.layout.groups), target - done)
            before = clock.spent["train"]
            for g, state in enumerate(groups.states):
                groups.states[g] = clock.measure(
                    "train", advance, groups.instances[g], state, np.int32(done), np.int32(count), np.bool_(fresh)
                )
            seconds_per_update = (clock.spent["train"] - before) / count
            done, fresh = done + count, False
            trained += groups.population.size * count * steps_per_update
            for sink in sinks:
                sink.progress(done, trained / clock.spent["train"], (schedule[-1] - done) * seconds_per_update, latest)
            if run is not None and done < target and time.perf_counter() - last_save > checkpoint_seconds:
                clock.measure("save", run.save, done, groups.state())
                last_save = time.perf_counter()
        if evaluation < len(tables):
            continue
        metrics = groups.training_metrics()
        if judge is not None:
            metrics |= groups.gather(
                [
                    clock.measure("evaluate", judge, groups.instances[g], state, groups.evaluation_keys(g, evaluation))
                    for g, state in enumerate(groups.states)
                ]
            )
        frozen_at = groups.gather([state.frozen_at for state in groups.states])
        metrics = {name: np.where(frozen_at == FINITE, value, np.nan) for name, value in metrics.items()}
        latest = {name: float(np.nanmean(value)) for name, value in metrics.items() if np.isfinite(value).any()}
        rows = members.loc[np.searchsorted(members["member"], groups.population.member)].assign(
            evaluation=evaluation,
            updates=target,
            environment_steps=np.int64(target) * steps_per_update,
            wall_seconds=sum(clock.spent.values()),
            **metrics,
            frozen_at=frozen_at,
        )
        tables.append(rows)
        if run is not None and keep_learners:  # before the rows: where these are, nothing is computed again
            clock.measure("save", run.save_learners, target, groups.learners())
        for sink in sinks:
            sink.write(evaluation, rows)
        if keep is not None and target < schedule[-1]:
            index = going_on(groups, keep, tables[-1:], schedule[evaluation:], target)
            for sink in sinks:
                sink.say(f"{len(index)} of {groups.population.size} members go on")
            state = select_members(groups.state(), index)
            groups = groups.select(index)
            groups.load(state)
        if run is not None and target < schedule[-1] and time.perf_counter() - last_save > checkpoint_seconds:
            clock.measure("save", run.save, done, groups.state())
            last_save = time.perf_counter()

    metrics, final = by_member(members, tables), groups.take()
    if run is not None and trained:
        clock.measure("save", run.save, done, final)
    result = Result(
        states=final.algorithm,
        kept=groups.population.member,
        metrics=metrics,
        members=members,
        frame=pd.concat(tables, ignore_index=True),
        updates=np.array(schedule),
        environment_steps=np.array(schedule, np.int64) * steps_per_update,
        frozen={
            int(member): int(update)
            for member, update in zip(members["member"], metrics["frozen_at"][:, -1])
            if update != FINITE
        },
        seconds=clock.spent,
        steps_per_second=trained / clock.spent["train"] if trained else float("nan"),
        layout=groups.layout,
        directory=run.path if run is not None else None,
    )
    if run is not None:
        run.finish(result)
    return result


def going_on(groups: Groups, keep: Any, tables: list[pd.DataFrame], schedule: list[int], updates: int) -> np.ndarray:
    """The places of the members still in training after so many updates, from the rows of the evaluations before."""
    member = groups.population.member
    for rows, target in zip(tables, schedule):
        if keep is not None and target <= updates and target < schedule[-1]:
            asked = np.unique(np.asarray(keep(rows)))
            if not len(asked) or not np.isin(asked, rows["member"]).all():
                raise InvalidArgument("keep", keep, "must return at least one of the members in the rows it is given")
            member = asked
    return np.searchsorted(groups.population.member, member)


def by_member(members: pd.DataFrame, tables: list[pd.DataFrame]) -> dict[str, np.ndarray]:
    """Name to values ``[members, evaluations]`` of rows; NaN where a member has none, but what it froze at stays."""
    metrics = {}
    for name in metric_names(tables[0]):
        values = np.stack([rows.set_index("member")[name].reindex(members["member"]) for rows in tables], axis=1)
        metrics[name] = values
    frozen_at = pd.DataFrame(metrics["frozen_at"]).ffill(axis=1)
    return metrics | {"frozen_at": frozen_at.to_numpy(np.int64)}


# --- what is asked for ------------------------------------------------------------------------------------------


def chunk_length(seconds_per_update: float | None, groups: int) -> int:
    """Updates until the host looks again, from how long one of all groups takes; a single one to find that out.

    A group's call lasts an eighth of ``CHUNK_SECONDS`` at least: changing over to the next group is to cost nothing.
    """
    if seconds_per_update is None:
        return 1
    return max(1, round(CHUNK_SECONDS * max(1, groups / 8) / seconds_per_update))


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
    # A field that is an array with one value throughout was given as a number.
    flat = {name: field.reshape(population.size, -1) for name, field in population.env_fields.items()}
    numbers = {f"env.{name}": field[:, 0] for name, field in flat.items() if (field == field[:, :1]).all()}
    return pd.DataFrame(
        {
            "member": population.member,
            "config": population.config_index,
            "seed": population.seed,
            **hyperparameters,
            **numbers,
        }
    )

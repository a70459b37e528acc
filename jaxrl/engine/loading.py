"""A trained run brought back from its directory, to look inside: no training, no compiling of the training program."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from gymnax.environments.environment import Environment
from jax.sharding import Mesh, SingleDeviceSharding

from jaxrl.core import random
from jaxrl.core.types import Algorithm, AlgorithmState
from jaxrl.engine import checkpoint
from jaxrl.engine.figures import judged_metric
from jaxrl.engine.hosts import Process
from jaxrl.engine.layout import Layout
from jaxrl.engine.population import (
    Instance,
    Population,
    checked_env_fields,
    instance_shapes,
    populate,
    variants_of,
)
from jaxrl.engine.program import FINITE, MemberState, Program
from jaxrl.engine.run_directory import LEARNERS, read_metrics, shortened
from jaxrl.engine.transfer import gather, gathered_shapes, select_members
from jaxrl.envs import make as make_env
from jaxrl.errors import InvalidArgument, UserError, unknown

REQUEST_KEYS = (
    "algorithm", "config", "env", "env_settings", "env_params", "env_variants", "seeds", "updates", "keep", "processes",
)  # fmt: skip
"""what of a request it takes to build a run again"""


@dataclass(frozen=True)
class LoadedRun:
    """A run as its last whole checkpoint has it; ``M`` members are in that checkpoint.

    Attributes:
        directory: where it was read from.
        request: what was asked for, the ``request`` of ``config.json``.
        config: the algorithm's dataclass; a swept hyperparameter is a vector ``[configs]``.
        env, env_params: the environment it was trained in, rebuilt; the parameters are those that all members share.
        population: the members in the checkpoint: numbers, seeds, hyperparameters ``[M]``.
        state: their states on the host, leaves ``[M, ...]``.
        updates: how many updates they have done, of ``request["updates"]``.
    """

    directory: Path
    request: dict[str, Any]
    config: Any
    env: Environment
    env_params: Any
    population: Population
    state: MemberState
    updates: int

    @property
    def members(self) -> np.ndarray:
        """``[M]`` numbers of the members in the checkpoint, ascending."""
        return self.population.member

    @property
    def states(self) -> AlgorithmState:
        """The algorithm's state of all members, leaves ``[M, ...]``, as ``Result.states`` has it."""
        return self.state.algorithm

    def place(self, member: int) -> int:
        """Where a member stands on the axis ``M``.

        Raises:
            InvalidArgument: if the run has no such member, or gave it up.
        """
        places = np.flatnonzero(self.members == member)
        if not len(places):
            total = variants_of(self.config, self.request["env_variants"]) * len(self.request["seeds"])
            allowed = f"must be within 0 .. {total - 1}"
            if len(self.members) < total:
                allowed = f"must be one of those not given up: {shortened(self.members.tolist())}"
            raise InvalidArgument("member", member, allowed)
        return int(places[0])

    def member(self, member: int) -> Any:
        """The algorithm's dataclass with the hyperparameters of one member, all scalars."""
        place = self.place(member)
        return jax.tree.map(lambda leaf: leaf[place].item(), self.population.config)

    def member_env_params(self, member: int) -> Any:
        """The environment's parameters of one member."""
        place = self.place(member)
        return jax.tree.map(lambda leaf: leaf[place], self.population.instances).env_params(self.env_params)

    def member_state(self, member: int) -> AlgorithmState:
        """The algorithm's state of one member."""
        return select_members(self.state, self.place(member)).algorithm

    def frozen_at(self, member: int) -> int | None:
        """The update at which a member turned non-finite, None if it never did."""
        update = int(self.state.frozen_at[self.place(member)])
        return None if update == FINITE else update

    def algorithm(self, member: int) -> Algorithm:
        """The functions of one member's algorithm."""
        return self.member(member).make(self.env, self.member_env_params(member), self.request["updates"])

    def policy(self, member: int) -> Callable[..., Any]:
        """``(obs[N, ...], key, greedy=True) -> action[N, ...]`` of one trained member; made to be jitted."""
        algorithm, state = self.algorithm(member), self.member_state(member)

        def policy(obs, key, greedy=True):
            return algorithm.policy(state, obs, key, greedy=greedy)

        return policy

    @property
    def learners(self) -> list[int]:
        """The updates after which the learners were kept, ascending; none without ``train(keep_learners=True)``."""
        return checkpoint.complete(self.directory / LEARNERS)

    def at(self, updates: int) -> "LoadedRun":
        """The run with its learners as they were after so many updates, one of ``learners``; sources stay those of the
        checkpoint.

        Raises:
            UserError: if these are not there or damaged.
        """

        def shape(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=SingleDeviceSharding(jax.local_devices()[0]))

        algorithm = self.state.algorithm
        learner = checkpoint.load(self.directory / LEARNERS, updates, jax.tree.map(shape, algorithm.learner))
        state = self.state._replace(algorithm=algorithm._replace(learner=learner))
        return replace(self, state=state, updates=updates)

    def best_member(self) -> int:
        """The finite member that was judged best at the last evaluation; the first finite one if none was judged.

        Raises:
            UserError: if all members turned non-finite.
        """
        finite = self.members[self.state.frozen_at == FINITE]
        if not len(finite):
            raise UserError(f"directory={str(self.directory)!r}: all {len(self.members)} members turned non-finite")
        try:
            table = read_metrics(self.directory)
        except UserError:  # stopped before the first evaluation
            return int(finite[0])
        table = table.loc[(table["updates"] <= self.updates) & table["member"].isin(finite)]
        best = best_judged(table)
        return int(finite[0]) if best is None else best


class Found(NamedTuple):
    """A member of a run or of a sweep, and where it was trained."""

    number: int
    """in the directory that was asked"""
    run: LoadedRun
    """the run itself, or the sweep's part that trained the member"""
    member: int
    """its number in that run"""


def load_run(directory: str | Path, *, algorithm: Any = None, env: Environment | None = None) -> LoadedRun:
    """Brings a run back from its directory, as its last whole checkpoint has it.

    Args:
        directory: of a run that ``train(..., directory=...)`` or the command line wrote.
        algorithm: the dataclass of the algorithm, for one that jaxrl does not export.
        env: the environment, for one that was given to ``train`` as an object and is not registered under its name.

    Raises:
        UserError: if there is no run, no whole checkpoint yet, one that another version wrote, an algorithm or an
            environment unknown here, or ``env_params`` that were not the environment's defaults, which a directory
            does not hold.
    """
    directory = Path(directory)
    request = read_request(directory)
    if "sweep" in request:
        parts = sorted(str(part) for part in directory.glob("parts/*"))
        raise UserError(f"directory={str(directory)!r}: holds a sweep; load one of its parts, such as {parts[:1]}")
    missing = [key for key in REQUEST_KEYS if key not in request]
    if missing:
        raise UserError(
            f"directory={str(directory)!r}: its config.json has no {' and no '.join(missing)}; another version wrote it"
        )
    return rebuild(directory, request, algorithm, env)


def read_request(directory: Path) -> dict[str, Any]:
    """What was asked of a run or a sweep: the ``request`` of its ``config.json``.

    Raises:
        UserError: if the directory holds no run, or its ``config.json`` is damaged.
    """
    file = directory / "config.json"
    try:
        return dict(json.loads(file.read_text())["request"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"directory={str(directory)!r}: holds no run (there is no {file.name} in it)") from error
    except OSError as error:
        raise UserError(f"directory={str(directory)!r}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"directory={str(directory)!r}: its config.json is damaged") from error


def find_member(directory: str | Path, member: int | None = None) -> Found:
    """A member of a run, or of a sweep, whose parts each number their own members.

    Args:
        member: the best one at the last evaluation by default.

    Raises:
        UserError: if there is no such member, or its run cannot be loaded.
    """
    directory = Path(directory)
    if "sweep" not in read_request(directory):
        run = load_run(directory)
        number = run.best_member() if member is None else member
        run.place(number)
        return Found(number, run, number)
    table = read_metrics(directory)
    number = best_judged(table) if member is None else member
    rows = table.loc[table["member"] == number]
    if not len(rows):
        last = table["member"].max()
        raise InvalidArgument("member", number, f"must be within 0 .. {last}, those with metrics")
    for part in sorted(directory.glob("parts/*")):
        same = members_like(part, rows.iloc[0].to_dict())
        if len(same):
            return Found(int(rows["member"].iloc[0]), load_run(part), int(same[0]))
    raise UserError(f"directory={str(directory)!r}: none of its parts trained member {number}")


def members_like(part: Path, row: dict[Any, Any]) -> np.ndarray:
    """The numbers of a run's members with the seed and the hyperparameters of a row of metrics."""
    request = read_request(part)
    population = populate(rebuild_config(part, request, None), request["seeds"])
    same = population.seed == row["seed"]
    for name in set(population.config.__dataclass_fields__) & set(row):
        value = getattr(population.config, name)
        if isinstance(value, np.ndarray):
            same &= value == np.float32(row[name])
        else:
            same &= column_value(value) == row[name]
    return population.member[same]


def column_value(value: Any) -> Any:
    """A static hyperparameter as the table of a sweep has it: a tuple as ``64x64``, anything else as it is."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def best_judged(table: pd.DataFrame) -> int | None:
    """The member with the best value at the last evaluation of rows of metrics; None if nothing was judged."""
    metric = judged_metric(table.columns)
    if metric is None:
        return None
    last = table.loc[table["evaluation"] == table["evaluation"].max()].dropna(subset=metric)
    return int(last.loc[last[metric].idxmax(), "member"]) if len(last) else None


def rebuild(directory: Path, request: dict[str, Any], algorithm: Any, env: Environment | None) -> LoadedRun:
    """The rest of ``load_run``, once it is known to be an ordinary run."""
    config = rebuild_config(directory, request, algorithm)
    env = make_env(request["env"], **request["env_settings"]) if env is None else env
    env_params = env.default_params
    if repr(env_params) != request["env_params"]:
        raise UserError(
            f"directory={str(directory)!r}: was trained with env_params={request['env_params']}, and"
            f" {request['env']} has {env_params} by default; only a run with the environment's defaults"
            " (or with env_settings) can be rebuilt"
        )
    processes = request["processes"]
    stores = [directory / "checkpoints" / (str(p) if processes > 1 else "") for p in range(processes)]
    common = set.intersection(*(set(checkpoint.complete(store)) for store in stores))
    if not common:
        raise UserError(f"directory={str(directory)!r}: has no checkpoint yet; the first one comes with the training")
    env_fields = checked_env_fields(env_params, request["env_variants"])
    population = populate(config, request["seeds"], env_fields)
    one = population_shapes(Instance(config, env_fields), env, env_params, request["updates"])

    def share(process: int, updates: int) -> Population:
        """A process's members that were still in training after so many updates."""
        if request["keep"] is not None:  # then there is one process only
            return population.take(kept(directory, updates, request["updates"]))
        return population.take(np.array(Process(process, processes).share(population.size)))

    # Processes write checkpoints each at its own pace, so what is loaded is the newest that all of them have.
    loaded = [
        checkpoint.load_latest(
            store, lambda updates, p=p: gathered_shapes(share(p, updates).size, one), before=max(common) + 1
        )
        for p, store in enumerate(stores)
    ]
    done = loaded[0][0]
    if done == 0 or any(updates != done for updates, _, _ in loaded):
        damage = "; ".join(w for _, _, warnings in loaded for w in warnings if "damaged" in w)
        raise UserError(f"directory={str(directory)!r}: has no whole checkpoint: {damage}")
    shares = [share(p, done) for p in range(processes)]
    members = np.concatenate([part.member for part in shares])
    return LoadedRun(
        directory=directory,
        request=request,
        config=config,
        env=env,
        env_params=env_params,
        population=population.take(members),
        state=gather(Layout(len(members), 1, shares[0].size), [state for _, state, _ in loaded]),
        updates=done,
    )


def rebuild_config(directory: Path, request: dict[str, Any], algorithm: Any) -> Any:
    """The algorithm's dataclass from what JSON made of its fields.

    Raises:
        UserError: for an algorithm that is not known here, or fields that are not those of the dataclass.
    """
    if algorithm is None:
        algorithm = exported(request["algorithm"])
    if algorithm.__name__ != request["algorithm"]:
        raise InvalidArgument("algorithm", algorithm.__name__, f"must be {request['algorithm']}, which was trained")
    fields, values = algorithm.__dataclass_fields__, request["config"]
    if set(fields) != set(values):
        raise UserError(
            f"directory={str(directory)!r}: its {algorithm.__name__} has other hyperparameters than this version's:"
            f" {', '.join(sorted(set(fields) ^ set(values)))}; use the version that wrote it"
        )
    return algorithm(**{name: from_plain(value, fields[name]) for name, value in values.items()})


def exported(name: str) -> Any:
    """An algorithm's dataclass that jaxrl exports."""
    package: Any = importlib.import_module("jaxrl")
    algorithm = getattr(package, name, None)
    if not is_algorithm(algorithm):
        raise unknown("algorithm", name, [other for other in package.__all__ if is_algorithm(getattr(package, other))])
    return algorithm


def is_algorithm(thing: Any) -> bool:
    return hasattr(thing, "make") and hasattr(thing, "__dataclass_fields__")


def from_plain(value: Any, field: Any) -> Any:
    """A field's value from JSON's: a list is a vector of variants, or the tuple that a static field held."""
    if not isinstance(value, list):
        return value
    return np.asarray(value, np.float32) if field.metadata.get("pytree_node", True) else tuple(value)


def kept(directory: Path, updates: int, last: int) -> np.ndarray:
    """The numbers of the members that were still in training after so many updates of a run that gave members up.

    Those are the ones with rows at the next evaluation, or at the last one if the run is over.

    Raises:
        UserError: if that evaluation has not been yet: which members went on only the run itself can tell.
    """
    table = read_metrics(directory)
    later = table.loc[(table["updates"] > updates) | (table["updates"] == last)]
    if not len(later):
        raise UserError(
            f"directory={str(directory)!r}: was stopped after it gave members up and before it judged the others again;"
            " let it go on first"
        )
    return np.sort(later.loc[later["updates"] == later["updates"].min(), "member"].to_numpy())


def population_shapes(instances: Instance, env: Environment, env_params: Any, updates: int) -> MemberState:
    """Shapes of the state of one-member population as the training program makes it, leaves ``[1, ...]``."""

    def make(instance):
        return instance.config.make(env, instance.env_params(env_params), updates)

    mesh = Mesh(np.array(jax.local_devices()[:1]), ("member",))
    program = Program(make, env, env_params, mesh, evaluation_episodes=1, evaluation_batch=1, evaluation_steps=None)
    shapes = instance_shapes(instances, (1,))
    keys = jax.eval_shape(lambda: random.key(0)[None])
    start = jax.vmap(program.start, out_axes=program.axes(shapes, keys))
    return jax.eval_shape(start, shapes, keys)

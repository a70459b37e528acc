"""The compiled programs of a population: start, advance and judge one group of members."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrl.core.combine import as_averages
from jaxrl.core.types import Algorithm, AlgorithmState, Average, Shared
from jaxrl.engine.evaluate import evaluate
from jaxrl.engine.memory import array_bytes

FINITE = -1
"""``frozen_at`` of a member that has never been non-finite"""


LARGE_CONSTANT = 2**16
"""bytes from which a constant of a program, such as a data set, becomes an argument: compiled in, it is copied into
every program and its entry in the cache, and the compiler tries to fold what is computed of it"""


@dataclass(frozen=True)
class WithTables:
    """A compiled program and the large arrays that it is always called with before its arguments."""

    program: jax.stages.Compiled
    tables: list[jax.Array]

    def __call__(self, *arguments: Any) -> Any:
        return self.program(self.tables, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)


class MemberState(NamedTuple):
    """One member between two chunks. Everything a run needs to go on is here."""

    algorithm: AlgorithmState
    frozen_at: jax.Array
    """the update at which the member turned non-finite, or ``FINITE``"""
    totals: dict[str, Average]
    """metrics since the last evaluation, as sums, so that the chunks in between leave no trace"""


@dataclass(frozen=True)
class Program:
    """What is fixed for a whole run. ``make(instance) -> Algorithm`` is called inside the trace, once per member; an
    ``Instance`` is what it is trained with."""

    make: Callable[[Any], Algorithm]
    env: Environment
    env_params: Any
    """those that all members share"""
    mesh: Mesh
    evaluation_episodes: int
    evaluation_batch: int
    evaluation_steps: int | None
    """longest episode while judging; None if nothing is judged"""

    def start(self, instance: Any, key: jax.Array) -> MemberState:
        """The initial state of one member."""
        state = self.make(instance).init(key)
        shapes = jax.eval_shape(lambda s: as_averages(self.make(instance).update(s)[1]), state)
        totals = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return MemberState(strong(state), jnp.int32(FINITE), totals)

    def advance(self, instance: Any, state: MemberState, update: jax.Array) -> MemberState:
        """One update of one member, whose learner stays as it was if the new one is not finite."""
        old = state.algorithm
        new, metrics = self.make(instance).update(old)
        healthy = (state.frozen_at == FINITE) & all_finite(new.learner)
        # The source is let go on: it is large where there is a replay buffer, and a frozen learner reads it no more.
        learner = jax.tree.map(lambda a, b: jnp.where(healthy, a, b), unshared(new.learner), unshared(old.learner))
        frozen_at = jnp.where((state.frozen_at == FINITE) & ~healthy, update, state.frozen_at)
        totals = jax.tree.map(jnp.add, state.totals, as_averages(metrics))
        return MemberState(new._replace(learner=reshared(learner, new.learner)), frozen_at, totals)

    def compiled_start(self, instance: Any, keys: jax.Array) -> Any:
        """``(instance[G], keys[G]) -> state[G]``, compiled."""
        axes = self.axes(instance, keys)
        return self.compiled(jax.vmap(self.start, out_axes=axes), (instance, keys), (0, 0), axes)

    def compiled_advance(self, instance: Any, state: Any) -> Any:
        """``(instance[G], state[G], start, count, fresh) -> state[G]`` after ``count`` more updates, compiled.

        The state passed in is taken over. ``fresh`` begins new totals.
        """
        axes = member_axes(state)
        many = jax.vmap(self.advance, in_axes=(0, axes, None), out_axes=axes)

        def run(instance, state, start, count, fresh):
            totals = jax.tree.map(lambda total: jnp.where(fresh, 0, total), state.totals)
            state = state._replace(totals=totals)
            return jax.lax.fori_loop(0, count, lambda i, state: many(instance, state, start + i), state)

        number, flag = np.int32(0), np.bool_(False)
        arguments = (instance, state, number, number, flag)
        return self.compiled(run, arguments, (0, axes, None, None, None), axes, donate=(1,))

    def compiled_judge(self, instance: Any, state: Any, keys: Any) -> Any:
        """``(instance[G], state[G], keys[G]) -> metrics[G]`` of greedy episodes, compiled."""
        axes, max_steps = member_axes(state), self.evaluation_steps
        assert max_steps is not None, "nothing is judged in this run"

        def judge(instance, state, keys):
            def act(instance, algorithm, obs, key):
                return self.make(instance).policy(algorithm, obs, key, greedy=True)

            def policy(obs, keys):
                return jax.vmap(act, in_axes=(0, axes.algorithm, 0, 0))(instance, state.algorithm, obs, keys)

            return evaluate(
                policy,
                self.env,
                instance.env_params(self.env_params),
                keys,
                self.evaluation_episodes,
                max_steps,
                self.evaluation_batch,
                instance.env_params_axes(self.env_params),
            )

        return self.compiled(judge, (instance, state, keys), (0, axes, 0), 0)

    def axes(self, instance: Any, keys: Any) -> Any:
        """The member axis of each leaf of the state, 0 or None."""
        one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
        return member_axes(jax.eval_shape(self.start, jax.tree.map(one, instance), one(keys)))

    def compiled(
        self, function: Callable, arguments: tuple[Any, ...], in_axes: Any, out_axes: Any, donate: tuple[int, ...] = ()
    ) -> Any:
        """A function of members, compiled for ``arguments``, each device running the same program on its own share.

        ``shard_map`` rather than sharded inputs: what a device runs then does not depend on how many others there are,
        which the partitioner does not promise, and loops that stop early need not agree.
        """
        mapped = jax.shard_map(
            function, mesh=self.mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False
        )
        traced = jax.jit(mapped, donate_argnums=donate).trace(*arguments)
        closed, structure = traced.jaxpr, jax.tree.structure(traced.out_info)
        large = [index for index, constant in enumerate(closed.consts) if array_bytes(constant) >= LARGE_CONSTANT]
        if not large:
            return traced.lower().compile()

        def with_large(tables, *arguments):
            constants = list(closed.consts)
            for index, table in zip(large, tables):
                constants[index] = table
            whole = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, constants))
            return structure.unflatten(whole(*jax.tree.leaves(arguments)))

        everywhere = NamedSharding(self.mesh, PartitionSpec())
        tables = [jax.device_put(closed.consts[index], everywhere) for index in large]
        jitted = jax.jit(with_large, donate_argnums=[1 + argument for argument in donate])
        return WithTables(jitted.lower(tables, *arguments).compile(), tables)

    def place(self, tree: Any, axes: Any) -> Any:
        """Spreads leaves ``[G, ...]`` over the devices along the axes given as a prefix of ``tree``."""
        return jax.device_put(
            tree,
            jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), specs(axes), is_leaf=is_spec),
        )


def specs(axes: Any) -> Any:
    """Where each leaf goes, for a tree of member axes that are 0 or None."""
    return jax.tree.map(
        lambda axis: PartitionSpec() if axis is None else PartitionSpec("member"), axes, is_leaf=lambda a: a is None
    )


def is_spec(node: Any) -> bool:
    return isinstance(node, PartitionSpec)


def is_shared(node: Any) -> bool:
    return isinstance(node, Shared)


def member_axes(tree: Any) -> Any:
    """A prefix of ``tree`` with 0 for each leaf and None for each ``Shared`` one."""
    return jax.tree.map(lambda node: None if is_shared(node) else 0, tree, is_leaf=is_shared)


def unshared(tree: Any) -> list[Any]:
    """The leaves that differ between members."""
    return [node for node in jax.tree.leaves(tree, is_leaf=is_shared) if not is_shared(node)]


def reshared(leaves: list[Any], like: Any) -> Any:
    """``like`` with its unshared leaves replaced by ``leaves``."""
    nodes, structure = jax.tree.flatten(like, is_leaf=is_shared)
    replacement = iter(leaves)
    return jax.tree.unflatten(structure, [node if is_shared(node) else next(replacement) for node in nodes])


def all_finite(tree: Any) -> jax.Array:
    """Whether no floating-point leaf holds a NaN or an infinity; one sum per leaf, since sums keep both."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(jnp.sum(leaf * 0.0)) for leaf in leaves])) if leaves else jnp.bool_(True)


def strong(tree: Any) -> Any:
    """Gives Python numbers in a state a dtype of their own, or the first update would change it."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), jax.tree.map(as_array, tree))


def as_array(leaf: Any) -> jax.Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)

"""Members: a member is one (hyperparameters, environment, seed)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import random
from jaxrl.errors import InvalidArgument, unknown


class Instance(NamedTuple):
    """What a member is trained with, beside its seed; with a member axis in front of every leaf, many of them."""

    config: Any
    """the algorithm's dataclass"""
    env_fields: dict[str, Any]
    """fields of the environment's parameters that are its own"""

    def env_params(self, shared: Any) -> Any:
        """The environment's parameters, given those that all members share."""
        return shared.replace(**self.env_fields) if self.env_fields else shared

    def env_params_axes(self, shared: Any) -> Any:
        """The member axis of each leaf of ``env_params`` of many members, 0 or None; None where all are shared."""
        if not self.env_fields:
            return None
        own = {name: jax.tree.map(lambda _: 0, field) for name, field in self.env_fields.items()}
        return jax.tree.map(lambda _: None, shared).replace(**own)


@dataclass(frozen=True)
class Population:
    """The members of a run, configs outermost: member ``c * len(seeds) + s`` has config ``c`` and seed ``seeds[s]``.

    Attributes:
        config: the algorithm's dataclass with every leaf of shape ``[members]``.
        env_fields: fields of the environment's parameters that differ between members, leaves ``[members, ...]``.
        seed: ``[members]`` integers.
        config_index: ``[members]`` integers.
        member: ``[members]`` integers, their numbers in the whole population.
    """

    config: Any
    env_fields: dict[str, Any]
    seed: np.ndarray
    config_index: np.ndarray
    member: np.ndarray

    @property
    def size(self) -> int:
        return len(self.seed)

    @property
    def instances(self) -> Instance:
        """What each member is trained with, leaves ``[members, ...]``."""
        return Instance(self.config, self.env_fields)

    def take(self, index: np.ndarray) -> "Population":
        """Some of the members, by their place in this population."""
        config, env_fields = jax.tree.map(lambda leaf: leaf[index], self.instances)
        return Population(config, env_fields, self.seed[index], self.config_index[index], self.member[index])

    def keys(self, root: int) -> jax.Array:
        """``[members]`` keys; that of seed ``i`` is ``fold_in(key(root), i)`` whoever else is there."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(random.key(root), self.seed.astype(np.uint32))


def populate(config: Any, seeds: int | Sequence[int], env_fields: Mapping[str, Any] | None = None) -> Population:
    """Crosses a config, whose leaves may have one leading axis of ``C`` variants, with seeds.

    Args:
        env_fields: what ``checked_env_fields`` returns: fields of ``C`` variants of the environment's parameters.

    Raises:
        InvalidArgument: for no seeds, negative or repeated ones, or leaves with different leading axes.
    """
    env_fields = dict(env_fields or {})
    variants, seed = variants_of(config, env_fields), np.asarray(checked_seeds(seeds), np.int64)
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(config)]
    members = [np.repeat(np.broadcast_to(leaf, (variants,)), len(seed)) for leaf in leaves]
    return Population(
        config=jax.tree.unflatten(jax.tree.structure(config), members),
        env_fields=jax.tree.map(lambda leaf: np.repeat(leaf, len(seed), axis=0), env_fields),
        seed=np.tile(seed, variants),
        config_index=np.repeat(np.arange(variants), len(seed)),
        member=np.arange(variants * len(seed)),
    )


def population_size(config: Any, seeds: int | Sequence[int], env_fields: Mapping[str, Any] | None = None) -> int:
    """How many members ``populate`` makes of the same arguments. Costs nothing, however many they are."""
    return variants_of(config, env_fields) * len(checked_seeds(seeds))


def checked_env_fields(env_params: Any, variants: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Variants of fields of an environment's parameters, each ``[C, *shape of the field]`` in the field's dtype.

    Args:
        variants: for each field ``C`` values; numbers stand for fields filled with them.

    Raises:
        InvalidArgument: for a field that is unknown or shapes the program, or values that do not fit it.
    """
    fields = {}
    for name, values in (variants or {}).items():
        known = [field.name for field in dataclasses.fields(env_params)]
        if name not in known:
            raise unknown("env_variants field", name, known)
        default = getattr(env_params, name)
        if name == "max_steps_in_episode" or not isinstance(default, float | np.ndarray | jax.Array):
            raise InvalidArgument(
                "env_variants", name, "must be fields that are numbers or arrays, the same shape in all"
            )
        shape, dtype = np.shape(default), jnp.result_type(default)
        try:
            array = np.asarray(values, dtype)
            if (array != np.asarray(values)).any() and np.issubdtype(dtype, np.integer):
                raise ValueError("not whole")
            if array.ndim == 1:
                array = array.reshape(-1, *([1] * len(shape)))
            fields[name] = np.broadcast_to(array, (len(array), *shape))
        except (TypeError, ValueError):
            raise InvalidArgument(
                "env_variants", {name: values}, f"must be a list of values, each a number or of shape {shape}"
            ) from None
    return fields


def checked_seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    """The seeds asked for by number or by name."""
    named = range(int(seeds)) if isinstance(seeds, int | np.integer) else list(seeds)
    fine = isinstance(named, range) or (
        len(set(named)) == len(named)
        and all(isinstance(seed, int | np.integer) and 0 <= seed < 2**32 for seed in named)
    )
    if not fine or not 1 <= len(named) <= 2**32:
        raise InvalidArgument(
            "seeds", seeds, "must be a number of at least 1 and at most 2**32, or distinct integers within [0, 2**32)"
        )
    return named


def variants_of(config: Any, env_fields: Mapping[str, Any] | None = None) -> int:
    """``C``, the length of the leaves that are vectors and of the environment's fields, or 1."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(config)]
    lengths = {shape[0] for shape in shapes if len(shape) == 1}
    if len(lengths) > 1 or 0 in lengths or any(len(shape) > 1 for shape in shapes):
        raise InvalidArgument(
            "config",
            [shape for shape in shapes if shape],
            "hyperparameters must be scalars or vectors of one length, a value for each variant",
        )
    of_fields = {name: len(field) for name, field in (env_fields or {}).items()}
    if len(lengths | set(of_fields.values())) > 1 or 0 in of_fields.values():
        allowed = f"must have one length, that of the config's vectors if there are any: {sorted(lengths)}"
        raise InvalidArgument("env_variants", of_fields, allowed)
    lengths |= set(of_fields.values())
    return lengths.pop() if lengths else 1


def instance_shapes(instances: Instance, leading: tuple[int, ...] = ()) -> Instance:
    """Shapes and dtypes of one member's instance, or of many with axes ``leading``, from those of all variants."""
    config = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leading, np.float32), instances.config)
    return Instance(
        config,
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape[1:]), leaf.dtype), instances.env_fields),
    )

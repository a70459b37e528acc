"""Environments by name.

One registry: gymnax's own, to which jaxrl's probes and a user's environments are added, plus suites that are looked up
by prefix (`brax/`, `playground/`, `jumanji/`) and imported only when one of theirs is asked for, plus transforms of any
of these, by a prefix as well (`stock/CartPole-v1`, `stock/brax/hopper`).
"""

import dataclasses
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.adapters.gymnax import Gymnax
from jaxrl.envs.base import Environment, EnvironmentTransform

from jaxrl.errors import InvalidArgument, UserError, unknown

_SUITES = {"brax": "brax", "playground": "mujoco_playground", "jumanji": "jumanji"}  # prefix: the package it needs
_TRANSFORMS: dict[str, Callable[..., Environment]] = {}  # by prefix


def register(env_id: str, factory: Callable[..., Environment]) -> None:
    """Make `make(env_id, **settings)` return `factory(**settings)`; `gymnax.make` knows the id as well.

    The factory's environment must do what `jaxrl.envs` asks of all (see its docstring). Environments of gymnax's own
    classes are adapted to that.

    Args:
        env_id: a name not yet taken.
        factory: a class or function whose keyword arguments are the settings.

    Raises:
        InvalidArgument: the name is taken, empty, or under the prefix of a suite.

    Example:
        >>> register("ShortCartPole-v0", lambda: make("CartPole-v1", max_steps_in_episode=50))
        >>> make("ShortCartPole-v0").default_params.max_steps_in_episode
        50
    """
    if env_id in gymnax.registered_envs:
        raise InvalidArgument("env_id", env_id, "already registered; choose another name")
    taken = [*_SUITES, *_TRANSFORMS]
    if not env_id or env_id.split("/")[0] in taken:
        raise InvalidArgument("env_id", env_id, f"a name that does not start with {', '.join(s + '/' for s in taken)}")
    gymnax.register(env_id, factory)


def register_transform(prefix: str, transform: Callable[..., Environment]) -> None:
    """Make `make(f"{prefix}/{env_id}", **settings)` return `transform(make(env_id, ...), ...)`, for any id.

    Settings that `transform` has by name are its own, all others go to the environment inside.

    Args:
        prefix: without a slash; no registered id may start with it.
        transform: takes an environment first; its other arguments have defaults.

    Raises:
        InvalidArgument: the prefix is taken, empty or has a slash.
    """
    if not prefix or "/" in prefix or prefix in _SUITES or prefix in _TRANSFORMS:
        raise InvalidArgument("prefix", prefix, f"a new one without a slash; taken: {[*_SUITES, *_TRANSFORMS]}")
    clashes = [env_id for env_id in gymnax.registered_envs if env_id.startswith(f"{prefix}/")]
    if clashes:
        raise InvalidArgument("prefix", prefix, f"a new one, not that of {clashes[0]}")
    _TRANSFORMS[prefix] = transform


def prefixes() -> dict[str, str]:
    """What `make` can put around any environment: prefixes (`stock/`), and what is said of them."""
    return {f"{prefix}/": inspect.cleandoc(transform.__doc__ or "") for prefix, transform in _TRANSFORMS.items()}


def registered() -> list[str]:
    """Every id that `make` accepts here: gymnax's, the probes, those registered, and the suites that are installed."""
    ids = list(gymnax.registered_envs)
    for suite, module in _SUITES.items():
        if importlib.util.find_spec(module) is not None:
            ids += [f"{suite}/{name}" for name in _suite(suite).names()]
    return ids


def absent() -> dict[str, str]:
    """The suites that are not installed here: their prefix (`playground/`) and the command that installs them."""
    missing = [suite for suite, module in _SUITES.items() if importlib.util.find_spec(module) is None]
    return {f"{suite}/": _install(suite) for suite in missing}


def documentation(env_id: str) -> str:
    """What the class or function that makes an environment says of it; empty if it says nothing.

    Raises:
        InvalidArgument: unknown id.
        UserError: the id belongs to a suite that is not installed.
    """
    transform, inner = _transform(env_id)
    if transform is not None:
        _factory(inner)  # unknown ids are refused
        return inspect.cleandoc(transform.__doc__ or "")
    factory = _factory(env_id)
    own = factory.__dict__.get("__doc__") if inspect.isclass(factory) else factory.__doc__  # none of a base class
    return inspect.cleandoc(own or "")


def make(env_id: str, **settings: Any) -> Environment:
    """Make an environment; its parameters are `env.default_params`.

    Args:
        env_id: one of `registered()`: "CartPole-v1", "brax/hopper", "playground/CartpoleBalance", "jumanji/Snake-v1",
            "probe/action-v0" ..., or one of them behind a transform's prefix: "stock/CartPole-v1"
        **settings: arguments of the environment's constructor (`backend="spring"`) and fields of its parameters
            (`max_steps_in_episode=200`), which become the values in `env.default_params`; behind a prefix those of the
            transform too, which win where both have a name.

    Raises:
        InvalidArgument: unknown id or setting, with the nearest known names; or a value that does not fit.
        UserError: the id belongs to a suite that is not installed.

    Example:
        >>> env = make("CartPole-v1", max_steps_in_episode=200)
        >>> env.default_params.max_steps_in_episode, env.num_actions
        (200, 2)
    """
    return _make(env_id, settings, frozenset())


def _make(env_id: str, settings: dict[str, Any], others: frozenset[str]) -> Environment:
    """`make`, with the names of settings that transforms have already taken, to suggest them."""
    transform, inner = _transform(env_id)
    factory = _factory(env_id) if transform is None else transform
    constructor = list(inspect.signature(factory).parameters)
    if transform is not None:
        del constructor[0]  # the environment
    arguments = {k: v for k, v in settings.items() if k in constructor}
    fields = {k: v for k, v in settings.items() if k not in constructor}
    if transform is not None:
        # Before the transform looks at it, so that it finds the environment as it will be.
        factory, fields = partial(transform, _make(inner, fields, others | set(constructor))), {}
    try:
        env = factory(**arguments)
    except UserError:
        raise
    except (TypeError, ValueError, AssertionError) as error:
        if not arguments:
            raise
        raise UserError(f"{env_id} with {arguments}: {error}") from error
    if type(env).__module__.split(".")[0] == "gymnax":
        env = Gymnax(env)
    names = [f.name for f in dataclasses.fields(env.default_params)]
    for name in fields:
        if name not in names:
            raise unknown(f"{env_id} setting", name, {*names, *constructor, *others})
    return with_params(env, **fields) if fields else env


def with_params(env: Environment, **fields: Any) -> Environment:
    """The same environment with other values in its `default_params`.

    Args:
        env: any environment whose parameters are a dataclass.
        **fields: new values for fields of the parameters; numbers are checked against the kind of number they replace.

    Raises:
        InvalidArgument: a value is not of the field's kind, or the time limit is less than 1.
    """
    params = env.default_params
    return _WithParams(
        env, dataclasses.replace(params, **{k: _fit(k, v, getattr(params, k)) for k, v in fields.items()})
    )


class _WithParams(EnvironmentTransform):
    def __init__(self, env: Environment, params: Any):
        super().__init__(env)
        self._params = params

    @property
    def default_params(self) -> Any:
        return self._params


def _fit(name: str, value: Any, default: Any) -> Any:
    if isinstance(value, jax.Array):
        return value
    if isinstance(default, bool):
        if isinstance(value, bool | np.bool_):
            return bool(value)
        raise InvalidArgument(name, value, "must be True or False")
    if isinstance(default, int | float):
        kind = type(default)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or (kind is int and kind(value) != value):
            raise InvalidArgument(name, value, f"must be {'an integer' if kind is int else 'a number'}")
        if name == "max_steps_in_episode" and value < 1:
            raise InvalidArgument(name, value, "must be at least 1")
        return kind(value)
    if isinstance(default, jax.Array | np.ndarray):
        try:
            return jnp.asarray(value, default.dtype).reshape(default.shape)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(name, value, f"must be an array of shape {default.shape}") from error
    return value


def _install(suite: str) -> str:
    return f"pip install 'jaxrl[{suite}]'"


def _suite(prefix: str) -> Any:
    return importlib.import_module(f"jaxrl.envs.adapters.{prefix}")


def _transform(env_id: str) -> tuple[Callable[..., Environment] | None, str]:
    """The transform that an id begins with, None for none, and the id of the environment inside."""
    prefix, _, inner = env_id.partition("/")
    return (_TRANSFORMS.get(prefix) if inner else None), inner


def _factory(env_id: str) -> Callable[..., Environment]:
    prefix, _, name = env_id.partition("/")
    if name and prefix in _SUITES:
        if importlib.util.find_spec(_SUITES[prefix]) is None:
            raise UserError(f"{env_id} needs a package that is not installed: {_install(prefix)}")
        suite = _suite(prefix)
        if name in suite.REFUSED:
            raise UserError(f"{env_id} is not supported: {suite.REFUSED[name]}")
        if name in suite.names():
            return suite.factory(name)
    elif env_id in gymnax.registered_envs:
        # gymnax's mapping from id to factory has no public reader, and its `make` builds before settings can be sorted.
        return gymnax.registration._registry[env_id]
    raise unknown("env", env_id, registered())

"""brax's environments on its four physics backends."""

import contextlib
import inspect
import io
import types
import warnings
from collections.abc import Callable

import jax.numpy as jnp

with contextlib.redirect_stdout(io.StringIO()):  # mujoco.mjx prints that its optional backend warp is absent
    from brax import envs, fluid

from jaxrl.envs.adapters.physics import Physics

from jaxrl.errors import InvalidArgument

BACKENDS = ("spring", "positional", "generalized", "mjx")
EPISODE_LENGTH = 1000  # what brax.envs.create uses for all of them
REFUSED = {"fast": "a test double of brax without physics"}


def _clip(x, a_min=None, a_max=None, **bounds):
    return jnp.clip(x, **{"min": a_min, "max": a_max, **bounds})


# brax 0.14.2's fluid forces, which only the swimmer has, call `clip` with argument names that jax 0.10 removed.
fluid.jp = types.SimpleNamespace(**{**vars(jnp), "clip": _clip})


def names() -> list[str]:
    """Names in brax's registry that the adapter takes."""
    return [name for name in envs._envs if name not in REFUSED]


def factory(name: str) -> Callable[..., Physics]:
    """A function that makes the environment from its settings; its signature lists them.

    Settings are the keyword arguments of the brax class (`backend`, reward weights, `n_frames` ...) and `lean` (see
    `Physics`). `backend`, where it is not given, is brax's default, "generalized". Actions are in [-1, 1]: where an
    actuator's range is another one (inverted_pendulum, pusher, humanoid, humanoidstandup), brax rescales by itself.
    """
    cls = envs._envs[name]
    signature = inspect.signature(cls)
    inherited = [
        inspect.Parameter(p, inspect.Parameter.KEYWORD_ONLY, default=None)
        for p in ("n_frames", "debug", "lean")
        if p not in signature.parameters
    ]
    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in signature.parameters.values()
        if p.kind != inspect.Parameter.VAR_KEYWORD
    ]

    def make(lean=True, **settings):
        backend = settings.get("backend", "generalized")
        if backend not in BACKENDS:
            raise InvalidArgument("backend", backend, f"one of {', '.join(BACKENDS)}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
            env = cls(**settings)
        return Physics(env, f"brax/{name}", "pipeline_state", -1.0, 1.0, EPISODE_LENGTH, lean)

    make.__signature__, make.__doc__ = inspect.Signature(own + inherited), cls.__doc__
    return make

"""MuJoCo Playground's DeepMind control suite (optional: `pip install 'jaxrl[playground]'`)."""

import contextlib
import inspect
import io
from collections.abc import Callable

with contextlib.redirect_stdout(io.StringIO()):  # mujoco.mjx prints about its optional backends
    import mujoco_playground  # pyright: ignore[reportMissingImports]
    from mujoco_playground import dm_control_suite  # pyright: ignore[reportMissingImports]

from jaxrl.envs.adapters.physics import Physics

REFUSED = {
    name: "only the DeepMind control suite is; this one clones a repository of robot models when it is loaded"
    for suite in (mujoco_playground.locomotion, mujoco_playground.manipulation)
    for name in suite.ALL_ENVS
}
# Pixels need a renderer outside JAX; repeating actions was the work of a wrapper that is not used here.
_NO_SETTINGS = ("vision", "vision_config", "action_repeat")


def names() -> list[str]:
    """Names of the control suite's environments."""
    return list(dm_control_suite.ALL_ENVS)


def factory(name: str) -> Callable[..., Physics]:
    """A function that makes the environment from its settings; its signature lists them.

    Settings are the fields of Playground's configuration (`ctrl_dt`, `sim_dt`, `episode_length`, `impl` ...). `impl` is
    "jax", where Playground's default is "warp": pure JAX runs everywhere and can be differentiated. Actions are in the
    actuators' control range, [-1, 1] throughout the suite. Only a state that is not a number terminates.
    """
    config = {**dm_control_suite.get_default_config(name), "impl": "jax"}

    def make(lean=True, **settings):
        overrides = {"impl": "jax", **settings}
        with contextlib.redirect_stdout(io.StringIO()):
            env = dm_control_suite.load(name, config_overrides=overrides)
        low, high = env.mj_model.actuator_ctrlrange.T
        limit = overrides.get("episode_length", config["episode_length"])
        return Physics(env, f"playground/{name}", "data", low, high, limit, lean)

    make.__signature__ = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value)
            for key, value in {**config, "lean": True}.items()
            if key not in _NO_SETTINGS
        ]
    )
    return make

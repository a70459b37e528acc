"""Environments, all behind gymnax 1.0's `Environment`.

The engine resets by itself, so it uses four functions, each of one environment and made to be vmapped:

    obs, state = env.reset_env(key, params)
    obs, state, reward, terminated, info = env.step_env(key, state, action, params)
    truncated = env.is_truncated(state, params)
    params = env.default_params

and the inherited `env.reset`, `env.step` (which resets automatically) work too. Every environment from `make` keeps to
this contract, which `check(env)` tests, for one of your own too:

- `obs` has the shape and dtype of `env.observation_space(params)`, float32 for a Box, int32 for a Discrete space;
- `obs` and `state` have the same structure, shapes and dtypes from a reset and from a step, and no weak types;
- `reward` is float32, `[]` or `env.reward_shape`; `terminated` and `truncated` are bool `[]`;
- `terminated` never includes the time limit. Both flags may be set at once: then the state is terminal;
- the time limit is `params.max_steps_in_episode`, an int, and `state.time` counts the episode's steps;
- `info` has the same keys at every step.
"""

from jaxrl.envs import combinatorial as _combinatorial
from jaxrl.envs import control as _control
from jaxrl.envs import inventory as _inventory
from jaxrl.envs import probe as _probe
from jaxrl.envs import tabular as _tabular
from jaxrl.envs import transforms as _transforms
from jaxrl.envs.base import (
    Environment,
    EnvironmentTransform,
    EnvParams,
    EnvState,
    action_mask,
    check_params,
    is_discrete,
    reward_shape,
    stock_of,
    strong,
    unwrapped,
)
from jaxrl.envs.contract import check
from jaxrl.envs.registry import (
    absent,
    documentation,
    make,
    prefixes,
    register,
    register_transform,
    registered,
    with_params,
)

__all__ = [
    "EnvParams",
    "EnvState",
    "Environment",
    "EnvironmentTransform",
    "absent",
    "action_mask",
    "check",
    "check_params",
    "documentation",
    "is_discrete",
    "make",
    "prefixes",
    "register",
    "register_transform",
    "registered",
    "reward_shape",
    "stock_of",
    "strong",
    "unwrapped",
    "with_params",
]

_probe.register_all(register)
for _env_id, _factory in (_combinatorial.SETTINGS | _control.CONTROL | _inventory.SETTINGS | _tabular.SETTINGS).items():
    register(_env_id, _factory)
for _prefix, _transform in _transforms.TRANSFORMS.items():
    register_transform(_prefix, _transform)

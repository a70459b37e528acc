"""The processes as registered environments."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxrl.envs.tabular import classics, finance, grids, risk
from jaxrl.envs.tabular.environment import TabularEnvironment
from jaxrl.envs.tabular.outcomes import staged

from jaxrl.bellman.mdp import MDP

HOME = "S..F .... .#.. W..."
"""the map of ``homeostasis``"""


def sampled(
    env_id: str,
    process: Callable[..., MDP],
    limit: int,
    features: Callable[..., np.ndarray] | None = None,
    layout: Callable[..., str | int] | None = None,
) -> Callable[..., TabularEnvironment]:
    """The factory of the environment that samples a process: it takes the settings of ``process`` and two more.

    ``observation`` is that of ``TabularEnvironment``, or ``"features"``, the default, where there are ``features``.
    ``horizon`` makes the stage a part of the state, and ends the episode after so many steps; see ``staged``.

    Args:
        env_id: the registered name.
        process: with settings by name.
        limit: the time limit, unless another one is asked for.
        features: ``[S, D]`` features of the states, from those settings of the process that it names.
        layout: the map of a process on a grid, likewise; all that it names are given.
    """
    own = list(inspect.signature(process).parameters.values())

    def factory(**settings: Any) -> TabularEnvironment:
        observation = settings.pop("observation", default)
        horizon = settings.pop("horizon", None)
        made = process(**settings)
        if horizon is not None:
            made = staged(made, horizon)
        if features is not None and isinstance(observation, str) and observation == "features":
            named = inspect.signature(features).parameters
            observation = features(**{name: value for name, value in settings.items() if name in named})
        rows = None
        if layout is not None:
            given = {parameter.name: parameter.default for parameter in own} | settings
            rows = grids.map_rows(layout(**{name: given[name] for name in inspect.signature(layout).parameters}))
        return TabularEnvironment(made, observation, layout=rows, max_steps_in_episode=limit, env_id=env_id)

    default = "one-hot" if features is None else "features"
    more = {"observation": default} | ({"horizon": None} if features is None else {})
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in more.items()]
    factory.__signature__ = inspect.Signature([*own, *keywords])  # type: ignore[attr-defined]  # what `make` reads
    factory.__doc__ = process.__doc__
    return factory


def homeostasis(layout: str = HOME, slip: float = 0.0, observation: Any = "one-hot") -> TabularEnvironment:
    """A walk between food and water, which are two rewards; the task is to keep a balance between what one has had.

    A ``gridworld`` that never ends, with the map below and rewards ``[2]``: the first 1 on arrival at ``F``, the second
    at ``W``, and 0 elsewhere. A finite process has one reward, so the two are the environment's, and its process has
    none.

        S . . F
        . . . .
        . # . .
        W . . .

    Args:
        layout, slip: as in ``gridworld``.
    """
    process = grids.gridworld(layout, slip, rewards={}, terminal="")
    paid = np.array([[character == "F", character == "W"] for character in grids.cells(layout)], float)
    return TabularEnvironment(
        process,
        observation,
        arrival_rewards=paid,
        layout=grids.map_rows(layout),
        max_steps_in_episode=100,
        env_id="tabular/homeostasis-v0",
    )


SETTINGS: dict[str, Any] = {
    "tabular/riverswim-v0": (classics.riverswim, 200),
    "tabular/machine-replacement-v0": (classics.machine_replacement, 200),
    "tabular/inventory-v0": (classics.inventory, 200),
    "tabular/gamblers-ruin-v0": (classics.gamblers_ruin, 200),
    "tabular/garnet-v0": (classics.garnet, 200),
    "tabular/windy-walk-v0": (grids.windy_walk, 200, None, lambda: grids.WINDY),
    "tabular/cliff-walking-v0": (grids.cliff_walking, 50, None, grids.cliff_map),
    "tabular/gridworld-v0": (grids.gridworld, 100, None, lambda layout: layout),
    "tabular/two-coin-v0": (risk.two_coin, 2),
    "tabular/bit-generator-v0": (risk.bit_generator, 20),
    "tabular/gamble-chain-v0": (risk.gamble_chain, 3),
    "tabular/american-option-v0": (finance.american_option, 10, finance.american_option_features),
    "tabular/trading-v0": (finance.trading, 10, finance.trading_features),
}
SETTINGS = {env_id: sampled(env_id, *arguments) for env_id, arguments in SETTINGS.items()}
SETTINGS["tabular/homeostasis-v0"] = homeostasis
"""factories by id"""

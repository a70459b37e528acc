"""Finite decision processes with known kernels, and an environment that samples them.

| process | id | states | what it is for |
| --- | --- | --- | --- |
| `riverswim` | `tabular/riverswim-v0` | 6 | exploration, robust and average-reward values |
| `machine_replacement` | `tabular/machine-replacement-v0` | 10 | robust values |
| `inventory` | `tabular/inventory-v0` | 101 | actions that are not always allowed |
| `gamblers_ruin` | `tabular/gamblers-ruin-v0` | 11 | probabilities in closed form |
| `garnet` | `tabular/garnet-v0` | any number | random kernels of any size |
| `windy_walk` | `tabular/windy-walk-v0` | 30 | a family of kernels with one parameter |
| `cliff_walking` | `tabular/cliff-walking-v0` | 32 | risk on the way to a goal |
| `gridworld` | `tabular/gridworld-v0` | any map | |
| | `tabular/homeostasis-v0` | 15 | two rewards |
| `two_coin` | `tabular/two-coin-v0` | 3 | risk of the whole return |
| `bit_generator` | `tabular/bit-generator-v0` | 1 | every return of an interval can be had |
| `gamble_chain` | `tabular/gamble-chain-v0` | 2 | risk of the whole return |
| `american_option` | `tabular/american-option-v0` | 371 | when to stop |
| `trading` | `tabular/trading-v0` | 11,111 | many states, actions and rewards |

Each function returns a `jaxrl.bellman.MDP`, whose exact values can be computed; `make(id, **settings)` passes the
function's settings on, with `observation="one-hot"`, `"index"` or features, and `horizon=` for the finite problem.
Discounts are those that the processes are known with. States without a reward that no action leaves are terminal.
"""

from jaxrl.envs.tabular.classics import gamblers_ruin, garnet, inventory, machine_replacement, riverswim
from jaxrl.envs.tabular.environment import TabularEnvironment, TabularParams, TabularState, tables, variants
from jaxrl.envs.tabular.finance import american_option, american_option_features, trading, trading_features
from jaxrl.envs.tabular.grids import cells, cliff_walking, gridworld, windy_walk
from jaxrl.envs.tabular.outcomes import staged
from jaxrl.envs.tabular.risk import bit_generator, gamble_chain, two_coin
from jaxrl.envs.tabular.settings import SETTINGS

__all__ = [
    "SETTINGS",
    "TabularEnvironment",
    "TabularParams",
    "TabularState",
    "american_option",
    "american_option_features",
    "bit_generator",
    "cells",
    "cliff_walking",
    "gamble_chain",
    "gamblers_ruin",
    "garnet",
    "gridworld",
    "inventory",
    "machine_replacement",
    "riverswim",
    "staged",
    "tables",
    "trading",
    "trading_features",
    "two_coin",
    "variants",
    "windy_walk",
]

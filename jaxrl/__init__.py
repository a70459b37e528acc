"""jaxrl: reinforcement learning research in JAX, thousands of seeds in one program."""

import importlib
from typing import TYPE_CHECKING

from jaxrl.devices import use_all_cores
from jaxrl.errors import InvalidArgument, UserError

if TYPE_CHECKING:
    from jaxrl.algorithms.bq import BQ
    from jaxrl.algorithms.dppo import DPPO
    from jaxrl.algorithms.dql import DQL
    from jaxrl.algorithms.dqn import DQN
    from jaxrl.algorithms.expo import EXPO
    from jaxrl.algorithms.fpo import FPO
    from jaxrl.algorithms.fql import FQL
    from jaxrl.algorithms.gorl import GoRL, GoRLSAC
    from jaxrl.algorithms.hdpo import HDPO
    from jaxrl.algorithms.idql import IDQL
    from jaxrl.algorithms.mdpo import MDPO, SoftMDPO
    from jaxrl.algorithms.pmoe import PMOE, PMOEPPO
    from jaxrl.algorithms.pomo import POMO
    from jaxrl.algorithms.ppo import PPO
    from jaxrl.algorithms.pqn import PQN
    from jaxrl.algorithms.qsm import QSM
    from jaxrl.algorithms.reinforce import REINFORCE
    from jaxrl.algorithms.sac import SAC
    from jaxrl.algorithms.td3 import TD3
    from jaxrl.algorithms.trpo import TRPO
    from jaxrl.algorithms.value_iteration import ValueIteration
    from jaxrl.engine.loading import LoadedRun, load_run
    from jaxrl.engine.train import Result, train
    from jaxrl.envs import make

# Importing gymnax fixes jax's devices, so these wait until they are asked for and `use_all_cores` can come first.
_LAZY = {
    "BQ": "algorithms.bq",
    "DPPO": "algorithms.dppo",
    "DQL": "algorithms.dql",
    "DQN": "algorithms.dqn",
    "EXPO": "algorithms.expo",
    "FPO": "algorithms.fpo",
    "FQL": "algorithms.fql",
    "GoRL": "algorithms.gorl",
    "GoRLSAC": "algorithms.gorl",
    "HDPO": "algorithms.hdpo",
    "IDQL": "algorithms.idql",
    "POMO": "algorithms.pomo",
    "PPO": "algorithms.ppo",
    "PQN": "algorithms.pqn",
    "QSM": "algorithms.qsm",
    "REINFORCE": "algorithms.reinforce",
    "SAC": "algorithms.sac",
    "TD3": "algorithms.td3",
    "MDPO": "algorithms.mdpo",
    "PMOE": "algorithms.pmoe",
    "PMOEPPO": "algorithms.pmoe",
    "SoftMDPO": "algorithms.mdpo",
    "TRPO": "algorithms.trpo",
    "ValueIteration": "algorithms.value_iteration",
    "LoadedRun": "engine.loading",
    "Result": "engine.train",
    "load_run": "engine.loading",
    "make": "envs",
    "train": "engine.train",
}

__all__ = [
    "BQ",
    "DPPO",
    "DQL",
    "DQN",
    "EXPO",
    "FPO",
    "FQL",
    "HDPO",
    "IDQL",
    "MDPO",
    "PMOE",
    "PMOEPPO",
    "POMO",
    "PPO",
    "PQN",
    "QSM",
    "REINFORCE",
    "SAC",
    "TD3",
    "TRPO",
    "GoRL",
    "GoRLSAC",
    "InvalidArgument",
    "LoadedRun",
    "Result",
    "SoftMDPO",
    "UserError",
    "ValueIteration",
    "load_run",
    "make",
    "train",
    "use_all_cores",
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'jaxrl' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxrl.{_LAZY[name]}"), name)

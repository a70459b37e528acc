"""Probe environments: as small as can be, each with a known value, each failing for one kind of mistake.

| id | what it isolates | optimal value |
| --- | --- | --- |
| `probe/constant-v0` | the value of one state | r |
| `probe/observation-v0` | a value that depends on the observation | r o |
| `probe/discount-v0` | the discount over two steps | discount r, then r |
| `probe/action-v0` | the choice of an action | r |
| `probe/joint-v0` | the choice of an action by the observation | r |
| `probe/terminates-v0` | an end that is a termination | r (1 - discount^(k - phase)) / (1 - discount) |
| `probe/truncates-v0` | the same end by a time limit | r / (1 - discount) |
| `probe/mask-v0` | actions that are not always allowed | the best allowed reward |
| `probe/vector-v0` | rewards with two objectives | a front that is concave in the middle |
| `probe/target-v0` | the choice of a continuous action | 0 |
| `probe/faulty-v0` | an environment that turns non-finite | as `truncates` until it does |

Every one has `value(obs, discount, params)`, the exact value of its optimal policy, which the docstring states too.
"""

from collections.abc import Callable

from jaxrl.envs.probe import bandits, chains
from jaxrl.envs.probe.bandits import Action, Constant, Joint, Mask, Observation, Target, Vector
from jaxrl.envs.probe.chains import Discount, Faulty, Terminates, Truncates

__all__ = [
    "PROBES",
    "Action",
    "Constant",
    "Discount",
    "Faulty",
    "Joint",
    "Mask",
    "Observation",
    "Target",
    "Terminates",
    "Truncates",
    "Vector",
    "bandits",
    "chains",
]

PROBES = {
    "probe/constant-v0": Constant,
    "probe/observation-v0": Observation,
    "probe/discount-v0": Discount,
    "probe/action-v0": Action,
    "probe/joint-v0": Joint,
    "probe/terminates-v0": Terminates,
    "probe/truncates-v0": Truncates,
    "probe/mask-v0": Mask,
    "probe/vector-v0": Vector,
    "probe/target-v0": Target,
    "probe/faulty-v0": Faulty,
}


def register_all(register: Callable) -> None:
    """Give every probe to `register(env_id, factory)`."""
    for env_id, factory in PROBES.items():
        register(env_id, factory)

"""Returns that environments are known to allow, for optimality gaps. Add a line to know another."""

from typing import NamedTuple


class Reference(NamedTuple):
    """A return to measure by, and what it is."""

    value: float
    meaning: str


REFERENCES = {
    "CartPole-v1": Reference(500.0, "the highest return there is"),
    "MountainCar-v0": Reference(-110.0, "gym's threshold of solving it"),
    "MountainCarContinuous-v0": Reference(90.0, "gym's threshold of solving it"),
    "Acrobot-v1": Reference(-100.0, "gym's threshold of solving it"),
    "Pendulum-v1": Reference(0.0, "the bound that no return exceeds"),
}
"""environment: the reference of its undiscounted return"""

RETURNS = ("evaluation_return", "episode_return")
"""the metrics that the references are about"""

"""Small continuous control tasks in which one Gaussian is not enough.

| id | what it is |
| --- | --- |
| `control/multi-goal-v0` | a point that four goals draw equally |
| `control/corners-v0` | one action, four of them best |
"""

from jaxrl.envs.control.goals import Corners, GoalsParams, MultiGoal

__all__ = ["CONTROL", "Corners", "GoalsParams", "MultiGoal"]

CONTROL = {"control/multi-goal-v0": MultiGoal, "control/corners-v0": Corners}
"""factories by id"""

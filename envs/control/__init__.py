"""Small continuous control tasks in which one Gaussian is not enough.

| id | what it is |
| --- | --- |
| `control/multi-goal-v0` | a point that four goals draw equally |
| `control/corners-v0` | one action, four of them best |
| `control/point-maze-v0` | a point in a maze with two shortest ways, rewarded on arrival |
"""

from jaxrl.envs.control.goals import Corners, GoalsParams, MultiGoal
from jaxrl.envs.control.maze import MazeParams, PointMaze

__all__ = ["CONTROL", "Corners", "GoalsParams", "MazeParams", "MultiGoal", "PointMaze"]

CONTROL = {"control/multi-goal-v0": MultiGoal, "control/corners-v0": Corners, "control/point-maze-v0": PointMaze}
"""factories by id"""

"""What a diffusion or a flow does where one Gaussian is not enough: its first actions, and the ways that it goes.

``experiments.viewers`` registers ``action_map`` for the algorithms of ``GENERATIVE`` in ``control/*``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.control import goals, maze

from experiments.expert_viewer import image_of, visited
from jaxrl.engine.loading import LoadedRun

GENERATIVE = ("DPPO", "DQL", "EXPO", "FPO", "FQL", "GoRL", "GoRLSAC", "IDQL", "QSM")
ACTIONS = 4096
CELLS = 60
"""of the box of actions, on each side"""


def action_map(run: LoadedRun, member: int) -> str:
    """An ``<img>`` of ``draw_actions``."""
    from matplotlib.figure import Figure  # not pyplot, whose backend is the caller's

    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    draw_actions(figure, run, member)
    return image_of(figure, f"actions of member {member}")


def draw_actions(figure: Any, run: LoadedRun, member: int) -> None:
    """Draws how dense the actions are that a member takes at a start, all dimensions but the first two left out, and
    the ways of its episodes where states are positions. Actions are sampled, not greedy."""
    shape = run.env.observation_space(run.member_env_params(member)).shape
    moves = len(shape) == 1 and shape[0] >= 2
    axes = figure.subplots(1, 1 + moves, squeeze=False)[0]
    space, actions = run.env.action_space(run.member_env_params(member)), first_actions(run, member)
    sides = np.stack([np.broadcast_to(side, space.shape) for side in (space.low, space.high)], axis=-1)
    if space.shape[0] == 1:
        axes[0].hist(actions[:, 0], CELLS, range=tuple(sides[0]), density=True, color="C0")
        axes[0].set(xlabel="action", ylabel="density")
    else:
        axes[0].hist2d(*actions[:, :2].T, bins=CELLS, range=sides[:2], cmap="Blues")
        axes[0].set(xlabel="action 1", ylabel="action 2", aspect="equal")
    axes[0].set_title(f"{ACTIONS:,} actions at a start")
    if moves:
        draw_ways(axes[1], run, member)


def draw_ways(axis: Any, run: LoadedRun, member: int) -> None:
    """Draws the first two coordinates of the observations of episodes, and what there is to go to or around."""
    obs, running = visited(run, member)
    if run.request["env"] == "control/point-maze-v0":
        size = len(maze.MAZE)
        axis.imshow(maze.WALLS, cmap="Greys", vmax=3, extent=(0, size, size, 0))
        axis.scatter(*maze.GOAL, s=80, color="C2")
    elif run.request["env"] == "control/multi-goal-v0":
        axis.scatter(*np.asarray(goals.GOALS).T, s=80, color="C2")
    for episode, steps in enumerate(running.sum(axis=0).astype(int)):
        axis.plot(*obs[: steps + 1, episode, :2].T, color="C0", linewidth=0.8, alpha=0.5)
    axis.set(title=f"ways of {running.shape[1]} episodes", aspect="equal", xlabel="state 1", ylabel="state 2")


def first_actions(run: LoadedRun, member: int) -> np.ndarray:
    """``[ACTIONS, D]`` actions sampled at one first observation."""
    policy, params = run.policy(member), run.member_env_params(member)

    @jax.jit
    def act(key):
        obs, _ = run.env.reset_env(key, params)
        return policy(jnp.broadcast_to(obs, (ACTIONS, *obs.shape)), key, greedy=False)

    return np.asarray(act(jax.random.key(0)))

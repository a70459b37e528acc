"""An episode of a finite process: its cells, darker the more often it was there, and the agent on one of them.

``experiments.viewers`` registers ``tabular_frames`` for ``tabular/*``, also behind ``stock/``.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxrl import envs

LARGEST, LONGEST_SIDE = 48, 768
"""sides of a cell and, unless there are too many cells for it, of the picture, in pixels"""
HEAD, NARROWEST = 32, 240
"""height of the line of text, and the least width, which has room for it"""
MOST_IN_A_ROW = 12
"""states in one row, where they are on no map"""
FINER = 3
"""how many times its size a picture is drawn, so that edges come out smooth"""

PAPER, INK, GREY, EMPTY = (255, 255, 255), (38, 50, 56), (144, 164, 174), (238, 241, 243)
VISITED, AGENT = (100, 150, 210), (230, 126, 34)
LETTERS = {"G": (46, 150, 90), "X": (200, 50, 60)}


def tabular_frames(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """Cells of the map or, where there is none, circles in the order of the states, row by row.

    The reward so far is written above as long as it follows from the states: not where a step between two of them may
    earn different rewards, nor where steps were left out.
    """
    env = envs.unwrapped(env)
    while hasattr(states, "inner"):  # the state of a transform
        states = states.inner
    params = jax.device_get(params)
    board = Board(env.layout, env.process.states)
    visits, total, before = np.zeros(len(board.at), int), np.array(0.0), None
    for time, state in zip(np.asarray(states.time).tolist(), np.asarray(states.state).tolist()):
        if before is not None and time > before[0]:
            total = total + (reward(params, before[1], state) if time == before[0] + 1 else np.nan)
        else:  # another episode
            visits[:] = 0
            total = np.array(0.0 if time == 0 else np.nan)
        before = time, state
        # The end of a process in stages is on none of its cells.
        cell = None if len(visits) < env.process.states == state + 1 else state % len(visits)
        if cell is not None:
            visits[cell] += 1
        text = f"step {time}"
        if not np.isnan(total).any():
            text = f"{text}, reward {', '.join(f'{number:.4g}' for number in np.ravel(total))}"
        yield board.picture(visits, cell, text)


def reward(params: Any, before: int, after: int) -> Any:
    """What the step from one state to another earned, NaN where it depends on what else happened."""
    possible = np.diff(params.cumulative[before], axis=-1, prepend=0) > 0
    possible &= params.successors[before] == after
    rewards = np.asarray(params.rewards[before], float)  # [A, 1 or n, ...]
    rewards = np.broadcast_to(rewards, possible.shape + rewards.shape[2:])[possible]
    return rewards[0] if (rewards == rewards[:1]).all() and len(rewards) else np.nan


class Board:
    """Where the states are, and pictures of them.

    Args:
        layout: the rows of a map, or None.
        states: how many there are.
    """

    def __init__(self, layout: Any, states: int):
        self.round = layout is None
        if layout is None:
            columns = min(states, max(MOST_IN_A_ROW, int(np.ceil(np.sqrt(2 * states)))))
            numbers = "." * states
            layout = [numbers[i : i + columns].ljust(columns, "#") for i in range(0, states, columns)]
        self.at = [(row, column) for row, cells in enumerate(layout) for column, c in enumerate(cells) if c != "#"]
        self.side = int(np.clip(LONGEST_SIDE // max(len(layout), len(layout[0])), 2, LARGEST)) * FINER
        size = (max(NARROWEST * FINER, self.side * len(layout[0])), HEAD * FINER + self.side * len(layout))
        unit = 16 * FINER  # as videos want it
        self.empty = Image.new("RGB", (-(-size[0] // unit) * unit, -(-size[1] // unit) * unit), PAPER)
        draw = ImageDraw.Draw(self.empty)
        if not self.round:  # walls are what is left of it
            draw.rectangle((0, HEAD * FINER, self.side * len(layout[0]) - 1, size[1] - 1), INK)
        for cell in range(len(self.at)):
            self.fill(draw, cell, EMPTY)
        letters = [layout[row][column] for row, column in self.at] if self.side >= 24 * FINER else []  # can be read
        self.letters = [(cell, letter) for cell, letter in enumerate(letters) if letter != "."]

    def corner(self, cell: int) -> np.ndarray:
        """Its upper left one, x and y."""
        row, column = self.at[cell]
        return np.array([column * self.side, HEAD * FINER + row * self.side])

    def fill(self, draw: ImageDraw.ImageDraw, cell: int, color: Any) -> None:
        shape = draw.ellipse if self.round else draw.rectangle
        gap = self.side // 12 if self.round else self.side // 48
        shape([*(self.corner(cell) + gap), *(self.corner(cell) + self.side - 1 - gap)], color)

    def picture(self, visits: np.ndarray, cell: int | None, text: str) -> np.ndarray:
        """uint8 ``[height, width, 3]``: the cells visited, the agent, and a line of text."""
        image = self.empty.copy()
        draw = ImageDraw.Draw(image)
        for visited in np.flatnonzero(visits).tolist():
            share = 0.25 + 0.75 * visits[visited] / visits.max()
            self.fill(
                draw, visited, tuple(np.rint(np.array(EMPTY) * (1 - share) + np.array(VISITED) * share).astype(int))
            )
        if cell is not None:
            draw.circle(tuple(self.corner(cell) + self.side / 2), self.side * 0.3, AGENT)
        for at, letter in self.letters:
            place = tuple(self.corner(at) + self.side // 12)
            draw.text(place, letter, LETTERS.get(letter, INK), ImageFont.load_default(self.side / 4))
        draw.text((6 * FINER, 8 * FINER), text, INK, ImageFont.load_default(14 * FINER))
        return np.asarray(image.reduce(FINER))

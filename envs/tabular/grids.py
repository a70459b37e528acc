"""Walks on grids. States are the cells that are no walls, row by row."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxrl.envs.arguments import whole, within
from jaxrl.envs.tabular.outcomes import merged

from jaxrl.bellman.mdp import MDP, sparse_mdp
from jaxrl.errors import InvalidArgument

NORTH, EAST, SOUTH, WEST = (-1, 0), (0, 1), (1, 0), (0, -1)
"""steps in (row, column), row 0 being the northernmost"""
COMPASS = (NORTH, EAST, SOUTH, WEST)
WALL = "#"
REWARDS = {"G": 1.0, "X": -1.0}
WINDY = "S....G .###.. ...... .###.. ...... ......"
"""the map of ``windy_walk``"""


def cells(layout: str | int) -> list[str]:
    """The characters of a map's cells in the order of the states, walls left out; see ``gridworld``.

    Example:
        >>> cells("S#. .G.")
        ['S', '.', '.', 'G', '.']
    """
    return [character for row in map_rows(layout) for character in row if character != WALL]


def map_rows(layout: str | int) -> list[str]:
    """The rows of a map, one character a cell; see ``gridworld``."""
    if not isinstance(layout, str):
        side = whole("layout", layout, 2)
        return ["S" + "." * (side - 1), *["." * side] * (side - 2), "." * (side - 1) + "G"]
    rows = layout.split()
    if len({len(row) for row in rows}) != 1 or not set("".join(rows)) - {WALL}:
        raise InvalidArgument("layout", layout, "must have rows of one length, and cells in them")
    return rows


def gridworld(
    layout: str | int = 5,
    slip: float = 0.0,
    step: float = 0.0,
    rewards: Mapping[str, float] = REWARDS,
    terminal: str = "GX",
    discount: float = 0.95,
) -> MDP:
    """A walk on a map, to the north, east, south or west (actions 0 to 3).

    A move against a wall or the border stays where it is. All rewards are earned on arrival.

    Args:
        layout: rows of characters, separated by spaces or line ends: ``#`` is a wall, ``S`` a cell to start from (with
            equal probability if there are several; any cell that is not terminal if there is none), anything else a
            cell. A number is the side of an empty square, from ``S`` in the north-west to ``G`` in the south-east.
        slip: probability that the action is replaced by a random one of the four.
        step: reward of every step, added to the others.
        rewards: of arriving at cells of these characters.
        terminal: characters of cells that end the episode.

    Raises:
        InvalidArgument: for rows of different lengths, a map without cells, a start that is terminal, a slip outside
            [0, 1], or a discount outside (0, 1].

    Example:
        >>> gridworld("SG", step=-1.0).expected_rewards()[0].tolist()
        [-1.0, 0.0, -1.0, -1.0]
    """
    within("slip", slip, 0, 1)
    free = _free(layout)
    characters = cells(layout)
    ends = np.array([character in terminal for character in characters])
    arrival = np.array([step + rewards.get(character, 0.0) for character in characters])
    start = np.array([character == "S" for character in characters])
    if (start & ends).any():
        raise InvalidArgument("terminal", terminal, "must not include S, where episodes start")
    if not start.any():
        start = ~ends
    if not start.any():
        raise InvalidArgument("layout", layout, "needs a cell to start from")
    moves = _moves(free, COMPASS)
    chances = slip / 4 + (1 - slip) * np.eye(4)
    successors = np.broadcast_to(moves[:, None], (len(moves), 4, 4))
    return _walk(successors, np.broadcast_to(chances, successors.shape), arrival, ends, discount, start / start.sum())


def cliff_walking(width: int = 8, height: int = 4, slip: float = 0.5, discount: float = 1.0) -> MDP:
    """From the south-western corner of a grid to the south-eastern one, with a cliff between them that costs 1 a visit.

    Actions 0 to 3 go up, right, down and left; with probability ``slip`` a random one of the four is done instead. The
    goal pays 10 and ends the episode. Other cells of the lowest row but the start cost 1 on arrival and do not end it.
    State ``row * width + column``, row 0 being the upper one. The numbers are those of the code to
    arXiv:2501.02087 (QRSRM), where an episode ends after 50 steps, the last of which pays nothing unless it reaches the
    goal; here it pays as the others do.

    Raises:
        InvalidArgument: for a width below 2, a height below 1, a slip outside [0, 1] or a discount outside (0, 1].
    """
    whole("width", width, 2)
    whole("height", height, 1)
    return gridworld(cliff_map(width, height), slip, rewards={"G": 10.0, "X": -1.0}, terminal="G", discount=discount)


def cliff_map(width: int, height: int) -> str:
    """The map of ``cliff_walking``."""
    lowest = "S" + "X" * (width - 2) + "G"
    return " ".join(["." * width] * (height - 1) + [lowest])


def windy_walk(alpha: float = 0.0, discount: float = 0.95) -> MDP:
    """Three corridors from west to east, each with a weaker wind from the east and a longer way than the one before.

    A 6 x 6 grid with walls in columns 1 to 3 of rows 1 and 3 leaves a corridor in row 0, one in row 2 and a wide one in
    rows 4 and 5. Actions 0 to 3 go north, south, east and west. In columns 1 to 3 the action is replaced by a move to
    the west with probability ``alpha``, ``alpha**3`` or ``alpha**6``, in this order of the corridors. Every step costs
    1 until the goal, the north-eastern corner; the start is the north-western one.

    A family of kernels for worst cases over ``alpha``, after arXiv:2410.06212 (IWOCS). The map there is in a figure
    only; this one stands in for it.

    Raises:
        InvalidArgument: for an alpha outside [0, 1], or a discount outside (0, 1].
    """
    within("alpha", alpha, 0, 1)
    free = _free(WINDY)
    row, column = np.nonzero(free)
    wind = np.select([row == 0, row == 2, row >= 4], [alpha, alpha**3, alpha**6]) * ((column >= 1) & (column <= 3))
    moves = _moves(free, (NORTH, SOUTH, EAST, WEST))
    successors = np.stack([moves, np.broadcast_to(moves[:, 3:], moves.shape)], axis=-1)
    chances = np.broadcast_to(np.stack([1 - wind, wind], axis=-1)[:, None], successors.shape)
    goal = (row == 0) & (column == 5)
    start = (row == 0) & (column == 0)
    return _walk(successors, chances, np.full(len(row), -1.0), goal, discount, start.astype(float))


def _walk(
    successors: np.ndarray,
    chances: np.ndarray,
    arrival: np.ndarray,
    ends: np.ndarray,
    discount: float,
    start: np.ndarray,
) -> MDP:
    """The process with lists of outcomes ``[S, A, n]`` that pays ``[S]`` on arrival until it is in one of ``ends``."""
    ended = ends[:, None, None]
    successors = np.where(ended, np.arange(len(ends))[:, None, None], successors)
    rewards = np.where(ended, 0.0, arrival[successors])
    return sparse_mdp(*merged(successors, chances, rewards), discount, start=start)


def _moves(free: np.ndarray, directions: Sequence[tuple[int, int]]) -> np.ndarray:
    """``[S, directions]``: where a step from each of the ``S`` free cells leads; blocked ones stay."""
    number = np.cumsum(free).reshape(free.shape) - 1
    cell = np.argwhere(free)
    target = cell[:, None] + np.asarray(directions)
    inside = ((target >= 0) & (target < np.array(free.shape))).all(axis=-1, keepdims=True)
    row, column = np.where(inside, target, cell[:, None]).transpose(2, 0, 1)
    return np.where(free[row, column], number[row, column], np.arange(len(cell))[:, None])


def _free(layout: str | int) -> np.ndarray:
    """bool ``[rows, columns]``: where there is no wall."""
    return np.array([[character != WALL for character in row] for row in map_rows(layout)])

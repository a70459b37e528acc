"""Solutions of routing and packing problems, as they are made and as a whole: tours, routes, filled knapsacks.

``experiments.viewers`` registers ``combinatorial_frames`` for ``combinatorial/*``, also behind ``quotient/``.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxrl.envs.combinatorial import NOWHERE, Instance, Problem
from PIL import Image, ImageDraw, ImageFont

from jaxrl import envs

SIDE, HEAD, MARGIN = 448, 32, 16
"""of the drawing, the line of text above it and the space around it, in pixels"""
FINER = 3
"""how many times its size a picture is drawn, so that edges come out smooth"""
PAPER, INK, GREY, PALE = (255, 255, 255), (38, 50, 56), (176, 190, 197), (226, 232, 235)
DEPOT, HERE = (38, 50, 56), (200, 50, 60)
ROUTES = [(30, 100, 180), (230, 126, 34), (46, 150, 90), (142, 68, 173), (0, 121, 107), (216, 27, 96), (121, 85, 72)]
"""colours of routes and items, over and over"""


def combinatorial_frames(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """A picture of each state of an episode, or of several one after the other: what has been built, what is left."""
    del params
    problem, states = envs.unwrapped(env).problem, jax.device_get(states)
    board, known, before = None, [], None
    for index, time in enumerate(np.asarray(states.time).tolist()):
        state = jax.tree.map(lambda leaf, i=index: np.asarray(leaf)[i], states)
        if board is None or time == 0:
            board, known, before = Board(problem, state.instance), [], None
        if hasattr(state, "actions"):
            known = state.actions[:time].tolist()
        elif before is not None:
            known = [*known, step_between(problem, before, state, time)]
        before = state
        yield board.picture(known)


def solution_picture(problem: Problem, instance: Instance, actions: Any) -> np.ndarray:
    """uint8 ``[height, width, 3]``: a solution ``[T]`` of an instance, such as an expert's."""
    actions = np.asarray(actions)
    return Board(problem, jax.device_get(instance)).picture(actions[actions != NOWHERE].tolist(), closed=True)


def step_between(problem: Problem, before: Any, after: Any, time: int) -> int:
    """The action between two states of a quotient, ``NOWHERE`` if there were several."""
    old, new = before.instance.remaining, after.instance.remaining
    if time != before.time + 1:
        return NOWHERE
    if not problem.path:
        return int(np.argmax(old.valid & ~new.valid))
    node = int(new.origin)
    if problem.flags == 1 or node == old.origin:
        return node * problem.flags
    straight = old.budget - before.instance.nodes["demand"][node]
    return 2 * node + int(not np.isclose(straight, new.budget))


class Board:
    """Where the nodes of an instance are, and pictures of its solutions."""

    def __init__(self, problem: Problem, instance: Instance):
        self.problem, self.instance = problem, instance
        slots = len(instance.remaining.valid)
        self.present = np.flatnonzero(np.asarray(instance.remaining.valid))
        self.start, self.destination = int(instance.remaining.origin), int(instance.destination)
        if not problem.path:
            return
        at = instance.nodes.get("coordinates")
        if at is None:  # nodes that are nowhere stand on a circle; the destination where the start is
            turns = 2 * np.pi * np.arange(slots) / max(1, slots - 1)
            at = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        low = at[self.present].min(axis=0)
        span = (at[self.present] - low).max() or 1.0
        place = (at - low) / span
        self.at = (MARGIN + np.stack([place[:, 0], 1 - place[:, 1]], axis=1) * (SIDE - 2 * MARGIN)) * FINER
        self.at[:, 1] += HEAD * FINER

    def picture(self, actions: Sequence[int], closed: bool = False) -> np.ndarray:
        """uint8 ``[height, width, 3]``.

        Args:
            actions: taken so far; ``NOWHERE`` where one is not known.
            closed: draw the way to the destination, too.
        """
        image = Image.new("RGB", (SIDE * FINER, (SIDE + HEAD) * FINER), PAPER)
        draw = ImageDraw.Draw(image)
        text = self.tour(draw, actions, closed) if self.problem.path else self.items(draw, actions)
        draw.text((MARGIN * FINER, 8 * FINER), text, INK, ImageFont.load_default(14 * FINER))
        return np.asarray(image.reduce(FINER))

    def tour(self, draw: ImageDraw.ImageDraw, actions: Sequence[int], closed: bool) -> str:
        """Draws the way so far and the nodes; returns what there is to say."""
        flags, radius = self.problem.flags, FINER * float(np.clip(24 / np.sqrt(len(self.at)), 2, 5))
        here, route, visited, length, known = self.start, 0, set(), 0.0, True
        nodes = self.instance.nodes
        done = closed or (len(visited_by(actions, flags)) == len(self.present) - 2 and self.problem.covers)
        for action in actions:
            if action == NOWHERE:  # the way is not known, and the picture has a gap
                here, known = NOWHERE, False
                continue
            node, flag = divmod(action, flags)
            stops = [self.destination, node] if flag else [node]
            for stop in stops:
                length += self.way(draw, here, stop, route)
                route, here = route + (stop == self.destination), stop
            visited.add(node)
        if done and here != NOWHERE:
            length += self.way(draw, here, self.destination, route)
        weight = nodes.get("demand", nodes.get("prize"))
        largest = 1.0 if weight is None else weight.max() or 1.0
        for node in self.present.tolist():
            if node in (self.start, self.destination):
                continue
            size = radius * (1.0 if weight is None else 0.6 + 0.8 * weight[node] / largest)
            draw.circle(tuple(self.at[node]), size, INK if node in visited else GREY)
        x, y = self.at[self.destination]
        draw.rectangle((x - radius, y - radius, x + radius, y + radius), DEPOT)
        if here not in (NOWHERE, self.start):
            draw.circle(tuple(self.at[here]), radius, HERE)
        said = f"step {len(actions)}"
        if known:
            said = f"{said}, length {length:.4g}"
            if "prize" in nodes:
                said = f"{said} of {float(self.instance.capacity):.4g}, prizes {sum(nodes['prize'][list(visited)]):.4g}"
        return f"{said}, {route + 1} routes" if flags > 1 and route else said

    def way(self, draw: ImageDraw.ImageDraw, begin: int, end: int, route: int) -> float:
        """Draws a step and returns its length; nothing where it is not known where it begins."""
        if begin == NOWHERE:
            return 0.0
        color = ROUTES[route % len(ROUTES)] if self.problem.flags > 1 else ROUTES[0]
        draw.line([tuple(self.at[begin]), tuple(self.at[end])], color, width=2 * FINER)
        if self.instance.cost is not None:
            return float(self.instance.cost[begin, end])
        at = np.asarray(self.instance.nodes["coordinates"], float)
        return float(np.sqrt(np.sum(np.square(at[begin] - at[end]))))

    def items(self, draw: ImageDraw.ImageDraw, actions: Sequence[int]) -> str:
        """Draws the knapsack as a bar of the items' weights, and below it all items by weight and value."""
        value, weight = self.instance.nodes["value"], self.instance.nodes["weight"]
        taken = [action for action in actions if action != NOWHERE]
        left, width, top = MARGIN * FINER, (SIDE - 2 * MARGIN) * FINER, HEAD * FINER
        capacity, at = float(self.instance.capacity), 0.0
        draw.rectangle((left, top, left + width, top + 48 * FINER), PALE)
        for number, item in enumerate(taken):
            ends = [left + width * share / capacity for share in (at, at + weight[item])]
            draw.rectangle((ends[0], top, ends[1], top + 48 * FINER), ROUTES[number % len(ROUTES)])
            at += float(weight[item])
        field, low = (SIDE - 64 - MARGIN) * FINER, (SIDE + HEAD - MARGIN) * FINER
        heaviest, dearest = weight[self.present].max() or 1.0, value[self.present].max() or 1.0
        for item in self.present.tolist():
            x = left + width * weight[item] / heaviest
            y = low - (field - 16 * FINER) * value[item] / dearest
            color = ROUTES[taken.index(item) % len(ROUTES)] if item in taken else GREY
            draw.circle((x, y), 4 * FINER, color)
        return f"step {len(actions)}, value {sum(value[taken]):.6g}, weight {at:.6g} of {capacity:.6g}"


def visited_by(actions: Sequence[int], flags: int) -> set[int]:
    """The nodes of actions."""
    return {action // flags for action in actions if action != NOWHERE}

"""Viewers: which runs they draw, and how. A new one is one call of ``register``.

    register("Maze-v0", frames=maze_frames, fps=10)            # an animation of an episode
    register("brax/*", page=brax_page)                         # an episode in an embedded page
    register(lambda request: request["algorithm"] == "QRDQN", fragment=return_distribution)  # anything about a member

``experiments.play`` writes an episode's animation or page into a file, reports embed what ``view`` returns.
"""

import base64
import contextlib
import fnmatch
import html
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxrl.envs.control import maze
from PIL import Image, ImageDraw

from experiments.action_viewer import GENERATIVE, action_map
from experiments.combinatorial_viewer import combinatorial_frames
from experiments.expert_viewer import expert_map
from experiments.inventory_viewer import inventory_page
from experiments.tabular_viewer import tabular_frames
from jaxrl import envs
from jaxrl.engine.episode import Episode, episode_recorder
from jaxrl.engine.loading import Found, LoadedRun, find_member, read_request
from jaxrl.errors import InvalidArgument, UserError

Frames = Callable[[Any, Any, Any], Iterator[np.ndarray]]
"""``(env, states[T, ...], params) -> T`` pictures, uint8 ``[height, width, 3]``"""
Page = Callable[[Any, Any, Any], str]
"""``(env, states[T, ...], params) ->`` a whole HTML page"""
Fragment = Callable[[LoadedRun, int], str]
"""``(run, member) ->`` HTML to stand in the body of another page"""

EMBEDDED_FRAMES = 200
"""at most so many pictures of an episode are embedded, evenly spaced, so that a report stays small"""
LONGEST = 1000
"""steps of an embedded episode at most"""


@dataclass(frozen=True)
class Viewer:
    """One way to draw some runs; one of ``frames``, ``page`` and ``fragment`` is given."""

    draws: Callable[[dict[str, Any]], bool]
    frames: Frames | None = None
    page: Page | None = None
    fragment: Fragment | None = None
    fps: float = 30.0


VIEWERS: list[Viewer] = []


def register(
    draws: str | Callable[[dict[str, Any]], bool],
    *,
    frames: Frames | None = None,
    page: Page | None = None,
    fragment: Fragment | None = None,
    fps: float = 30.0,
) -> None:
    """Adds a viewer. Several may draw the same run: a report shows them one below the other.

    Args:
        draws: the environments by their id, where ``*`` stands for anything, or a predicate of a run's request (the
            ``request`` of its ``config.json``: algorithm, env, ...).
        frames: ``(env, states[T, ...], params)`` yields a picture of each state of an episode, uint8
            ``[height, width, 3]``, both sizes multiples of 16 as videos want them.
        page: ``(env, states[T, ...], params)`` makes a whole HTML page of an episode.
        fragment: ``(run, member)`` makes HTML of whatever else there is to see in a member.
        fps: pictures per second at which an animation looks right.

    Raises:
        InvalidArgument: unless exactly one of ``frames``, ``page`` and ``fragment`` is given.
    """
    given = [name for name, way in (("frames", frames), ("page", page), ("fragment", fragment)) if way is not None]
    if len(given) != 1:
        raise InvalidArgument("viewer", given, "must be given exactly one of frames, page and fragment")
    if isinstance(draws, str):
        pattern = draws
        draws = lambda request: fnmatch.fnmatchcase(request["env"], pattern)  # noqa: E731
    VIEWERS.append(Viewer(draws, frames, page, fragment, fps))


def viewers_of(request: dict[str, Any]) -> list[Viewer]:
    """The viewers that draw a run, in the order in which they were registered."""
    return [viewer for viewer in VIEWERS if viewer.draws(request)]


def episode_viewer(request: dict[str, Any]) -> Viewer | None:
    """The first viewer that draws a run's episodes."""
    return next((viewer for viewer in viewers_of(request) if viewer.fragment is None), None)


def frames(env_id: str, states: Any, params: Any = None) -> Iterator[np.ndarray]:
    """Pictures of the states of an environment.

    Args:
        states: leaves ``[T, ...]``.
        params: the environment's own by default.

    Raises:
        InvalidArgument: if no viewer draws pictures of this environment.
    """
    viewer = episode_viewer({"env": env_id})
    if viewer is None or viewer.frames is None:
        raise InvalidArgument("env", env_id, "no viewer draws pictures of this environment")
    env = envs.make(env_id)
    return viewer.frames(env, states, env.default_params if params is None else params)


def view(run: Path | LoadedRun, member: int) -> str | None:
    """HTML to embed: what all viewers make of one member, or None where none draws its run.

    An animation is an ``<img>`` with its data in it; an embedded page an ``<iframe>``. The episode is a greedy one, the
    same at every call, cut after ``LONGEST`` steps.

    Args:
        run: the directory of a run or a sweep, or the loaded run where several of its members are shown.

    Raises:
        UserError: if the run cannot be loaded.
    """
    if not viewers_of(run.request if isinstance(run, LoadedRun) else read_request(run)):
        return None
    number, run, member = Found(member, run, member) if isinstance(run, LoadedRun) else find_member(run, member)
    episode, parts = None, []
    for viewer in viewers_of(run.request):
        if viewer.fragment is not None:
            parts.append(viewer.fragment(run, member))
            continue
        if episode is None:
            (episode,) = record(run, member, steps=min(LONGEST, step_limit(run) or LONGEST))
        parts.append(embedded(viewer, run, member, f"member {number}", episode))
    return "\n".join(parts)


def embedded(viewer: Viewer, run: LoadedRun, member: int, name: str, episode: Episode) -> str:
    """An episode as an ``<img>`` or an ``<iframe>``."""
    params = run.member_env_params(member)
    caption = f"{name}: return {np.array2string(np.asarray(episode.total), precision=4)}"
    caption = f"{caption} in {episode.length} steps"
    if viewer.page is not None:
        page = viewer.page(recorded_env(run), episode.states, params)
        return (
            f'<iframe title="{caption}" srcdoc="{html.escape(page)}" sandbox="allow-scripts" loading="lazy"'
            ' style="width:100%;height:480px;border:0"></iframe>'
        )
    assert viewer.frames is not None
    stride = -(-(episode.length + 1) // EMBEDDED_FRAMES)
    # The last state is there whatever the stride: how an episode ends is what one looks for.
    index = np.arange(episode.length, -1, -stride)[::-1]
    pictures = viewer.frames(run.env, jax.tree.map(lambda leaf: leaf[index], episode.states), params)
    data = base64.b64encode(encode(pictures, ".gif", viewer.fps / stride)).decode()
    return f'<img alt="{caption}" title="{caption}" src="data:image/gif;base64,{data}">'


def record(
    run: LoadedRun, member: int, *, steps: int, seed: int = 0, episodes: int = 1, greedy: bool = True
) -> list[Episode]:
    """Episodes of a trained member, cut after ``steps`` steps; episode ``i`` depends on the seed and ``i`` only."""
    policy = run.policy(member)
    recorder = episode_recorder(
        lambda obs, key: policy(obs, key, greedy=greedy), recorded_env(run), run.member_env_params(member), steps
    )
    return [recorder(jax.random.fold_in(jax.random.key(seed), episode)) for episode in range(episodes)]


def step_limit(run: LoadedRun) -> int | None:
    """The longest an episode of a run's environment lasts."""
    return getattr(run.env_params, "max_steps_in_episode", None)


def recorded_env(run: LoadedRun) -> Any:
    """The environment of a run with all that a viewer needs in its state: one made ``lean`` leaves out some."""
    if getattr(envs.unwrapped(run.env), "lean", False) and run.request["env"] in envs.registered():
        return envs.make(run.request["env"], **(run.request["env_settings"] | {"lean": False}))
    return run.env


# --- files ------------------------------------------------------------------------------------------------------


def write(viewer: Viewer, run: LoadedRun, member: int, episodes: Sequence[Episode], output: Path) -> None:
    """Writes episodes, one after the other, in the format that the file's name ends in.

    Raises:
        InvalidArgument: for a format that the viewer does not make.
        UserError: if MP4 is asked for without ``imageio-ffmpeg``, or the file cannot be written.
    """
    check_output(viewer, output)
    states = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(episode.states for episode in episodes))
    params = run.member_env_params(member)
    if viewer.page is not None:
        content = viewer.page(recorded_env(run), states, params).encode()
    else:
        assert viewer.frames is not None
        content = encode(viewer.frames(run.env, states, params), output.suffix, viewer.fps)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise UserError(f"output={str(output)!r}: cannot be written ({error.strerror})") from error


def suffixes(viewer: Viewer) -> tuple[str, ...]:
    """The formats in which a viewer writes episodes, the usual one first."""
    return (".html",) if viewer.page is not None else (".gif", ".mp4")


def check_output(viewer: Viewer, output: Path) -> None:
    """Raises what ``write`` would raise for the file's name."""
    if output.suffix not in suffixes(viewer):
        raise InvalidArgument("output", str(output), f"must end in {' or '.join(suffixes(viewer))}")
    if output.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError(f"output={str(output)!r}: MP4 needs imageio-ffmpeg: pip install 'jaxrl[play]'; GIF does not")


def encode(pictures: Iterator[np.ndarray], suffix: str, fps: float) -> bytes:
    """An animation in the bytes of a GIF or an MP4 file."""
    import imageio.v3 as imageio

    if suffix == ".mp4":
        with warnings.catch_warnings():  # ffmpeg is started as a process, which does nothing with jax's threads
            warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
            return imageio.imwrite("<bytes>", list(pictures), extension=".mp4", fps=fps)
    # GIF counts hundredths of a second, and players slow down what is shown for less than two.
    milliseconds = max(20, 10 * round(100 / fps))
    return imageio.imwrite("<bytes>", list(pictures), extension=".gif", duration=milliseconds, loop=0)


# --- drawing ----------------------------------------------------------------------------------------------------

PAPER, INK, GREY = (255, 255, 255), (38, 50, 56), (176, 190, 197)
BLUE, ORANGE, GREEN, RED = (30, 100, 180), (230, 126, 34), (46, 150, 90), (200, 50, 60)


FINER = 3
"""how many times its size a picture is drawn, so that edges come out smooth"""


class Canvas:
    """A picture in world coordinates, y upwards.

    Args:
        size: width and height in pixels.
        low, high: world coordinates of the lower left and the upper right corner, of one scale in x and y.
    """

    def __init__(self, size: tuple[int, int], low: tuple[float, float], high: tuple[float, float]):
        self.image = Image.new("RGB", (FINER * size[0], FINER * size[1]), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.scale = FINER * size[0] / (high[0] - low[0])
        self.left, self.top = low[0], high[1]

    def pixels(self, points: Any) -> list[tuple[float, float]]:
        return [((x - self.left) * self.scale, (self.top - y) * self.scale) for x, y in np.asarray(points, float)]

    def line(self, points: Any, color: Any, width: float) -> None:
        """A line through points, its width in world units."""
        self.draw.line(self.pixels(points), color, max(1, round(width * self.scale)), joint="curve")

    def rod(self, start: Any, end: Any, color: Any, width: float) -> None:
        """A line with round ends."""
        self.line([start, end], color, width)
        for point in (start, end):
            self.disc(point, width / 2, color)

    def disc(self, centre: Any, radius: float, color: Any) -> None:
        self.draw.circle(self.pixels([centre])[0], radius * self.scale, color)

    def polygon(self, points: Any, color: Any) -> None:
        self.draw.polygon(self.pixels(points), color)

    def array(self) -> np.ndarray:
        """The picture, uint8 ``[height, width, 3]``."""
        return np.asarray(self.image.reduce(FINER))


def cart_pole(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """The cart on its track, whose ends are the thresholds, and the pole upwards from it."""
    reach, pole = float(params.x_threshold), 2 * float(params.length)  # `length` is half the pole's
    width = reach + 0.4
    for x, theta in zip(states.x, states.theta):
        canvas = Canvas((480, 208), (-width, -0.5), (width, -0.5 + 2 * width * 208 / 480))
        canvas.line([(-reach, 0), (reach, 0)], GREY, 0.03)
        for end in (-reach, reach):
            canvas.line([(end, -0.12), (end, 0.12)], RED, 0.03)
        canvas.polygon([(x - 0.3, 0.05), (x + 0.3, 0.05), (x + 0.3, 0.35), (x - 0.3, 0.35)], INK)
        for wheel in (x - 0.18, x + 0.18):
            canvas.disc((wheel, 0.05), 0.08, GREY)
        pivot = np.array([x, 0.3])
        canvas.rod(pivot, pivot + pole * np.array([np.sin(theta), np.cos(theta)]), ORANGE, 0.1)
        canvas.disc(pivot, 0.06, BLUE)
        yield canvas.array()


def pendulum(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """The rod, upright at angle 0, and the torque of the last step as an arc around the pivot."""
    length = float(params.l)
    for theta, torque in zip(states.theta, states.last_u):
        canvas = Canvas((320, 320), (-1.3 * length,) * 2, (1.3 * length,) * 2)
        tip = length * np.array([-np.sin(theta), np.cos(theta)])  # angles grow counterclockwise
        canvas.rod((0, 0), tip, ORANGE, 0.16 * length)
        canvas.disc((0, 0), 0.06 * length, INK)
        arc = np.linspace(0, 2.5 * float(torque) / float(params.max_torque), 24) + np.pi / 2
        points = 0.35 * length * np.stack([np.cos(arc), np.sin(arc)], axis=1)
        canvas.line(points, BLUE, 0.04 * length)
        canvas.disc(points[-1], 0.05 * length, BLUE)
        yield canvas.array()


def acrobot(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """Two links hanging from a pivot, and the height that the tip has to reach."""
    first, second = float(params.link_length_1), float(params.link_length_2)
    reach = 1.1 * (first + second)
    for one, two in zip(states.joint_angle1, states.joint_angle2):
        canvas = Canvas((320, 320), (-reach, -reach), (reach, reach))
        elbow = first * np.array([np.sin(one), -np.cos(one)])
        tip = elbow + second * np.array([np.sin(one + two), -np.cos(one + two)])
        canvas.line([(-reach, 1), (reach, 1)], GREEN, 0.03)
        canvas.rod((0, 0), elbow, INK, 0.2)
        canvas.rod(elbow, tip, ORANGE, 0.2)
        for joint in ((0, 0), elbow):
            canvas.disc(joint, 0.07, GREY)
        yield canvas.array()


def mountain_car(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """The car in its valley, and a flag at the goal."""
    low, high, goal = float(params.min_position), float(params.max_position), float(params.goal_position)

    def height(x):
        return 0.45 * np.sin(3 * x) + 0.55

    left, right = low - 0.1, high + 0.1
    ground = np.linspace(left, right, 90)
    hill = np.stack([ground, height(ground)], axis=1)
    for x in states.position:
        canvas = Canvas((480, 320), (left, 0), (right, (right - left) * 320 / 480))
        canvas.polygon([*hill, (right, 0), (left, 0)], (232, 238, 236))
        canvas.line(hill, GREEN, 0.012)
        foot = height(goal)
        canvas.line([(goal, foot), (goal, foot + 0.2)], INK, 0.01)
        canvas.polygon([(goal, foot + 0.2), (goal, foot + 0.13), (goal + 0.09, foot + 0.165)], RED)
        slope = np.arctan(3 * 0.45 * np.cos(3 * x))
        along, up = np.array([np.cos(slope), np.sin(slope)]), np.array([-np.sin(slope), np.cos(slope)])
        foot = np.array([x, height(x)])
        canvas.polygon(
            [foot + a * 0.07 * along + b * up for a, b in ((-1, 0.03), (1, 0.03), (1, 0.08), (-1, 0.08))], INK
        )
        for side in (-0.04, 0.04):
            canvas.disc(foot + side * along + 0.022 * up, 0.022, ORANGE)
        yield canvas.array()


def point_maze(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """The walls, the goal with the radius within which it is reached, and the point with the way that it came."""
    size = len(maze.MAZE)
    up = np.array([1, -1])  # rows count downwards
    way = np.asarray(states.position) * up
    for last, position in enumerate(way):
        canvas = Canvas((336, 336), (0, -size), (size, 0))
        for row, column in np.argwhere(maze.WALLS):
            low, high = (column, -row - 1), (column + 1, -row)
            canvas.polygon([low, (high[0], low[1]), high, (low[0], high[1])], GREY)
        canvas.disc(maze.GOAL * up, float(params.radius), GREEN)
        if last:
            canvas.line(way[: last + 1], BLUE, 0.05)
        canvas.disc(position, 0.15, ORANGE)
        yield canvas.array()


def min_atar(env: Any, states: Any, params: Any) -> Iterator[np.ndarray]:
    """The observation's channels as colours, later ones over earlier ones; the player, channel 0, on top."""
    inner = envs.unwrapped(env)
    inner = getattr(inner, "env", inner)
    observations = np.asarray(jax.jit(jax.vmap(lambda state: inner.get_obs(state, params)))(states)) > 0
    channels = observations.shape[-1]
    hues = np.linspace(0, 255, channels, endpoint=False).astype(np.uint8)
    colors = np.stack([hues, np.full(channels, 150, np.uint8), np.full(channels, 240, np.uint8)], axis=-1)
    palette = np.asarray(Image.fromarray(colors[None], "HSV").convert("RGB"))[0]
    for observation in observations:
        cells = np.full((*observation.shape[:2], 3), 24, np.uint8)
        for channel in (*range(1, channels), 0):
            cells[observation[..., channel]] = (255, 255, 255) if channel == 0 else palette[channel]
        picture = cells.repeat(32, axis=0).repeat(32, axis=1)
        picture[::32], picture[:, ::32] = 40, 40  # so that neighbours can be told apart
        yield picture


def brax_page(env: Any, states: Any, params: Any) -> str:
    """Brax's own viewer, which loads three.js from the network when it is opened."""
    with contextlib.redirect_stdout(io.StringIO()):  # mujoco.mjx prints that its optional backend warp is absent
        from brax.io import html as brax_html

    physics = envs.unwrapped(env)
    simulated = jax.device_get(jax.jit(jax.vmap(lambda state: physics.simulation(state).pipeline_state))(states))
    # Tenths of a millimetre will do, and as text a float32 takes four times as much.
    moved = jax.tree.map(lambda leaf: np.round(np.asarray(leaf, np.float64), 4), simulated.x)
    steps = [simulated.replace(x=jax.tree.map(lambda leaf, t=t: leaf[t], moved)) for t in range(len(states.time))]
    system = physics.env.sys.tree_replace({"opt.timestep": physics.env.dt})
    return brax_html.render(system, steps, colab=False)


register("CartPole-v1", frames=cart_pole, fps=50)
register("Pendulum-v1", frames=pendulum, fps=20)
register("Acrobot-v1", frames=acrobot, fps=15)
register("control/point-maze-v0", frames=point_maze, fps=15)
register("MountainCar-v0", frames=mountain_car)
register("MountainCarContinuous-v0", frames=mountain_car)
register("*-MinAtar", frames=min_atar, fps=12)
register("brax/*", page=brax_page)
register("inventory/*", page=inventory_page)
register("combinatorial/*", frames=combinatorial_frames, fps=5)
register("quotient/combinatorial/*", frames=combinatorial_frames, fps=5)
register("tabular/*", frames=tabular_frames, fps=5)
register("stock/tabular/*", frames=tabular_frames, fps=5)
register(lambda request: request.get("algorithm") in ("PMOE", "PMOEPPO"), fragment=expert_map)
register(
    lambda request: request.get("algorithm") in GENERATIVE and request["env"].startswith("control/"),
    fragment=action_map,
)

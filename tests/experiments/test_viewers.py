"""Pictures show the state they are of, and what is embedded is an episode of the member asked for."""

import base64
import dataclasses
import html
import json
import re
import zlib

import imageio.v3 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.tabular import TabularState
from matplotlib.figure import Figure

from experiments import action_viewer, expert_viewer, tabular_viewer, viewers
from experiments.viewers import BLUE, INK, ORANGE
from jaxrl import FPO, PMOE, envs, train
from jaxrl.engine.episode import episode_recorder
from jaxrl.engine.loading import load_run
from jaxrl.errors import InvalidArgument, UserError

DRAWN = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
DRAWN += ["control/point-maze-v0"]
DRAWN += [env_id for env_id in envs.registered() if env_id.endswith("-MinAtar")]


def random_episode(env, steps):
    """An episode of random actions."""
    space = env.action_space(env.default_params)
    policy = lambda obs, key: space.sample(key)[None]  # noqa: E731
    return episode_recorder(policy, env, env.default_params, steps)(jax.random.key(0))


def pictures_of(env_id, **changes):
    """Pictures of the state after a reset with some fields ``[T]`` changed."""
    env = envs.make(env_id)
    _, state = env.reset_env(jax.random.key(0), env.default_params)
    count = len(next(iter(changes.values())))
    state = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], count, axis=0), state)
    return list(viewers.frames(env_id, state.replace(**{k: np.asarray(v, np.float32) for k, v in changes.items()})))


def centre(picture, color):
    """Mean x and y, y upwards, of the pixels of a color."""
    y, x = np.nonzero((picture == color).all(axis=-1))
    return np.array([x.mean(), picture.shape[0] - y.mean()])


def pictures_of_an_episode(env_id):
    """One of every state, of sizes that videos allow."""
    episode = random_episode(envs.make(env_id), 4)
    pictures = list(viewers.frames(env_id, episode.states))
    assert len(pictures) == episode.length + 1
    for picture in pictures:
        assert picture.dtype == np.uint8
        height, width, channels = picture.shape
        assert (height % 16, width % 16, channels) == (0, 0, 3)
    return pictures


@pytest.mark.parametrize("env_id", DRAWN)
def test_a_picture_of_every_state(env_id):
    """Not all alike."""
    pictures = pictures_of_an_episode(env_id)
    assert any((picture != pictures[0]).any() for picture in pictures)


def test_cart_pole_leans_right_at_positive_angles_and_moves_right():
    left, upright, right = pictures_of("CartPole-v1", x=[0, 0, 0], theta=[-0.2, 0, 0.2])
    assert centre(left, ORANGE)[0] < centre(upright, ORANGE)[0] - 5
    assert centre(right, ORANGE)[0] > centre(upright, ORANGE)[0] + 5
    there, beyond = pictures_of("CartPole-v1", x=[0, 1], theta=[0, 0])
    np.testing.assert_allclose(centre(beyond, INK) - centre(there, INK), [480 / 5.6, 0], atol=1.5)


def test_pendulum_is_upright_at_zero_and_shows_the_torque():
    up, left, down = pictures_of("Pendulum-v1", theta=[0, np.pi / 2, np.pi], last_u=[2, 0, -2])
    assert centre(up, ORANGE)[1] > 200
    assert centre(left, ORANGE)[0] < 120
    assert centre(down, ORANGE)[1] < 120
    assert centre(up, BLUE)[0] < 155  # counterclockwise, from the top
    assert centre(down, BLUE)[0] > 165


def test_acrobot_hangs_down_at_zero():
    down, straight_up, folded = pictures_of("Acrobot-v1", joint_angle1=[0, np.pi, 0], joint_angle2=[0, 0, np.pi])
    assert centre(down, ORANGE)[1] < centre(down, INK)[1] < 160
    assert centre(straight_up, ORANGE)[1] > centre(straight_up, INK)[1] > 160
    assert centre(folded, ORANGE)[1] > centre(down, ORANGE)[1]


@pytest.mark.parametrize("env_id", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_mountain_car_climbs_to_the_right(env_id):
    valley, slope = pictures_of(env_id, position=[-0.5, 0.2])
    assert (centre(slope, ORANGE) > centre(valley, ORANGE) + 50).all()


def test_the_point_of_a_maze_is_where_it_is_seen_from_above():
    """A row further down is drawn further down, a column further right to the right: 48 pixels a cell."""
    one, other = pictures_of("control/point-maze-v0", position=[[1.5, 1.5], [5.5, 3.5]])
    np.testing.assert_allclose(centre(other, ORANGE) - centre(one, ORANGE), [4 * 48, -2 * 48], atol=1)


def test_minatar_player_is_white_where_it_is():
    env = envs.make("Breakout-MinAtar")
    _, state = env.reset_env(jax.random.key(0), env.default_params)
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state).replace(pos=jnp.array([2, 7]))
    for picture, x in zip(viewers.frames("Breakout-MinAtar", states), (2, 7)):
        white = (picture[16::32, 16::32] == 255).all(axis=-1)
        assert np.argwhere(white).tolist() == [[9, x]]


def tabular_states(states, times=None):
    """An episode of a finite process through these states."""
    return TabularState(time=np.arange(len(states)) if times is None else np.array(times), state=np.array(states))


@pytest.mark.parametrize("env_id", ["tabular/riverswim-v0", "stock/tabular/gridworld-v0"])
def test_finite_processes_are_drawn(env_id):
    """In a row, and on a grid, here behind a transform."""
    for picture in pictures_of_an_episode(env_id):
        assert np.isfinite(centre(picture, tabular_viewer.AGENT)).all()


def test_agent_is_on_its_cell_and_walls_are_not_counted():
    pictures = list(viewers.frames("tabular/windy-walk-v0", tabular_states([0, 6, 7])))  # three walls between 6 and 7
    corner, below, beyond_walls = (centre(picture, tabular_viewer.AGENT) for picture in pictures)
    np.testing.assert_allclose(below - corner, [0, -48], atol=0.5)
    np.testing.assert_allclose(beyond_walls - below, [4 * 48, 0], atol=0.5)
    first, _, last = (picture[32 + 40, 40].astype(int) for picture in pictures)  # the corner cell, beside the agent
    assert (first == last).all()  # visited as often as any
    (other,) = viewers.frames("tabular/windy-walk-v0", tabular_states([7]))
    assert (other[32 + 40, 40] == tabular_viewer.EMPTY).all()
    left, right = viewers.frames("tabular/riverswim-v0", tabular_states([0, 5]))
    np.testing.assert_allclose(
        centre(right, tabular_viewer.AGENT) - centre(left, tabular_viewer.AGENT), [5 * 48, 0], atol=0.5
    )


def test_what_a_finite_process_paid_is_written_where_the_states_tell(monkeypatch):
    def written(env, states):
        said = []
        with monkeypatch.context() as patch:
            patch.setattr(tabular_viewer.Board, "picture", lambda self, visits, cell, text: said.append((cell, text)))
            list(tabular_viewer.tabular_frames(env, states, env.default_params))
        return said

    cliff = envs.make("tabular/cliff-walking-v0")
    walk = tabular_states([24, 25, 17, 24, 24], [0, 1, 2, 0, 1])  # off the cliff, and another episode
    texts = ["step 0, reward 0", "step 1, reward -1", "step 2, reward -1", "step 0, reward 0", "step 1, reward 0"]
    assert written(cliff, walk) == list(zip([24, 25, 17, 24, 24], texts))
    assert [text for _, text in written(cliff, tabular_states([24, 17], [0, 2]))] == ["step 0, reward 0", "step 2"]
    home = envs.make("tabular/homeostasis-v0")
    assert written(home, tabular_states([2, 3]))[-1] == (3, "step 1, reward 1, 0")
    # At the left end, staying pays for one of the two actions only.
    assert written(envs.make("tabular/riverswim-v0"), tabular_states([0, 0]))[-1] == (0, "step 1")
    # Stages are the same cells once more, and the end is nowhere.
    stages = envs.make("tabular/gridworld-v0", layout="S.G", horizon=2)
    assert [cell for cell, _ in written(stages, tabular_states([0, 4, 6]))] == [0, 1, None]


def test_brax_page_holds_the_simulated_positions():
    env = envs.make("brax/inverted_pendulum", backend="spring", lean=False)
    episode = random_episode(env, 3)
    page = viewers.brax_page(env, episode.states, env.default_params)
    data = re.search('var system = "([^"]+)"', page)[1]
    shown = json.loads(zlib.decompress(base64.b64decode(data)))
    assert shown["opt"]["timestep"] == pytest.approx(env.env.dt)
    assert len(shown["states"]["x"]) == 4
    last = env.simulation(jax.tree.map(lambda leaf: leaf[-1], episode.states)).pipeline_state
    np.testing.assert_allclose(shown["states"]["x"][-1]["pos"], last.x.pos, atol=1e-4)
    assert np.abs(last.x.rot[1]).sum() > 1  # a lean state's would be zero


def test_recorded_state_of_a_simulator_is_the_whole_one(trained_run):
    """The training state of Brax's environments lacks what is drawn."""
    run = load_run(trained_run)
    assert viewers.recorded_env(run) is run.env
    settings = {"backend": "spring"}
    request = run.request | {"env": "brax/inverted_pendulum", "env_settings": settings}
    run = dataclasses.replace(run, request=request, env=envs.make("brax/inverted_pendulum", **settings))
    leaves = [
        jax.tree.leaves(jax.eval_shape(env.reset_env, jax.random.key(0), run.env.default_params)[1])
        for env in (run.env, viewers.recorded_env(run))
    ]
    assert len(leaves[0]) < len(leaves[1])


def test_view_is_an_animation_of_the_members_greedy_episode(trained_run):
    run = load_run(trained_run)
    (episode,) = viewers.record(run, 2, steps=500)
    fragment = viewers.view(trained_run, 2)
    assert f"member 2: return {episode.length}. in {episode.length} steps" in fragment
    data = re.fullmatch(r'<img [^>]* src="data:image/gif;base64,([^"]+)">', fragment)[1]
    pictures = imageio.imread(base64.b64decode(data), extension=".gif")
    assert len(pictures) == episode.length + 1
    np.testing.assert_allclose(pictures[-1], list(viewers.frames("CartPole-v1", episode.states))[-1], atol=40)
    assert viewers.view(run, 2) == fragment
    assert viewers.view(run, 1) != fragment


def test_long_episodes_are_thinned_out(trained_run, monkeypatch):
    monkeypatch.setattr(viewers, "EMBEDDED_FRAMES", 3)
    drawn = []

    def draw(env, states, params):
        drawn.extend(states.time.tolist())
        return viewers.cart_pole(env, states, params)

    monkeypatch.setattr(viewers, "VIEWERS", [])
    viewers.register("CartPole-v1", frames=draw)
    run = load_run(trained_run)
    viewers.view(run, 0)
    (episode,) = viewers.record(run, 0, steps=500)
    assert len(drawn) <= 3
    assert drawn[-1] == episode.length
    assert len(set(np.diff(drawn))) == 1


def test_all_viewers_of_a_run_are_shown_in_order(trained_run, monkeypatch):
    monkeypatch.setattr(viewers, "VIEWERS", [])
    assert viewers.view(trained_run, 0) is None
    viewers.register("CartPole-*", page=lambda env, states, params: f"<b>{states.time[0]}&</b>")
    viewers.register(lambda request: request["algorithm"] == "PPO", fragment=lambda run, member: f"<i>{member}</i>")
    viewers.register("Other-v0", fragment=lambda run, member: "never")
    iframe, fragment = viewers.view(trained_run, 1).split("\n")
    assert html.unescape(re.search('srcdoc="([^"]+)"', iframe)[1]) == "<b>0&</b>"
    assert fragment == "<i>1</i>"


def test_what_cannot_be_drawn_or_registered(tmp_path):
    with pytest.raises(InvalidArgument, match=r"env='probe/action-v0': no viewer draws"):
        viewers.frames("probe/action-v0", None)
    with pytest.raises(UserError, match="holds no run"):
        viewers.view(tmp_path, 0)
    with pytest.raises(InvalidArgument, match=r"exactly one of frames, page and fragment"):
        viewers.register("Other-v0")


# --- experts ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixture_run(tmp_path_factory):
    """Two members of a small mixture of three experts among goals."""
    directory = tmp_path_factory.mktemp("experts")
    config = PMOE(hidden_sizes=(8,), num_components=3, batch_size=8, learning_starts=8, normalise_observations=True)
    train(config, "control/multi-goal-v0", seeds=2, steps=64, evaluate_every=0, directory=directory)
    return directory


def test_experts_are_drawn_over_the_states_visited(mixture_run):
    run = load_run(mixture_run)
    obs, running = expert_viewer.visited(run, 1)
    assert obs.shape[0] == running.shape[0] + 1 == 31
    assert (np.diff(running, axis=0) <= 0).all()
    over = obs[1:][running == 0]
    assert len(over) == 0 or (obs[:-1][running == 0] == over).all()
    weights = np.asarray(expert_viewer.router_weights(run, 1, jnp.asarray(obs[0])))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    picture = viewers.view(mixture_run, 1)
    data = re.search(r'<img alt="experts of member 1" src="data:image/png;base64,([^"]+)">', picture)[1]
    assert imageio.imread(base64.b64decode(data)).std() > 0
    assert viewers.view(mixture_run, 0) != picture


# --- diffusions and flows -----------------------------------------------------------------------------------------


def test_actions_and_ways_of_a_flow(tmp_path, monkeypatch):
    """A member that goes right is drawn going right, in what a report embeds."""
    config = FPO(base_hidden_sizes=(8,), hidden_sizes=(8,), flow_steps=2, num_envs=2, num_steps=8)
    train(config, "control/multi-goal-v0", seeds=1, updates=1, evaluate_every=0, directory=tmp_path / "run")
    run = load_run(tmp_path / "run")
    actions = action_viewer.first_actions(run, 0)
    assert actions.shape == (action_viewer.ACTIONS, 2)
    assert (actions.std(axis=0) > 0).all()
    picture = viewers.view(tmp_path / "run", 0)
    data = re.search(r'<img alt="actions of member 0" src="data:image/png;base64,([^"]+)">', picture)[1]
    assert imageio.imread(base64.b64decode(data)).std() > 0

    right = jnp.array([1.0, 0.0])
    go = lambda obs, key, greedy: jnp.broadcast_to(right, obs.shape)  # noqa: E731
    monkeypatch.setattr(type(run), "policy", lambda self, member: go)
    figure = Figure()
    action_viewer.draw_actions(figure, run, 0)
    cells, ways = figure.axes
    assert len(ways.lines) == expert_viewer.EPISODES
    assert all((np.diff(line.get_xdata()) > 0.5).all() for line in ways.lines)
    assert {len(line.get_xdata()) for line in ways.lines} <= {6, 7}  # five or six steps to the goal
    counts = cells.collections[0].get_array().reshape(action_viewer.CELLS, -1)
    assert np.argwhere(counts).tolist() == [[action_viewer.CELLS // 2, action_viewer.CELLS - 1]]


def test_one_dimension_of_action_and_nowhere_to_go(tmp_path):
    config = FPO(base_hidden_sizes=(8,), hidden_sizes=(8,), flow_steps=2, num_envs=2, num_steps=8)
    train(config, "control/two-modes-v0", seeds=1, updates=1, evaluate_every=0, directory=tmp_path / "run")
    figure = Figure()
    action_viewer.draw_actions(figure, load_run(tmp_path / "run"), 0)
    (bars,) = figure.axes
    assert len(bars.patches) == action_viewer.CELLS

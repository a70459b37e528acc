"""What is drawn is what happened: the numbers in the panels are those of the states."""

import functools
import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs.inventory import OUTSIDE, SETTINGS, Network
from matplotlib.colors import to_rgba

from experiments import inventory_viewer as viewer
from experiments.viewers import episode_viewer
from jaxrl import envs
from jaxrl.engine.episode import episode_recorder
from jaxrl.errors import InvalidArgument

ENVIRONMENTS = {
    "one-store-lost": {},
    "serial": {},
    "retail-store": {"products": 8},
    "many-warehouses": {},
}


@functools.cache
def recorded(name, **changes):
    """An environment, its parameters and an episode of 14 random orders."""
    env = envs.make(f"inventory/{name}-v0", lean=False, **ENVIRONMENTS[name])
    params = env.default_params
    params = params.replace(**{key: jnp.full_like(getattr(params, key), value) for key, value in changes.items()})

    def policy(obs, key):
        return 2 * params.demand_mean.mean() * jax.random.uniform(key, (1, env.num_actions))

    return env, params, episode_recorder(policy, env, params, 14)(jax.random.key(0))


def course_of(name, **changes):
    env, params, episode = recorded(name, **changes)
    return viewer.course_of(env, episode.states, params)


def panels(figure):
    return {axes.get_label(): axes for axes in figure.axes}


def drawn(axes):
    """The values of the areas and step lines of a panel, by their labels."""
    areas = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    return {patch.get_label(): patch.get_data().values for patch in areas}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_parts_add_up_to_the_cost_that_was_charged(name):
    """With what was drawn for the episode, where something is."""
    env, _, episode = recorded(name)
    course = course_of(name)
    np.testing.assert_allclose(sum(course.parts.values()), course.cost, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(course.cost.sum(), -env.network.stores * episode.total, rtol=1e-5)
    assert course.periods == episode.length


def test_costs_are_those_of_the_parameters_given():
    dear, cheap = course_of("one-store-lost"), course_of("one-store-lost", underage=4.0)
    np.testing.assert_allclose(dear.parts["shortage"], 9 / 4 * cheap.parts["shortage"], rtol=1e-6)
    assert dear.parts["shortage"].any()
    network = recorded("one-store-lost")[0].network
    assert "L 4 · h 1 · p 4 ·" in viewer.node_facts(network, cheap, 0)


def test_panels_of_one_store_hold_the_states():
    env, _, episode = recorded("one-store-lost")
    course, states = course_of("one-store-lost"), episode.states
    figure = panels(viewer.picture(env, course))
    assert set(figure) == {"stock 0", "flow 0", "cost"}
    on_hand, demand = states.inventory[:-1, 0, 0], states.last.demand[1:, 0]
    stock, flow, cost = (drawn(figure[name]) for name in ("stock 0", "flow 0", "cost"))
    np.testing.assert_allclose(stock["on hand"], on_hand)
    np.testing.assert_allclose(stock["in transit"], states.inventory[:-1, 0].sum(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(flow["demand met"], np.minimum(on_hand, demand))
    np.testing.assert_allclose(flow["demand lost"], demand)
    np.testing.assert_allclose(flow["ordered from outside"], episode.actions[:, 0])
    np.testing.assert_allclose(cost["shortage"], states.last.cost[1:], rtol=1e-5)  # on top of the rest
    (mean,) = figure["cost"].lines
    assert mean.get_xdata().tolist() == list(range(7, 14))  # no warm-up takes more than half
    np.testing.assert_allclose(mean.get_ydata()[[0, -1]], [course.cost[7], course.cost[7:].mean()])
    assert "units" in figure["stock 0"].get_ylabel()
    assert figure["flow 0"].get_xlabel() == "period"


def test_panels_of_a_network_hold_the_states():
    """With every edge at its target, in the colour of its source."""
    env, _, episode = recorded("many-warehouses")
    network, states = env.network, episode.states
    figure = panels(viewer.picture(env, course_of("many-warehouses")))
    assert set(figure) == {"network", "cost", *(f"{kind} {node}" for kind in ("stock", "flow") for node in range(12))}
    names = ["warehouse 0", "warehouse 1", *(f"store {store}" for store in range(10))]
    for node, name in enumerate(names):
        assert figure[f"stock {node}"].get_title("left") == name
        np.testing.assert_allclose(drawn(figure[f"stock {node}"])["on hand"], states.inventory[:-1, node, 0])
    for edge, (source, target) in enumerate(network.edges):
        label = "ordered from outside" if source == OUTSIDE else f"shipped from {names[source]}"
        flow = figure[f"flow {target}"]
        np.testing.assert_allclose(drawn(flow)[label], states.last.shipments[1:, edge])
        (line,) = (patch for patch in flow.patches if patch.get_label() == label)
        arrow = figure["network"].lines[edge]
        assert line.get_edgecolor()[:3] == to_rgba(arrow.get_color())[:3]
    for node in (0, 1):
        leaving = [edge for edge, (source, _) in enumerate(network.edges) if source == node]
        sent = states.last.shipments[1:, leaving].sum(axis=1)
        np.testing.assert_allclose(drawn(figure[f"flow {node}"])["shipped on"], sent, rtol=1e-5)


def test_waiting_demand_is_below_zero():
    env, _, episode = recorded("serial")
    figure = panels(viewer.picture(env, course_of("serial")))
    on_hand = episode.states.inventory[:-1, 3, 0]
    assert (on_hand < 0).any()
    np.testing.assert_allclose(drawn(figure["stock 3"])["backlog"], np.minimum(on_hand, 0))
    assert [figure[f"stock {node}"].get_title("left") for node in range(4)] == [
        "echelon 0",
        "echelon 1",
        "echelon 2",
        "store",
    ]


@pytest.mark.parametrize("name", ["one-store-lost", "many-warehouses"])
def test_page_is_whole_small_and_the_same_every_time(name):
    env, params, episode = recorded(name)
    page = viewer.inventory_page(env, episode.states, params)
    assert page.startswith("<!DOCTYPE html>")
    for outside in ("http", "src=", "url(/", "@import"):
        assert outside not in page
    assert len(page) < 400_000
    course = course_of(name)
    average = course.cost[course.warm_up :].mean() / env.network.stores
    assert f"<h1>inventory/{name}-v0: average cost {average:.4g} per store and period</h1>" in page
    svg = re.search("<svg.*</svg>", page, re.DOTALL)[0]
    ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="xlink"', 1))  # raises if it is not well-formed
    if name == "one-store-lost":
        assert viewer.inventory_page(env, episode.states, params) == page


def test_episodes_one_after_the_other_have_a_picture_each():
    env, params, episode = recorded("one-store-lost")
    states = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:5]]), episode.states)
    assert [course.periods for course in viewer.episodes(env, states, params)] == [14, 4]
    page = viewer.inventory_page(env, states, params)
    assert page.count("<svg") == 2
    assert "Episode 1: average cost" in page


def test_profit_is_drawn_with_revenue_up_and_costs_down():
    env, params, episode = recorded("retail-store")
    course = course_of("retail-store")
    cost = drawn(panels(viewer.picture(env, course))["cost"])
    np.testing.assert_allclose(cost["revenue"], -course.parts["revenue"])
    np.testing.assert_allclose(cost["holding"], -course.parts["holding"])
    assert "average profit" in viewer.inventory_page(env, episode.states, params)


def test_long_episodes_and_large_networks_are_cut(monkeypatch):
    monkeypatch.setattr(viewer, "MOST_PERIODS", 5)
    env, _, _ = recorded("one-store-lost")
    course = course_of("one-store-lost")
    axes = panels(viewer.picture(env, course))["stock 0"]
    np.testing.assert_allclose(drawn(axes)["on hand"], course.on_hand[-5:, 0])
    assert axes.get_xlim() == (8.5, 13.5)
    assert "the last 5 drawn" in viewer.caption(env, course)
    edges = [(OUTSIDE, 0), *((0, store) for store in range(1, 31))]
    shown = viewer.nodes_shown(Network(31, 30, tuple(edges)))
    assert shown == [*range(1, 16), 0]


def test_states_without_what_happened_are_refused():
    env, params, episode = recorded("one-store-lost")
    with pytest.raises(InvalidArgument, match="make the environment with lean=False"):
        viewer.inventory_page(env, episode.states.replace(last=None), params)


def test_scales_are_shared_unless_panels_would_be_empty():
    assert viewer.scales([(0, 10), (-5, 20)]) == [(1.08 * -5, 1.08 * 20)] * 2
    assert viewer.scales([(0, 10), (0, 100)]) == [(0, 1.08 * 10), (0, 1.08 * 100)]


def test_paths_get_shorter_and_stay_the_same():
    path = "M 1.04 2.96 \nL 1.04 5 \nL 7.26 5 \nL 7.26 5 \nL 9 -8.88 \nz\n"
    assert viewer.compact(path) == "M1 3V5H7.3L9 -8.9z"


def test_all_inventory_networks_are_drawn_by_it():
    for env_id in SETTINGS:
        assert episode_viewer({"env": env_id}).page is viewer.inventory_page

"""An episode of an inventory network as one page: stock, goods that move, demand and cost, period by period.

``experiments.viewers`` registers ``inventory_page`` for ``inventory/*``.
"""

import html
import io
import operator
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxrl.envs.inventory import OUTSIDE, Network

from jaxrl import envs
from jaxrl.errors import InvalidArgument

MOST_PERIODS = 150
"""periods drawn, the last ones of an episode; averages are over all that count"""
MOST_NODES = 16
"""nodes with panels of their own"""
MOST_UNLIKE = 5
"""how many times as much as in another there is in one of the panels that share a scale"""
MOST_LABELS = 8
"""edges whose mean shipment is written beside them"""

INK, GREY = "#263238", "#90a4ae"
ON_HAND, IN_TRANSIT = "#1e64b4", "#a9cbee"
MET, UNMET, WAITING, SENT = "#a5d6b7", "#c8323c", "#ef9a9a", "#cfd8dc"
HOLDING, ORDERING = "#5b8ec9", "#e0b050"
FROM_OUTSIDE = "#e67e22"
FROM_NODES = ("#8e44ad", "#00796b", "#6d4c41", "#d81b60", "#455a64", "#827717")

STYLE = f"""
body {{ margin: 12px; font: 14px/1.4 system-ui, sans-serif; color: {INK}; background: #fff }}
h1 {{ font-size: 17px; margin: 0 0 2px }} h2 {{ font-size: 15px; margin: 16px 0 2px }} p {{ margin: 0 0 6px }}
svg {{ display: block; width: 100%; max-width: 1200px; height: auto }}
"""


class Course(NamedTuple):
    """What happened in the ``T`` periods of an episode, in units of goods and of money."""

    on_hand: np.ndarray
    """``[T, n]`` when orders are placed; negative where demand waits"""
    in_transit: np.ndarray
    """``[T, n]`` on the way to each node when orders are placed"""
    shipments: np.ndarray
    """``[T, E]``"""
    demand: np.ndarray
    """``[T, K]``"""
    met: np.ndarray
    """``[T, K]`` demand met from the stock of its own period"""
    cost: np.ndarray
    """``[T]`` of all nodes, as the environment charged it; profits are negative"""
    parts: dict[str, np.ndarray]
    """what ``cost`` is the sum of: name to ``[T]``"""
    params: Any
    """of the environment, with what was drawn for this episode"""
    warm_up: int
    """periods at the start that averages leave out"""

    @property
    def periods(self) -> int:
        """``T``."""
        return len(self.cost)

    def mean(self, values: np.ndarray) -> Any:
        """The mean of ``[T, ...]`` over the periods after the warm-up."""
        return values[self.warm_up :].mean(axis=0)

    def met_share(self, stores: slice = slice(None)) -> float:
        """The share of demand after the warm-up that was met from stock."""
        demand, met = self.mean(self.demand)[stores].sum(), self.mean(self.met)[stores].sum()
        return float(met / demand) if demand > 0 else 1.0


def inventory_page(env: Any, states: Any, params: Any) -> str:
    """A whole HTML page of one episode or several, with nothing to load.

    Args:
        states: leaves ``[T + 1, ...]``, of an environment made with ``lean=False``; episodes one after the other.
        params: the environment's.

    Raises:
        InvalidArgument: for states that lack what happened in their last period, as ``lean`` ones do.
    """
    env = envs.unwrapped(env)
    courses = list(episodes(env, states, params))
    title = html.escape(env.name)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    body = [f"<h1>{title}: {headline(env, courses)}</h1>"]
    for number, course in enumerate(courses):
        if len(courses) > 1:
            body.append(f"<h2>Episode {number}: {headline(env, [course])}</h2>")
        body += [f"<p>{html.escape(caption(env, course))}</p>", svg(picture(env, course))]
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def episodes(env: Any, states: Any, params: Any) -> Iterator[Course]:
    """The courses of episodes whose states follow each other."""
    states = jax.tree.map(np.asarray, states)
    starts = np.flatnonzero(states.time == 0)
    for begin, end in zip(starts, [*starts[1:], len(states.time)]):
        episode = slice(begin, end)
        yield course_of(env, jax.tree.map(operator.itemgetter(episode), states), params)


def course_of(env: Any, states: Any, params: Any) -> Course:
    """What happened in one episode.

    Args:
        env: not wrapped in anything.
        states: leaves ``[T + 1, ...]``.
    """
    if states.last is None:
        raise InvalidArgument("states", "lean", "must hold what happened; make the environment with lean=False")
    network: Network = env.network
    params = params.replace(**{name: leaf[0] for name, leaf in states.drawn.items()})
    inventory = np.asarray(states.inventory, float)[:-1]
    demand, shipments, cost = (np.asarray(leaf, float)[1:] for leaf in states.last)
    on_hand, first = inventory[..., 0], network.first_store
    left = on_hand - shipments @ network.leaving.T
    left[:, first:] -= demand
    underage = np.asarray(params.underage, float)
    if env.profit:
        at_stores = {"revenue": -(np.minimum(on_hand[:, first:], demand) @ underage)}
    else:
        at_stores = {"shortage": np.maximum(-left[:, first:], 0) @ underage}
    parts = {"holding": np.maximum(left, 0) @ np.asarray(params.holding, float)} | at_stores
    return Course(
        on_hand=on_hand,
        in_transit=inventory[..., 1:].sum(axis=-1),
        shipments=shipments,
        demand=demand,
        met=np.minimum(demand, np.maximum(on_hand[:, first:], 0)),
        cost=cost,
        parts=parts | {"ordering": shipments @ np.asarray(params.edge_cost, float)},
        params=params,
        warm_up=warm_up(network, np.asarray(params.lead_time), len(cost)),
    )


def warm_up(network: Network, lead_time: np.ndarray, periods: int) -> int:
    """Twice the longest time from outside to a store, at most half of the episode: by then the start has run off."""
    arrival = np.zeros(network.nodes + 1)  # the last one is outside
    for _ in range(network.nodes):
        for (source, target), lead in zip(network.edges, lead_time):
            arrival[target] = max(arrival[target], arrival[source] + lead)
    return min(2 * int(arrival.max()), periods // 2)


def stages(network: Network) -> np.ndarray:
    """``[n]`` how many edges each node is from outside, by the longest way; all stores are at the end."""
    stage = np.zeros(network.nodes + 1, int)  # the last one is outside
    for _ in range(network.nodes):
        for source, target in network.edges:
            stage[target] = max(stage[target], stage[source] + 1)
    stage[network.first_store : -1] = stage.max()
    return stage[:-1]


def node_names(network: Network) -> list[str]:
    """Stores and warehouses, or echelons where one serves another; numbered from 0 where there are several."""
    above = network.first_store
    kind = "warehouse" if stages(network).max() <= 2 else "echelon"
    return [kind if above == 1 else f"{kind} {node}" for node in range(above)] + [
        "store" if network.stores == 1 else f"store {store}" for store in range(network.stores)
    ]


# --- in words ---------------------------------------------------------------------------------------------------


def headline(env: Any, courses: list[Course]) -> str:
    """The average cost or profit of episodes."""
    average = np.mean([course.mean(course.cost) for course in courses]) / env.network.stores
    what, sign = ("profit", -1) if env.profit else ("cost", 1)
    return f"average {what} {sign * average:.4g} per store and period"


def caption(env: Any, course: Course) -> str:
    """What the picture of a course is of."""
    said = [f"{course.periods} periods" + (f", the last {MOST_PERIODS} drawn" * (course.periods > MOST_PERIODS))]
    said.append(f"averages leave out the first {course.warm_up}, the warm-up")
    said.append(f"{course.met_share():.1%} of demand is met at once, the rest {'is lost' if env.lost else 'waits'}")
    said.append(
        "L is a lead time, h the cost of a unit held, p the " + ("price" if env.profit else "cost of one short")
    )
    if len(shown := nodes_shown(env.network)) < env.network.nodes:
        said.append(f"panels of {len(shown)} of {env.network.nodes} nodes")
    return "; ".join(said) + "."


# --- the picture ------------------------------------------------------------------------------------------------


def nodes_shown(network: Network) -> list[int]:
    """The nodes with panels: stores, then those that supply them, and so on; with very many nodes, some of each."""
    above = sorted(range(network.first_store), key=lambda node: -stages(network)[node])
    stores = list(range(network.first_store, network.nodes))
    stores = stores[: max(MOST_NODES - len(above), MOST_NODES // 2)]
    return [*stores, *above][:MOST_NODES]


def source_color(source: int) -> str:
    """The colour of what a node ships, or an outside supplier."""
    return FROM_OUTSIDE if source == OUTSIDE else FROM_NODES[source % len(FROM_NODES)]


def picture(env: Any, course: Course) -> Any:
    """A course as a matplotlib figure: for every node its stock over its goods in and out, and the cost.

    Axes have labels by which to find them: ``stock <node>``, ``flow <node>``, ``cost`` and ``network``.
    """
    from matplotlib.figure import Figure  # not pyplot, whose backend is the caller's

    network: Network = env.network
    names, shown = node_names(network), nodes_shown(network)
    count = len(shown)
    columns = 1 if count == 1 else 2 if count <= 4 else 3 if count <= 6 else 4
    rows = -(-count // columns)
    figure = Figure(figsize=(11, 6.6) if count == 1 else (12, 3 + 2.5 * rows), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.05, h_pad=0.03, hspace=0.02, wspace=0.02)
    if count == 1:
        grid = figure.add_gridspec(3, 1, height_ratios=[1.25, 1, 1])
        cost = figure.add_subplot(grid[2], label="cost")
        places = [(grid[0], grid[1])]
    else:
        grid = figure.add_gridspec(2, 1, height_ratios=[2.3, 2.5 * rows])
        top = grid[0].subgridspec(1, 2, width_ratios=[1, 1.6])
        draw_network(figure.add_subplot(top[0], label="network"), network, course, names)
        cost = figure.add_subplot(top[1], label="cost")
        panels = grid[1].subgridspec(rows, columns)
        pairs = [panels[divmod(place, columns)].subgridspec(2, 1, height_ratios=[1.25, 1]) for place in range(count)]
        places = [(pair[0], pair[1]) for pair in pairs]
    draw_cost(cost, env, course)

    for place, node in enumerate(shown):
        stock, flow = (
            figure.add_subplot(spot, label=f"{kind} {node}", sharex=cost)
            for kind, spot in zip(("stock", "flow"), places[place])
        )
        draw_stock(stock, course, node)
        draw_flow(flow, env, course, node, names)
        small = columns > 2
        stock.set_title(names[node], loc="left", fontsize=9 if small else 10, fontweight="bold")
        stock.set_title(node_facts(network, course, node), loc="right", fontsize=7 if small else 8, color="#546e7a")
        stock.tick_params(labelbottom=False)
        if place % columns == 0:
            stock.set_ylabel("stock, units", fontsize=9)
            flow.set_ylabel("in and out,\nunits a period", fontsize=9)
        if place + columns >= count:
            flow.set_xlabel("period", fontsize=9)
    panels_of = {axes.get_label(): axes for axes in figure.axes}
    for is_store in (True, False):
        nodes = [node for node in shown if (node >= network.first_store) == is_store]
        for kind, extent in (("stock", stock_extent), ("flow", flow_extent)):
            for node, limits in zip(nodes, scales([extent(network, course, node) for node in nodes])):
                panels_of[f"{kind} {node}"].set_ylim(*limits)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if course.warm_up and axes.get_label() != "network":
            axes.axvspan(-0.5, course.warm_up - 0.5, color=GREY, alpha=0.22, linewidth=0)
    cost.set_xlim(max(0, course.periods - MOST_PERIODS) - 0.5, course.periods - 0.5)
    draw_legend(figure, names)
    return figure


def draw_legend(figure: Any, names: list[str]) -> None:
    """What areas and lines of all panels mean, each once."""
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for axes in figure.axes:
        if axes.get_label().startswith(("stock", "flow")):
            for handle, label in zip(*axes.get_legend_handles_labels()):
                handles.setdefault(label, handle)
    origins = ["ordered from outside", *(f"shipped from {name}" for name in names)]
    stock, flow = ["on hand", "in transit", "backlog"], ["demand met", "demand lost", "demand backlogged", "shipped on"]
    order = [*stock, *flow, *origins]
    handles = dict(sorted(handles.items(), key=lambda item: order.index(item[0])))
    handles["warm-up, not counted"] = Patch(color=GREY, alpha=0.22, linewidth=0)
    rows = -(-len(handles) // 6)
    legend: dict[str, Any] = {"loc": "outside upper center", "ncols": -(-len(handles) // rows), "frameon": False}
    figure.legend(handles.values(), handles.keys(), fontsize=9, **legend)


def stock_extent(network: Network, course: Course, node: int) -> tuple[float, float]:
    """The least stock of a node after the warm-up, 0 if none is negative, and the most, with what is in transit.

    Here as in ``flow_extent`` what goes wild in the warm-up may leave the axes, so that the rest can be read.
    """
    on_hand, in_transit = course.on_hand[course.warm_up :, node], course.in_transit[course.warm_up :, node]
    return min(0.0, float(on_hand.min())), float((np.maximum(on_hand, 0) + in_transit).max())


def flow_extent(network: Network, course: Course, node: int) -> tuple[float, float]:
    """The least and the most that came to a node, left it or was asked of it in a period after the warm-up."""
    shipped = course.shipments[course.warm_up :]
    values = [shipped @ network.leaving[node], *shipped[:, network.targets == node].T]
    if node >= network.first_store:
        values.append(course.demand[course.warm_up :, node - network.first_store])
    return min(0.0, *(float(value.min()) for value in values)), max(float(value.max()) for value in values)


def scales(extents: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The limits of panels with these extents: the same for all, unless the small ones would show nothing."""
    if not extents:
        return []
    heights = [high - low for low, high in extents]
    if max(heights) <= MOST_UNLIKE * min(heights):
        extents = [(min(low for low, _ in extents), max(high for _, high in extents))] * len(extents)
    return [(1.08 * low, 1.08 * max(high, low + 1e-3)) for low, high in extents]


def node_facts(network: Network, course: Course, node: int) -> str:
    """Lead times, costs and the share of demand met, in few characters."""
    params, store = course.params, node - network.first_store
    leads = ",".join(str(int(params.lead_time[edge])) for edge in np.flatnonzero(network.targets == node))
    said = [f"L {leads}", f"h {float(params.holding[node]):.2g}"]
    if store >= 0:
        said += [f"p {float(params.underage[store]):.3g}", f"{course.met_share(slice(store, store + 1)):.0%} met"]
    return " · ".join(said)


def drawn(course: Course) -> tuple[slice, np.ndarray]:
    """The periods that are drawn, and their edges on the axis."""
    begin = max(0, course.periods - MOST_PERIODS)
    return slice(begin, None), np.arange(begin, course.periods + 1) - 0.5


def draw_stock(axes: Any, course: Course, node: int) -> None:
    """What is on hand, what is on the way on top of it, and what customers wait for below."""
    window, edges = drawn(course)
    on_hand, in_transit = course.on_hand[window, node], course.in_transit[window, node]
    positive, waiting = np.maximum(on_hand, 0), np.minimum(on_hand, 0)
    axes.stairs(positive, edges, fill=True, color=ON_HAND, label="on hand")
    axes.stairs(positive + in_transit, edges, baseline=positive, fill=True, color=IN_TRANSIT, label="in transit")
    if waiting.any():
        axes.stairs(waiting, edges, fill=True, color=WAITING, label="backlog")
        axes.axhline(0, color=INK, linewidth=0.6)


def draw_flow(axes: Any, env: Any, course: Course, node: int, names: list[str]) -> None:
    """What leaves a node as areas, what is shipped to it as lines."""
    window, edges = drawn(course)
    network: Network = env.network
    store = node - network.first_store
    if store >= 0:
        demand, met = course.demand[window, store], course.met[window, store]
        axes.stairs(met, edges, fill=True, color=MET, label="demand met")
        if (demand > met).any():
            fate = "lost" if env.lost else "backlogged"
            axes.stairs(demand, edges, baseline=met, fill=True, color=UNMET, label=f"demand {fate}")
    else:
        sent = course.shipments[window] @ network.leaving[node]
        axes.stairs(sent, edges, fill=True, color=SENT, label="shipped on")
    for edge in np.flatnonzero(network.targets == node):
        source = int(network.sources[edge])
        label = "ordered from outside" if source == OUTSIDE else f"shipped from {names[source]}"
        axes.stairs(course.shipments[window, edge], edges, baseline=None, color=source_color(source), label=label)


def draw_cost(axes: Any, env: Any, course: Course) -> None:
    """The parts of each period's cost or profit, and the running mean of their sum."""
    window, edges = drawn(course)
    sign = (-1 if env.profit else 1) / env.network.stores
    colors = {"holding": HOLDING, "shortage": UNMET, "revenue": MET, "ordering": ORDERING}
    above = below = np.zeros(len(edges) - 1)
    for name, values in course.parts.items():
        values = sign * values[window]
        if values.any():
            base = np.where(values < 0, below, above)
            axes.stairs(base + values, edges, baseline=base, fill=True, color=colors[name], label=name)
            above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
    counted = sign * course.cost[course.warm_up :]
    mean = np.cumsum(counted) / np.arange(1, len(counted) + 1)
    times = np.arange(course.warm_up, course.periods)
    axes.plot(times, mean, color=INK, linewidth=1.8, label=f"running mean, in the end {mean[-1]:.3g}")
    what = "profit" if env.profit else "cost"
    title = f"{what} per store and period" if env.network.stores > 1 else f"{what} per period"
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=18)
    axes.set_ylabel("money", fontsize=9)
    axes.set_xlabel("period", fontsize=9)
    low, high = below[-len(counted) :].min(), above[-len(counted) :].max()
    axes.set_ylim(1.08 * low if low < 0 else 0, 1.08 * max(high, 1e-3))
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower left", bbox_to_anchor=(-0.01, 0.99), borderaxespad=0)


def draw_network(axes: Any, network: Network, course: Course, names: list[str]) -> None:
    """Nodes from outside to the stores, and edges as wide as what flows along them."""
    stage, at = stages(network), {OUTSIDE: (0.0, 0.5)}
    for column in range(1, stage.max() + 1):
        nodes = np.flatnonzero(stage == column)
        for row, node in enumerate(nodes):
            at[int(node)] = (float(column), 1 - (row + 0.5) / len(nodes))
    flow, stock = course.mean(course.shipments), course.mean(np.maximum(course.on_hand, 0))
    for edge, (source, target) in enumerate(network.edges):
        (x0, y0), (x1, y1) = at[source], at[target]
        width = 0.4 + 6 * flow[edge] / max(flow.max(), 1e-9)
        axes.plot([x0, x1], [y0, y1], color=source_color(source), linewidth=width, alpha=0.55, solid_capstyle="butt")
        if len(network.edges) <= MOST_LABELS:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            middle = ((x0 + x1) / 2, (y0 + y1) / 2)
            axes.text(*middle, f"{flow[edge]:.1f}", fontsize=8, ha="center", va="center", bbox=box)
    axes.plot(*at[OUTSIDE], "s", color=INK, markersize=6)
    axes.text(at[OUTSIDE][0] - 0.06, at[OUTSIDE][1], "outside", fontsize=8, ha="right", va="center")
    size = min(8, 110 / network.stores)
    for node in range(network.nodes):
        axes.scatter(*at[node], s=12 + 300 * stock[node] / max(stock.max(), 1e-9), color=ON_HAND, zorder=3)
        last = stage[node] == stage.max()
        offset, spot = ((13, 0), {"ha": "left", "va": "center"}) if last else ((0, -12), {"ha": "center", "va": "top"})
        axes.annotate(names[node], at[node], offset, textcoords="offset points", fontsize=size if last else 8, **spot)
    axes.set(xlim=(-0.4, stage.max() + 0.45), ylim=(-0.02, 1.02))
    axes.axis("off")
    axes.set_title("units shipped a period, and stock on hand (dots)", loc="left", fontsize=10, fontweight="bold")


def svg(figure: Any) -> str:
    """A figure as an ``<svg>`` to stand in a page; the same bytes for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxrl", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # in HTML the names of its spaces are known
    return re.sub(r' d="([MLz\d.\s-]*)"', lambda path: f' d="{compact(path[1])}"', text)


def compact(path: str) -> str:
    """An SVG path of straight lines in a third of the characters, rounded to tenths of a point."""
    said, x, y = [], "", ""
    for command, *point in re.findall(r"([MLz])(?: (-?[\d.]+) (-?[\d.]+))?", path):
        if command == "z":
            said.append("z")
            continue
        new_x, new_y = (f"{float(number):.1f}".removesuffix(".0") for number in point)
        if command == "M" or (new_x != x and new_y != y):
            said.append(f"{command}{new_x} {new_y}")
        elif new_y != y:
            said.append(f"V{new_y}")
        elif new_x != x:
            said.append(f"H{new_x}")
        x, y = new_x, new_y
    return "".join(said)

"""Inventory control in a supply network, with exogenous demand and differentiable transitions."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.base import Environment, EnvParams, EnvState
from jaxrl.envs.inventory.demand import Demand
from jaxrl.envs.inventory.network import Network

from jaxrl.errors import InvalidArgument, unknown


@struct.dataclass
class InventoryParams(EnvParams):
    """Numbers of an inventory problem of ``n`` nodes, ``K`` stores and ``E`` edges, all of them traced leaves but the
    time limit.

    Args:
        max_steps_in_episode: the time limit in periods.
        holding: ``[n]`` cost of a unit on hand at the end of a period.
        underage: ``[K]`` cost of a unit of demand not met; the price of a unit sold where profit is the objective.
        edge_cost: ``[E]`` cost of a unit ordered along an edge.
        lead_time: ``[E]`` periods, at least 1. With 1 an order arrives before the next period's demand.
        demand_mean, demand_std: ``[K]`` moments of a period's demand.
        demand_correlation: between any two stores.
        sales, calendar: ``[products, K, T]`` and ``[T, C]``, the data where demand is replayed from data.
        first_period: of the data.
        initial_periods: ``[n]`` slots that start with stock, each with U(0, 1) times the mean demand of the stores
            that the node serves; stock starts on hand and in transit.
        lower, upper: bounds between which parameters are drawn anew for every episode, by their names; fixed where
            there are none.
    """

    max_steps_in_episode: int = 100
    holding: Any = None
    underage: Any = None
    edge_cost: Any = None
    lead_time: Any = None
    demand_mean: Any = None
    demand_std: Any = None
    demand_correlation: Any = 0.0
    sales: Any = None
    calendar: Any = None
    first_period: Any = 0
    initial_periods: Any = None
    lower: Any = struct.field(default_factory=dict)
    upper: Any = struct.field(default_factory=dict)


class Period(NamedTuple):
    """What happened in the last period, for those who look."""

    demand: jax.Array  # [K]
    shipments: jax.Array  # [E]
    cost: jax.Array  # []


@struct.dataclass
class InventoryState(EnvState):
    """Stock on hand and in transit ``[n, P]``, the last ``W`` periods' demand ``[K, W]``, what was drawn for the
    episode, and where the demand process is."""

    time: Any  # int32 []
    inventory: jax.Array
    past_demand: jax.Array
    demand: Any
    drawn: dict[str, jax.Array]
    last: Period | None


class View(NamedTuple):
    """An observation taken apart; leading axes are those of the observation, or missing where nothing differs."""

    inventory: jax.Array  # [..., n, P]
    past_demand: jax.Array  # [..., K, W]
    calendar: jax.Array  # [..., C]
    holding: jax.Array  # [n]
    underage: jax.Array  # [..., K]
    lead_time: jax.Array  # [..., E]
    demand_mean: jax.Array  # [K]
    demand_std: jax.Array  # [K]


DRAWN = ("underage", "lead_time")
"""parameters that may be drawn anew for every episode"""


class InventoryNetwork(Environment):
    """Orders along the edges of a supply network, against demand at its stores (Alvo et al. 2023).

    In each period (1) the policy sees all stock, (2) every edge's order is placed and shipped, scaled down where a node
    has too little on hand for all of its orders, (3) demand meets the stores' stock, (4) costs are counted on what is
    left, (5) goods in transit move on by a period. The reward is the negative cost of the period, divided by the number
    of stores.

    Actions are the orders ``[E]``; negative ones count as 0. Observations are the inventories ``[n, P]``, then past
    demand, calendar features and what was drawn for the episode, as far as there are any: ``view`` takes them apart.

    Args:
        network: nodes and edges.
        demand: the demand process.
        params: costs, lead times, moments of demand; checked.
        lost: demand that is not met is lost; else it waits, as negative stock.
        profit: the objective is the profit of what is sold instead of the cost of what is not.
        window: ``W``, periods of past demand in an observation.
        env_id: the registered name.
        lean: leave the last period's demand, shipments and cost out of the state; viewers want them.
        validation: half-open range of recorded periods on which policies are chosen, where demand is replayed from data
            and some of it is set aside for that.

    Raises:
        InvalidArgument: for negative costs or moments, lead times below 1 or beyond the network's slots, or parameters
            of another shape than the network's.
    """

    def __init__(
        self,
        network: Network,
        demand: Demand,
        params: InventoryParams,
        *,
        lost: bool = True,
        profit: bool = False,
        window: int = 0,
        env_id: str = "inventory",
        lean: bool = True,
        validation: tuple[int, int] | None = None,
    ):
        super().__init__()
        if window < 0:
            raise InvalidArgument("window", window, "must be a number of periods, or 0 for none")
        self.network, self.demand, self.lost, self.profit = network, demand, lost, profit
        self.window, self.env_id, self.lean, self.validation = window, env_id, lean, validation
        self._params = checked(params, network, demand)

    def check_params(self, params: InventoryParams) -> None:
        """Raises InvalidArgument for parameters that do not fit the network or make no sense."""
        checked(params, self.network, self.demand)

    def validation_params(self, params: InventoryParams) -> InventoryParams:
        """The same problem on the periods that are set aside to choose policies on; ``params`` if there are none."""
        if self.validation is None:
            return params
        begin, end = self.validation
        return dataclasses.replace(params, first_period=jnp.int32(begin), max_steps_in_episode=end - begin)

    # --- one period --------------------------------------------------------------------------------------------

    def ship(self, inventory: jax.Array, orders: jax.Array) -> jax.Array:
        """``[E]`` shipments: orders that are not negative, scaled down in proportion to what their source has."""
        network = self.network
        orders = jnp.maximum(orders, 0)
        if not len(network.inside):
            return orders
        on_hand = jnp.maximum(inventory[:, 0], 0)
        asked = jnp.sum(network.leaving * orders, axis=-1)
        share = on_hand / (asked + 1e-10)
        keeps = np.ones(network.nodes, bool)
        keeps[list(network.flow_through)] = False
        share = jnp.where(keeps, jnp.minimum(share, 1), share)
        return orders * jnp.where(network.sources < 0, 1, share[network.sources])

    def advance(
        self, state: InventoryState, action: Any, demand: jax.Array, params: InventoryParams
    ) -> tuple[jax.Array, InventoryState, jax.Array]:
        """One period with the demand ``[K]`` given: observation, state and reward. A function to be differentiated."""
        network, params = self.network, dataclasses.replace(params, **state.drawn)
        inventory, first = state.inventory, network.first_store
        orders = jnp.asarray(action, jnp.float32).reshape(len(network.edges))
        shipments = self.ship(inventory, orders)
        on_hand = inventory[:, 0]
        gone = jnp.concatenate([jnp.zeros(first), demand])
        if len(network.inside):
            gone = gone + jnp.sum(network.leaving * shipments, axis=-1)
        after = on_hand - gone
        at_stores = after[first:]
        if self.profit:
            shortage = -params.underage * jnp.minimum(on_hand[first:], demand)
        else:
            shortage = params.underage * jnp.maximum(-at_stores, 0)
        cost = jnp.sum(params.holding * jnp.maximum(after, 0)) + jnp.sum(shortage)
        cost = cost + jnp.sum(params.edge_cost * shipments)
        if self.lost:
            after = jnp.concatenate([after[:first], jnp.maximum(at_stores, 0)])

        slots = jnp.arange(network.pipeline)
        # A lead time may be traced, so an order finds its slot by comparison.
        landing = jnp.where(slots == params.lead_time[:, None] - 1, shipments[:, None], 0)
        if not network.one_edge_each:
            landing = network.entering @ landing
        moved = jnp.concatenate([inventory[:, 1:], jnp.zeros((network.nodes, 1))], axis=1)
        moved = moved + landing + jnp.where(slots == 0, after[:, None], 0)

        past = state.past_demand
        if self.window:
            past = jnp.concatenate([past[:, 1:], demand[:, None]], axis=1)
        reward = -cost / network.stores
        state = InventoryState(
            time=state.time + 1,
            inventory=moved,
            past_demand=past,
            demand=state.demand,
            drawn=state.drawn,
            last=None if self.lean else Period(demand, shipments, cost),
        )
        return self.observation(state, params), state, reward

    # --- episodes ----------------------------------------------------------------------------------------------

    def reset_env(self, key, params):
        """Observation and state of a new episode."""
        network = self.network
        stock_key, start_key, past_key, drawn_key = jax.random.split(key, 4)
        slots = jnp.arange(network.pipeline) < params.initial_periods[:, None]
        passing = network.passing(params.demand_mean)
        stock = jax.random.uniform(stock_key, (network.nodes, network.pipeline)) * passing[:, None] * slots
        start = self.demand.start(start_key, params)
        past = self.demand.draw(past_key, start, jnp.arange(-self.window, 0), params).T
        drawn = {}
        # By name: a traced dictionary is sorted, and what is drawn must not depend on whether this one is.
        for name, field_key in zip(sorted(params.lower), jax.random.split(drawn_key, len(DRAWN))):
            low, high = params.lower[name], params.upper[name]
            if name == "lead_time":
                drawn[name] = jax.random.randint(field_key, low.shape, low, high + 1)
            else:
                drawn[name] = jax.random.uniform(field_key, low.shape, minval=low, maxval=high)
        nothing = Period(jnp.zeros(network.stores), jnp.zeros(len(network.edges)), jnp.zeros(()))
        state = InventoryState(
            time=jnp.int32(0),
            inventory=stock,
            past_demand=past,
            demand=start,
            drawn=drawn,
            last=None if self.lean else nothing,
        )
        return self.observation(state, params), state

    def step_env(self, key, state: Any, action, params):
        """Observation, state, reward ``[]``, terminated (never) and an empty info."""
        demand = self.demand.draw(key, state.demand, state.time, params)
        obs, state, reward = self.advance(state, action, demand, params)
        return obs, state, reward, jnp.bool_(False), {}

    def is_terminated(self, state, params):
        """Never: there is only the time limit."""
        return jnp.bool_(False)

    # --- demand as noise that can be drawn ahead -----------------------------------------------------------------

    def draw_noise(self, key, state: Any, params, periods: int):
        """A demand trace ``[periods, K]`` for an episode that begins in ``state``: hindsight's scenario."""
        return self.demand.draw(key, state.demand, state.time + jnp.arange(periods), params)

    # --- observations ------------------------------------------------------------------------------------------

    def observation(self, state: InventoryState, params: InventoryParams) -> jax.Array:
        """``[D]``: inventories, past demand, calendar, what was drawn, one after the other."""
        parts = [state.inventory.reshape(-1)]
        if self.window:
            parts.append(state.past_demand.reshape(-1))
        if self.demand.calendar is not None:
            parts.append(self.demand.calendar(state.demand, state.time, params))
        parts += [state.drawn[name].astype(jnp.float32) for name in sorted(state.drawn)]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def observe(self, key, state, action, params):
        """The observation of a state."""
        return self.observation(state, params)

    def view(self, obs: jax.Array, params: InventoryParams) -> View:
        """An observation ``[..., D]`` taken apart, with the parameters that are the same in all of them beside it."""
        network = self.network
        sizes = {"inventory": network.nodes * network.pipeline, "past_demand": network.stores * self.window}
        sizes["calendar"] = self.demand.features if self.demand.calendar is not None else 0
        sizes |= {name: len(params.lower[name]) for name in sorted(params.lower)}
        ends = np.cumsum(list(sizes.values()))
        parts = dict(zip(sizes, jnp.split(obs, ends[:-1], axis=-1)))
        leading = obs.shape[:-1]
        return View(
            inventory=parts["inventory"].reshape(*leading, network.nodes, network.pipeline),
            past_demand=parts["past_demand"].reshape(*leading, network.stores, self.window),
            calendar=parts["calendar"],
            holding=params.holding,
            underage=parts.get("underage", jnp.asarray(params.underage)),
            lead_time=parts.get("lead_time", jnp.asarray(params.lead_time, jnp.float32)),
            demand_mean=params.demand_mean,
            demand_std=params.demand_std,
        )

    # --- what gymnax asks for ------------------------------------------------------------------------------------

    @property
    def default_params(self) -> InventoryParams:
        """Those that the environment was made with."""
        return self._params

    @property
    def name(self) -> str:
        """The registered id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """``E``, the number of edges."""
        return len(self.network.edges)

    @property
    def supports_transition_gradients(self) -> bool:
        """Always; they are on, too."""
        return True

    @property
    def transition_gradients_enabled(self) -> bool:
        """Always."""
        return True

    def with_transition_gradients(self):
        """The environment itself."""
        return self

    def action_space(self, params=None) -> spaces.Box:
        """Box of ``[E]`` from 0 to four times the mean demand of all stores; higher orders are accepted as well."""
        params = self.default_params if params is None else params
        return spaces.Box(0.0, 4 * jnp.sum(params.demand_mean), (self.num_actions,), jnp.float32)

    def observation_space(self, params) -> spaces.Box:
        """Box of ``[D]``, unbounded."""
        size = jax.eval_shape(lambda key: self.reset_env(key, params)[0], jax.random.key(0)).shape
        return spaces.Box(-jnp.inf, jnp.inf, size, jnp.float32)


def checked(params: InventoryParams, network: Network, demand: Demand) -> InventoryParams:
    """Parameters as arrays of the network's shapes.

    Raises:
        InvalidArgument: see ``InventoryNetwork``.
    """
    n, stores, edges = network.nodes, network.stores, len(network.edges)
    shapes = {
        "holding": (n,), "underage": (stores,), "edge_cost": (edges,), "lead_time": (edges,),
        "demand_mean": (stores,), "demand_std": (stores,), "initial_periods": (n,),
    }  # fmt: skip
    values = {}
    for name, shape in shapes.items():
        values[name] = as_array(name, getattr(params, name), shape)
        if (values[name] < 0).any():
            raise InvalidArgument(name, getattr(params, name), "must not be negative")
    correlation = np.float32(params.demand_correlation)
    if not 0 <= correlation <= 1:
        raise InvalidArgument("demand_correlation", params.demand_correlation, "must be within [0, 1]")
    lower, upper = (
        {name: as_array(name, bound, shapes[name]) for name, bound in bounds.items() if known(name)}
        for bounds in (params.lower, params.upper)
    )
    if lower.keys() != upper.keys():
        raise InvalidArgument("lower", sorted(lower), f"must bound the same parameters as upper: {sorted(upper)}")
    for name in lower:
        if not ((lower[name] >= 0) & (lower[name] <= upper[name])).all():
            raise InvalidArgument(name, (params.lower[name], params.upper[name]), "must be 0 <= lower <= upper")
    lowest, highest = (values | bounds for bounds in (lower, upper))
    check_lead_times(lowest["lead_time"], highest["lead_time"], network)
    for group in (values, lower, upper):
        if "lead_time" in group:
            group["lead_time"] = group["lead_time"].astype(np.int32)
    if demand.periods is not None:
        values |= checked_data(params, stores, demand.periods)
    arrays = {name: jnp.asarray(value) for name, value in values.items()}
    return dataclasses.replace(
        params,
        **arrays,
        demand_correlation=jnp.asarray(correlation),
        first_period=jnp.int32(params.first_period),
        lower={name: jnp.asarray(value) for name, value in lower.items()},
        upper={name: jnp.asarray(value) for name, value in upper.items()},
    )


def checked_data(params: InventoryParams, stores: int, periods: int) -> dict[str, np.ndarray]:
    """Recorded demand of any number of products, and its calendar; raises InvalidArgument for other shapes."""
    sales, calendar = (np.asarray(values, np.float32) for values in (params.sales, params.calendar))
    if sales.shape[1:] != (stores, periods) or not len(sales):
        raise InvalidArgument("the shape of sales", sales.shape, f"must be (products, {stores}, {periods})")
    if calendar.ndim != 2 or len(calendar) != periods:
        raise InvalidArgument("the shape of calendar", calendar.shape, f"must be ({periods}, features)")
    return {"sales": sales, "calendar": calendar}


def check_lead_times(low: np.ndarray, high: np.ndarray, network: Network) -> None:
    """Raises InvalidArgument for lead times that are not whole numbers within the network's slots."""
    whole = (low == np.floor(low)) & (high == np.floor(high))
    if not (whole & (low >= 1) & (high <= network.pipeline)).all():
        raise InvalidArgument(
            "lead_time",
            [low.tolist(), high.tolist()],
            f"must be whole periods within 1 .. {network.pipeline} (pipeline)",
        )


def known(name: str) -> bool:
    """True for a parameter that may be drawn; raises InvalidArgument for another name."""
    if name not in DRAWN:
        raise unknown("parameter drawn for each episode", name, DRAWN)
    return True


def as_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A number for all, or an array of the shape, as float32."""
    try:
        array = np.broadcast_to(np.asarray(value, np.float32), shape)
    except (TypeError, ValueError):
        raise InvalidArgument(name, value, f"must be a number or an array of shape {shape}") from None
    if not np.isfinite(array).all():
        raise InvalidArgument(name, value, "must be finite")
    return array


def drawn_bounds(**bounds: tuple[Any, Any]) -> Mapping[str, Any]:
    """``lower`` and ``upper`` of parameters given as pairs, for ``InventoryParams``."""
    return {
        "lower": {name: low for name, (low, _) in bounds.items()},
        "upper": {name: high for name, (_, high) in bounds.items()},
    }

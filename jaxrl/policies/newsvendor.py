"""Reference policies for stores whose demand is only known from data: forecast a quantile of demand, order up to it.

A forecaster is fitted once and frozen. Each factory then takes an ``InventoryNetwork``, its parameters, widths of dense
layers and the forecaster, and returns an ``OrderPolicy`` whose parameters are only what is left to learn. Two policies
are yardsticks that nobody can carry out: ``returns_newsvendor`` needs an environment ``WithReturns`` and
``just_in_time`` one ``WithForesight``. After Alvo et al. (2023).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from jaxrl.envs.inventory import InventoryNetwork, InventoryParams, View
from jaxrl.envs.inventory.data import DemandSeries, Range
from jaxrl.envs.inventory.demand import Demand
from jaxrl.errors import InvalidArgument
from jaxrl.networks.initialisers import FanInDense
from jaxrl.networks.torsos import MLP
from jaxrl.policies.inventory import OrderPolicy, longest_path

LEVELS = np.arange(1, 20, dtype=np.float32) / 20
"""``[19]`` probabilities of the quantiles that are forecast"""
SMALL = 0.02
"""share of the mean demand that is added to every scale, so that a product without sales has one"""
VALIDATION_WINDOWS = 8192


# --- the forecaster ---------------------------------------------------------------------------------------------


class QuantileForecaster(nn.Module):
    """Quantiles of the demand of the next L + 1 periods, as multiples of a scale, not yet sorted or clipped.

    The scale is L + 1 times the mean of past demand, plus a little: a product twice as large has inputs, but for the
    logarithm of its size, and outputs alike. Calendar features and lead time are centred and divided by their
    deviation. These constants are the collection ``constants`` of the module's variables: ``unit []``, the mean demand
    of a period, and ``centre`` and ``spread``, ``[C + 1]``.

    Attributes:
        sizes: widths of the dense layers.
    """

    sizes: Sequence[int] = (128, 128)

    @nn.compact
    def __call__(self, past: jax.Array, calendar: jax.Array, lead_time: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From past demand ``[..., W]``, the period's calendar ``[..., C]`` and lead times ``[...]`` to relative
        quantiles ``[..., 19]`` and scales ``[...]`` in units."""
        context = jnp.concatenate([calendar, lead_time[..., None]], axis=-1)
        unit: Any = self.variable("constants", "unit", jnp.ones, ()).value
        centre = self.variable("constants", "centre", jnp.zeros, context.shape[-1:]).value
        spread = self.variable("constants", "spread", jnp.ones, context.shape[-1:]).value
        scale = jnp.mean(past, axis=-1) + SMALL * unit
        inputs = [past / scale[..., None], jnp.log(scale / unit)[..., None], (context - centre) / spread]
        hidden = MLP(self.sizes, "elu", orthogonal=False)(jnp.concatenate(inputs, axis=-1))
        return FanInDense(len(LEVELS), bias=1.0)(hidden), scale * (lead_time + 1)


@struct.dataclass
class Forecaster:
    """A fitted ``QuantileForecaster``.

    Attributes:
        variables: its weights and constants.
        validation_loss: pinball loss, relative to the scale, of each check of the fit; the weights are the best one's.
        sizes: widths of its dense layers.
        window: ``W``, periods of past demand that it sees.
        features: ``C``, calendar features.
    """

    variables: Any
    validation_loss: jax.Array
    sizes: tuple[int, ...] = struct.field(pytree_node=False)
    window: int = struct.field(pytree_node=False)
    features: int = struct.field(pytree_node=False)

    @property
    def module(self) -> Any:
        """The network that the variables belong to."""
        return QuantileForecaster(self.sizes)

    def quantiles(self, past: jax.Array, calendar: jax.Array, lead_time: jax.Array) -> jax.Array:
        """The 19 quantiles of the demand of the next L + 1 periods, the present one included.

        They are sorted, which never increases their pinball loss (Chernozhukov et al. 2010), and at least 0.

        Args:
            past: ``[..., W]`` demand of the last periods, in units.
            calendar: ``[..., C]`` features of the present period.
            lead_time: ``[...]`` L. Others than it was fitted for are extrapolated.

        Returns:
            ``[..., 19]`` units, at the probabilities ``LEVELS``.
        """
        relative, scale = self.module.apply(self.variables, past, calendar, lead_time)
        return jnp.maximum(jnp.sort(relative, axis=-1) * scale[..., None], 0)

    def quantile(self, past: jax.Array, calendar: jax.Array, lead_time: jax.Array, tau: jax.Array) -> jax.Array:
        """The quantile ``[...]`` for probabilities ``tau[...]``; see ``quantiles`` and ``interpolate``."""
        return interpolate(self.quantiles(past, calendar, lead_time), tau)


def interpolate(quantiles: jax.Array, tau: jax.Array) -> jax.Array:
    """The quantile for any probability, from those at ``LEVELS``: linear in between, and on with the last slope beyond
    either end, but not below 0. Differentiable in ``tau``.

    Args:
        quantiles: ``[..., 19]`` units.
        tau: ``[...]`` probabilities.

    Returns:
        ``[...]`` units.
    """
    place = tau * 20 - 1
    below = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, len(LEVELS) - 2)
    below = jnp.broadcast_to(below, quantiles.shape[:-1])
    low, high = (jnp.take_along_axis(quantiles, (below + i)[..., None], axis=-1)[..., 0] for i in (0, 1))
    return jnp.maximum(low + (place - below) * (high - low), 0)


def pinball_loss(target: jax.Array, quantiles: jax.Array, levels: Any = LEVELS) -> jax.Array:
    """Mean over ``Q`` probabilities of the loss whose expectation the true quantile makes least (Koenker and Bassett
    1978): ``tau`` for each unit that the target is above, ``1 - tau`` for each that it is below.

    Args:
        target: ``[...]``.
        quantiles: ``[..., Q]``.
        levels: ``[Q]`` probabilities.

    Returns:
        ``[...]``.
    """
    error = target[..., None] - quantiles
    return jnp.mean(jnp.maximum(levels * error, (levels - 1) * error), axis=-1)


def lead_times(params: InventoryParams) -> tuple[int, ...]:
    """The lead times that a setting may have, from the shortest to the longest of its bounds, in periods."""
    low, high = (np.asarray(bounds.get("lead_time", params.lead_time)) for bounds in (params.lower, params.upper))
    return tuple(range(int(low.min()), int(high.max()) + 1))


def fit_forecaster(
    series: DemandSeries,
    periods_ahead: Sequence[int],
    key: jax.Array,
    *,
    sizes: Sequence[int] = (128, 128),
    learning_rate: float = 1e-3,
    batch_size: int = 1024,
    steps: int = 4000,
    checks: int = 40,
) -> Forecaster:
    """A forecaster of the demand of any product and store of a series, one network for all lead times.

    A window is a product, a store, a lead time L and a period from which on demand is to be forecast; of it and its L
    successors none lies outside the training range, nor does any of the past that is seen. Each minibatch draws windows
    uniformly, with lead times equally often. The loss is ``pinball_loss`` of demand relative to the scale, so that
    small products count as much as large ones. Adam's step size falls to 0 along a cosine. At regular intervals the
    loss on windows of the validation range, as far as that is reported, is computed, and the best weights kept. All of
    it is one compiled program.

    Args:
        series: the data; ``series.history`` is the window that is seen.
        periods_ahead: lead times, each at least 1; ``lead_times(params)`` are those of a setting.
        sizes: widths of the dense layers.
        learning_rate: at the start.
        batch_size: windows of a minibatch.
        steps: minibatches, a multiple of ``checks``.
        checks: how often the validation loss is computed.

    Raises:
        InvalidArgument: for numbers out of range, or data without history or too short for the longest lead time.

    Source: Alvo et al. (2023), whose reference code has these sizes and quantiles; scales, step sizes and the choice by
    validation loss are ours.
    """
    leads = tuple(sorted(set(periods_ahead)))
    if not leads or leads[0] < 1 or any(lead != int(lead) for lead in leads):
        raise InvalidArgument("periods_ahead", tuple(periods_ahead), "must be lead times of at least 1 period")
    if series.history < 1:
        raise InvalidArgument("series.history", series.history, "must be at least 1 period, for there to be a past")
    positive = {"batch_size": batch_size, "checks": checks, "steps": steps, "sizes": min(sizes, default=1)}
    for name, value in positive.items():
        if value < 1:
            raise InvalidArgument(name, value, "must be at least 1")
    if steps % checks:
        raise InvalidArgument("steps", steps, f"must be a multiple of checks={checks}")
    ranges = series.periods("train"), series.reported("validation")
    for name, (begin, end) in zip(("train", "validation"), ranges):
        if end - begin <= leads[-1]:
            allowed = f"must have more than {leads[-1]} periods after its history, the longest lead time"
            raise InvalidArgument(name, (begin, end), allowed)

    begin, end = ranges[0]
    sales = series.sales.reshape(-1, series.sales.shape[-1])
    context = [series.calendar[begin:end].mean(axis=0), [np.mean(leads)]]
    spread = [series.calendar[begin:end].std(axis=0), [np.std(leads)]]
    centre, spread = (np.concatenate(parts).astype(np.float32) for parts in (context, spread))
    constants = {
        "unit": jnp.maximum(sales[:, : series.train[1]].mean(), 1e-6),
        "centre": jnp.asarray(centre),
        "spread": jnp.asarray(np.where(spread > 1e-6, spread, 1)),  # constant features stay 0
    }
    variables, losses = _fit(
        jnp.asarray(sales),
        jnp.asarray(series.calendar),
        jnp.array(leads, jnp.int32),
        constants,
        key,
        jnp.float32(learning_rate),
        window=series.history,
        longest=int(leads[-1]),
        ranges=ranges,
        sizes=tuple(sizes),
        batch_size=batch_size,
        steps=steps,
        checks=checks,
    )
    return Forecaster(variables, losses, tuple(sizes), series.history, series.calendar.shape[1])


@functools.partial(jax.jit, static_argnames=("window", "longest", "ranges", "sizes", "batch_size", "steps", "checks"))
def _fit(
    sales: jax.Array,
    features: jax.Array,
    leads: jax.Array,
    constants: dict[str, jax.Array],
    key: jax.Array,
    learning_rate: jax.Array,
    *,
    window: int,
    longest: int,
    ranges: tuple[Range, Range],
    sizes: tuple[int, ...],
    batch_size: int,
    steps: int,
    checks: int,
):
    """Variables of the best check and the losses ``[checks]``, from sales ``[N, T]`` and calendar ``[T, C]``."""
    module = QuantileForecaster(sizes)
    training, validation = ranges

    def windows(key, count, begin, end):
        """Past ``[B, W]``, calendar ``[B, C]``, lead times ``[B]`` and demand over L + 1 periods ``[B]``."""
        row_key, lead_key, start_key = jax.random.split(key, 3)
        row = jax.random.randint(row_key, (count,), 0, sales.shape[0])
        lead = leads[jax.random.randint(lead_key, (count,), 0, leads.shape[0])]
        start = jax.random.randint(start_key, (count,), begin, end - lead)  # the last period is start + lead < end
        periods = jnp.clip(start[:, None] + jnp.arange(-window, longest + 1), 0, end - 1)
        demand = sales[row[:, None], periods]
        ahead = jnp.where(jnp.arange(longest + 1) <= lead[:, None], demand[:, window:], 0)
        return demand[:, :window], features[start], lead.astype(jnp.float32), ahead.sum(axis=-1)

    def loss(weights, batch):
        *inputs, target = batch
        relative, scale = module.apply({"params": weights, "constants": constants}, *inputs)
        return pinball_loss(target / scale, relative).mean()

    decay = optax.cosine_decay_schedule(1.0, steps)
    optimiser = optax.flatten(optax.adam(lambda count: learning_rate * decay(count)))

    def step(carry, key):
        weights, state = carry
        gradient = jax.grad(loss)(weights, windows(key, batch_size, *training))
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(weights, updates), state), None

    init_key, train_key, check_key = jax.random.split(key, 3)
    held_out = windows(check_key, VALIDATION_WINDOWS, *validation)

    def check(carry, keys):
        latest, best, best_loss = carry
        latest, _ = jax.lax.scan(step, latest, keys)
        value = loss(latest[0], held_out)
        better = value < best_loss
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), latest[0], best)
        return (latest, best, jnp.where(better, value, best_loss)), value

    weights = module.init(init_key, *(leaf[:1] for leaf in held_out[:-1]))["params"]
    keys = jax.random.split(train_key, (checks, steps // checks))
    start = (weights, optimiser.init(weights)), weights, jnp.float32(jnp.inf)
    (_, best, _), losses = jax.lax.scan(check, start, keys)
    return {"params": best, "constants": constants}, losses


# --- policies that order up to a quantile -----------------------------------------------------------------------


def quantile_newsvendor(
    env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (), *, forecaster: Forecaster
) -> OrderPolicy:
    """Each store orders up to the quantile p / (p + h) of the demand until its next order can arrive, as if what is
    left then could be had back. Nothing is learned.

    Raises:
        InvalidArgument: unless all nodes are stores with one supplier each, whose observations have the past demand and
            the calendar that the forecaster wants.
    """
    return _order_up_to(env, params, forecaster, lambda key: (), lambda weights, ratio: ratio)


def fixed_quantile(
    env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (), *, forecaster: Forecaster
) -> OrderPolicy:
    """Each store orders up to one learned quantile, the same whatever the costs are.

    Learning starts from the newsvendor's quantile for costs in the middle of their bounds.

    Raises:
        InvalidArgument: as ``quantile_newsvendor``.
    """

    def init(key):
        del key
        low, high = (bounds.get("underage", params.underage) for bounds in (params.lower, params.upper))
        return jnp.log(jnp.mean(low + high) / 2 / jnp.mean(params.holding))

    def tau(weights, ratio):
        return jnp.broadcast_to(jax.nn.sigmoid(weights), ratio.shape)

    return _order_up_to(env, params, forecaster, init, tau)


class QuantileTransform(nn.Module):
    """From a probability ``[...]`` to another ``[...]``, through dense layers."""

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, ratio):
        hidden = MLP(self.sizes, "elu", orthogonal=False)(ratio[..., None])
        return nn.sigmoid(FanInDense(1)(hidden)[..., 0])


def transformed_newsvendor(
    env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (32, 32), *, forecaster: Forecaster
) -> OrderPolicy:
    """Each store orders up to a quantile that is a learned function of the newsvendor's p / (p + h).

    Raises:
        InvalidArgument: as ``quantile_newsvendor``.
    """
    module = QuantileTransform(tuple(sizes))
    return _order_up_to(env, params, forecaster, lambda key: module.init(key, jnp.zeros(1)), module.apply)


def returns_newsvendor(
    env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = (), *, forecaster: Forecaster
) -> OrderPolicy:
    """``quantile_newsvendor`` that may return stock: its orders bring stock to the quantile from above as well.

    Not admissible. Simulate it on ``WithReturns(env)``; another environment counts its negative orders as 0.

    Raises:
        InvalidArgument: as ``quantile_newsvendor``.
    """
    return _order_up_to(env, params, forecaster, lambda key: (), lambda weights, ratio: ratio, least=-jnp.inf)


def _order_up_to(env, params, forecaster, init, tau, least=0.0) -> OrderPolicy:
    """The policy that orders up to the quantile ``tau(weights, critical ratio)[..., K]``."""
    network = env.network
    if network.nodes != network.stores or not network.one_edge_each:
        raise InvalidArgument("policy", "newsvendor", f"needs stores with one supplier each, not {network.edges}")
    for name, has, wants in (
        ("window", env.window, forecaster.window),
        ("calendar features", env.demand.features, forecaster.features),
    ):
        if has != wants:
            raise InvalidArgument(name, has, f"must be {wants}, as in the data that the forecaster was fitted to")

    def act(weights, obs):
        view = env.view(obs, params)
        level = forecaster.quantile(*_inputs(view), tau(weights, critical_ratio(view)))
        return jnp.maximum(level - view.inventory.sum(axis=-1), least)

    return OrderPolicy(init, act)


def critical_ratio(view: View) -> jax.Array:
    """``[..., K]`` p / (p + h) of each store."""
    stores = view.inventory.shape[:-2] + view.demand_mean.shape
    return jnp.broadcast_to(view.underage / (view.underage + view.holding[-stores[-1] :]), stores)


def _inputs(view: View) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a forecaster wants of each store: past demand ``[..., K, W]``, calendar and lead time."""
    stores = view.past_demand.shape[:-1]
    calendar = jnp.broadcast_to(view.calendar[..., None, :], (*stores, view.calendar.shape[-1]))
    return view.past_demand, calendar, jnp.broadcast_to(view.lead_time, stores)


class WithReturns(InventoryNetwork):
    """Stores that may order less than nothing: a negative order takes away what its lead time later is on hand.

    What it takes and is no longer there, since it has been sold, counts as bought back at the price of a sale. With the
    same keys, scenarios are those of the environment it is made from.

    Args:
        env: a network in which all nodes are stores.

    Raises:
        InvalidArgument: for a network with other nodes, whose stock may not become negative.
    """

    def __init__(self, env: InventoryNetwork):
        if len(env.network.inside):
            raise InvalidArgument("env", env.env_id, "must have stores only, supplied from outside")
        super().__init__(env.network, env.demand, env.default_params, **_options(env))

    def ship(self, inventory, orders):
        """``[E]`` shipments: the orders as they are."""
        return orders


# --- the oracle -------------------------------------------------------------------------------------------------


class WithForesight(InventoryNetwork):
    """An environment in which all demand of an episode is drawn at its start, and seen in advance.

    Observations end in the future: ``[K, ahead]`` demand of the present period and those after it, as further calendar
    features. Where demand is replayed from data, scenarios are with the same keys those of the environment it is made
    from; else they have the same distribution, and another policy is compared on equal terms by simulating it here too.

    Args:
        env: any network.
        periods: that are simulated at most; demand after them is drawn as well, for orders that arrive later.

    Attributes:
        ahead: periods that are seen, enough for goods to pass through the whole network.

    Raises:
        InvalidArgument: for fewer periods than one.
    """

    def __init__(self, env: InventoryNetwork, periods: int):
        if periods < 1:
            raise InvalidArgument("periods", periods, "must be at least 1")
        inner, window = env.demand, env.window
        ahead = longest_path(env.network.edges) * env.network.pipeline + 1

        def start(key, params):
            state = inner.start(key, params)
            times = jnp.arange(-window, periods + ahead)
            return state, inner.draw(jax.random.fold_in(key, 1), state, times, params)

        def draw(key, state, times, params):
            return state[1][times + window]

        def calendar(state, time, params):
            future = jax.lax.dynamic_slice_in_dim(state[1], time + window, ahead).T.reshape(-1)
            if inner.calendar is None:
                return future
            return jnp.concatenate([inner.calendar(state[0], time, params), future])

        features = inner.features + env.network.stores * ahead
        super().__init__(
            env.network, Demand(start, draw, calendar, features, inner.periods), env.default_params, **_options(env)
        )
        self.ahead = ahead


def just_in_time(env: InventoryNetwork, params: InventoryParams, sizes: Sequence[int] = ()) -> OrderPolicy:
    """The oracle that orders what will be asked for when the order lands, so that all demand that an order can reach is
    met and nothing of it is ever left over. Stock that is there at the start is not taken into account.

    Every node orders from its nearest supplier, the first of equally near ones. A store orders the demand of the
    period in which the order arrives, a node upstream those of all stores it serves, as much later as goods take to
    reach them.

    Args:
        env: ``WithForesight``.

    Raises:
        InvalidArgument: for another environment.
    """
    if not isinstance(env, WithForesight):
        raise InvalidArgument(
            "env", env.env_id, "must be WithForesight(env, periods), since the policy sees the future"
        )
    network, ahead, depth = env.network, env.ahead, longest_path(env.network.edges)
    edges = len(network.edges)

    def act(weights, obs):
        view = env.view(obs, params)
        future = view.calendar[..., -network.stores * ahead :]
        future = future.reshape(*obs.shape[:-1], network.stores, ahead)
        lead_time = view.lead_time[..., None, :]  # [..., 1, E]
        distance = jnp.where(network.entering > 0, lead_time, jnp.inf)
        nearest = jax.nn.one_hot(jnp.argmin(distance, axis=-1), edges)  # [..., n, E]
        # From each store upstream, an edge at a time: the node that has been reached, and how far away the store is.
        node, away = np.eye(network.nodes, dtype=np.float32)[network.first_store :], 0
        orders = jnp.zeros((*obs.shape[:-1], edges))
        for _ in range(depth):
            edge = node @ nearest  # [..., K, E]
            away = away + jnp.sum(edge * lead_time, axis=-1)
            due = jnp.sum(future * (jnp.arange(ahead) == away[..., None]), axis=-1)
            orders = orders + jnp.sum(edge * due[..., None], axis=-2)
            node = edge @ network.leaving.T
        return orders

    return OrderPolicy(lambda key: (), act)


def _options(env: InventoryNetwork) -> dict[str, Any]:
    return {name: getattr(env, name) for name in ("lost", "profit", "window", "env_id", "lean", "validation")}

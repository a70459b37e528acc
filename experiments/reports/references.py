"""Values that environments are known to allow, for optimality gaps and lines in learning curves. Add a line to know
another return."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Reference(NamedTuple):
    """A value to measure by, and what it is."""

    value: float
    meaning: str


REFERENCES = {
    "CartPole-v1": Reference(500.0, "the highest return there is"),
    "MountainCar-v0": Reference(-110.0, "gym's threshold of solving it"),
    "MountainCarContinuous-v0": Reference(90.0, "gym's threshold of solving it"),
    "Acrobot-v1": Reference(-100.0, "gym's threshold of solving it"),
    "Pendulum-v1": Reference(0.0, "the bound that no return exceeds"),
}
"""environment: the reference of its undiscounted return"""

RETURNS = ("evaluation_return", "episode_return")
"""the metrics that the references are about"""

SCORES = ("score", "best_score")
"""HDPO's: the negative cost of a store and period once the start is forgotten, as the optima of inventories are"""


OPTIMA = {
    "inventory/one-store-lost-v0": "minus the optimal cost",
    "inventory/one-store-backlogged-v0": "minus the optimal cost",
    "inventory/serial-v0": "minus the optimal cost",
    "inventory/transshipment-v0": "minus a lower bound of the cost",
}
"""the inventories whose score is known, and what it is"""
LONGEST_LOST = 4
"""lead time up to which the optimum of lost demand takes seconds"""


def optimal_score(env: str, settings: Mapping[str, Any]) -> Reference | None:
    """The score of the optimal policy of an inventory setting, or a bound of it, where it can be computed.

    Returns have no such reference: the periods in which stock is built up count in them.
    """
    from jaxrl.envs.inventory import optimal

    from jaxrl import make
    from jaxrl.errors import UserError

    if env not in OPTIMA:
        return None
    try:
        p = make(env, **settings).default_params
        lead_time, holding, underage = p.lead_time.tolist(), p.holding.tolist(), p.underage.tolist()
        mean, std = p.demand_mean.tolist(), p.demand_std.tolist()
        if env == "inventory/one-store-lost-v0":
            if lead_time[0] > LONGEST_LOST:
                return None
            cost = optimal.lost_sales_optimum(lead_time[0], mean[0], underage[0], holding[0]).cost
        elif env == "inventory/one-store-backlogged-v0":
            cost = optimal.backlogged_newsvendor(lead_time[0], mean[0], std[0], underage[0], holding[0]).cost
        elif env == "inventory/serial-v0":
            cost = optimal.clark_scarf(lead_time, holding, mean[0], std[0], underage[0]).cost
        else:
            correlation = float(p.demand_correlation)
            bound = optimal.transshipment_bound(mean, std, correlation, *lead_time[:2], underage[0], holding[1])
            cost = bound.cost_per_store
    except UserError:  # a setting that no optimum is known for, such as a chain whose holding costs do not increase
        return None
    return Reference(-cost, f"{OPTIMA[env]} of a store and period")

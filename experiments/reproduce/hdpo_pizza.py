"""HDPO on demand that was recorded, against newsvendor policies on forecasts: part of ``experiments.reproduce.hdpo``.

Everything is trained on the first part of the year, chosen on the second and judged on the last: step sizes too are
chosen on the second part. All policies meet the same prices, lead times and sales, so gains are paired; the interval is
of a bootstrap over the products, since days and seeds of one product are not independent.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.inventory import simulate
from jaxrl.envs.inventory.data import pizza_sales
from jaxrl.envs.inventory.settings import real_store
from scipy import stats

from experiments.reproduce.hdpo_settings import hdpo
from experiments.reproduce.table import Row
from jaxrl import train
from jaxrl.engine.sinks import Progress
from jaxrl.policies.inventory import POLICIES
from jaxrl.policies.newsvendor import (
    fit_forecaster,
    fixed_quantile,
    lead_times,
    quantile_newsvendor,
    transformed_newsvendor,
)

LEAD_TIME = (1, 3)
LEARNED: dict[str, dict[str, Any]] = {
    "data_driven": {"learning_rate": [1e-3, 3e-3, 1e-2], "hidden_sizes": (64, 64), "updates": 1500},
    "fixed_quantile": {"learning_rate": [3e-3, 1e-2, 3e-2], "updates": 300},
    "transformed_newsvendor": {"learning_rate": [1e-3, 3e-3, 1e-2], "hidden_sizes": (32, 32), "updates": 600},
}
"""policies, the step sizes to choose from, and gradient steps"""
DRAWS = 512
"""prices and lead times with which each product is judged"""


def against_newsvendors(arguments: Any) -> list[Row]:
    """What the end-to-end policy gains in profit over each newsvendor, a store and day."""
    series = pizza_sales()
    env = real_store(series, "train", lead_time=LEAD_TIME)
    forecaster = fit_forecaster(series, lead_times(env.default_params), jax.random.key(0))
    newsvendors = {"fixed_quantile": fixed_quantile, "transformed_newsvendor": transformed_newsvendor}
    POLICIES.update({name: partial(make, forecaster=forecaster) for name, make in newsvendors.items()})
    profits = {name: judged(series, *trained(series, env, name, arguments), arguments.seeds) for name in LEARNED}
    newsvendor: Any = partial(quantile_newsvendor, forecaster=forecaster)
    profits["quantile_newsvendor"] = judged(series, newsvendor, (), 1)
    for name, profit in profits.items():
        print(f"pizza, {name}: profit {profit.mean():.4f} a store and day")
    ours = profits.pop("data_driven")
    return [gain(name, ours, theirs, arguments.seeds) for name, theirs in profits.items()]


def trained(series: Any, env: Any, name: str, arguments: Any) -> tuple[Any, Any]:
    """The policy's factory, and the seeds' best parameters with the step size that is best on the second part."""
    options = dict(LEARNED[name])
    updates, rates = options.pop("updates"), options.pop("learning_rate")
    begin, end = series.periods("validation")
    config = hdpo(
        name,
        jnp.asarray(rates),
        batch_size=64,
        horizon=env.default_params.max_steps_in_episode,
        development_horizon=end - begin,
        development_ignore=series.warm_up,
        development_every=20,
        **options,
    )
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    updates = arguments.updates or updates
    result = train(config, env, seeds=seeds, updates=updates, evaluate_every=0, sinks=[Progress()])
    best = result.states.learner
    scores = np.asarray(best.score).reshape(len(rates), len(seeds))
    chosen = int(scores.mean(axis=1).argmax())
    print(f"pizza, {name}: validation profit {scores.mean(axis=1)} with step sizes {rates}")
    members = slice(chosen * len(seeds), (chosen + 1) * len(seeds))
    factory = partial(POLICIES[name], sizes=config.hidden_sizes)
    return factory, jax.tree.map(lambda leaf: leaf[members], best.best)


def judged(series: Any, factory: Any, weights: Any, seeds: int) -> np.ndarray:
    """``[seeds, products]`` profit a store and day in the last part of the year, of parameters with leaves
    ``[seeds, ...]``."""
    keys = jax.random.split(jax.random.key(2**31), DRAWS)  # the same prices and lead times for all
    env = real_store(series, "test", lead_time=LEAD_TIME)
    policy = factory(env, env.default_params)

    @jax.jit
    def profits(sales):
        params = env.default_params.replace(sales=sales[None])

        def profit(own):
            act = partial(policy.act, own)
            return -simulate(env, act, keys, params.max_steps_in_episode, params, ignore=series.warm_up).mean()

        return jax.vmap(profit, axis_size=seeds)(weights)

    return np.array([profits(sales) for sales in series.sales]).T


def gain(name: str, ours: np.ndarray, theirs: np.ndarray, seeds: int) -> Row:
    """The mean gain over products, each the mean of its seeds, with a paired bootstrap interval."""
    difference = ours.mean(axis=0) - theirs.mean(axis=0)  # [products]
    interval = stats.bootstrap((difference,), np.mean, method="percentile", rng=0).confidence_interval
    verdict = "holds" if interval.low > 0 else "falls short"
    title = f"pizza, data driven: gain in profit over {name.replace('_', ' ')}, a store and day"
    return Row(title, float(difference.mean()), *map(float, interval), seeds, "above 0", "bound", verdict)

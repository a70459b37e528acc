"""HDPO against exact optima, bounds and heuristics: ``python -m experiments.reproduce.hdpo [--quick] [--seeds N]``.

The quick checks are exact: optimal costs that the oracles compute. Without ``--quick`` policies are trained and judged
on fresh demand traces: the best parameters of each seed on its own development scenarios, whole orders where demand is
counted. Where an optimal policy is known, a cost is the exact optimum plus the mean difference to that policy on the
same traces, which has far less noise than the mean itself; heuristics are judged on the same traces too.
"""

import dataclasses
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.table import Row, at_most, exact, exit_status, show, write
from experiments.results import about, write_rows
from jaxrl import use_all_cores

INTRODUCTION = (
    "Gaps are percentages of the optimal cost, the bound or the heuristic's cost, on fresh traces; interquartile "
    "means over seeds with 95% bootstrap intervals. Traces are the same for all seeds: where an optimal policy or a "
    "heuristic runs on the same ones most of their noise cancels, where a cost is compared with a bound "
    "(transshipment) it stays. An interval that reaches far above its mean is that of a setting in which a seed did "
    "not converge, which an interquartile mean does not show. Hyperparameters were not tuned on these seeds, but for "
    "serial echelon stock, whose batches, horizon and number of updates were changed after a run on them had not "
    "converged. Goods were counted in the demand that passes, by vanilla and then by graph, after single seeds had not "
    "converged without; many warehouses were measured before."
)
RESULTS = ROOT / "docs" / "results" / "hdpo"

# Lost demand, Poisson(5), holding cost 1, by lead time and underage cost: optimal cost; best base stock: cost and
# level; best capped base stock: cost, level and cap.
LOST = {
    (1, 4): (4.0407, 4.1628, 12, 4.0654, 12, 6), (1, 9): (5.4382, 5.5475, 13, 5.4812, 14, 6),
    (1, 19): (6.6757, 6.7278, 15, 6.6877, 15, 8), (1, 39): (7.8360, 7.8626, 16, 7.8425, 16, 9),
    (2, 4): (4.3953, 4.6386, 16, 4.4057, 17, 5), (2, 9): (6.0936, 6.3163, 19, 6.1191, 19, 6),
    (2, 19): (7.6644, 7.8422, 21, 7.7209, 21, 7), (2, 39): (9.1064, 9.1903, 22, 9.1326, 22, 8),
    (3, 4): (4.5987, 4.9750, 20, 4.6308, 21, 5), (3, 9): (6.5314, 6.8640, 23, 6.6164, 24, 6),
    (3, 19): (8.3625, 8.6045, 26, 8.4010, 26, 6), (3, 39): (10.0385, 10.2176, 28, 10.0853, 28, 7),
    (4, 4): (4.7285, 5.1978, 25, 4.7978, 26, 5), (4, 9): (6.8359, 7.2709, 28, 6.9123, 29, 5),
    (4, 19): (8.8872, 9.2319, 31, 8.9544, 31, 6), (4, 39): (10.7944, 11.0623, 33, 10.8926, 34, 6),
}  # fmt: skip
SERIAL = {
    1: (6.8986, 8.3669, 9.6080, 10.7009), 2: (7.5984, 9.2610, 10.6703, 11.9130),
    3: (8.2059, 10.0367, 11.5919, 12.9648), 4: (8.7525, 10.7339, 12.4201, 13.9100),
}  # fmt: skip
BACKLOGGED = {1: (3.1666, 3.9703, 4.6666, 5.2891), 4: (5.0062, 6.2769, 7.3779, 8.3620)}
FIRST_TEST_KEY = 2**31
SEARCHED = {"scenarios": 512, "periods": 100, "ignore": 60}


@dataclass
class Arguments:
    """What to check."""

    quick: bool = False
    """Only the exact checks: under a minute."""
    settings: tuple[str, ...] = ()
    """Settings of the full run, see hdpo_settings.py; all by default."""
    seeds: int = 8
    """Seeds of each instance."""
    first_seed: int = 0
    """The first of them; 1000 and above to choose hyperparameters on."""
    updates: int | None = None
    """Gradient steps; by default those that the table was made with."""
    output: Path = RESULTS
    """Where the table goes, without suffix."""
    json: Path | None = None
    """Write the rows here too."""


def main() -> int:
    """Prints the table; 1 if an exact check fails."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    facts = about("experiments.reproduce.hdpo")  # now: the tree may change while this runs
    rows = known_answers()
    if not arguments.quick:
        everything = trainings()
        for name in arguments.settings or tuple(everything):
            rows += everything[name](arguments)
            show("HDPO so far", rows)
            write(arguments.output, "HDPO: what it reaches", INTRODUCTION, rows, facts)
    show("HDPO", rows)
    if arguments.json:
        write_rows(arguments.json, [asdict(row) | {"about": facts} for row in rows])
    return exit_status(rows)


def trainings() -> dict[str, Any]:
    """What can be trained: ``(arguments) -> rows`` by name."""
    from experiments.reproduce.hdpo_pizza import against_newsvendors
    from experiments.reproduce.hdpo_robustness import robustness
    from experiments.reproduce.hdpo_settings import AGAINST_BASE_STOCK, AGAINST_OPTIMUM, DATA_EFFICIENCY

    named = {name: partial(against_optimum, setting) for name, setting in AGAINST_OPTIMUM.items()}
    named |= {name: partial(against_base_stock, setting) for name, setting in AGAINST_BASE_STOCK.items()}
    named |= {name: partial(with_fewer_traces, *settings) for name, settings in DATA_EFFICIENCY.items()}
    return named | {"pizza": against_newsvendors, "robustness": robustness}


# --- exact ------------------------------------------------------------------------------------------------------


def known_answers() -> list[Row]:
    """What the oracles compute, beside the figures known for these instances."""
    from jaxrl.envs.inventory import optimal

    from experiments.reproduce.hdpo_settings import UNDERAGES, clark_scarf

    rows = []
    for (lead_time, underage), known in LOST.items():
        name = f"lost demand, L {lead_time}, p {underage}"
        optimum = optimal.lost_sales_optimum(lead_time, 5.0, underage).cost
        rows.append(exact(f"{name}: optimal cost", optimum, known[0], 1e-4))
        level = optimal.best_base_stock(lead_time, 5.0, underage)
        rows.append(exact(f"{name}: best base stock, cost", level.cost, known[1], 1e-4))
        rows.append(exact(f"{name}: best base stock, level", level.level, known[2], 0))
        capped = optimal.best_capped_base_stock(lead_time, 5.0, underage)
        rows.append(exact(f"{name}: best capped base stock, cost", capped.cost, known[3], 1e-4))
        rows.append(exact(f"{name}: best capped base stock, level", capped.level, known[4], 0))
        rows.append(exact(f"{name}: best capped base stock, cap", capped.cap, known[5], 0))
    for lead_time, costs in BACKLOGGED.items():
        for underage, known in zip(UNDERAGES, costs):
            cost = optimal.backlogged_newsvendor(lead_time, 5.0, 1.6, underage).cost
            rows.append(exact(f"backlogged, L {lead_time}, p {underage:g}: optimal cost", cost, known, 1.5e-4))
    for lead_time, costs in SERIAL.items():
        for underage, known in zip(UNDERAGES, costs):
            cost = clark_scarf(lead_time, underage).cost
            rows.append(exact(f"serial, L {lead_time}, p {underage:g}: optimal cost", cost, known, 1.5e-4))
    return rows


# --- trained ----------------------------------------------------------------------------------------------------


def against_optimum(make_setting: Any, arguments: Arguments) -> list[Row]:
    """Gaps of one population to the optimum or a bound, instance by instance."""
    import numpy as np

    setting = make_setting()
    costs = trained_costs(setting, arguments)  # [instances, seeds]
    if setting.policy is not None:
        known = [simulated(setting, i, on_inventory(setting.policy(i))) for i in range(len(setting.names))]
        costs = costs - np.array(known)[:, None] + np.array(setting.optimum)[:, None]
    gaps = 100 * (costs / np.array(setting.optimum)[:, None] - 1)
    mean_bound, worst_bound = setting.bounds
    rows = [
        at_most(f"{setting.title}, {name}: gap %", gap, worst_bound)
        for name, gap in zip(setting.names, gaps, strict=True)
    ]
    if mean_bound is not None:
        rows.append(at_most(f"{setting.title}, mean of the instances: gap %", gaps.mean(axis=0), mean_bound))
    for i, capped in setting.capped.items():
        name = f"{setting.title}, {setting.names[i]}: gap to the best capped base stock %"
        rows.append(at_most(name, 100 * (costs[i] / capped - 1), 0.0))
    return rows


def against_base_stock(make_setting: Any, arguments: Arguments) -> list[Row]:
    """Gaps to the best base stock, capped or not, that a search on simulated traces finds; judged on the same fresh
    traces."""
    import jax
    from jaxrl.envs.inventory.search import base_stock_orders, best_simulated_base_stock

    from jaxrl import make

    setting = make_setting()
    env = make(setting.env, **setting.env_settings)
    keys = jax.random.split(jax.random.key(1), SEARCHED["scenarios"])
    found = [
        best_simulated_base_stock(env, keys, SEARCHED["periods"], SEARCHED["ignore"], capped=capped)
        for capped in (False, True)
    ]
    heuristics = [
        simulated(setting, 0, lambda env, _, policy=policy: base_stock_orders(env, policy)) for policy in found
    ]
    costs = trained_costs(setting, arguments)[0]
    policy = setting.config.policy
    print(f"{setting.title}: base stock {heuristics[0]:.4f}, capped {heuristics[1]:.4f}, {policy} {costs.mean():.4f}")
    return [at_most(f"{setting.title}, {policy}: gap to the best base stock %", 100 * (costs / min(heuristics) - 1), 0)]


def with_fewer_traces(make_setting: Any, make_other: Any, arguments: Arguments) -> list[Row]:
    """The gap of one policy to the mean of another's seeds that has more traces to learn from."""
    setting, other = make_setting(), make_other()
    ours, theirs = trained_costs(setting, arguments)[0], trained_costs(other, arguments)[0]
    (few, many), (policy, rival) = zip(*((s.config.num_scenarios, s.config.policy) for s in (setting, other)))
    name = f"{setting.title.split(',')[0]}: {policy} with {few} traces, gap to {rival} with {many} %"
    return [at_most(name, 100 * (ours / theirs.mean() - 1), 0)]


def trained_costs(setting: Any, arguments: Arguments) -> Any:
    """``[instances, seeds]`` cost of each member's best parameters on fresh traces, the same for all instances."""
    import jax
    import numpy as np

    from jaxrl import make, train
    from jaxrl.engine.population import checked_env_fields
    from jaxrl.engine.sinks import Progress

    env = make(setting.env, **setting.env_settings)
    result = train(
        setting.config,
        env,
        seeds=range(arguments.first_seed, arguments.first_seed + arguments.seeds),
        updates=arguments.updates or setting.updates,
        evaluate_every=0,
        env_variants=setting.variants,
        sinks=[Progress()],
    )
    members, seconds = len(result.members), result.seconds["train"]
    print(f"{setting.title}: {seconds:.0f} s for {members} members, {result.steps_per_second:,.0f} periods a second")
    fields = checked_env_fields(env.default_params, setting.variants)

    def cost(weights, own):
        def policy(env, env_params):
            return partial(setting.config.orders(env, env_params).act, weights)

        return simulated_cost(setting, env, own, policy)

    judge = jax.jit(lambda *members: jax.lax.map(lambda member: cost(*member), members))
    devices = jax.local_devices()
    places = np.array_split(np.arange(members), len(devices))

    def part(index, device):
        best = jax.tree.map(lambda leaf: leaf[index], result.states.learner.best)
        own = {name: value[index // arguments.seeds] for name, value in fields.items()}
        return judge(*jax.device_put((best, own), device))  # runs beside the next device's

    costs = [np.asarray(x) for x in [part(i, d) for i, d in zip(places, devices)]]
    return np.concatenate(costs).reshape(len(setting.names), arguments.seeds)


def on_inventory(orders: Any) -> Any:
    """A policy ``(env, env_params) -> (obs -> orders)`` from one ``(inventory -> orders)``."""
    return lambda env, env_params: lambda obs: orders(env.view(obs, env_params).inventory)


def simulated(setting: Any, instance: int, policy: Any) -> float:
    """Cost of a policy ``(env, env_params) -> (obs -> orders)`` on the fresh traces of an instance."""
    import jax

    from jaxrl import make
    from jaxrl.engine.population import checked_env_fields

    env = make(setting.env, **setting.env_settings)
    own = {name: value[instance] for name, value in checked_env_fields(env.default_params, setting.variants).items()}
    return float(jax.jit(lambda own: simulated_cost(setting, env, own, policy))(own))


def simulated_cost(setting: Any, env: Any, own: Any, policy: Any) -> Any:
    """The same, traced, with an instance's ``own`` fields of the environment's parameters."""
    import jax
    from jaxrl.envs.inventory import simulate

    test, env_params = setting.test, dataclasses.replace(env.default_params, **own)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), FIRST_TEST_KEY), test["scenarios"])
    act, how = policy(env, env_params), {"ignore": test["ignore"], "round_orders": setting.round_orders}
    return simulate(env, act, keys, test["periods"], env_params, **how).mean()


if __name__ == "__main__":
    sys.exit(main())

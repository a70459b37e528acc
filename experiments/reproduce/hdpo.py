"""HDPO against exact optima and bounds: ``python -m experiments.reproduce.hdpo [--quick] [--seeds N]``.

The quick checks are exact: optimal costs that the oracles compute, and simulated costs of their policies. Without
``--quick`` policies are trained on every setting with a known optimum or bound, and judged on fresh demand traces: the
best parameters of each seed on its own development scenarios, whole orders where demand is counted. Their cost is the
exact optimum plus the mean difference to the optimal policy on the same traces, which has far less noise than the mean
itself.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.peer import ROOT
from experiments.reproduce.table import Row, at_most, exact, exit_status, show, write
from experiments.results import about, write_rows
from jaxrl import use_all_cores

INTRODUCTION = (
    "Gaps are percentages of the optimal cost (or the bound), of fresh traces; interquartile means over seeds with 95%"
    " bootstrap intervals, whose noise of simulation is far below them. Hyperparameters were not tuned on these seeds."
)
RESULTS = ROOT / "docs" / "results" / "hdpo"
LEAD_TIMES, UNDERAGES = (1, 2, 3, 4), (4.0, 9.0, 19.0, 39.0)

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


@dataclass
class Arguments:
    """What to check."""

    quick: bool = False
    """Only the exact checks: under a minute."""
    settings: tuple[str, ...] = ("lost", "backlogged", "serial_echelon", "serial_vanilla", "transshipment")
    """Settings of the full run."""
    seeds: int = 8
    """Seeds of each instance."""
    first_seed: int = 0
    """The first of them; 1000 and above to choose hyperparameters on."""
    updates: int | None = None
    """Gradient steps; by default those that the table was made with."""
    json: Path | None = None
    """Write the rows here too."""


@dataclass(frozen=True)
class Setting:
    """A population to train: instances of one environment that differ in numbers.

    Attributes:
        variants: fields of the environment's parameters, a value for each instance.
        names: of the instances.
        optimum: exact cost of each instance, or a lower bound.
        policy: ``(instance) -> (inventory[B, n, P] -> orders[B, E])``, the optimal one, for common random numbers.
        bounds: percent by which the mean and the worst instance may exceed the optimum.
    """

    title: str
    env: str
    env_settings: dict[str, Any]
    variants: dict[str, list]
    names: list[str]
    optimum: list[float]
    policy: Callable[[int], Callable] | None
    config: Any
    updates: int
    bounds: tuple[float | None, float]
    round_orders: bool = False
    test: dict[str, int] = field(default_factory=lambda: {"scenarios": 2048, "periods": 1000, "ignore": 200})


def main() -> int:
    """Prints the table; 1 if an exact check fails."""
    arguments = tyro.cli(Arguments, description=__doc__)
    use_all_cores()
    facts = about("experiments.reproduce.hdpo")  # now: the tree may change while this runs
    rows = known_answers()
    if not arguments.quick:
        for name in arguments.settings:
            rows += trained(SETTINGS[name](), arguments)
            show("HDPO so far", rows)
            write(RESULTS, "HDPO: what it reaches", INTRODUCTION, rows, facts)
    show("HDPO", rows)
    if arguments.json:
        write_rows(arguments.json, [asdict(row) | {"about": facts} for row in rows])
    return exit_status(rows)


# --- exact ------------------------------------------------------------------------------------------------------


def known_answers() -> list[Row]:
    """What the oracles compute, beside the figures known for these instances."""
    from jaxrl.envs.inventory import optimal

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


def clark_scarf(lead_time: int, underage: float) -> Any:
    """The optimum of the serial setting."""
    from jaxrl.envs.inventory import optimal

    return optimal.clark_scarf((2, 4, 3, lead_time), (0.1, 0.2, 0.5, 1.0), 5.0, 2.0, underage)


# --- settings ---------------------------------------------------------------------------------------------------


def grid() -> tuple[list[int], list[float]]:
    """Lead times and underage costs of the sixteen instances."""
    return [lead for lead in LEAD_TIMES for _ in UNDERAGES], [*UNDERAGES] * len(LEAD_TIMES)


def lost() -> Setting:
    """One store, lost demand."""
    import jax.numpy as jnp
    from jaxrl.envs.inventory import optimal

    from jaxrl import HDPO

    leads, underages = grid()
    optima = [optimal.lost_sales_optimum(lead, 5.0, underage) for lead, underage in zip(leads, underages)]

    def policy(instance):
        return lambda inventory: optima[instance].order(inventory[:, 0]).astype(jnp.float32)[:, None]

    return Setting(
        title="one store, lost demand, vanilla",
        env="inventory/one-store-lost-v0",
        env_settings={},
        variants={"lead_time": leads, "underage": underages},
        names=[f"L {lead}, p {underage:g}" for lead, underage in zip(leads, underages)],
        optimum=[optimum.cost for optimum in optima],
        policy=policy,
        config=HDPO(learning_rate=1e-2, batch_size=256, num_scenarios=None, anneal_learning_rate=True),
        updates=3000,
        bounds=(0.25, 0.6),
        round_orders=True,
    )


def backlogged() -> Setting:
    """One store, backlogged demand."""
    from jaxrl.envs.inventory import optimal

    from jaxrl import HDPO

    instances = [(lead, underage) for lead in (1, 4, 7, 10, 15, 20) for underage in UNDERAGES]
    leads, underages = map(list, zip(*instances))
    optima = [optimal.backlogged_newsvendor(lead, 5.0, 1.6, underage) for lead, underage in instances]

    def policy(instance):
        level = optima[instance].level
        return lambda inventory: (level - inventory.sum(axis=-1)).clip(0)

    return Setting(
        title="one store, backlogged demand, base stock",
        env="inventory/one-store-backlogged-v0",
        env_settings={"pipeline": 20},
        variants={"lead_time": leads, "underage": underages},
        names=[f"L {lead}, p {underage:g}" for lead, underage in instances],
        optimum=[optimum.cost for optimum in optima],
        policy=policy,
        config=HDPO(
            policy="base_stock", learning_rate=0.5, batch_size=256, horizon=100, num_scenarios=None,
            anneal_learning_rate=True, development_every=50,
        ),
        updates=400,
        bounds=(None, 0.15),
    )  # fmt: skip


def serial(policy: str) -> Setting:
    """Echelons in a row."""
    from jaxrl import HDPO

    leads, underages = grid()
    optima = [clark_scarf(lead, underage) for lead, underage in zip(leads, underages)]

    def echelon(instance):
        import jax.numpy as jnp

        levels = jnp.asarray(optima[instance].levels, jnp.float32)

        def orders(inventory):
            echelon_stock = jnp.cumsum(inventory.sum(axis=-1)[:, ::-1], axis=-1)[:, ::-1]
            return jnp.maximum(levels - echelon_stock, 0)

        return orders

    config = HDPO(policy="echelon_stock", learning_rate=0.5, batch_size=256, num_scenarios=None)
    updates = 800
    if policy == "vanilla":
        config = HDPO(learning_rate=1e-2, max_grad_norm=1.0, hidden_sizes=(32, 32), batch_size=256, num_scenarios=None)
        updates = 3000
    return Setting(
        title=f"serial, {policy.replace('_', ' ')}",
        env="inventory/serial-v0",
        env_settings={},
        variants={"lead_time": [(2, 4, 3, lead) for lead in leads], "underage": underages},
        names=[f"L {lead}, p {underage:g}" for lead, underage in zip(leads, underages)],
        optimum=[optimum.cost for optimum in optima],
        policy=echelon,
        config=config.replace(anneal_learning_rate=True),
        updates=updates,
        bounds=(None, 0.6),
    )


def transshipment() -> Setting:
    """A centre without stock and five stores, against the lower bound of free rebalancing."""
    from jaxrl.envs.inventory import optimal
    from jaxrl.envs.inventory.settings import DEVIATIONS, MEANS

    from jaxrl import HDPO

    instances = [(correlation, underage) for correlation in (0.0, 0.5) for underage in (4.0, 9.0)]
    return Setting(
        title="transshipment, 5 stores, L 6, graph",
        env="inventory/transshipment-v0",
        env_settings={"stores": 5, "lead_time": 6},
        variants={"demand_correlation": [c for c, _ in instances], "underage": [p for _, p in instances]},
        names=[f"rho {correlation:g}, p {underage:g}" for correlation, underage in instances],
        optimum=[
            optimal.transshipment_bound(MEANS[:5], DEVIATIONS[:5], correlation, 3, 6, underage).cost_per_store
            for correlation, underage in instances
        ],
        policy=None,
        config=HDPO(
            policy="graph", hidden_sizes=(32, 32), learning_rate=3e-3, max_grad_norm=1.0, batch_size=128,
            num_scenarios=None, anneal_learning_rate=True,
        ),
        updates=1000,
        bounds=(None, 1.0),
    )  # fmt: skip


SETTINGS: dict[str, Callable[[], Setting]] = {
    "lost": lost,
    "backlogged": backlogged,
    "serial_echelon": partial(serial, "echelon_stock"),
    "serial_vanilla": partial(serial, "vanilla"),
    "transshipment": transshipment,
}


# --- training and judging -----------------------------------------------------------------------------------------


def trained(setting: Setting, arguments: Arguments) -> list[Row]:
    """Gaps of one population, instance by instance."""
    import numpy as np

    from jaxrl import make, train
    from jaxrl.engine.sinks import Progress

    env = make(setting.env, **setting.env_settings)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    result = train(
        setting.config,
        env,
        seeds=seeds,
        updates=arguments.updates or setting.updates,
        evaluate_every=0,
        env_variants=setting.variants,
        sinks=[Progress()],
    )
    costs = fresh_costs(setting, env, result)  # [instances, seeds]
    gaps = 100 * (costs / np.array(setting.optimum)[:, None] - 1)
    rows = [
        at_most(f"{setting.title}, {name}: gap %", gap, setting.bounds[1])
        for name, gap in zip(setting.names, gaps, strict=True)
    ]
    mean_bound, _ = setting.bounds
    if mean_bound is not None:
        rows.append(at_most(f"{setting.title}, mean of the instances: gap %", gaps.mean(axis=0), mean_bound))
    seconds = result.seconds["train"] / len(gaps.reshape(-1))
    print(f"{setting.title}: {seconds:.2f} s of training a member, {result.steps_per_second:,.0f} periods a second")
    return rows


def fresh_costs(setting: Setting, env: Any, result: Any) -> Any:
    """``[instances, seeds]`` cost of each member's best parameters on fresh traces, the same for all instances."""
    import jax
    import numpy as np
    from jaxrl.envs.inventory import simulate

    from jaxrl.engine.population import Instance, checked_env_fields

    test, params = setting.test, env.default_params
    fields = checked_env_fields(params, setting.variants)
    seeds = len(result.members) // len(setting.names)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 2**31), test["scenarios"])

    def cost(act, env_fields):
        env_params = Instance(setting.config, env_fields).env_params(params)
        return simulate(
            env,
            lambda obs: act(obs, env_params),
            keys,
            test["periods"],
            env_params,
            ignore=test["ignore"],
            round_orders=setting.round_orders,
        ).mean()

    def member(weights, env_fields):
        return cost(lambda obs, env_params: setting.config.orders(env, env_params).act(weights, obs), env_fields)

    judge = jax.jit(lambda weights, env_fields: jax.lax.map(lambda one: member(*one), (weights, env_fields)))
    devices = jax.local_devices()
    places = np.array_split(np.arange(len(result.members)), len(devices))
    best = result.states.learner.best

    def part(index, device):
        arguments = (
            jax.tree.map(lambda leaf: leaf[index], best),
            {name: value[index // seeds] for name, value in fields.items()},
        )
        return judge(*jax.device_put(arguments, device))  # runs beside the next device's

    costs = np.concatenate([np.asarray(x) for x in [part(i, d) for i, d in zip(places, devices)]])
    costs = costs.reshape(len(setting.names), seeds)
    if setting.policy is None:
        return costs
    optimal = []
    for instance in range(len(setting.names)):
        orders = setting.policy(instance)
        act = lambda obs, env_params, orders=orders: orders(env.view(obs, env_params).inventory)  # noqa: E731
        own = {name: value[instance] for name, value in fields.items()}
        optimal.append(float(jax.jit(partial(cost, act))(own)))
    return np.array(setting.optimum)[:, None] + costs - np.array(optimal)[:, None]


if __name__ == "__main__":
    sys.exit(main())

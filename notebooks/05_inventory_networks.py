# %% [markdown]
# # Inventory networks
#
# A store orders goods that arrive days later, against demand that nobody knows. It is a Markov decision process like
# others, with two differences: demand does not care what was ordered, and the cost is a known function of orders and
# demand. Hindsight differentiable policy optimisation (HDPO, Alvo et al. 2023) uses both. It replays a policy on demand
# that was drawn beforehand, and differentiates the cost through the dynamics: no value function, no exploration, no
# score function.
#
# The optimal costs of some of these problems can be computed. So here one can see not only that learning works, but how
# far from the optimum it ends.

# %%
import subprocess
import sys

REPOSITORY = ""  # @param {type:"string"}

# On Colab this installs jaxrl from the git repository named above; anywhere else it does nothing.
if "google.colab" in sys.modules:
    if not REPOSITORY:
        raise ValueError("REPOSITORY='': must be the address of jaxrl's git repository")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", f"git+{REPOSITORY}"], check=True)

# %%
import os

QUICK = os.environ.get("JAXRL_QUICK") == "1"  # tiny sizes, for the tests
LEAD_TIMES, UNDERAGES = ((1, 2), (4.0, 9.0)) if QUICK else ((1, 2, 3, 4), (4.0, 9.0, 19.0, 39.0))
BATCH, UPDATES, NETWORK_UPDATES = (16, 20, 20) if QUICK else (128, 1_500, 1_000)
SCENARIOS, PERIODS, WARM_UP = (32, 120, 40) if QUICK else (2_048, 400, 100)  # of the tests

# %%
import jaxrl

jaxrl.use_all_cores()

import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from jaxrl import envs
from jaxrl.engine.episode import episode_recorder
from jaxrl.envs.inventory import optimal, simulate

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## One store
#
# Every period the store sees its inventory, orders, and meets a demand that is Poisson with mean 5. What cannot be met
# is lost and costs `underage` a unit; what is left over costs `holding` a unit. An order arrives `lead_time` periods
# later.
#
# The observation is the inventory: on hand, due in one period, in two, and so on. The action is an order. The reward
# is the negative cost of the period. `lean=False` keeps what happened in the last period in the state, to be drawn.

# %%
env = envs.make("inventory/one-store-lost-v0", lean=False)
params = env.default_params
print(f"lead time {params.lead_time[0]}, holding {params.holding[0]:g}, underage {params.underage[0]:g} a unit")
print("observation", env.observation_space(params).shape, "action", env.action_space(params).shape)

# %% [markdown]
# The rule of thumb of the field is the base-stock policy: order what stock on hand and in transit is short of a level.
# A cap on the order makes it better where demand is lost, since a large order after a run of high demand arrives when
# it is over. The best level and cap of this store, and their cost, can be computed exactly, and so can the optimum over
# all policies.

# %%
lead_time, underage = int(params.lead_time[0]), float(params.underage[0])
optimum = optimal.lost_sales_optimum(lead_time, 5.0, underage)
capped = optimal.best_capped_base_stock(lead_time, 5.0, underage)
print(f"cost a period: optimum {optimum.cost:.4f}, best base-stock level with a cap {capped.cost:.4f}")
print(f"it fills up to {capped.level} units, at most {capped.cap} at a time")


def capped_base_stock(obs, level, cap):
    """Orders `[B, 1]` for inventories `[B, slots]`."""
    return jnp.clip(level - obs.sum(axis=-1, keepdims=True), 0, cap)


# %%
def draw_stock(axis, states, node, name):
    """Stock at the start of each period: on hand, in transit on top of it, and demand that waits below 0."""
    inventory = states.inventory[:-1, node]
    edges = np.arange(len(inventory) + 1) - 0.5
    on_hand = np.maximum(inventory[:, 0], 0)
    axis.stairs(on_hand, edges, fill=True, color="C0", label="on hand")
    total = on_hand + inventory[:, 1:].sum(axis=1)
    axis.stairs(total, edges, baseline=on_hand, fill=True, color="C0", alpha=0.35, label="in transit")
    if (inventory[:, 0] < 0).any():
        axis.stairs(np.minimum(inventory[:, 0], 0), edges, fill=True, color="C3", label="waiting")
    axis.set(ylabel=f"{name}\nunits", xlim=(edges[0], edges[-1]))


def draw_demand(axis, states):
    """Demand of a single store that was met and that was not, and its orders."""
    demand = states.last.demand[1:, 0]
    met = np.minimum(demand, states.inventory[:-1, 0, 0])
    edges = np.arange(len(demand) + 1) - 0.5
    axis.stairs(met, edges, fill=True, color="C2", alpha=0.5, label="demand met")
    axis.stairs(demand, edges, baseline=met, fill=True, color="C3", label="demand lost")
    axis.stairs(states.last.shipments[1:, 0], edges, baseline=None, color="black", label="ordered")
    axis.set(ylabel="units a period")


# %%
heuristic = lambda obs, key: capped_base_stock(obs, capped.level, capped.cap)
episode = episode_recorder(heuristic, env, params, steps=80)(jax.random.key(2))
figure, axes = plt.subplots(3, 1, figsize=(9, 5.4), sharex=True)
draw_stock(axes[0], episode.states, 0, "stock")
draw_demand(axes[1], episode.states)
axes[2].bar(np.arange(episode.length), -episode.rewards, width=1, color="C7")
axes[2].axhline(-episode.rewards.mean(), color="black", linewidth=1)
axes[2].set(ylabel="cost a period", xlabel="period")
for axis in axes[:2]:
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97))
plt.show()
# %% [markdown]
# `python -m experiments.play` draws such a page of a trained member of any inventory network, each node of it.
#
# ## The gradient is there already
#
# `simulate` runs a policy on many scenarios, each a start and a demand trace that its key stands for. With the keys
# fixed its mean is an ordinary function of the policy's parameters, and jax differentiates it. Here the parameter is
# the level of a base-stock policy without a cap: the curve is the cost, the tangents are what `jax.grad` says.

# %%
scenarios = jax.random.split(jax.random.key(0), 64 if QUICK else 512)


def mean_cost(level):
    order = lambda obs: capped_base_stock(obs, level, jnp.inf)
    return simulate(env, order, scenarios, 100, params, ignore=40).mean()


levels = jnp.linspace(22, 36, 29)
costs, slopes = jax.jit(jax.vmap(jax.value_and_grad(mean_cost)))(levels)
figure, axis = plt.subplots(figsize=(6.5, 3.4))
axis.plot(levels, costs, color="C0", label="mean cost of the scenarios")
for level, cost, slope in list(zip(levels, costs, slopes))[2::4]:
    axis.plot([level - 1, level + 1], [cost - slope, cost + slope], color="C1", linewidth=2)
axis.plot([], [], color="C1", linewidth=2, label="gradient")
axis.axhline(optimum.cost, color="black", linewidth=0.8, linestyle="--", label="optimum over all policies")
axis.set(xlabel="base-stock level, units", ylabel="cost a period")
axis.legend(frameon=False)
plt.show()
# %% [markdown]
# No base-stock level reaches the optimum. A network that sees the whole inventory can.
#
# ## Sixteen problems, one program
#
# The instances of Zipkin (2008) are four lead times times four underage costs. Both are numbers in the environment's
# parameters, so `env_variants` makes each instance a member of one compiled program, as a sweep does with
# hyperparameters. Each has a network of its own, trained by HDPO: in every update new scenarios, simulated for 50
# periods, and one step of Adam along the gradient of their mean cost. Now and then the parameters are scored on other
# scenarios, and the best ones are kept.

# %%
instances = list(itertools.product(LEAD_TIMES, UNDERAGES))
algorithm = jaxrl.HDPO(
    learning_rate=3e-3,
    batch_size=BATCH,
    num_scenarios=None,  # new ones in every update
    development_every=10 if QUICK else 50,
    anneal_learning_rate=True,
)
result = jaxrl.train(
    algorithm,
    "inventory/one-store-lost-v0",
    seeds=1,
    updates=UPDATES,
    evaluate_every=0,
    env_variants={"lead_time": [lead for lead, _ in instances], "underage": [cost for _, cost in instances]},
)
print(f"{len(instances)} networks, {UPDATES} updates of {BATCH} scenarios each:")
print(f"compiled in {result.seconds['compile']:.1f} s, trained in {result.seconds['train']:.1f} s")

# %% [markdown]
# ## How far from the optimum?
#
# What is learned is tested on new demand, with orders rounded to whole units. The differences to look for are a few
# tenths of a percent, less than the noise of a mean cost. But the best capped base-stock policy meets the same demand
# in the same simulation, and its cost is known exactly:
#
# cost = exact cost of the heuristic + mean difference between the two on the same demand.
#
# Most of the noise is common to both, and goes.

# %%
policy = algorithm.orders(env, params)
best = result.states.learner.best  # the best parameters, leaves [members, ...]
optima = {instance: optimal.lost_sales_optimum(instance[0], 5.0, instance[1]) for instance in instances}
heuristics = {instance: optimal.best_capped_base_stock(instance[0], 5.0, instance[1]) for instance in instances}
base_stocks = {instance: optimal.best_base_stock(instance[0], 5.0, instance[1]) for instance in instances}
fresh = jax.random.split(jax.random.key(1_000), SCENARIOS)


@jax.jit
@jax.vmap
def difference(weights, lead_time, underage, level, cap):
    """Mean cost of the learned policy less that of the heuristic, and its standard error."""
    instance = params.replace(lead_time=lead_time[None], underage=underage[None])
    learned, known = (
        simulate(env, order, fresh, PERIODS, instance, ignore=WARM_UP, round_orders=True)
        for order in (lambda obs: policy.act(weights, obs), lambda obs: capped_base_stock(obs, level, cap))
    )
    return jnp.mean(learned - known), jnp.std(learned - known) / SCENARIOS**0.5


lower, error = difference(
    best,
    jnp.array([lead for lead, _ in instances]),
    jnp.array([cost for _, cost in instances]),
    jnp.array([heuristics[instance].level for instance in instances]),
    jnp.array([heuristics[instance].cap for instance in instances]),
)
table = pd.DataFrame(instances, columns=["lead time", "underage"])
table["optimum"] = [optima[instance].cost for instance in instances]
table["base stock"] = [base_stocks[instance].cost for instance in instances]
table["capped base stock"] = [heuristics[instance].cost for instance in instances]
table["HDPO"] = table["capped base stock"] + np.asarray(lower)
gaps = 100 * (table[["base stock", "capped base stock", "HDPO"]].div(table["optimum"], axis=0) - 1)
table.round(3)

# %%
print("gap to the optimum, mean over the instances:")
print((gaps.mean().round(2).astype(str) + "%").to_string())
better = int((gaps["HDPO"] < gaps["capped base stock"]).sum())
print(f"HDPO beats the best capped base-stock policy in {better} of {len(instances)} instances")
print(f"largest standard error of a gap of HDPO: {100 * np.max(error / table['optimum']):.2f}%")

# %%
figure, axis = plt.subplots(figsize=(9.5, 3.6))
place = np.arange(len(instances)) + np.array([LEAD_TIMES.index(lead) for lead, _ in instances])
for name, marker, color in (("base stock", "s", "C7"), ("capped base stock", "D", "C1"), ("HDPO", "o", "C0")):
    axis.plot(place, gaps[name], marker, color=color, markersize=6, label=name)
axis.vlines(place, 0, gaps["base stock"], color="lightgrey", linewidth=1, zorder=0)
axis.axhline(0, color="black", linewidth=0.8)
axis.set_xticks(place, [f"{cost:g}" for _, cost in instances])
for lead in LEAD_TIMES:
    middle = np.mean([x for x, (other, _) in zip(place, instances) if other == lead])
    axis.text(middle, 0.97, f"lead time {lead}", ha="center", va="top", transform=axis.get_xaxis_transform())
axis.set(xlabel="underage cost a unit", ylabel="gap to the optimum in %", ylim=(None, 1.25 * gaps["base stock"].max()))
axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
plt.show()
# %% [markdown]
# ## What it orders
#
# With a lead time of 2 the state is two numbers, units on hand and units due in the next period, and a policy is a
# picture. The optimal table is what value iteration found. The learned one knows nothing of tables: it was fitted to
# costs. States in full colour make up 99.9% of a long simulation; what a policy does in the pale ones hardly matters,
# and hardly gave it a gradient.

# %%
shown = (2, 9.0)
member = instances.index(shown)
weights = jax.tree.map(lambda leaf: leaf[member], best)
instance = params.replace(
    lead_time=jnp.array([shown[0]]), underage=jnp.array([shown[1]]), max_steps_in_episode=PERIODS * 10
)
rounded = lambda obs, key: jnp.round(policy.act(weights, obs))
states = episode_recorder(rounded, env, instance, PERIODS * 10)(jax.random.key(3)).states

rows, columns = 15, 10  # on hand, due
grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)  # [rows, columns, 2]
inventories = np.concatenate([grid, np.zeros((rows, columns, env.network.pipeline - 2))], axis=-1)
learned = np.rint(jax.jit(policy.act)(weights, inventories.astype(np.float32)))[..., 0]
table_orders = np.asarray(jax.jit(optima[shown].order)(grid))

visited = np.rint(states.inventory[WARM_UP:, 0, :2]).astype(int)
visited = visited[(visited < [rows, columns]).all(axis=1)]
counts = np.zeros((rows, columns))
np.add.at(counts, tuple(visited.T), 1)
descending = np.sort(counts, axis=None)[::-1]
often = counts >= descending[np.searchsorted(descending.cumsum(), 0.999 * descending.sum())]

# %%
figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.8), sharey=True)
most = max(learned.max(), table_orders.max())
panels = (
    ("optimal order", table_orders, "viridis", (0, most)),
    ("learned order", learned, "viridis", (0, most)),
    ("learned less optimal", learned - table_orders, "RdBu", (-4, 4)),
)
for axis, (title, values, colors, (low, high)) in zip(axes, panels):
    axis.imshow(values, cmap=colors, vmin=low, vmax=high, origin="lower", aspect="auto", alpha=np.where(often, 1, 0.3))
    for (row, column), value in np.ndenumerate(values):
        dark = colors == "viridis" and often[row, column] and value < 0.55 * most
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axis.set(title=title, xlabel="due in the next period, units")
axes[0].set_ylabel("on hand, units")
plt.show()
# %%
wrong = np.abs(learned - table_orders)
print(f"mean over a long simulation: {np.sum(counts * wrong) / counts.sum():.2f} units off the optimal order")
print(f"the same whole order in {np.sum(counts * (wrong == 0)) / counts.sum():.0%} of all periods")

# %% [markdown]
# ## A network
#
# A warehouse orders from outside, keeps nothing, and ships all that arrives to three stores, where demand waits until
# it is met. No optimum is known for it. But if goods could be moved between stores for nothing, the problem would be
# one of a single store with a known optimum, and that bounds the cost from below (Federgruen and Zipkin 1984).
#
# The action is an order along each edge of the network. The vanilla policy is one network that sees all inventories;
# its head splits what the warehouse has by a softmax. Underage cost and correlation of demand differ between the
# members of one program again.

# %%
settings = {"stores": 3, "lead_time": 2}
network = envs.make("inventory/transshipment-v0", lean=False, **settings)
shape = network.default_params
cases = [(4.0, 0.0), (4.0, 0.5), (9.0, 0.0), (9.0, 0.5)]
means, deviations = np.asarray(shape.demand_mean), np.asarray(shape.demand_std)
lead_times = [int(lead) for lead in shape.lead_time]
bounds = [
    optimal.transshipment_bound(means, deviations, correlation, lead_times[0], lead_times[1], cost).cost_per_store
    for cost, correlation in cases
]
print("edges (source, target), -1 is outside:", network.network.edges)
print("lead times:", lead_times)

# %%
network_algorithm = algorithm.replace(hidden_sizes=(64, 64))
network_result = jaxrl.train(
    network_algorithm,
    "inventory/transshipment-v0",
    env_settings=settings,
    seeds=1,
    updates=NETWORK_UPDATES,
    evaluate_every=0,
    env_variants={
        "underage": [cost for cost, _ in cases],
        "demand_correlation": [correlation for _, correlation in cases],
    },
)
print(f"trained in {network_result.seconds['train']:.1f} s")

# %%
network_policy = network_algorithm.orders(network, shape)


@jax.jit
@jax.vmap
def tested(weights, underage, correlation):
    """Mean cost per store and period, and its standard error."""
    case = shape.replace(underage=jnp.full(3, underage), demand_correlation=correlation)
    order = lambda obs: network_policy.act(weights, obs)
    costs = simulate(network, order, fresh, PERIODS, case, ignore=WARM_UP)
    return costs.mean(), costs.std() / SCENARIOS**0.5


network_costs, network_errors = tested(network_result.states.learner.best, *map(jnp.array, zip(*cases)))
rows = pd.DataFrame(cases, columns=["underage", "correlation"])
rows["lower bound"], rows["HDPO"] = bounds, np.asarray(network_costs)
rows["above it, %"] = 100 * (rows["HDPO"] / rows["lower bound"] - 1)
rows["standard error, %"] = 100 * np.asarray(network_errors) / rows["lower bound"]
rows.round(3)

# %% [markdown]
# An episode of the last of them. The warehouse is a relay: what arrives there is gone in the same period. Goods go
# where they are needed most, so the stores run short together, if at all.

# %%
last = jax.tree.map(lambda leaf: leaf[-1], network_result.states.learner.best)
case = shape.replace(underage=jnp.full(3, cases[-1][0]), demand_correlation=jnp.float32(cases[-1][1]))
episode = episode_recorder(lambda obs, key: network_policy.act(last, obs), network, case, 100)(jax.random.key(5))
figure, axes = plt.subplots(4, 1, figsize=(9, 6.4), sharex=True)
for node, (axis, name) in enumerate(zip(axes, ("warehouse", "store 0", "store 1", "store 2"))):
    draw_stock(axis, episode.states, node, name)
handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
axes[0].legend(
    handles.values(), handles.keys(), frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97)
)
axes[-1].set_xlabel("period")
plt.show()
# %% [markdown]
# Other networks are a matter of `env`: `inventory/serial-v0`, `inventory/one-warehouse-v0`,
# `inventory/many-warehouses-v0` and those that replay recorded sales. With `policy="graph"` the network passes messages
# along the supply network's edges, and its parameters fit a supply network of any size. How close each gets to what is
# known stands in the documentation's page on methods.

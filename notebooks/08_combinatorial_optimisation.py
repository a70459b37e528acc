# %% [markdown]
# # Combinatorial optimisation
#
# A tour can be constructed city by city, and a network can learn which city comes next. Two ways to teach it are here.
# BQ (Drakulic et al. 2023) imitates solved instances: after every step what is left is a smaller instance of the same
# kind, the network is shown that instance alone, and every suffix of an optimal tour is an example. POMO (Kwon et al.
# 2020) needs no solutions: it constructs tours from all cities of an instance and learns from their differences.
#
# Instances here are small enough for exact optima, so one can see how far from the optimum a tour is.

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
CITIES, LABELS, TESTS = (6, 40, 8) if QUICK else (12, 600, 100)
UPDATES, POMO_UPDATES, ROUTE_UPDATES = (5, 5, 5) if QUICK else (800, 400, 200)

# %%
import jaxrl

jaxrl.use_all_cores()

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from jaxrl.envs.combinatorial import CVRP, KP, NOWHERE, TSP, solution_cost
from jaxrl.envs.combinatorial.subproblems import routes_of
from jaxrl.policies.construction import augmented, beam, greedy, multistart, rotated
from jaxrl.sources.expert import label, request

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## Solved instances
#
# `label` draws instances, has an expert solve them, and keeps both in a folder; asked again it reads them. The expert
# here is dynamic programming over sets of cities, which is exact and good for up to 17 of them. `fast-tsp` and `elkai`
# are for more, and `python -m experiments.label` uses all cores.

# %%
labels = label("labels", request("tsp", {"nodes": CITIES}, seed=0, solver="held-karp"), LABELS, workers=0)
tests = label("tests", request("tsp", {"nodes": CITIES}, seed=1, solver="held-karp"), TESTS, workers=0)
print(f"{LABELS} instances of {CITIES} cities to learn from, mean length of the optimal tours {labels.cost.mean():.3f}")

# %% [markdown]
# ## Imitation of what is left
#
# The environment `quotient/combinatorial/tsp-v0` has sub-instances as states: where one is, where one has to end, and
# the cities that are left. The network is a transformer of these, encoded anew at every step.

# %%
env = jaxrl.make("quotient/combinatorial/tsp-v0", nodes=CITIES)
sizes = {"layers": 3, "width": 32, "heads": 4, "hidden_width": 64}
bq = jaxrl.BQ(
    learning_rate=2e-3,
    decay=0.5,
    decay_updates=max(1, UPDATES // 4),
    labels="labels",
    batch_size=128,
    num_sizes=1,
    **sizes,
)
result = jaxrl.train(bq, env, seeds=1, updates=UPDATES, evaluate_every=0)
params = jax.tree.map(lambda leaf: leaf[0], result.states.learner.params)
print(f"compiled in {result.seconds['compile']:.1f} s, trained in {result.seconds['train']:.1f} s")

# %% [markdown]
# ## Decoding
#
# One network, several ways to use it. Greedy takes the likeliest city at every step. A beam keeps the likeliest
# beginnings of tours. A tour may as well be told from any city, and an instance may be mirrored and turned: of several
# tours the best is kept. `beam`, `rotated` and `augmented` are transforms, so they combine. `SIZES` are what
# sub-instances are compacted to on the way: by default ten, which pays for large instances; few compile faster.

# %%
SIZES = (CITIES + 1, CITIES // 2 + 1)
single = greedy(TSP, bq.scorer(env), SIZES)
decodings = {
    "greedy": single,
    "from 4 cities": rotated(TSP, single, 4),
    "8 images": augmented(TSP, single),
    "beam of 16": beam(TSP, bq.scorer(env), 16, SIZES),
}


def lengths_of(problem, instances, actions):
    """`[B]` of solutions `[B, T]`."""
    return np.asarray(jax.vmap(lambda *each: solution_cost(problem, *each))(instances, jnp.asarray(actions)))


tours = {name: np.asarray(jax.jit(decode)(params, tests.solved.instance)) for name, decode in decodings.items()}
gaps = {name: lengths_of(TSP, tests.solved.instance, found) / tests.cost - 1 for name, found in tours.items()}
pd.DataFrame(
    {
        "mean gap %": {name: 100 * gap.mean() for name, gap in gaps.items()},
        "optimal %": {name: 100 * (gap < 1e-5).mean() for name, gap in gaps.items()},
    }
).round(2)

# %% [markdown]
# A tour that greedy decoding gets wrong, and what the others make of it:


# %%
def draw_routes(axis, at, actions, problem, title):
    """A solution as closed ways through its nodes, from the first node or the depot and back to it."""
    for number, route in enumerate(routes_of(problem, actions)):
        way = at[[0, *route, 0]]
        axis.plot(way[:, 0], way[:, 1], color=f"C{number}", linewidth=1.5)
    axis.scatter(at[1:-1, 0], at[1:-1, 1], color="black", s=12, zorder=3)
    axis.scatter(*at[0], color="C3", marker="s", s=30, zorder=3)
    axis.set(title=title, xticks=[], yticks=[], aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))


row = int(np.argmax(gaps["greedy"]))
at = np.asarray(tests.solved.instance.nodes["coordinates"][row])
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
draw_routes(axes[0], at, tests.solved.actions[row], TSP, f"optimum {tests.cost[row]:.3f}")
for axis, name in zip(axes[1:], ("greedy", "from 4 cities", "beam of 16")):
    draw_routes(axis, at, tours[name][row], TSP, f"{name}, +{100 * gaps[name][row]:.1f}%")
plt.show()
# %% [markdown]
# ## Without solutions
#
# POMO lives in the direct process, `combinatorial/tsp-v0`: the state is the whole instance and the tour so far, and the
# instance is encoded once. An update constructs a tour from every city of 64 fresh instances. Each is better or worse
# than the mean of its instance, and that difference weighs its score function: REINFORCE with a shared baseline.

# %%
direct = jaxrl.make("combinatorial/tsp-v0", nodes=CITIES)
pomo = jaxrl.POMO(learning_rate=2e-3, anneal_learning_rate=True, **sizes)
each = pomo.make(direct, updates=1).steps_per_update * max(1, POMO_UPDATES // 20)  # steps between rows of the curve
trial = jaxrl.train(pomo, direct, seeds=1, updates=POMO_UPDATES, evaluate_every=each, evaluation_episodes=4)
tried = jax.tree.map(lambda leaf: leaf[0], trial.states.learner.params)
print(f"compiled in {trial.seconds['compile']:.1f} s, trained in {trial.seconds['train']:.1f} s")

# %%
figure, axis = plt.subplots(figsize=(6.5, 3))
curve = trial.frame.query("member == 0")
axis.plot(curve["updates"], -curve["episode_return"], color="C0", label="tours that are learned from")
axis.plot(curve["updates"], -curve["best_return"], color="C1", label="the best of each instance")
axis.axhline(labels.cost.mean(), color="black", linewidth=0.8, linestyle="--", label="optimum, mean of the labels")
axis.set(xlabel="updates", ylabel="mean length")
axis.legend(frameon=False)
plt.show()

# %%
for name, number in {"greedy": 1, "from all cities": CITIES}.items():
    decode = pomo.decoder(direct, lambda score: rotated(TSP, greedy(TSP, score, SIZES), number))
    found = jax.jit(decode)(tried, tests.solved.instance)
    gap = lengths_of(TSP, tests.solved.instance, found) / tests.cost - 1
    print(f"mean gap to the optimum, {name}: {100 * gap.mean():.2f}%")

# %% [markdown]
# ## Routes
#
# In the capacitated vehicle routing problem a vehicle serves customers from a depot and has to go back to be filled up.
# An action is a customer and whether to go there by way of the depot. Nothing else changes: the problem is a few pure
# functions, the algorithm is the same. Its solutions begin with every customer; the best of these is drawn, after a few
# seconds of training.

# %%
CUSTOMERS, CAPACITY = (5, 12) if QUICK else (10, 20)
routing = jaxrl.make("combinatorial/cvrp-v0", nodes=CUSTOMERS, capacity=CAPACITY)
router = pomo.replace(batch_size=32)
trained = jaxrl.train(router, routing, seeds=1, updates=ROUTE_UPDATES, evaluate_every=0)
settings = {"nodes": CUSTOMERS, "capacity": CAPACITY}
routed = label("routes", request("cvrp", settings, seed=1, solver="held-karp"), 8, workers=0)
weights = jax.tree.map(lambda leaf: leaf[0], trained.states.learner.params)
decode = router.decoder(routing, lambda score: multistart(CVRP, score, CUSTOMERS, (CUSTOMERS + 2,)))
found = np.asarray(jax.jit(decode)(weights, routed.solved.instance))
gap = lengths_of(CVRP, routed.solved.instance, found) / routed.cost - 1
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
for column in range(2):
    at = np.asarray(routed.solved.instance.nodes["coordinates"][column])
    draw_routes(axes[2 * column], at, routed.solved.actions[column], CVRP, f"optimum {routed.cost[column]:.3f}")
    draw_routes(axes[2 * column + 1], at, found[column], CVRP, f"POMO, +{100 * gap[column]:.1f}%")
plt.show()
# %% [markdown]
# ## A knapsack
#
# Items have a value and a weight, and what is chosen must not be too heavy. There is no order, so the network imitates
# any of the items of an optimal knapsack that are left. One knapsack, all its items by weight and value:

# %%
ITEMS = 12 if QUICK else 30
packing = jaxrl.make("quotient/combinatorial/kp-v0", nodes=ITEMS)
packed = label("items", request("kp", {"nodes": ITEMS}, seed=0, solver="knapsack"), LABELS, workers=0)
unseen = label("unseen", request("kp", {"nodes": ITEMS}, seed=1, solver="knapsack"), TESTS, workers=0)
packer = bq.replace(labels="items", decay_updates=max(1, ROUTE_UPDATES // 4))
trained = jaxrl.train(packer, packing, seeds=1, updates=ROUTE_UPDATES, evaluate_every=0)
weights = jax.tree.map(lambda leaf: leaf[0], trained.states.learner.params)
chosen = np.asarray(jax.jit(greedy(KP, packer.scorer(packing), (ITEMS,)))(weights, unseen.solved.instance))
worth = lengths_of(KP, unseen.solved.instance, chosen)
print(f"mean gap of greedy decoding to the optimum: {100 * np.mean(1 - worth / unseen.cost):.2f}%")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, sharey=True)
row = int(np.argmax(worth / unseen.cost < 1 - 1e-6))  # one that is not optimal, if there is any
nodes = {name: np.asarray(values[row]) for name, values in unseen.solved.instance.nodes.items()}
capacity = float(unseen.solved.instance.capacity[row])
for axis, title, actions in ((axes[0], "optimum", unseen.solved.actions[row]), (axes[1], "greedy", chosen[row])):
    inside = np.isin(np.arange(ITEMS), actions[actions != NOWHERE])
    axis.scatter(nodes["weight"][~inside], nodes["value"][~inside], color="lightgrey", label="left")
    axis.scatter(nodes["weight"][inside], nodes["value"][inside], color="C0", label="taken")
    value, weight = nodes["value"][inside].sum(), nodes["weight"][inside].sum()
    axis.set(title=f"{title}: value {value:.0f}", xlabel=f"weight, together {weight:.0f} of {capacity:.0f}")
axes[0].set_ylabel("value")
axes[0].legend(frameon=False)
plt.show()
# %% [markdown]
# `python -m experiments.train bq` and `pomo` train larger networks, `python -m experiments.solve` has them solve files
# of TSPLIB and CVRPLIB, and `python -m experiments.reproduce.bq_nco` sets both beside what their papers claim.

# %% [markdown]
# # Bellman transforms
#
# A finite decision process is solved by one backup, repeated. Who chooses the next state, what is kept of the returns,
# and how actions are compared are slots of that backup, and a transform fills one of them. This notebook draws what
# three of them do: laws of returns instead of means, a stock that lets one solution hit whatever return is asked for,
# and an adversary, whose price can be read off.

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
RADII, TARGETS = (4, 3) if QUICK else (25, 7)

# %%
import jaxrl

jaxrl.use_all_cores()

import matplotlib.pyplot as plt
import numpy as np

from jaxrl.bellman import (
    KL,
    Particles,
    bellman,
    distributional,
    follow,
    law_of_return,
    nearness,
    robust,
    solve,
    solve_cvar,
    solve_many,
    solve_with_stock,
)
from jaxrl.envs.tabular import gamble_chain, gridworld, machine_replacement

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## Laws of returns
#
# A chain of three gambles: at each one there is a safe reward and a risky one. `distributional(...)` in the backup
# keeps the law of the return where there was its mean, and the means come out as before.

# %%
process = gamble_chain(discount=0.9)
means = solve(process, horizon=3)
laws = solve(process, bellman(distributional(Particles(64))), horizon=3)
start = int(np.argmax(process.start))
print(f"mean {means.value[0, start]:.6f}, mean of the law {laws.value[0, start]:.6f}")

# %% [markdown]
# The policy of the best mean may lose. `solve_cvar` looks for the policy whose worst share of returns has the greatest
# mean. Such a policy needs to know what has been earned, so the backup runs over pairs of a state and a stock of past
# rewards; the share only decides which stock to start from.

# %%
stocks = np.linspace(-10, 6, 161)
best = {level: solve_cvar(process, level, stocks, horizon=3) for level in (1.0, 0.5, 0.1)}

figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.7), sharex=True, sharey=True)
for axis, (level, found) in zip(axes, best.items()):
    law = law_of_return(process, found.solution.decide, 3, found.stock)
    worst = law.cvar(level)
    axis.vlines(law.atoms, 0, law.weights, color="C0", linewidth=4)
    axis.axvline(law.mean(), color="C1", linestyle=":", label=f"mean {law.mean():.2f}")
    axis.axvline(worst, color="C3", linestyle="--", label=f"worst {level:.0%}: {worst:.2f}")
    axis.set_title(f"best mean of the worst {level:.0%}", fontsize=10)
    axis.set_xlabel("return")
    axis.legend(fontsize=8)
axes[0].set_ylabel("probability")

# %% [markdown]
# ## One solution, many requested returns
#
# With the utility `-|stock + return|` and a first stock of `-t`, the best policy is the one whose return is nearest to
# `t`. One solution over all stocks holds the policies for every request at once. On this map every arrival at a cell
# marked `1` pays 1, and one step of five slips into a random direction.

# %%
walk = gridworld("S.1.1 .1.1. 1.1.1", slip=0.2, rewards={"1": 1.0}, terminal="", discount=1.0)
horizon = 8
requested = solve_with_stock(walk, nearness(), np.arange(-8.0, 9.0), horizon=horizon)
targets = np.linspace(0, 6, TARGETS)
achieved = [
    law_of_return(walk, requested.decide, horizon, -target, state=int(np.argmax(walk.start))) for target in targets
]

figure, axis = plt.subplots(figsize=(5.2, 3.0))
axis.plot(targets, targets, color="0.7", linewidth=1, label="asked for")
axis.scatter(targets, [law.mean() for law in achieved], color="C0", zorder=3, label="achieved, mean")
for target, law in zip(targets, achieved):
    axis.vlines(target, law.quantile(0.05), law.quantile(0.95), color="C0", linewidth=2)
axis.set_xlabel("requested return")
axis.set_ylabel("return")
axis.legend(fontsize=8)

# %% [markdown]
# ## The price of robustness
#
# `robust(KL(radius))` hands the choice of the next state to an adversary, who may move the kernel by `radius` in every
# state. All radii are solved in one program. The policy that is best against chance loses more and more to him; the one
# that is best against him gives up a little where there is no adversary: that is the price, and what it buys.

# %%
machine = machine_replacement(discount=0.8)
radii = np.linspace(0.0, 1.0, RADII)
against = solve_many(machine, [bellman(robust(KL(radius))) for radius in radii])
nominal = solve(machine)
worst_of_nominal = solve_many(machine, [bellman(robust(KL(radius)), follow(nominal.policy)) for radius in radii])
without_adversary = [solve(machine, bellman(follow(policy))).value @ machine.start for policy in against.policy]

figure, axis = plt.subplots(figsize=(5.6, 3.2))
axis.plot(radii, against.value @ machine.start, label="robust policy, worst case")
axis.plot(radii, worst_of_nominal.value @ machine.start, label="nominal policy, worst case")
axis.plot(radii, without_adversary, label="robust policy, no adversary")
axis.axhline(nominal.value @ machine.start, color="0.7", linestyle=":", label="nominal policy, no adversary")
axis.set_xlabel("radius of the KL ball")
axis.set_ylabel("value of the start")
axis.legend(fontsize=8)

# %% [markdown]
# What is guaranteed of which transforms together, and which are refused, is in
# [the explanation](../docs/explanation/bellman.md). The same slots are options of deep agents: `DQN(space="quantiles",
# utility="shortfall")` in `stock/<id>`.

# %% [markdown]
# # The first thousand seeds
#
# One call trains a thousand agents on CartPole, each from its own seed, in one compiled program. The results are a
# table with one row a member and evaluation.

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
SEEDS, STEPS, EPISODES = (8, 2_048, 1) if QUICK else (1_000, 30_720, 4)

# %% [markdown]
# ## Train
#
# `use_all_cores` makes every CPU core a device of its own. It has to come before anything that uses jax's devices;
# with a GPU or TPU it changes nothing.

# %%
import jaxrl

jaxrl.use_all_cores()

import matplotlib.pyplot as plt
import numpy as np

from jaxrl.stats import interquartile_interval

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

result = jaxrl.train(
    jaxrl.PPO(learning_rate=1e-3), "CartPole-v1", seeds=SEEDS, steps=STEPS, evaluation_episodes=EPISODES
)
steps = SEEDS * result.environment_steps[-1]
print(f"{SEEDS:,} members, {steps:,} environment steps: compiled in {result.seconds['compile']:.1f} s,")
print(f"trained in {result.seconds['train']:.1f} s, {result.steps_per_second:,.0f} steps/s")

# %% [markdown]
# The times above are of a busy machine with two cores, at the lowest priority. Speed measured on a quiet one stands in
# [the table of speeds](../docs/results/ppo-speed.md).
#
# ## The table
#
# `evaluation_return` is the mean return of greedy episodes at that moment; `episode_return` that of the episodes which
# ended while training, exploration included. Both are of one member.

# %%
columns = ["member", "seed", "learning_rate", "environment_steps", "evaluation_return", "episode_return", "loss"]
result.frame[columns].tail()

# %% [markdown]
# ## Learning curves
#
# Every member is a faint line. The dark line is the interquartile mean: the mean of the middle half, which a few
# failed or lucky seeds do not move. The band around it is its 95% bootstrap interval,
# narrow with a thousand seeds.

# %%
returns = result.metrics["evaluation_return"]  # [members, evaluations]
points = [interquartile_interval(column) for column in returns.T]

figure, axes = plt.subplots(figsize=(7.5, 4.2))
axes.plot(result.environment_steps, returns.T, color="C0", alpha=0.03 if SEEDS > 100 else 0.3, linewidth=0.8)
axes.plot(result.environment_steps, [p.value for p in points], color="navy", linewidth=2.2, label="interquartile mean")
axes.fill_between(
    result.environment_steps, [p.low for p in points], [p.high for p in points], color="navy", alpha=0.3, linewidth=0
)
axes.set(
    xlabel="environment steps of each member", ylabel="evaluation return", title=f"PPO on CartPole, {SEEDS:,} seeds"
)
axes.legend(frameon=False, loc="lower right")
plt.show()
# %% [markdown]
# ## What a thousand seeds show that three do not
#
# The shape: the same program, the same hyperparameters, and returns spread over the whole range while learning is
# under way. The interval says how well the middle is known; the histogram, how different members are.

# %%
shown = [len(points) // 5, len(points) // 2, len(points) - 1]
figure, axes = plt.subplots(1, len(shown), figsize=(9, 2.8), sharey=True)
for axis, evaluation in zip(axes, shown):
    axis.hist(returns[:, evaluation], bins=np.linspace(0, 500, 26), color="C0")
    axis.axvline(points[evaluation].value, color="navy", linewidth=2)
    axis.set(title=f"after {result.environment_steps[evaluation]:,} steps", xlabel="evaluation return")
axes[0].set_ylabel("members")
plt.show()
# %%
value, low, high = points[-1]
print(f"final return: interquartile mean {value:.1f}, 95% interval [{low:.1f}, {high:.1f}]")
print(f"members at the maximum of 500: {np.mean(returns[:, -1] == 500):.1%}")
print(f"members below 100: {np.mean(returns[:, -1] < 100):.1%}")
print(f"members that turned non-finite: {len(result.frozen)}")

# %% [markdown]
# ## A member does not notice the others
#
# A member's numbers depend on its seed and hyperparameters alone. Seed 5 among quite other seeds gives what it gave
# above, bit for bit as long as the tile (the members that a device trains in one call) is the same.

# %%
others = range(SEEDS, SEEDS + result.layout.group - 1)
again = jaxrl.train(
    jaxrl.PPO(learning_rate=1e-3),
    "CartPole-v1",
    seeds=[5, *others],
    steps=STEPS,
    evaluation_episodes=EPISODES,
    tile=result.layout.tile,
)
same = np.array_equal(again.metrics["evaluation_return"][0], returns[5])
print(f"seed 5 among {len(others)} others, the same bit for bit: {same}")

# %% [markdown]
# Next: [your own environment and transform](02_your_own_environment_and_transform.ipynb).

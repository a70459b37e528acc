# %% [markdown]
# # Sweeps, and statistics that mean something
#
# Hyperparameters that are numbers are an axis of the program, like seeds. So a sweep costs what its members cost, and
# compiles once. With many seeds one can also see how little few seeds say.

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
SWEEP_SEEDS, SWEEP_STEPS = (2, 1_024) if QUICK else (16, 30_720)
SEEDS, STEPS, EPISODES = (6, 1_024, 1) if QUICK else (1_000, 10_240, 4)

# %%
import jaxrl

jaxrl.use_all_cores()

import itertools

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from jaxrl.stats import interquartile_interval, interquartile_mean

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## A sweep is a vector
#
# A floating-point field may be a vector. All vectors have one length, and position `i` of each makes variant `i`.
# Every variant is trained with every seed.

# %%
rates, decays = [1e-4, 3e-4, 1e-3, 3e-3], [0.0, 0.9, 0.95]
grid = jnp.array(list(itertools.product(rates, decays)))  # [12, 2]
sweep = jaxrl.train(
    jaxrl.PPO(learning_rate=grid[:, 0], gae_lambda=grid[:, 1]),
    "CartPole-v1",
    seeds=SWEEP_SEEDS,
    steps=SWEEP_STEPS,
    evaluation_episodes=EPISODES,
)
print(f"{len(grid)} variants x {SWEEP_SEEDS} seeds: compiled once in {sweep.seconds['compile']:.1f} s,")
print(f"trained in {sweep.seconds['train']:.1f} s")

# %%
final = sweep.frame[sweep.frame["updates"] == sweep.updates[-1]]
digits = {"learning_rate": 5, "gae_lambda": 2}  # for the labels: they are float32 in the program
rounded = final.astype(dict.fromkeys(digits, float)).round(digits)
table = rounded.pivot_table("evaluation_return", "gae_lambda", "learning_rate", interquartile_mean)

figure, axes = plt.subplots(figsize=(5.5, 3.2))
image = axes.imshow(table, cmap="viridis", vmin=0, vmax=500, origin="lower", aspect="auto")
for (row, column), value in np.ndenumerate(table.to_numpy()):
    axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value < 330 else "black")
axes.set_xticks(range(len(rates)), table.columns)
axes.set_yticks(range(len(decays)), table.index)
axes.set(
    xlabel="learning rate", ylabel="gae_lambda", title=f"interquartile mean of the final return, {SWEEP_SEEDS} seeds"
)
figure.colorbar(image)
plt.show()
# %% [markdown]
# ## Intervals
#
# A point without an interval is no result. `interquartile_interval` resamples the members and takes the interquartile
# mean of each resample. Where members belong to tasks or variants of different difficulty, `strata` keeps the number
# of each in every resample, so that the differences between them do not count as noise.

# %%
values, variant = final["evaluation_return"].to_numpy(), final["config"].to_numpy()
print("whole sweep, resampled as one lot  {:6.1f} [{:.1f}, {:.1f}]".format(*interquartile_interval(values)))
print("whole sweep, variants as strata    {:6.1f} [{:.1f}, {:.1f}]".format(*interquartile_interval(values, variant)))

# %% [markdown]
# ## Two variants, a thousand seeds each
#
# Is `gae_lambda = 0.95` better than 0.8, early in training? With a thousand seeds each there is little doubt.

# %%
pair = jaxrl.train(
    jaxrl.PPO(learning_rate=1e-3, gae_lambda=jnp.array([0.95, 0.8])),
    "CartPole-v1",
    seeds=SEEDS,
    steps=STEPS,
    evaluate_every=STEPS // 2,
    evaluation_episodes=EPISODES,
)
a, b = (pair.metrics["evaluation_return"][(pair.members["config"] == config).to_numpy(), -1] for config in (0, 1))
for name, values in (("0.95", a), ("0.8", b)):
    print("gae_lambda {:4}: interquartile mean {:6.1f} [{:.1f}, {:.1f}]".format(name, *interquartile_interval(values)))

# %% [markdown]
# The probability of improvement is the chance that a member of one variant does better than a member of the other,
# ties counted half. It says what the interval of a mean does not: how often the better variant wins.

# %%
probability = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
print(f"a member with 0.95 beats one with 0.8 in {probability:.1%} of all pairs")

# %% [markdown]
# ## Why three seeds are not enough
#
# Now pretend that we had trained three seeds of each, as many papers do: draw three members of each variant, compare
# their means, and do that ten thousand times.

# %%
generator = np.random.default_rng(0)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), sharex=True)
wrong = {}
for axis, few in zip(axes, (3, 10, 30)):
    means = [generator.choice(values, (10_000, few)).mean(axis=1) for values in (a, b)]
    wrong[few] = np.mean(means[0] < means[1])
    bins = np.linspace(min(m.min() for m in means), max(m.max() for m in means), 60)
    for drawn, name in zip(means, ("0.95", "0.8")):
        axis.hist(drawn, bins, alpha=0.55, density=True, label=f"gae_lambda {name}")
    axis.set(title=f"mean of {few} seeds", xlabel="return", yticks=[])
    axis.spines["left"].set_visible(False)
axes[0].legend(frameon=False, fontsize=8)
plt.show()
# %%
for few, share in wrong.items():
    print(f"{few:3} seeds of each: the worse variant looks better in {share:.1%} of all studies")
spread = np.quantile(generator.choice(a, (10_000, 3)).mean(axis=1), [0.025, 0.975])
print("95% of all means of three seeds of one and the same variant lie within [{:.0f}, {:.0f}]".format(*spread))

# %% [markdown]
# The width falls with the square root of the number of seeds. When seeds cost seconds there is no reason to be content
# with three.
#
# Next: [reading a run's directory](04_reading_a_run_directory.ipynb).

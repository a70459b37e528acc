# %% [markdown]
# # Reading a run's directory
#
# A run leaves Parquet and JSON behind, which pandas reads as they are. Nothing of jaxrl is needed to look at results.

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
SEEDS, STEPS, EPISODES = (4, 1_024, 1) if QUICK else (16, 30_720, 4)

# %%
import jaxrl

jaxrl.use_all_cores()

import json
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import pandas as pd
from scipy.stats import trim_mean

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# A run to look at: four learning rates, the last of them absurd. The same call goes on from the last checkpoint if the
# directory is there already.

# %%
run = Path("runs/rates")
result = jaxrl.train(
    jaxrl.PPO(learning_rate=jnp.array([1e-4, 3e-4, 1e-3, 1e30])),
    "CartPole-v1",
    seeds=SEEDS,
    steps=STEPS,
    evaluation_episodes=EPISODES,
    directory=run,
    overwrite=True,
)
for path in sorted(run.glob("[!.]*")):
    print(f"{path.name:12} {', '.join(sorted(child.name for child in path.glob('*'))[:3]) if path.is_dir() else ''}")

# %% [markdown]
# ## What was asked for, and with what
#
# `config.json` holds the request and what the result depends on beside it: versions, devices, the commit of the
# source.

# %%
config = json.loads((run / "config.json").read_text())
request = config["request"]
print(
    request["algorithm"], "on", request["env"], "with", len(request["seeds"]), "seeds,", request["updates"], "updates"
)
print("learning rates:", *(f"{rate:.3g}" for rate in request["config"]["learning_rate"]))
print({name: config["made_with"]["versions"][name] for name in ("jax", "flax", "gymnax")})

# %% [markdown]
# ## The metrics
#
# A file an evaluation, a row a member. pandas reads the folder in one call.

# %%
rows = pd.read_parquet(run / "metrics")
print(f"{len(rows)} rows, {rows['member'].nunique()} members, {rows['evaluation'].nunique()} evaluations")
rows[["member", "config", "seed", "learning_rate", "environment_steps", "evaluation_return", "frozen_at"]].head()

# %% [markdown]
# ## Members that turned non-finite
#
# `frozen_at` is -1, or the update at which a member turned non-finite. Its metrics are NaN from then on and it is left
# out of statistics, by name. The other members never notice.

# %%
last = rows[rows["environment_steps"] == rows["environment_steps"].max()]
last.groupby("learning_rate")["frozen_at"].agg(members="size", frozen=lambda values: (values >= 0).sum())

# %% [markdown]
# ## Every figure of the summary, again
#
# The interquartile mean is `trim_mean` with a quarter cut off at either end.

# %%
finite = rows[rows["frozen_at"] == -1]
curves = finite.groupby(["learning_rate", "environment_steps"])["evaluation_return"].agg(
    lambda values: trim_mean(values, 0.25)
)
at_the_end = finite[finite["environment_steps"] == finite["environment_steps"].max()]["evaluation_return"]
summary = json.loads((run / "summary.json").read_text())
print(f"summary.json   {summary['final']['evaluation_return']['value']:.6f}")
print(f"from the rows  {trim_mean(at_the_end, 0.25):.6f}")
curves.unstack("learning_rate").tail(3).round(1)

# %%
figure, axes = plt.subplots(figsize=(7, 3.8))
for color, (rate, curve) in zip(("C0", "C1", "C2"), curves.groupby("learning_rate")):
    members = finite[finite["learning_rate"] == rate].pivot(
        index="environment_steps", columns="member", values="evaluation_return"
    )
    axes.plot(members.index, members.to_numpy(), color=color, alpha=0.12, linewidth=0.7)
    axes.plot(curve.index.get_level_values("environment_steps"), curve, color=color, linewidth=2.2, label=f"{rate:.0e}")
axes.set(xlabel="environment steps of each member", ylabel="evaluation return")
axes.legend(title="learning rate", frameon=False)
plt.show()
# %% [markdown]
# ## Where the time went

# %%
pd.Series(summary["seconds"], name="seconds").round(2).to_frame().T

# %% [markdown]
# ## Several runs
#
# Runs are put side by side by a column with their name. What they differ in stands in their `config.json`.

# %%
other = Path("runs/no_traces")
jaxrl.train(
    jaxrl.PPO(learning_rate=jnp.array([1e-4, 3e-4, 1e-3, 1e30]), gae_lambda=0.0),
    "CartPole-v1",
    seeds=SEEDS,
    steps=STEPS,
    evaluation_episodes=EPISODES,
    directory=other,
    overwrite=True,
)
both = pd.concat({path.name: pd.read_parquet(path / "metrics") for path in (run, other)}, names=["run"]).reset_index(
    "run"
)
ends = both[(both["environment_steps"] == both["environment_steps"].max()) & (both["frozen_at"] == -1)]
ends.groupby(["run", "learning_rate", "gae_lambda"])["evaluation_return"].describe()[
    ["count", "25%", "50%", "75%"]
].round(1)

# %%
asked = {path.name: json.loads((path / "config.json").read_text())["request"]["config"] for path in (run, other)}
differences = pd.DataFrame(asked).astype(str)
differences[differences["rates"] != differences["no_traces"]]

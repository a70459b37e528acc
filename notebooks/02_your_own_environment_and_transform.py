# %% [markdown]
# # Your own environment and your own transform
#
# A corridor in which PPO mostly learns the wrong thing, and a count-based exploration bonus that mends it: an
# environment and a learner transform, both written here, both used by the library like its own.

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
SEEDS, STEPS, EPISODES = (2, 2_048, 1) if QUICK else (32, 61_440, 1)

# %%
import jaxrl

jaxrl.use_all_cores()

from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import struct
from gymnax.environments import spaces

from jaxrl import envs
from jaxrl.core.combine import on_inner
from jaxrl.core.config import check_within

plt.rcParams.update(
    {"figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## An environment
#
# A corridor of `LENGTH` cells. The agent starts at the left end, where every step pays 0.005. The right end pays 1 and
# ends the episode. Going right is worth it, but nothing on the way says so.
#
# An environment is a class with gymnax's functions, of one environment and without a batch axis. `jaxrl.envs` states
# the contract: terminal states and the time limit are told apart, dtypes do not change from a reset to a step.

# %%
LENGTH = 24


@struct.dataclass
class State(envs.EnvState):
    position: jax.Array  # int32[]


@struct.dataclass
class Params(envs.EnvParams):
    max_steps_in_episode: int = 2 * LENGTH
    comfort: float = 0.005  # paid at the left end


class Corridor(envs.Environment):
    name = "Corridor-v0"
    num_actions = 2

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        state = State(time=jnp.int32(0), position=jnp.int32(0))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state, action, params):
        position = jnp.clip(state.position + 2 * action - 1, 0, LENGTH - 1).astype(jnp.int32)
        state = State(time=state.time + 1, position=position)
        reward = jnp.where(position == 0, params.comfort, 0.0) + jnp.where(position == LENGTH - 1, 1.0, 0.0)
        return (
            self.observe(key, state, action, params),
            state,
            reward.astype(jnp.float32),
            self.is_terminated(state, params),
            {},
        )

    def observe(self, key, state, action, params):
        return jax.nn.one_hot(state.position, LENGTH)

    def is_terminated(self, state, params):
        return state.position == LENGTH - 1

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (LENGTH,), jnp.float32)


# %% [markdown]
# `register` gives it a name, `check` runs the contract that all environments of the library keep. It raises with the
# first promise that is broken, in words.

# %%
envs.register("Corridor-v0", Corridor)
envs.check(envs.make("Corridor-v0"))


# %%
class Broken(Corridor):
    def observe(self, key, state, action, params):
        return jax.nn.one_hot(state.position, LENGTH, dtype=jnp.int32)


try:
    envs.check(Broken())
except jaxrl.UserError as error:
    print(error)

# %% [markdown]
# ## A transform
#
# Count-based exploration (Strehl and Littman 2008) adds `bonus / sqrt(visits)` to the reward of a step that reaches a
# seldom visited state. That is a transform of a learner: a function that takes a learner and returns a learner. It
# keeps the visits in its own state, around the inner learner's; nothing else has to know.


# %%
class Counted(NamedTuple):
    visits: jax.Array  # [LENGTH]
    inner: object


def count_bonus(learner, bonus):
    """Adds `bonus / sqrt(visits)` of the cell that is reached to the rewards of a batch `[T, N]`."""

    def init(key):
        return Counted(jnp.zeros(LENGTH), learner.init(key))

    def update(state, batch, key):
        cells = jnp.argmax(batch.next_obs, axis=-1)  # [T, N]
        visits = state.visits.at[cells].add(1.0)
        batch = batch._replace(reward=batch.reward + bonus / jnp.sqrt(visits[cells]))
        inner, metrics = learner.update(state.inner, batch, key)
        return Counted(visits, inner), metrics | {"cells_seen": jnp.sum(visits > 0)}

    return on_inner(learner, init, update)


# %% [markdown]
# An algorithm is a dataclass of hyperparameters that builds its learner. PPO with the transform around its learner is
# PPO with one more hyperparameter. Being a float, it can be a vector: bonus 0, which is plain PPO, and three others
# are trained side by side in one program.


# %%
@struct.dataclass
class CountingPPO(jaxrl.PPO):
    """PPO with a count-based exploration bonus."""

    bonus: float = 0.1
    """Reward of the first visit to a state."""

    def check(self, env, env_params):
        super().check(env, env_params)
        check_within(self, bonus=(0, np.inf))

    def learner(self, env, env_params, updates=None):
        return count_bonus(super().learner(env, env_params, updates), self.bonus)


bonuses = [0.0, 0.03, 0.1, 0.3]
result = jaxrl.train(
    CountingPPO(learning_rate=1e-3, bonus=jnp.array(bonuses)),
    "Corridor-v0",
    seeds=SEEDS,
    steps=STEPS,
    evaluation_episodes=EPISODES,
)
comfort = 2 * LENGTH * Params().comfort
print(f"{len(result.members)} members in one program, trained in {result.seconds['train']:.1f} s")
print(f"staying at the left end pays {comfort:.2f}")

# %% [markdown]
# ## What it does
#
# Left: the share of members whose greedy policy walks to the right end. Right: how much of the corridor a member has
# ever seen. Without the bonus most members never see the end, and stay where it is comfortable. With 0.1 nearly all see
# it, and then take the better reward. With 0.3 all see it, but the bonus keeps them looking around for a while.

# %%
frame = result.frame.assign(solved=result.frame["evaluation_return"] > 0.9)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6))
for axis, name in zip(axes, ("solved", "cells_seen")):
    curves = frame.pivot_table(index="environment_steps", columns="config", values=name, aggfunc="mean")
    for color, (config, bonus) in zip(plt.cm.viridis(np.linspace(0, 0.85, len(bonuses))), enumerate(bonuses)):
        axis.plot(
            curves.index, curves[config], color=color, linewidth=2.2, marker="o", markersize=3, label=f"{bonus:g}"
        )
    axis.set_xlabel("environment steps of each member")
axes[0].set(ylabel="share of members", title="at the right end", ylim=(-0.03, 1.03))
axes[1].set(ylabel="cells", title=f"cells seen, of {LENGTH}")
axes[1].legend(title="bonus", frameon=False, loc=(0.72, 0.42))
plt.show()

# %%
final = frame[frame["updates"] == result.updates[-1]].assign(bonus=lambda rows: rows["bonus"].round(2))
final.groupby("bonus")[["solved", "evaluation_return", "cells_seen"]].mean().round(2)

# %% [markdown]
# Next: [sweeps and statistics](03_sweeps_and_statistics.ipynb). The other slots are on the documentation's page on
# transforms.

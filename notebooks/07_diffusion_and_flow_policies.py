# %% [markdown]
# # Diffusion and flow policies
#
# Where several actions are equally good, a Gaussian policy puts its mean between them. A diffusion or a flow makes an
# action of noise, in steps, and can be wherever the data are. This notebook draws what each of them makes of four
# clusters of actions, the way from noise to an action, what transforms make of a policy that is already there, and what
# EXPO ends with, which climbs a value without a gradient through the steps.

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
POINTS, WIDTH, EPOCHS = (500, 16, 2) if QUICK else (10_000, 128, 60)
DRAWN, FRAME_STEPS = (200, 10) if QUICK else (2_000, 1)
SEEDS, PRETRAINING, UPDATES = (2, 5, 8) if QUICK else (3, 1_000, 1_000)

# %%
import jaxrl

jaxrl.use_all_cores()

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
from IPython.display import Image
from matplotlib.animation import FuncAnimation, PillowWriter

from jaxrl.core.chain import chain
from jaxrl.core.combine import layers
from jaxrl.core.fitting import fit
from jaxrl.core.types import Transition
from jaxrl.networks.denoiser import TimeFeatures, denoiser
from jaxrl.networks.torsos import MLP
from jaxrl.policies.bases import deterministic, gaussian, squash
from jaxrl.policies.denoising import denoisers_of, generative
from jaxrl.policies.diffusion import ddim, ddpm, ddpm_posterior, variance_preserving, vp_schedule
from jaxrl.policies.flow import flow, flow_likelihood, rectified_flow
from jaxrl.policies.transforms import best_of, decoder_of, edit, guide, latent, on_part
from jaxrl.sources.dataset import Card, DataSet, save

plt.rcParams.update(
    {"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## Four corners
#
# The toy of Diffusion-QL (Wang et al. 2022): actions of two dimensions from four narrow Gaussians, as likely as each
# other. A policy sees an observation; here it is always 1 and says nothing.

# %%
CORNERS = np.array([[-0.8, 0.8], [-0.8, -0.8], [0.8, 0.8], [0.8, -0.8]], np.float32)
DEVIATION = 0.05


def clusters(rows, seed, scale=1.0):
    """Actions `[rows, 2]` around the corners, or around points on the way to them."""
    random = np.random.default_rng(seed)
    centres = scale * CORNERS[random.integers(0, 4, rows)]
    return np.clip(centres + DEVIATION * random.normal(size=(rows, 2)), -1, 1).astype(np.float32)


actions, fresh = clusters(POINTS, 0), clusters(1_000, 1)
observations = np.ones((POINTS, 1), np.float32)

# %% [markdown]
# A policy is a bundle of functions. `gaussian` has a mean and a deviation of each coordinate. `generative` has a network
# that tells an action from its noise, a process that says what noise does, and a sampler that takes the steps back.

# %%
SCHEDULE, STEPS = vp_schedule(20), 20


def mean_and_log_std(params, obs):
    shape = (*obs.shape[:-1], 2)
    return jnp.broadcast_to(params["mean"], shape), jnp.broadcast_to(params["log_std"], shape)


torso = lambda: MLP((WIDTH, WIDTH), "mish", orthogonal=False)
init, network = denoiser(2, (1,), torso)
flow_init, flow_network = denoiser(2, (1,), torso, lambda: TimeFeatures("octaves", 8, ()))  # its times are within [0, 1]

policies = {
    "Gaussian": gaussian(lambda key: {"mean": jnp.zeros(2), "log_std": jnp.zeros(2)}, mean_and_log_std, 2),
    "diffusion": generative(
        init, network, variance_preserving(SCHEDULE), ddpm(SCHEDULE, "posterior", clip="action"), 2
    ),
    "flow": generative(flow_init, flow_network, rectified_flow(), flow(10), 2),
}

# %% [markdown]
# A Gaussian learns by likelihood, the others by regression: `fit_loss` is the squared error of what the network says of
# actions with noise in them. `fit` keeps a tenth of the data out and returns the parameters that were best there.


# %%
def learned(policy):
    """Parameters fitted to the actions."""

    def loss(params, rows, key):
        obs, action = rows
        if policy.fit_loss is None:
            return -policy.log_prob(params, obs, action, key)[0].mean()
        return policy.fit_loss(params, obs, action, key)

    def train(key):
        start, data = policy.init(key), (observations, actions)
        return fit(start, loss, data, key, optax.adam(1e-3), EPOCHS, batch_size=250).params

    return jax.jit(train)(jax.random.key(0))


def drawn(policy, params, rows=DRAWN):
    """Actions `[rows, 2]` as they are sent."""

    def make(params, key):
        obs = jnp.ones((rows, 1))
        action, _ = policy.sample(params, obs, policy.noise(key, (rows,)))
        return policy.decode(action, params, obs)

    return np.asarray(jax.jit(make)(params, jax.random.key(1)))


def nearest(points, centres=CORNERS):
    """The number of the nearest centre, and the distance to it, of each point."""
    distance = np.linalg.norm(points[:, None] - centres, axis=-1)
    return distance.argmin(axis=1), distance.min(axis=1)


params = {name: learned(policy) for name, policy in policies.items()}
samples = {"data": actions[:DRAWN]} | {name: drawn(policy, params[name]) for name, policy in policies.items()}

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharex=True, sharey=True)
for axis, (name, points) in zip(axes, samples.items()):
    axis.scatter(*points.T, s=2, alpha=0.3, linewidths=0, color="C7" if name == "data" else "C0")
    axis.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
plt.show()

# %%
rows = {}
for name, points in samples.items():
    corner, distance = nearest(points)
    rows[name] = [*(np.bincount(corner, minlength=4) / len(points)), (distance < 4 * DEVIATION).mean()]
pd.DataFrame(rows, ["left top", "left bottom", "right top", "right bottom", "within 4 deviations of a corner"]).round(2)

# %% [markdown]
# The deviations of the Gaussian are those of the data, and hardly any of its actions is like one of them. How likely
# other actions from the four clusters are says the same in one number. That of the clusters themselves is known; that
# of the flow follows from how its steps stretch the noise.

# %%
components = -((fresh[:, None] - CORNERS) ** 2).sum(axis=-1) / (2 * DEVIATION**2)
exact = np.log(np.exp(components).mean(axis=1)) - np.log(2 * np.pi * DEVIATION**2)
dense = generative(flow_init, flow_network, rectified_flow(), flow(10), 2, likelihood=flow_likelihood(30))
found = {
    name: jax.jit(policy.log_prob)(params[name], np.ones((len(fresh), 1)), fresh, jax.random.key(2))[0]
    for name, policy in (("Gaussian", policies["Gaussian"]), ("flow", dense))
}
print(f"mean log-density of other actions: clusters {exact.mean():.2f}", end="")
print("".join(f", {name} {np.mean(value):.2f}" for name, value in found.items()))

# %% [markdown]
# ## From noise to an action
#
# The chain of the diffusion, written out: at every step the network says what action it thinks is behind the noise, and
# the next point lies between that and the last one, with a little fresh noise. On the left are the points, on the right
# what the network thinks of them: first the mean of all clusters, then one of them.

# %%
noise = policies["diffusion"].noise(jax.random.key(3), (160,))  # [160, draws, 2]


@jax.jit
def chain_of(params, noise):
    """The points before each step, `[STEPS + 1, rows, 2]`, and what they are thought to be, `[STEPS, rows, 2]`."""
    denoise = denoisers_of(network, variance_preserving(SCHEDULE))(params, jnp.ones((len(noise), 1)))

    def step(x, inputs):
        number, to, fresh = inputs
        action = jnp.clip(denoise(x, SCHEDULE.level(number)).action, -1, 1)
        after = to.action * action + to.x * x + to.std * fresh
        return after, (x, action)

    start, fresh = noise[:, 0], jnp.moveaxis(noise[:, 1:], 1, 0)
    fresh = jnp.concatenate([fresh, jnp.zeros((1, *start.shape))])  # the last step adds none
    posterior = jax.tree.map(jnp.asarray, ddpm_posterior(SCHEDULE, "posterior"))
    end, (points, thought) = jax.lax.scan(step, start, (jnp.arange(STEPS, 0, -1), posterior, fresh))
    return jnp.concatenate([points, end[None]]), thought


points, thought = map(np.asarray, chain_of(params["diffusion"], noise))
same = policies["diffusion"].sample(params["diffusion"], jnp.ones((len(noise), 1)), noise)[0]
print(f"largest distance from what the policy samples of the same noise: {np.abs(points[-1] - same).max():.1e}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 3.2), sharex=True, sharey=True)
corner, _ = nearest(points[-1])  # the colour is that of where a point ends
dots = [axis.scatter(*points[0].T, s=6, linewidths=0, c=[f"C{k}" for k in corner]) for axis in axes]
for axis, title in zip(axes, ("the points", "what they are thought to be")):
    axis.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", title=title)
text = axes[0].text(0.03, 0.03, "", transform=axes[0].transAxes)


def show(step):
    dots[0].set_offsets(points[step])
    dots[1].set_offsets(thought[min(step, STEPS - 1)])
    text.set_text(f"step {step} of {STEPS}")


still = [0] * 3, [STEPS] * 8  # at both ends
frames = [*still[0], *range(1, STEPS, FRAME_STEPS), *still[1]]
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "chain.png"  # an animated PNG
    FuncAnimation(figure, show, frames).save(file, PillowWriter(fps=5), dpi=70)
    animation = file.read_bytes()
plt.close(figure)
Image(animation, format="png")

# %% [markdown]
# ## One policy, transformed
#
# A transform takes a policy and returns one. The diffusion stays as it is, and all of these act with it. What is to be
# climbed is a value with four hills of different height, whose tops are a little off the clusters:
#
# - `best_of(8, score)` takes the best of eight actions;
# - `edit(editor)` moves an action, here along the value's slope by at most 0.2 a coordinate;
# - both after each other are how EXPO acts;
# - `guide(score, scale)` bends every step of the chain along the slope of the value, aiming at a density that is
#   greater by a factor `exp(scale * value)`;
# - `latent(decoder)` lets a Gaussian choose the noise: without noise in its steps (DDIM) the chain is a function of where
#   it starts. The Gaussian climbs the value, and pays for its divergence from N(0, I).

# %%
HEIGHTS, TOPS = np.array([3.0, 0.0, 1.5, 5.0], np.float32), 0.75 * CORNERS


def value(action):
    """`[..., 2] -> [...]`"""
    squared = jnp.square(action[..., None, :] - TOPS).sum(axis=-1)
    return (HEIGHTS * jnp.exp(-squared / (2 * 0.3**2))).sum(axis=-1)


uphill = lambda params, where: 10 * jax.grad(lambda action: value(action).sum())(where[1])
editor = squash(deterministic(lambda key: None, uphill), -0.2, 0.2)
score = lambda params, obs, action, *rest: value(action)

base = on_part(policies["diffusion"], "base")
through = generative(init, network, variance_preserving(SCHEDULE), ddim(SCHEDULE), 2)
encoder = on_part(policies["Gaussian"], "encoder")
in_latents = latent(decoder_of(on_part(through, "base")))(encoder)
parts = {"base": params["diffusion"], **encoder.init(jax.random.key(0))}


# %%
def climbed(parts, updates=20 if QUICK else 200, price=0.2):
    """The parts, with an encoder whose latents become better actions."""
    obs, optimiser = jnp.ones((256, 1)), optax.adam(3e-2)
    prior = jnp.zeros((256, 2)), jnp.zeros((256, 2))  # mean and logarithm of the deviation of N(0, I)

    def loss(own, key):
        all_parts = parts | {"encoder": own}
        action, _ = in_latents.sample(all_parts, obs, in_latents.noise(key, (256,)))
        sent = in_latents.decode(action, all_parts, obs)
        return (price * encoder.kl(encoder.outputs(all_parts, obs), prior) - value(sent)).mean()

    def step(state, key):
        own, inner = state
        updates, inner = optimiser.update(jax.grad(loss)(own, key), inner)
        return (optax.apply_updates(own, updates), inner), None

    start = parts["encoder"], optimiser.init(parts["encoder"])
    (own, _), _ = jax.lax.scan(step, start, jax.random.split(jax.random.key(4), updates))
    return parts | {"encoder": own}


made = {
    "the diffusion": base,
    "best_of(8)": best_of(8, score)(base),
    "edit": edit(editor)(base),
    "edit, best_of(8)": chain(edit(editor), best_of(8, score))(base),
    "guide(scale=3)": guide(score, 3.0, at="through")(base),
    "latent": in_latents,
}
learned_parts = jax.jit(climbed)(parts)
transformed = {name: drawn(policy, learned_parts) for name, policy in made.items()}

# %%
grid = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, 80, dtype=np.float32)] * 2), axis=-1)
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), sharex=True, sharey=True)
for axis, (name, points) in zip(axes.flat, transformed.items()):
    axis.contour(grid[..., 0], grid[..., 1], value(grid), levels=8, cmap="Greys", linewidths=0.7, vmin=-2)
    axis.scatter(*points.T, s=3, alpha=0.3, linewidths=0, color="C0")
    axis.set(title=f"{name}\nmean value {value(points).mean():.2f}", aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
plt.show()

# %%
rows = {}
for name, points in transformed.items():
    corner, distance = nearest(points)
    # at a cluster is within four deviations of its middle
    rows[name] = [float(value(points).mean()), (corner == 3).mean(), (distance < 4 * DEVIATION).mean()]
pd.DataFrame(rows, ["mean value", "at the highest hill", "at a cluster"]).T.round(2)

# %% [markdown]
# What guidance aims at can be computed by weighting the data by `exp(3 value)`. The chain does not come
# there: it climbs the hill where it is, and does not choose among hills. The slope is taken at the mean of the action, an
# approximation, and while there is much noise that mean lies between the clusters and says little about them.

# %%
weights = np.exp(3 * value(actions))
share = weights[nearest(actions)[0] == 3].sum() / weights.sum()
print(f"share at the highest hill: {share:.2f} of the weighted data, {rows['guide(scale=3)'][1]:.2f} of the guided chain")

# %% [markdown]
# ## EXPO
#
# EXPO (Dong et al. 2025) learns the value and the editor, and its diffusion only imitates what is replayed. Here it starts
# from data half of the way to the corners, at an environment that pays up to 1 at each of them. Half of every batch is
# from these data. The width of edits is a number, so members without room for any are in the same program: with them
# nothing is ever tried that the diffusion does not propose.

# %%
env = jaxrl.make("control/corners-v0")
mediocre = clusters(2_000, 2, scale=0.65)
zeros = np.zeros(len(mediocre), np.float32)
_, distance = nearest(mediocre)
rewards = np.exp(-(distance**2) / (2 * 0.2**2)).astype(np.float32)
print(f"mean reward of the data {rewards.mean():.2f}, the greatest {rewards.max():.2f}")

ones = np.ones((len(mediocre), 1), np.float32)
steps = Transition(ones, mediocre, rewards, zeros, zeros + 1, ones, {})
prior = Path(tempfile.mkdtemp()) / "mediocre"
save(DataSet(Card(env.name, "four Gaussians on the way to the corners", 0.1, 1.0), steps, np.arange(len(zeros))), prior)

# %%
expo = jaxrl.EXPO(
    prior=str(prior), pretraining=PRETRAINING, edit_width=jnp.array([0.3, 1e-3]), initial_temperature=0.01, decay_updates=None,
    num_proposals=4, num_edits=4, diffusion_steps=10, base_width=32, base_blocks=1, base_learning_rate=1e-3,
    base_rate=0.02, num_critics=2, hidden_sizes=(64, 64), critic_learning_rate=1e-3, actor_learning_rate=1e-3,
    batch_size=64, num_envs=8, update_to_data=0.125, learning_starts=256, target_rate=0.05,
)  # fmt: skip
result = jaxrl.train(
    expo, env, seeds=SEEDS, updates=UPDATES, evaluate_every=8 * max(1, UPDATES // 12), evaluation_episodes=256
)
print(f"{len(result.members)} members: compiled in {result.seconds['compile']:.1f} s", end="")
print(f", trained in {result.seconds['train']:.1f} s")
groups = {
    name: result.metrics["evaluation_return"][result.members["config"] == number]
    for number, name in enumerate(("EXPO", "hardly any edits"))
}


# %%
def as_they_act(states):
    """Parameters of the members: those of the copies of diffusion and critics that act, and of the editor."""
    copied = next(layer for layer in layers(states.learner) if hasattr(layer, "target"))
    return copied.inner.inner.params | {"base": copied.target, "critics": copied.inner.target}


agent = expo.replace(edit_width=0.3).agent(env, env.default_params)
first = jax.tree.map(lambda leaf: leaf[0], as_they_act(result.states))
clouds = {"data": mediocre, "diffusion": drawn(agent.base, first), "chosen": drawn(agent.policy, first)}

figure, axes = plt.subplots(1, 4, figsize=(12, 2.9), width_ratios=(1.25, 1, 1, 1))
for color, (name, returns) in zip(("C0", "C7"), groups.items()):
    axes[0].plot(result.environment_steps, returns.T, color=color, alpha=0.4, linewidth=0.8)
    axes[0].plot(result.environment_steps, returns.mean(axis=0), color=color, linewidth=2, label=name)
axes[0].set(xlabel="environment steps", ylabel="mean reward", ylim=(0, 1))
axes[0].legend(frameon=False)
for axis, (name, points) in zip(axes[1:], clouds.items()):
    axis.scatter(*CORNERS.T, marker="+", color="C3")
    axis.scatter(*points.T, s=3, alpha=0.3, linewidths=0, color="C7" if name == "data" else "C0")
    axis.set(title=name, xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
plt.show()

# %%
at_the_end = {name: returns[:, -1] for name, returns in groups.items()}
pd.DataFrame(at_the_end, pd.Index(range(SEEDS), name="seed")).round(2)

# %% [markdown]
# No gradient of the value has reached the diffusion. It reaches out to the corners because it imitates what was chosen,
# and what was chosen are edits.
#
# The other learners on the same parts are Diffusion-QL, IDQL, QSM, DPPO, FPO, FQL and GoRL. How each compares with what is
# known stands in the documentation's page on methods.

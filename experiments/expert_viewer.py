"""Which expert of a mixture acts where: the router's choices drawn over the states that a member visits.

``experiments.viewers`` registers ``expert_map`` for runs of PMOE.
"""

import base64
import io
from typing import Any

import jax
import numpy as np

from jaxrl.core.combine import layers
from jaxrl.core.scaled import NormalisedState
from jaxrl.engine.episode import play_together
from jaxrl.engine.loading import LoadedRun

EPISODES, LONGEST = 64, 500
PATHS = 16
"""episodes whose way is drawn, in states of two dimensions"""
RESOLUTION = 150
"""cells of the plane on each side"""
COLORS = [(0.12, 0.47, 0.71), (0.90, 0.49, 0.13), (0.18, 0.59, 0.35), (0.78, 0.20, 0.24), (0.56, 0.41, 0.74)]


def expert_map(run: LoadedRun, member: int) -> str:
    """An ``<img>`` of ``draw_experts``."""
    from matplotlib.figure import Figure  # not pyplot, whose backend is the caller's

    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    draw_experts(figure, run, member)
    return image_of(figure, f"experts of member {member}")


def image_of(figure: Any, name: str) -> str:
    """A figure of matplotlib as an ``<img>`` with its data in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def draw_experts(figure: Any, run: LoadedRun, member: int) -> None:
    """Draws states that a member visits when its actions are sampled, in the colour of the likeliest expert, and how
    often each expert acts.

    States of two dimensions are drawn as they are, on a plane coloured by the expert that the router prefers there,
    with some episodes' ways; others by their two principal components.
    """
    weigh = jax.jit(lambda obs: router_weights(run, member, obs))
    obs, running = visited(run, member)
    seen = obs[:-1][running > 0]
    weights = np.asarray(weigh(seen))
    experts = weights.shape[-1]
    colors = np.array([COLORS[i % len(COLORS)] for i in range(experts)])
    plane, shares = figure.subplots(1, 2, width_ratios=(2, 1))
    if seen.shape[-1] == 2:
        low, high = seen.min(axis=0), seen.max(axis=0)
        margin = 0.05 * (high - low) + 1e-6
        axes = [np.linspace(a - m, b + m, RESOLUTION, dtype=np.float32) for a, b, m in zip(low, high, margin)]
        cells = np.stack(np.meshgrid(*axes), axis=-1)
        over = np.asarray(weigh(cells.reshape(-1, 2))).reshape(RESOLUTION, RESOLUTION, experts)
        # A clear preference in full colour, a tie in grey.
        strength = (over.max(axis=-1, keepdims=True) - 1 / experts) / max(1 - 1 / experts, 1e-6)
        picture = strength * colors[over.argmax(axis=-1)] + (1 - strength) * 0.85
        extent = (axes[0][0], axes[0][-1], axes[1][0], axes[1][-1])
        plane.imshow(picture, origin="lower", extent=extent, aspect="auto")
        for episode in range(min(PATHS, obs.shape[1])):
            steps = int(running[:, episode].sum()) + 1
            plane.plot(*obs[:steps, episode].T, color="black", linewidth=0.8, alpha=0.6)
        plane.set(xlabel="state 1", ylabel="state 2", title="the expert that the router prefers")
    else:
        standardised = (seen - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-6)
        components = np.linalg.svd(standardised, full_matrices=False)[2][:2]
        plane.scatter(*(standardised @ components.T).T, c=colors[weights.argmax(axis=-1)], s=4, linewidths=0)
        plane.set(xlabel="component 1", ylabel="component 2", title="the likeliest expert in states visited")
    shares.bar([str(i + 1) for i in range(experts)], weights.mean(axis=0), color=colors)
    shares.set(xlabel="expert", ylabel="share of actions", ylim=(0, 1), title="who acts")


def router_weights(run: LoadedRun, member: int, obs: jax.Array) -> jax.Array:
    """``[..., K]``: how likely each expert is to act at ``obs[..., D]``."""
    params = None
    for layer in layers(run.member_state(member).learner):
        if isinstance(layer, NormalisedState):
            obs = layer.view(obs)
        params = getattr(layer, "params", params)
    return run.member(member).router_of(run.env, run.member_env_params(member))(params, obs)


def visited(run: LoadedRun, member: int) -> tuple[np.ndarray, np.ndarray]:
    """``[T + 1, N, D]`` observations of episodes whose actions are sampled, and ``[T, N]`` which steps were taken."""
    policy, env_params = run.policy(member), run.member_env_params(member)
    steps = min(LONGEST, getattr(run.env_params, "max_steps_in_episode", LONGEST))

    @jax.jit
    def play(key):
        return play_together(lambda obs, key: policy(obs, key, greedy=False), run.env, env_params, key, EPISODES, steps)

    played = play(jax.random.key(0))
    return np.asarray(played.obs), np.asarray(played.running)

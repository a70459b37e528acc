"""EXPO against known answers, and beside RLPD: ``python -m experiments.reproduce.expo [--quick] [--seeds N]``.

The quick checks are exact or of a known law: order statistics of candidates, where edits go under a linear critic,
which entropies edits can have, and what the temperature does when it is asked for others. Without ``--quick``, EXPO is
trained in a maze of which it has demonstrations, beside variants without its parts and beside RLPD.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.reproduce import expo_maze
from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.table import Row, exact

ENV = "control/multi-goal-v0"
"""any with two dimensions of action"""
ORDER = {2: 0.5642, 8: 1.4236, 16: 1.7660, 32: 2.0697, 64: 2.3437}
"""the mean of the greatest of so many standard normal numbers"""
LEAST_WIDTH = 0.3033
"""of edits whose entropy can be minus half the number of dimensions"""
DRIFT = 39.96
"""of the logarithm of the temperature in 100,000 steps of 3e-4, edits 0.05 wide"""
INTRODUCTION = (
    "Candidates of the exact rows are drawn from N(0, 1), and scores and critics are linear in the action. "
    + expo_maze.INTRODUCTION
)


@dataclass
class Sizes(Arguments):
    """What to check."""

    seeds: int = 4
    """Of each training in the maze."""
    first_seed: int = 0
    """The least of them."""
    steps: int = 20_000
    """Environment steps of each seed."""
    pretraining: int = 5_000
    """Gradient steps of the diffusion on the demonstrations alone."""
    limit: int = expo_maze.LIMIT
    """Steps of an episode at most: with few more than the 32 that the walker takes, imitating it is not enough."""
    episodes: int = expo_maze.EPISODES
    """Of each seed at each evaluation."""


def candidates() -> Iterator[Row]:
    """Best of so many."""
    import jax
    import jax.numpy as jnp

    from jaxrl.policies.bases import gaussian
    from jaxrl.policies.transforms import best_of

    obs = jnp.zeros((20_000, 1))
    normal = gaussian(lambda key: None, lambda params, obs: (obs, obs), 1)
    for n, known in ORDER.items():
        policy = best_of(n, lambda params, obs, action, draw: action[:, 0])(normal)
        action, _ = policy.sample(None, obs, policy.noise(jax.random.key(0), (len(obs),)))
        # Four standard errors, of a deviation that is below 1.
        yield exact(f"mean of the best of {n} from N(0, 1)", float(action.mean()), known, 4 / math.sqrt(len(obs)))


def agent_of(config: Any, gradient: tuple[float, float]):
    """An agent whose critics are all ``gradient`` times the action, and its environment."""
    import jax.numpy as jnp

    from jaxrl import make

    env = make(ENV)
    agent = config.agent(env, env.default_params)

    def values(params, obs, action, key=None):
        return jnp.broadcast_to(action @ jnp.array(gradient), (2, *action.shape[:-1]))

    return env, agent._replace(critics=agent.critics._replace(values=values))


def edits() -> Iterator[Row]:
    """Where edits go, and how the temperature follows their entropy."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxrl import EXPO
    from jaxrl.core.counted import WithTarget
    from jaxrl.core.types import Transition

    width, rows = 0.05, 64
    config = EXPO(edit_width=width, hidden_sizes=(16,), target_entropy=-1.0)
    env, agent = agent_of(config, (1.0, -0.5))
    terms = config.terms(agent, env, env.default_params)
    obs, action = jax.random.uniform(jax.random.key(0), (2, rows, 2), minval=-1, maxval=1)
    zeros = jnp.zeros(rows)
    batch = WithTarget(WithTarget(Transition(obs, action, zeros, zeros, zeros, obs, {}), None), None)
    params = agent.editor.init(jax.random.key(1)) | {"critics": None, "temperature": jnp.float32(-jnp.inf)}
    optimiser = optax.adam(1e-2)

    def step(state, key):
        edit, inner = state
        loss = lambda edit: terms["edit"].loss(params | {"edit": edit}, batch, key, {})  # noqa: E731
        updates, inner = optimiser.update(jax.grad(loss, has_aux=True)(edit)[0], inner)
        return (optax.apply_updates(edit, updates), inner), None

    def fit(keys):
        return jax.lax.scan(step, (params["edit"], optimiser.init(params["edit"])), keys)[0][0]

    params["edit"] = jax.jit(fit)(jax.random.split(jax.random.key(2), 300))
    where = (obs, action)
    found = agent.editor.decode(agent.editor.mode(params, where), params, where)
    error = float(jnp.abs(found / width - jnp.array([1.0, -1.0])).max())
    yield exact("edits under Q = a_1 - 0.5 a_2, largest distance from the corner, in widths", error, 0.0, 0.02)
    drawn, _ = agent.editor.sample(params, where, agent.editor.noise(jax.random.key(3), (rows,)))
    outside = jnp.abs(agent.editor.decode(drawn, params, where)).max() > width
    yield exact("edits that leave their box", float(outside), 0.0, 0.0)

    # Of the greatest entropy, that of uniform edits, the temperature is never satisfied by minus half the dimensions.
    ceiling = 2 * math.log(2 * width)
    loss, inner = terms["temperature"].loss, terms["temperature"].optimiser

    def warm(state, _):
        temperature, inner_state = state
        gradient = jax.grad(lambda t: loss({"temperature": t}, None, None, {"entropy": ceiling})[0])(temperature)
        updates, inner_state = inner.update(gradient, inner_state)
        return (temperature + updates, inner_state), None

    start = (jnp.float32(0), inner.init(jnp.float32(0)))
    (drift, _), _ = jax.jit(lambda state: jax.lax.scan(warm, state, None, 100_000))(start)
    yield exact("drift of the log temperature under a goal out of reach, 1e5 steps", float(drift), DRIFT, 0.1)
    goal = float(EXPO(edit_width=width).entropy_goal(2))
    yield exact(
        "distance of the default goal below the greatest entropy, per dimension", (ceiling - goal) / 2, 1.1931, 1e-4
    )
    yield exact("least width with minus half the dimensions in reach", math.exp(-0.5) / 2, LEAST_WIDTH, 5e-5)


def chosen() -> Iterator[Row]:
    """Targets of subsets of critics."""
    import jax
    import jax.numpy as jnp

    from jaxrl import EXPO, make

    env, errors = make(ENV), {}
    obs, action = jax.random.uniform(jax.random.key(0), (2, 16, 2))
    for subset in (1, 3):
        config = EXPO(num_critics=3, target_critics=subset, hidden_sizes=(8,))
        critic = config.agent(env, env.default_params).critics
        params = critic.init(jax.random.key(1))
        equal = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), params)
        uniform = jnp.array([0.5, 0.1, 0.9])
        of_equal = config.least(critic, equal, obs, action, uniform)
        errors[subset] = float(jnp.abs(of_equal - critic.values(equal, obs, action)[0]).max())
        if subset == 3:
            full = critic.values(params, obs, action).min(axis=0)
            difference = float(jnp.abs(config.least(critic, params, obs, action, uniform) - full).max())
            yield exact("least value of all critics, largest error", difference, 0.0, 0.0)
        else:
            one = critic.values(params, obs, action)[1]
            difference = float(jnp.abs(config.least(critic, params, obs, action, uniform) - one).max())
            yield exact("value of a subset of one critic, largest error", difference, 0.0, 1e-6)
    yield exact("values of subsets of equal critics, largest error", float(np.max(list(errors.values()))), 0.0, 1e-6)


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    for part in (candidates, edits, chosen):
        yield part()
    if not arguments.quick:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        yield expo_maze.maze(seeds, arguments.steps, arguments.pretraining, arguments.limit, arguments.episodes)


if __name__ == "__main__":
    sys.exit(
        reproduce_parts("expo", __doc__, "EXPO: known answers, and a maze beside RLPD", INTRODUCTION, parts, Sizes)
    )

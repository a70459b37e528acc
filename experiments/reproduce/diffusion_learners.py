"""Learners of diffusion and flow policies against known answers: ``python -m experiments.reproduce.diffusion_learners
[--quick]``.

The quick checks are exact: what each of DQL, IDQL, QSM, FQL, FPO and DPPO is where one of its numbers is extreme, and
where its loss is least. Without ``--quick``, DQL learns from the published toy of four corners.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.table import Row, at_least, at_most, exact

ENV = "control/corners-v0"
"""for its action of two dimensions"""
ROWS = 16
SMALL = {"hidden_sizes": (8,)}
INTRODUCTION = (
    "Losses are compared as they are, with networks or critics replaced by ones for which the answer is known. The toy:"
    " 10,000 actions from four Gaussians of deviation 0.05 at (±0.8, ±0.8), with rewards of mean 3 (left top), 0 (left"
    " bottom), 1.5 (right top) and 5 (right bottom), of deviation 0.5; shares are of actions of the diffusion itself,"
    " none chosen among others."
)


@dataclass
class Sizes(Arguments):
    """What to check."""

    seeds: int = 4
    """Of the toy."""
    updates: int = 100_000
    """Gradient steps on the toy; as published."""


# --- losses -----------------------------------------------------------------------------------------------------


def transitions(seed: int = 0) -> Any:
    """Random ones, that end at once."""
    import jax
    import jax.numpy as jnp

    from jaxrl.core.types import Transition

    action_key, reward_key = jax.random.split(jax.random.key(seed))
    obs, zeros = jnp.ones((ROWS, 1)), jnp.zeros(ROWS)
    action = jax.random.uniform(action_key, (ROWS, 2), minval=-1, maxval=1)
    return Transition(obs, action, jax.random.normal(reward_key, (ROWS,)), zeros, zeros + 1, obs, {})


def agent_of(config: Any) -> tuple[Any, Any, Any, Any]:
    """Its agent, first parameters and a batch, and what its terms take beside the agent."""
    import jax

    from jaxrl import make
    from jaxrl.core.counted import WithTarget

    env = make(ENV)
    agent = config.agent(env, env.default_params)
    params = jax.jit(lambda key: config.parts(agent, key))(jax.random.key(1))
    batch = WithTarget(WithTarget(transitions(), params["base"]), params["critics"])
    return agent, params, batch, (env, env.default_params)


def imitation() -> Iterator[Row]:
    """DQL without a value and IDQL with one candidate imitate."""
    import jax
    import jax.numpy as jnp

    from jaxrl import DQL, IDQL

    key = jax.random.key(2)
    config = DQL(**SMALL, base_hidden_sizes=(8,), diffusion_steps=2, eta=0.0, num_candidates=2)
    agent, params, batch, where = agent_of(config)
    base_loss, transition = config.terms(agent, *where)["base"].loss, batch.batch.batch
    fit_key = jax.random.split(key, 3)[0]

    def difference_of(base):
        own = base_loss(params | {"base": base}, batch, key, {})[0]
        return own - agent.base.fit_loss(params | {"base": base}, transition.obs, transition.action, fit_key)

    difference = jax.jit(jax.grad(difference_of))(params["base"])
    yield exact("DQL with eta = 0, gradient less that of imitation", largest(difference), 0.0, 1e-6)

    config = IDQL(**SMALL, base_width=8, base_blocks=1, diffusion_steps=2, num_candidates=1)
    agent, params, batch, _ = agent_of(config)
    obs = batch.batch.batch.obs

    @jax.jit
    def actions(params):
        noise = agent.policy.noise(key, (ROWS,))
        chosen, _ = agent.policy.sample(params, obs, noise)
        return chosen, agent.base.sample(params, obs, noise[0][:, 0])[0]

    chosen, alone = actions(params)
    yield exact("IDQL with one candidate, largest distance from imitation", jnp.abs(chosen - alone).max(), 0.0, 1e-6)


def largest(tree: Any) -> float:
    """Of all leaves."""
    import jax

    return max(float(abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def expectiles() -> Iterator[Row]:
    """The value of a state whose actions' values are uniform within [0, 1]."""
    import jax
    import jax.numpy as jnp

    from jaxrl.losses.value import expectile_error

    targets = (jnp.arange(10_000) + 0.5) / 10_000
    for expectile in (0.5, 0.7, 0.9):
        known = math.sqrt(expectile) / (math.sqrt(expectile) + math.sqrt(1 - expectile))
        slope = jax.grad(lambda v, level=expectile: expectile_error(v, targets, level).mean())(jnp.float32(known))
        yield exact(f"slope of the loss at the {expectile:g}-expectile of U(0, 1)", slope, 0.0, 1e-4)
        value = jnp.abs(expectile_error(jnp.float32(1.0), jnp.float32(0.0), expectile) - (1 - expectile) / 2)
        yield exact(f"loss of a value above its target, expectile {expectile:g}, error", value, 0.0, 1e-7)


def scores() -> Iterator[Row]:
    """QSM's network under ``Q = -|a - c|^2 / 2``, and that it has no other."""
    import jax
    import jax.numpy as jnp

    from jaxrl import QSM
    from jaxrl.policies.denoising import from_eps

    config, centre = QSM(**SMALL, base_width=8), jnp.array([0.3, -0.2])
    agent, params, batch, where = agent_of(config)

    def values(params, obs, action, key=None):
        return -0.5 * jnp.square(action - centre).sum(axis=-1) * jnp.ones((2, 1))

    for factor, known in ((10.0, 0.0), (9.0, None)):
        made = agent._replace(
            critics=agent.critics._replace(values=values),
            denoisers=lambda params, obs, factor=factor: lambda x, level: from_eps(x, factor * (x - centre), level),
        )
        loss = float(config.terms(made, *where)["base"].loss(params, batch, jax.random.key(0), {})[0])
        if known is not None:
            yield exact("QSM under a quadratic value, loss of eps = 10 (x - c)", loss, known, 1e-9)
        else:
            yield exact("QSM under a quadratic value, whether eps = 9 (x - c) is worse", float(loss > 0.1), 1.0, 0.0)


def copies() -> Iterator[Row]:
    """Where FQL's one-step policy comes to rest under a linear value ``g a``: at the flow's action and
    ``g D / (2 alpha)`` beyond."""
    import jax
    import jax.numpy as jnp

    from jaxrl import FQL
    from jaxrl.core.counted import WithTarget
    from jaxrl.policies.flow import pushforward
    from jaxrl.policies.transforms import on_part

    gradient, key = jnp.array([0.4, -0.1]), jax.random.key(3)

    def values(params, obs, action, key=None):
        return jnp.broadcast_to(action @ gradient, (2, *action.shape[:-1]))

    flow = jax.random.uniform(key, (ROWS, 2), minval=0.2, maxval=0.4)  # far inside the box, where clips do nothing
    for alpha, normalise in ((10.0, False), (1e4, False), (10.0, True)):
        config = FQL(**SMALL, base_hidden_sizes=(8,), flow_steps=2, alpha=alpha, normalise_value=normalise)
        agent, params, batch, _ = agent_of(config)
        free = pushforward(lambda key: {"actions": flow}, lambda own, noise, obs: own["actions"], 2)
        agent = agent._replace(
            base=agent.base._replace(sample=lambda *inputs: (flow, None)),
            student=on_part(free, "one_step"),
            critics=agent.critics._replace(values=values),
        )
        batch = WithTarget(batch.batch.batch, batch.target)

        def total(actions, config=config, agent=agent, params=params, batch=batch):
            return config.loss(agent, params | {"one_step": {"actions": actions}}, batch, key)[0]

        rest, scale = flow, 1.0
        for _ in range(100 if normalise else 1):
            scale = float(jnp.abs(rest @ gradient).mean()) if normalise else 1.0
            rest = flow + gradient * 2 / (2 * alpha * scale)
        slope = jnp.abs(jax.grad(total)(rest)).max() * ROWS
        name = f"alpha = {alpha:g}" + (", normalised" if normalise else "")
        yield exact(
            f"FQL under a linear value, {name}: largest slope at rest", slope, 0.0, 1e-3 if alpha > 1e3 else 1e-5
        )
        if alpha > 1e3:
            yield exact(f"FQL under a linear value, {name}: distance from the flow", largest(rest - flow), 0.0, 1e-4)


def ratios() -> Iterator[Row]:
    """FPO's and DPPO's first ratios, what they are the surrogates of, and DPPO's clips."""
    import jax
    import jax.numpy as jnp

    from jaxrl import DPPO, FPO, make
    from jaxrl.policies.bases import gaussian

    env, obs = make(ENV), jnp.ones((ROWS, 1))
    advantage = jax.random.normal(jax.random.key(4), (ROWS,))
    advantage = (advantage - advantage.mean()) / advantage.std()
    one = DPPO(**SMALL, base_width=8, diffusion_steps=3, trained_steps=1, clip=0.2, first_clip=0.2)
    for name, config in (("FPO", FPO(**SMALL, base_hidden_sizes=(8,), flow_steps=3)), ("DPPO, one step", one)):
        policy, _, _ = config.networks(env, env.default_params)
        params = policy.init(jax.random.key(0))
        action, before = policy.sample(params, obs, policy.noise(jax.random.key(1), (ROWS,)))

        def after(params, policy=policy, action=action):
            return policy.log_prob(params, obs, action, jax.random.key(0))[0]

        yield exact(f"{name}: largest log-ratio before a step", jnp.abs(after(params) - before).max(), 0.0, 1e-5)

        def surrogate(params, config=config, after=after, before=before):
            return config.surrogate(after(params), before, advantage).mean()

        def expected(params, after=after):
            return -(after(params) * advantage[:, None]).mean()

        found, known = (jax.grad(function)(params) for function in (surrogate, expected))
        difference = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found, known)
        yield exact(f"{name}: first gradient less that of advantage times error", largest(difference), 0.0, 1e-5)
        if config is one:
            moved = jax.tree.map(lambda leaf: leaf + 0.01, params)
            given, made = action[:, 0], action[:, 1]
            outputs = last_step(config, moved, given)
            known = gaussian(lambda key: None, lambda params, obs, outputs=outputs: outputs, 2)
            density = known.log_prob(None, obs, made, jax.random.key(0))[0]
            difference = largest(after(moved)[:, 0] - density / 2)
            yield exact("DPPO, one step: half the log-density of its Gaussian, largest error", difference, 0.0, 1e-4)
    clips = DPPO(first_clip=0.001, clip=0.01, diffusion_steps=20, trained_steps=10).clips()
    yield exact("DPPO: clip of the first of ten steps", clips[0], 0.001, 1e-9)
    yield exact("DPPO: clip of the last of ten steps", clips[-1], 0.01, 1e-8)
    middle = 0.001 + 0.009 * (math.exp(3 * 4 / 9) - 1) / (math.exp(3) - 1)
    yield exact("DPPO: clip of the fifth of ten steps", clips[4], middle, 1e-8)
    yield exact("DPPO: whether clips rise from step to step", float(np.all(np.diff(clips) > 0)), 1.0, 0.0)


def last_step(config: Any, params: Any, given: Any) -> tuple[Any, Any]:
    """Mean and logarithm of the deviation of the last step of DPPO's chain, from DDPM's formula."""
    import jax.numpy as jnp

    from jaxrl.networks.denoiser import PreActivationMLP, denoiser
    from jaxrl.policies.diffusion import SCHEDULES

    _, network = denoiser(2, (1,), lambda: PreActivationMLP(config.base_width, config.base_pairs))
    left = SCHEDULES[config.schedule](config.diffusion_steps).alpha_bar[0]
    eps = network(params["tuned"], given, jnp.float32(1), jnp.ones((len(given), 1)))
    mean = jnp.clip((given - math.sqrt(1 - left) * eps) / math.sqrt(left), -1, 1)
    return mean, jnp.full_like(mean, math.log(config.least_log_prob_std))


# --- four corners -----------------------------------------------------------------------------------------------

CORNERS = ((-0.8, 0.8, 3.0), (-0.8, -0.8, 0.0), (0.8, 0.8, 1.5), (0.8, -0.8, 5.0))
"""two coordinates and the mean reward"""


def four_corners(path: Any, rows: int = 10_000) -> None:
    """Writes the toy's data set."""
    from jaxrl.core.types import Transition
    from jaxrl.sources.dataset import Card, DataSet, save

    random = np.random.default_rng(0)
    corners = np.array(CORNERS)[random.integers(0, 4, rows)]
    action = np.clip(corners[:, :2] + 0.05 * random.normal(size=(rows, 2)), -1, 1).astype(np.float32)
    reward = (corners[:, 2] + 0.5 * random.normal(size=rows)).astype(np.float32)
    obs, zeros = np.ones((rows, 1), np.float32), np.zeros(rows, np.float32)
    steps = Transition(obs, action, reward, zeros, zeros + 1, obs, {})
    card = Card(ENV, "four Gaussians, as likely as each other", float(np.mean([c[2] for c in CORNERS])), 5.0)
    save(DataSet(card, steps, np.arange(rows)), path)


def corner_shares(config: Any, seeds: int, updates: int, samples: int = 4096) -> np.ndarray:
    """``[etas, seeds, 4]``: how many actions of the diffusion are nearest to each corner after learning from the toy.

    Args:
        config: whose ``eta`` is a vector.
    """
    import tempfile
    from pathlib import Path

    import jax
    import jax.numpy as jnp

    from jaxrl import make, train

    with tempfile.TemporaryDirectory() as folder:
        four_corners(Path(folder) / "data")
        config = config.replace(prior=str(Path(folder) / "data"), offline=True)
        result = train(config, ENV, seeds=seeds, updates=updates // config.num_steps, evaluate_every=0)
    env = make(ENV)
    base = config.replace(eta=1.0).agent(env, env.default_params).base
    params = result.states.learner.inner.inner.inner.params
    obs = jnp.ones((samples, 1))

    def shares(params):
        action, _ = base.sample(params, obs, base.noise(jax.random.key(0), (samples,)))
        distance = jnp.square(action[:, None] - jnp.array(CORNERS)[:, :2]).sum(axis=-1)
        return (jnp.argmin(distance, axis=-1)[:, None] == jnp.arange(4)).mean(axis=0)

    found = jax.jit(jax.vmap(shares))(params)
    return np.asarray(found).reshape(-1, seeds, 4)


def toy(seeds: int, updates: int) -> Iterator[Row]:
    """Imitation keeps all corners, and DQL the best."""
    from jaxrl import DQL

    config = DQL(
        eta=np.array([0.0, 2.5]), diffusion_steps=50, base_hidden_sizes=(128, 128, 128), hidden_sizes=(128, 128, 128),
        batch_size=100, num_candidates=1, decay_updates=None, num_steps=100,
    )  # fmt: skip
    imitation, learned = corner_shares(config, seeds, updates)
    yield at_least("toy of DQL, eta = 2.5: share at the best corner", learned[:, 3], 0.9)
    yield at_least("toy of DQL, eta = 0: share at the rarest corner", imitation.min(axis=-1), 0.2)
    yield at_most("toy of DQL, eta = 0: share at the commonest corner", imitation.max(axis=-1), 0.3)


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    for part in (imitation, expectiles, scores, copies, ratios):
        yield part()
    if not arguments.quick:
        yield toy(arguments.seeds, arguments.updates)


if __name__ == "__main__":
    title = "Learners of diffusion and flow policies: known answers"
    sys.exit(reproduce_parts("diffusion_learners", __doc__, title, INTRODUCTION, parts, Sizes))

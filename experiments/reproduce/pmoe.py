"""PMOE against known answers and against SAC: ``python -m experiments.reproduce.pmoe [--quick] [--seeds N]``.

The quick checks are exact: what the router converges to, its gradient, and the mixture's density. Without ``--quick``,
PMOE with four experts and SAC are trained where four goals are worth the same, and asked which goals they go to, and on
a robot.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.command_line import configure, find_preset
from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.returns import SMALL_ROBOT, network_of
from experiments.reproduce.table import Row, above, at_least, at_most, exact, not_worse

ENV = "control/multi-goal-v0"
EPISODES, STEPS = 400, 30
ROBOT, ROBOT_STEPS = "brax/hopper", 50_000
LEAST_SHARE = 0.05
"""of episodes, for a goal to count as reached"""
INTRODUCTION = (
    f"Policies are judged by {EPISODES} episodes of each seed whose actions are sampled. Interquartile means over seeds"
    " with 95% bootstrap intervals. The paper's figures are on MuJoCo's tasks at many times the steps, and cannot"
    " be compared with Brax's, whose dynamics and rewards are others."
)


@dataclass
class Sizes(Arguments):
    """What to check."""

    parts: tuple[str, ...] = ("goals", "areas")
    """Trainings of the full run."""
    seeds: int = 8
    """Of each training."""
    steps: int | None = None
    """Environment steps of each seed among the goals; by default the preset's."""


def known() -> Iterable[Row]:
    """Router and density where their answers are known."""
    import jax
    import jax.numpy as jnp
    from scipy import stats

    from jaxrl.policies.mixture import MixtureOutputs, frequency_loss, mixture_log_prob

    difference = 1 + np.sqrt(2) * jax.random.normal(jax.random.key(0), (4000, 256))

    def step(logits, best):
        mean = lambda logits: jax.vmap(frequency_loss, in_axes=(None, 0))(logits, best).mean()  # noqa: E731
        return logits - 2.0 * jax.grad(mean)(logits), jax.nn.softmax(logits)

    _, path = jax.lax.scan(step, jnp.zeros(2), jnp.where(difference > 0, 0, 1))
    name = "weight of an expert whose value is greater by N(1, 2)"
    yield exact(name, float(path[2000:, 0].mean()), float(stats.norm.cdf(1 / np.sqrt(2))), 0.01)
    shares = np.array([0.5, 0.3, 0.2])
    least = sum(p * float(frequency_loss(jnp.log(shares), jnp.int32(k))) for k, p in enumerate(shares))
    yield exact("least expected loss of a router of three", least, (1 - (shares**2).sum()) / 3, 1e-6)
    logits, best = jnp.array([0.3, -0.5, 1.0]), jnp.int32(1)
    w, v = np.asarray(jax.nn.softmax(logits)), np.eye(3)[1]
    formula = 2 / 3 * w * ((w - v) - (w * (w - v)).sum())
    error = float(np.abs(np.asarray(jax.grad(frequency_loss)(logits, best)) - formula).max())
    yield exact("gradient of the router, largest distance from the formula", error, 0.0, 1e-6)
    out = MixtureOutputs(logits, jnp.array([[-1.0], [0.5], [2.0]]), jnp.log(jnp.array([[0.4], [0.2], [0.7]])))
    x = jnp.linspace(-8.0, 10.0, 20_001)
    density = np.exp(jax.vmap(lambda a: mixture_log_prob(out, a[None]))(x))
    yield exact("integral of a mixture's density", float(np.trapezoid(density, x)), 1.0, 1e-5)
    yield from estimators()


def estimators() -> Iterable[Row]:
    """Gradients of the router of a bandit ``q_k = -|a_k - c_k|^2``, ``a_k`` normal, by the score function and by the
    frequency of being best: which way they point, and how much they vary for their length."""
    import jax
    import jax.numpy as jnp

    from jaxrl.policies.mixture import frequency_loss, route, score_loss

    experts, draws = 4, 200_000
    logits, centres = jnp.array([0.3, -0.5, 1.0, 0.0]), jnp.array([0.2, 0.5, 1.0, 1.5])
    action_key, route_key = jax.random.split(jax.random.key(0))
    q = -jnp.square(jax.random.normal(action_key, (draws, experts)) - centres)
    drawn = route(jnp.broadcast_to(logits, q.shape), jax.random.uniform(route_key, (draws,)))
    score = jax.vmap(jax.grad(score_loss), in_axes=(None, 0, 0))(logits, -q, drawn)
    frequency = jax.vmap(jax.grad(frequency_loss), in_axes=(None, 0))(logits, jnp.argmax(q, axis=-1))
    # E[q_k] = -(1 + c_k^2), and the gradient of the mean cost is sum_k w_k (onehot_k - w) (-E[q_k]).
    w, cost = np.asarray(jax.nn.softmax(logits)), 1 + np.square(centres)
    error = float(np.abs(np.asarray(score.mean(axis=0)) - w * (cost - w @ cost)).max())
    yield exact("score-function gradient of a bandit's router, distance of its mean from the formula", error, 0.0, 0.02)

    def noise(gradients):
        mean = gradients.mean(axis=0)
        return float(jnp.sum(jnp.var(gradients, axis=0)) / jnp.sum(jnp.square(mean)))

    name = "variance of the router's gradient for the square of its length, frequency beside score function"
    yield at_most(name, [noise(frequency)], noise(score), "claim")
    bound = float(jnp.sqrt(jnp.sum(jnp.square(frequency), axis=-1)).max())
    yield at_most("longest gradient by the frequency of being best, beside its bound", [bound], 2**0.5 / experts)


def goals(arguments: Sizes) -> Iterable[Row]:
    """What both reach, where they go, and whether experts can be told apart."""
    found = {name: trained(name, arguments) for name in ("pmoe", "sac")}
    returns = {name: result["returns"] for name, result in found.items()}
    reached = {name: (result["shares"] > LEAST_SHARE).sum(axis=1).astype(float) for name, result in found.items()}
    steps = found["pmoe"]["steps"]
    where = f"{ENV}, {steps:,} steps"
    share = f"goals that more than {100 * LEAST_SHARE:.0f}% of episodes end at"
    yield above(f"{where}: {share}, PMOE beside SAC", reached["pmoe"], reached["sac"])
    yield at_least(f"{where}: {share}, PMOE", reached["pmoe"], 3.0, "claim")
    yield above(f"{where}: return of sampled actions, PMOE beside SAC", returns["pmoe"], returns["sac"])
    yield at_least(f"{where}: accuracy of telling experts apart", found["pmoe"]["accuracy"], 0.8, "claim")


def areas(arguments: Sizes) -> Iterable[Row]:
    """The area under the learning curve on a robot, beside SAC's."""
    from jaxrl import train
    from jaxrl.engine.sinks import Progress

    def area(algorithm: str) -> np.ndarray:
        preset = find_preset(algorithm, ROBOT, None)
        config = configure(algorithm, preset, list(SMALL_ROBOT))
        how = {"env_settings": preset.env_settings, "evaluate_every": ROBOT_STEPS // 10, "sinks": [Progress()]}
        result = train(config, ROBOT, seeds=arguments.seeds, steps=ROBOT_STEPS, **how)
        return result.metrics["evaluation_return"].mean(axis=1)

    ours, theirs = area("pmoe"), area("sac")
    name = f"{ROBOT} with layers of 64, {ROBOT_STEPS:,} steps: mean of 10 evaluated returns, PMOE"
    yield not_worse(f"{name} beside SAC", ours, theirs)
    yield at_least(f"{name}, as a share of SAC's mean", (ours / theirs.mean()).tolist(), 0.95, "claim")


def trained(algorithm: str, arguments: Sizes) -> dict[str, Any]:
    """A training, and what its policies do when their actions are sampled."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.control.goals import GOALS

    from jaxrl import make, train
    from jaxrl.engine.episode import play_together
    from jaxrl.engine.program import member_axes
    from jaxrl.engine.sinks import Progress

    preset = find_preset(algorithm, ENV, None)
    config = configure(algorithm, preset, [])
    steps = arguments.steps or preset.steps
    result = train(config, ENV, seeds=arguments.seeds, steps=steps, evaluate_every=0, sinks=[Progress()])
    env = make(ENV)
    params = env.default_params
    learner = config.make(env, params, updates=result.environment_steps[-1])

    def episodes(state, key):
        played = play_together(
            lambda obs, key: learner.policy(state, obs, key, False), env, params, key, EPISODES, STEPS
        )
        last = played.obs[-1]
        nearest = jnp.argmin(jnp.linalg.norm(last[:, None] - GOALS, axis=-1), axis=-1)
        share = jnp.mean((nearest[:, None] == jnp.arange(4)) * played.terminated[:, None], axis=0)
        return share, played.total.mean(), played.obs[:-1].reshape(-1, 2), played.running.reshape(-1)

    states, keys = result.states, jax.random.split(jax.random.key(1), arguments.seeds)
    axes = member_axes(states)
    shares, returns, seen, counts = jax.jit(jax.vmap(episodes, in_axes=(axes, 0)))(states, keys)
    figures = {"shares": np.asarray(shares), "returns": np.asarray(returns), "steps": int(result.environment_steps[-1])}
    if algorithm == "pmoe":
        draws = config.agent(env, params).draws
        drawn = jax.vmap(draws)(network_of(result)["actor"], seen, keys)
        figures["accuracy"] = [
            separable(
                np.asarray(seen[i]), np.asarray(drawn.action[i]), np.asarray(drawn.expert[i]), np.asarray(counts[i])
            )
            for i in range(arguments.seeds)
        ]
    return figures


def separable(obs: np.ndarray, action: np.ndarray, expert: np.ndarray, running: np.ndarray) -> float:
    """How often a linear classifier tells by state and action which expert acted, on steps not fitted to."""
    from sklearn.linear_model import LogisticRegression

    acted = action[np.arange(len(expert)), expert]
    inputs, kept = np.concatenate([obs, np.tanh(acted)], axis=1), running > 0
    inputs, expert = inputs[kept], expert[kept]
    if len(np.unique(expert)) == 1:
        return 0.0  # one expert acts alone: there is nothing to tell apart
    # Every other row, since they are in the order of time.
    classifier = LogisticRegression(max_iter=1000).fit(inputs[::2], expert[::2])
    return float(classifier.score(inputs[1::2], expert[1::2]))


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    yield known()
    if not arguments.quick:
        for name in arguments.parts:
            yield {"goals": goals, "areas": areas}[name](arguments)


if __name__ == "__main__":
    title = "PMOE: known answers, and where its experts go"
    sys.exit(reproduce_parts("pmoe", __doc__, title, INTRODUCTION, parts, Sizes))

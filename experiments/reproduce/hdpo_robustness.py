"""HDPO beside algorithms that do not differentiate the environment: part of ``experiments.reproduce.hdpo``.

One store with lost demand, the same number of simulated periods for all, step sizes over two and a half orders of
magnitude. What is compared is how much depends on the step size: the share of step sizes and seeds that end near the
optimum, and the gap at the best step size. Greedy policies are judged on fresh traces.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.inventory import optimal, simulate

from experiments.reproduce.table import Row, at_most
from jaxrl import HDPO, PPO, REINFORCE, make, train
from jaxrl.engine.sinks import Progress
from jaxrl.engine.transfer import select_members

LEAD_TIME, UNDERAGE, NEAR = 4, 9.0, 5.0
STEP_SIZES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
UPDATES, TRACES, PERIODS = 400, 128, 50
NETWORK = {"hidden_sizes": (32, 32, 32), "activation": "elu", "squash": True, "normalise_observations": True}
METHODS: dict[str, Any] = {
    "HDPO": HDPO(
        batch_size=TRACES, horizon=PERIODS, num_scenarios=None, development_scenarios=256, development_every=20
    ),
    "REINFORCE": REINFORCE(num_envs=TRACES, num_steps=PERIODS, **NETWORK),
    "PPO": PPO(
        num_envs=TRACES, num_steps=PERIODS, num_minibatches=8, num_epochs=4, entropy_coefficient=0.0,
        scale_rewards=True, **NETWORK,
    ),
}  # fmt: skip


def robustness(arguments: Any) -> list[Row]:
    """The gap of each method at its best step size, and how many step sizes and seeds come near the optimum."""
    env = make("inventory/one-store-lost-v0", lead_time=LEAD_TIME, underage=UNDERAGE)
    optimum = optimal.lost_sales_optimum(LEAD_TIME, 5.0, UNDERAGE).cost
    gaps = {name: 100 * (costs(env, config, arguments) / optimum - 1) for name, config in METHODS.items()}
    rows = []
    for name, gap in gaps.items():
        medians = np.median(gap, axis=1)
        best, near = int(medians.argmin()), (gap < NEAR).mean()
        print(
            f"{name}: {100 * near:.0f}% within {NEAR:g}% of the optimum; median gaps {dict(zip(STEP_SIZES, medians))}"
        )
        title = f"one store, L {LEAD_TIME}, p {UNDERAGE:g}, {UPDATES} x {TRACES} traces: {name} at its best step size"
        rows.append(at_most(f"{title}, gap %", gap[best], NEAR, "claim"))
        if name != "HDPO":
            title = f"share of step sizes and seeds within {NEAR:g}% of the optimum, HDPO against {name}"
            ours = float((gaps["HDPO"] < NEAR).mean())
            verdict = "holds" if ours > near else "falls short"
            rows.append(Row(title, ours, None, None, arguments.seeds, float(near), "claim", verdict))
    return rows


def costs(env: Any, config: Any, arguments: Any) -> np.ndarray:
    """``[step sizes, seeds]`` cost on fresh traces of the greedy policy after training."""
    updates = arguments.updates or UPDATES
    config = config.replace(learning_rate=jnp.array(STEP_SIZES), anneal_learning_rate=True)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    result = train(config, env, seeds=seeds, updates=updates, evaluate_every=0, sinks=[Progress()])
    algorithm = config.replace(learning_rate=1e-3).make(env, updates=updates)
    keys = jax.random.split(jax.random.key(2**31), 1024)

    def cost(state):
        def policy(obs):
            return algorithm.policy(state, obs, jax.random.key(0))

        return simulate(env, policy, keys, 500, ignore=100, round_orders=True).mean()

    members = jnp.arange(len(result.members))
    judge = jax.jit(lambda states: jax.lax.map(lambda member: cost(select_members(states, member)), members))
    judged = judge(result.states)
    return np.asarray(judged).reshape(len(STEP_SIZES), len(seeds))

"""Value iteration on a finite process, as an algorithm of the engine: radii, discounts and processes as members."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.bellman import (
    KL,
    L1,
    MDP,
    TV,
    Backup,
    ChiSquare,
    Contamination,
    CVaR,
    Entropic,
    LInf,
    SRectangularL1,
    bellman,
    regularise,
    risk,
    robust,
)
from jaxrl.bellman.solve import Sweep, backup_sweep
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.types import Algorithm, AlgorithmState
from jaxrl.envs import unwrapped
from jaxrl.envs.tabular import TabularEnvironment
from jaxrl.errors import InvalidArgument

INFINITY = float("inf")
SETS = {
    "l1": L1, "tv": TV, "linf": LInf, "kl": KL, "chi-square": ChiSquare, "contamination": Contamination,
    "s-rectangular-l1": SRectangularL1,
}  # fmt: skip
MEASURES = {"cvar": CVaR, "entropic": Entropic}


@struct.dataclass
class ValueIteration:
    """Sweeps of a Bellman backup over all states of a ``tabular/*`` environment, whose kernel is known to it.

    It plays no episodes: what the command line calls environment steps are sweeps. In single precision; to solve to
    more digits use ``jaxrl.bellman.solve``.
    """

    gamma: float = 0.95
    """Discount factor, below 1; the process's own is not used."""
    radius: float = 0.1
    """Of the adversary's set; the share of a contamination, the level of CVaR, the aversion of the entropic risk."""
    temperature: float = 1.0
    """Reward for a unit of the policy's entropy, if soft."""
    nature: Literal[
        "nominal", "l1", "tv", "linf", "kl", "chi-square", "contamination", "s-rectangular-l1", "cvar", "entropic"
    ] = static("nominal")
    """Who chooses the next state: chance, an adversary within a set of kernels, or a nested risk measure."""
    soft: bool = static(False)
    """Pay the policy for its entropy."""
    num_sweeps: int = static(1)
    """Sweeps of an update."""

    def backup(self) -> Backup:
        """What a sweep does."""
        transforms = [regularise(self.temperature)] if self.soft else []
        if self.nature in SETS:
            transforms.append(robust(SETS[self.nature](self.radius)))
        elif self.nature in MEASURES:
            transforms.append(risk(MEASURES[self.nature](self.radius)))
        return bellman(*transforms)

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range, or an environment whose kernel is not known."""
        del env_params
        check_one_of(self, nature=("nominal", *SETS, *MEASURES))
        check_within(
            self,
            gamma=(0, 1),
            radius=(0, 1 if self.nature in ("contamination", "cvar") else INFINITY),
            temperature=(0, INFINITY),
            num_sweeps=(1, INFINITY),
        )
        excluded = {"gamma": 1, "temperature": 0} | ({"radius": 0} if self.nature in MEASURES else {})
        for name, value in excluded.items():
            if (np.asarray(getattr(self, name)) == value).any():
                raise InvalidArgument(name, getattr(self, name), f"must not be {value}")
        self.backup()  # refuses what is not defined
        inner = unwrapped(env)
        if not isinstance(inner, TabularEnvironment) or inner.observation == "features" or inner.reward_shape:
            allowed = "must be a tabular/* that shows its states and has one reward: its kernel is swept over"
            raise InvalidArgument("env", env.name, allowed)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment; ``updates`` make no difference.

        Args:
            env_params: the environment's own by default; members may differ in them.
        """
        del updates
        inner: Any = unwrapped(env)
        params: Any = env.default_params if env_params is None else env_params
        states, actions, allowed = inner.process.states, inner.process.actions, inner.process.allowed
        start = jnp.diff(jnp.asarray(params.start), prepend=0)

        def sweep() -> Sweep:
            # Not before it is needed: the engine also makes algorithms of whole populations, to read their sizes.
            cumulative, rewards, successors = map(jnp.asarray, (params.cumulative, params.rewards, params.successors))
            probabilities = jnp.diff(cumulative, axis=-1, prepend=0)
            return backup_sweep(MDP(probabilities, rewards, successors, self.gamma, allowed, start), self.backup())

        def init(key) -> AlgorithmState:
            value = jnp.zeros(states, jnp.float32)
            policy = jnp.zeros((states, actions), jnp.float32)
            return AlgorithmState((), Swept(value, policy, sweep().guess), key)

        def update(state: AlgorithmState):
            old, guess = state.learner.value, state.learner.guess
            value, policy, best = old, state.learner.policy, sweep().best
            for _ in range(self.num_sweeps):
                old = value
                value, policy, _, guess = best(old, guess)
            change = value - old
            low, high = (self.gamma / (1 - self.gamma) * x for x in (change.min(), change.max()))
            metrics = {
                "residual": jnp.abs(change).max(),
                "bound": (high - low) / 2,
                "value": (start * value).sum() + (low + high) / 2,
            }
            return state._replace(learner=Swept(value, policy, guess)), metrics

        def act(state: AlgorithmState, obs, key, greedy=True):
            place = obs if inner.observation == "index" else obs.argmax(axis=-1)
            policy = state.learner.policy[place]
            return policy.argmax(axis=-1) if greedy else jax.random.categorical(key, jnp.log(policy))

        return Algorithm(init, update, act, self.num_sweeps)


class Swept(NamedTuple):
    """What is known of the values."""

    value: Any
    """``[S]`` after the last sweep, whose middle of the bounds is somewhat higher or lower"""
    policy: Any
    """``[S, A]`` that was best in it"""
    guess: Any
    """nature's"""

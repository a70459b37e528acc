"""Hindsight differentiable policy optimisation (Alvo et al. 2023)."""

import functools
from typing import Any, Literal

import jax
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.core.combine import iterate
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.counted import keep_best
from jaxrl.core.descend import descend, step_size, with_clipping
from jaxrl.core.types import Algorithm
from jaxrl.envs import unwrapped
from jaxrl.envs.inventory import InventoryNetwork, simulate
from jaxrl.errors import InvalidArgument
from jaxrl.policies.bases import deterministic
from jaxrl.policies.inventory import POLICIES, OrderPolicy
from jaxrl.sources.scenarios import scenarios

INFINITY = float("inf")
PolicyName = Literal[
    "vanilla", "base_stock", "capped_base_stock", "echelon_stock", "data_driven", "symmetry_aware", "graph"
]


@struct.dataclass
class HDPO:
    """Hindsight differentiable policy optimisation: the mean cost of simulated demand traces, differentiated through
    the dynamics of an inventory network."""

    learning_rate: float = 3e-3
    """Adam's step size."""
    max_grad_norm: float = INFINITY
    """Gradients are scaled down to this global norm; the paper has 1 for the graph policy and none for the others."""
    policy: PolicyName = static("vanilla")
    """What decides on orders; see jaxrl.policies.inventory."""
    hidden_sizes: tuple[int, ...] = static((32, 32, 32))
    """Widths of the policy's dense layers, where it leaves them open."""
    batch_size: int = static(1024)
    """Scenarios of each gradient step."""
    horizon: int = static(50)
    """Periods that each is simulated for, the warm-up included."""
    num_scenarios: int | None = static(32_768)
    """Scenarios to learn from, seen again in every epoch; none for new ones in every step."""
    development_scenarios: int = static(1024)
    """Scenarios on which the best parameters are chosen."""
    development_horizon: int = static(100)
    """Periods that each of them is simulated for."""
    development_ignore: int = static(60)
    """Periods at their start that do not count."""
    development_every: int = static(100)
    """Gradient steps between two choices."""
    microbatch_size: int = static(256)
    """Scenarios whose gradient is computed together: a matter of speed and memory, not of results."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        inner = unwrapped(env)
        if not isinstance(inner, InventoryNetwork):
            raise InvalidArgument("env", env.name, "must be an inventory network, whose demand can be drawn ahead")
        check_within(
            self,
            learning_rate=(0, INFINITY),
            max_grad_norm=(0, INFINITY),
            batch_size=(1, INFINITY),
            horizon=(1, INFINITY),
            num_scenarios=(1, INFINITY),
            development_scenarios=(1, INFINITY),
            development_horizon=(1, INFINITY),
            development_ignore=(0, self.development_horizon - 1),
            development_every=(1, INFINITY),
            microbatch_size=(1, INFINITY),
        )
        check_one_of(self, policy=tuple(POLICIES))
        if any(size < 1 for size in self.hidden_sizes):
            raise InvalidArgument("hidden_sizes", self.hidden_sizes, "must be positive widths")
        if self.num_scenarios is not None and self.num_scenarios % self.batch_size:
            allowed = f"must be a multiple of batch_size={self.batch_size}"
            raise InvalidArgument("num_scenarios", self.num_scenarios, allowed)
        if inner.demand.periods is not None:
            for name, params in (("horizon", env_params), ("development_horizon", inner.validation_params(env_params))):
                recorded = params.max_steps_in_episode
                if getattr(self, name) > recorded:
                    raise InvalidArgument(name, getattr(self, name), f"must be at most {recorded}, the data's periods")
        self.orders(inner, env_params)

    def orders(self, env: InventoryNetwork, env_params: Any) -> OrderPolicy:
        """The policy on a network.

        Raises:
            InvalidArgument: if it does not fit the network.
        """
        return POLICIES[self.policy](env, env_params, self.hidden_sizes)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an inventory network.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; the horizon of ``anneal_learning_rate``, which needs it.
        """
        env_params = env.default_params if env_params is None else env_params
        network: Any = unwrapped(env)
        policy = self.orders(network, env_params)

        def cost(params, keys, periods, env_params, ignore=0):
            act = functools.partial(policy.act, params)
            return simulate(network, act, keys, periods, env_params, ignore=ignore).mean()

        def loss(params, keys, key):
            del key
            value = cost(params, keys, self.horizon, env_params)
            return value, {"training_cost": value}

        def score(params, key):
            keys = jax.random.split(key, self.development_scenarios)
            held_out = network.validation_params(env_params)
            return -cost(params, keys, self.development_horizon, held_out, self.development_ignore)

        learning_rate = step_size(self.learning_rate, self.anneal_learning_rate, updates)
        optimiser = with_clipping(optax.adam(learning_rate), self.max_grad_norm)
        learner = descend(policy.init, loss, optimiser, deterministic(policy.init, policy.act), self.microbatch_size)
        learner = keep_best(learner, score, self.development_every)
        return iterate(scenarios(self.batch_size, self.horizon, self.num_scenarios), learner)

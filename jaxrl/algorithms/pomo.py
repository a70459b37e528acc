"""POMO (Kwon et al. 2020): construction learned by trying, each solution against others of the same instance."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.advantages.group import group_centre
from jaxrl.core.combine import iterate
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.descend import descend, step_size
from jaxrl.core.types import Algorithm, Behaviour, Learner, Metrics
from jaxrl.envs.combinatorial.environment import Construction
from jaxrl.envs.combinatorial.groups import begun
from jaxrl.envs.combinatorial.problem import Problem
from jaxrl.errors import InvalidArgument
from jaxrl.policies.constructors import Constructor, process_of
from jaxrl.policies.groups import draw, log_probs
from jaxrl.sources.constructions import Attempts, attempts

INFINITY = float("inf")
STARTS = ("nodes", "policy")


@struct.dataclass
class POMO(Constructor):
    """REINFORCE with several solutions of each instance, and their mean return as the baseline of each: no critic, no
    labels, in a direct process, whose network encodes an instance once for all solutions and steps.

    An iteration constructs the solutions of fresh instances and takes one gradient step. The network is that of the
    direct process here, with residual weights that start at 0 where the paper has batch normalisation.
    """

    learning_rate: float = 1e-4
    """Adam's step size."""
    weight_decay: float = 1e-6
    """What of the parameters is added to their gradient."""
    batch_size: int = static(64)
    """Instances of each gradient step."""
    microbatch_size: int | None = static(None)
    """Instances whose gradient is computed together, as fits the memory; all by default. On a CPU 16 of 20 cities are
    faster than 64, which leave the cache."""
    num_starts: int | None = static(None)
    """Solutions of each instance; as many as it has nodes by default."""
    starts: Literal["nodes", "policy"] | None = static(None)
    """Where they begin: each with another node, or all where the instance does. By default with nodes if solutions have
    all of them, else the policy chooses the first one too; the paper begins solutions of the knapsack problem with
    every item, also with those that nobody would take."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""
    logit_clip: float = static(10.0)
    """Logits are this times a tanh."""
    layers: int = static(6, kw_only=True)
    """Of the transformer."""
    width: int = static(128, kw_only=True)
    """Of its embeddings."""
    heads: int = static(8, kw_only=True)
    """Of its attention."""
    hidden_width: int = static(512, kw_only=True)
    """Inside its dense networks."""

    def logit_bound(self) -> float:
        """Of the network."""
        return self.logit_clip

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        self.check_network(env)
        direct(env)
        check_within(self, learning_rate=(0, INFINITY), weight_decay=(0, INFINITY), num_starts=(2, INFINITY))
        check_within(self, **dict.fromkeys(("batch_size", "microbatch_size"), (1, INFINITY)))
        check_one_of(self, starts=(None, *STARTS))
        if not self.logit_clip > 0:
            raise InvalidArgument("logit_clip", self.logit_clip, "must be above 0")

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment such as ``combinatorial/tsp-v0``.

        Args:
            env_params: of no use here.
            updates: of the whole run; the horizon of ``anneal_learning_rate``, which needs it.
        """
        del env_params
        process = direct(env)
        number = nodes_of(process) if self.num_starts is None else self.num_starts
        nodes = process.problem.covers if self.starts is None else self.starts == "nodes"
        source = attempts(process.problem, process.generate, process.steps, self.batch_size, number, nodes)
        return iterate(source, self.learner(env, updates))

    def loss(self, env: Environment) -> Callable[..., tuple[jax.Array, Metrics]]:
        """``(params, Attempts[B, k], key) -> (loss, metrics)``, whose gradient estimates that of the mean cost, times
        ``(k - 1) / k``."""
        problem, encode, score = direct(env).problem, self.encoder(env), self.group_scorer(env)
        baseline = group_centre()

        def loss(params, batch: Attempts, key):
            del key
            group = begun(encode(params, batch.instance), batch.start)
            log_prob = log_probs(problem, score, params, group, batch.start.first, batch.actions)
            advantage, _ = baseline.update(-batch.cost, batch, ())
            return -jnp.mean(advantage * log_prob), {"log_prob": log_prob.mean()}

        return loss

    def learner(self, env: Environment, updates: int | None = None) -> Learner:
        """One step along the policy gradient, of batches ``Attempts[B, k]``; behaves as ``attempts`` wants it."""
        problem, policy = direct(env).problem, self.policy(env)
        encode, score = self.encoder(env), self.group_scorer(env)

        def behaviour(state) -> Behaviour:
            def act(obs, noise):
                instance, start = obs
                group = begun(encode(state.params, instance), start)
                return draw(problem, score, state.params, group, start.first, noise), {}

            return Behaviour(jax.random.uniform, act)

        rate = step_size(self.learning_rate, self.anneal_learning_rate, updates)
        optimiser = optax.chain(optax.add_decayed_weights(self.weight_decay), optax.adam(rate))
        learner = descend(policy.init, self.loss(env), optimiser, policy, self.microbatch_size)
        return learner._replace(behaviour=behaviour)


def direct(env: Environment) -> Construction:
    """The direct process in an environment; raises InvalidArgument for a quotient."""
    process = process_of(env)
    if not isinstance(process, Construction):
        raise InvalidArgument("env", env.name, f"must be the direct process, {env.name.removeprefix('quotient/')}")
    return process


def nodes_of(process: Construction) -> int:
    """How many nodes an instance has to choose from, or items: places for solutions to begin."""
    problem: Problem = process.problem
    return max(2, process.slots - 2 * problem.path + problem.circular)

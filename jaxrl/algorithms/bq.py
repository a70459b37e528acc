"""Bisimulation quotienting (Drakulic et al. 2023): construction of solutions learned from solved instances, whose every
suffix solves the sub-instance that it begins in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.core.combine import iterate, one_of
from jaxrl.core.config import check_within, static
from jaxrl.core.descend import descend
from jaxrl.core.types import Algorithm, Learner, Policy
from jaxrl.envs.combinatorial.environment import Quotient
from jaxrl.envs.combinatorial.problem import Problem
from jaxrl.envs.combinatorial.subproblems import Bucket, batch_of, buckets, drawn_left
from jaxrl.errors import InvalidArgument
from jaxrl.networks.construction import ConstructionNetwork
from jaxrl.policies.bases import categorical
from jaxrl.policies.construction import Scorer, scorer
from jaxrl.sources.dataset import sampled

INFINITY = float("inf")


@struct.dataclass
class BQ:
    """Imitates solved instances, in sub-problems of all sizes.

    How much of a solution is left is drawn for each instance of a batch, from those of one static size; the paper draws
    one number for the batch, whose gradients are more alike.
    """

    learning_rate: float = 7.5e-4
    """Adam's step size at the start."""
    decay: float = 0.98
    """What the step size is multiplied by, smoothly, every decay_updates updates."""
    decay_updates: int = static(50_000)
    """Updates over which the step size falls by decay; the paper's 50 epochs of a million instances."""
    labels: str | None = static(None)
    """Folder of solved instances; see experiments.label."""
    batch_size: int = static(1024)
    """Instances of each gradient step."""
    microbatch_size: int | None = static(None)
    """Instances whose gradient is computed together, as fits the memory; all by default."""
    num_sizes: int = static(10)
    """Static sizes of sub-problems, each a program of its own."""
    layers: int = static(9)
    """Of the transformer."""
    width: int = static(192)
    """Of its embeddings."""
    heads: int = static(12)
    """Of its attention."""
    hidden_width: int = static(512)
    """Inside its dense networks."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        problem_of(env)
        check_within(self, learning_rate=(0, INFINITY), decay=(0, 1))
        sizes = ("decay_updates", "batch_size", "microbatch_size", "num_sizes", "layers", "width", "heads")
        check_within(self, **dict.fromkeys((*sizes, "hidden_width"), (1, INFINITY)))
        if self.width % self.heads:
            raise InvalidArgument("heads", self.heads, f"must divide width={self.width}")

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on a quotient such as ``quotient/combinatorial/tsp-v0``.

        Args:
            env_params: of no use here.
            updates: of the whole run; of no use here.

        Raises:
            InvalidArgument: without labels, or with those of another problem or size.
        """
        from jaxrl.sources.expert import load

        del env_params, updates
        if self.labels is None:
            raise InvalidArgument("labels", self.labels, "must be a folder of solved instances")
        return self.imitate(env, load(self.labels, env))

    def imitate(self, env: Environment, labels: tuple[Any, jax.Array]) -> Algorithm:
        """The algorithm that learns from ``(instances[N], actions int32 [N, T])``."""
        return iterate(sampled(labels, self.batch_size), self.learner(env))

    def network(self, problem: Problem) -> Callable[..., Any]:
        """The module that scores actions."""
        return ConstructionNetwork(
            problem.flags, problem.matrix, self.layers, self.width, self.heads, self.hidden_width
        )

    def scorer(self, env: Environment) -> Scorer:
        """``(params, instances[R]) -> logits[R, n, flags]``, for ``jaxrl.policies.construction``."""
        problem = problem_of(env)
        return scorer(problem, self.network(problem).apply)

    def policy(self, env: Environment) -> Policy:
        """Categorical over the actions of an observation ``[..., n, C]``."""
        quotient: Any = quotient_of(env)
        network = self.network(quotient.problem)

        def init(key):
            space = quotient.observation_space(quotient.default_params)
            return network.init(key, quotient.view(jnp.zeros(space.shape)))

        def logits(params, obs):
            found: Any = network.apply(params, quotient.view(obs))
            return found.reshape(*found.shape[:-2], -1)

        return categorical(init, logits)

    def learner(self, env: Environment) -> Learner:
        """Cross-entropy to the expert's actions, of batches ``(instances[B], actions int32 [B, T])``."""
        problem, policy, score = problem_of(env), self.policy(env), self.scorer(env)
        optimiser = optax.adam(optax.exponential_decay(self.learning_rate, self.decay_updates, self.decay))

        def of_size(bucket: Bucket) -> Learner:
            def loss(params, batch, key):
                left_key, order_key = jax.random.split(key)
                left = drawn_left(problem, batch[1], left_key, bucket)
                example = batch_of(problem, *batch, left, order_key, bucket.size)
                log_prob = jax.nn.log_softmax(score(params, example.instance).reshape(example.target.shape))
                taken = jnp.take_along_axis(example.target, jnp.argmax(log_prob, axis=-1)[:, None], axis=-1)
                value = -jnp.sum(example.target * log_prob, axis=-1).mean()
                return value, {"accuracy": jnp.mean(taken > 0)}

            return descend(policy.init, loss, optimiser, policy, self.microbatch_size)

        chosen = buckets(problem, quotient_of(env).slots, self.num_sizes)
        return one_of([of_size(each) for each in chosen], [each.most - each.least + 1 for each in chosen])


def quotient_of(env: Any) -> Quotient:
    """The quotient inside an environment.

    Raises:
        InvalidArgument: if there is none.
    """
    inside = env
    while not isinstance(inside, Quotient):
        if not hasattr(inside, "env"):
            raise InvalidArgument("env", env.name, "must be a quotient, such as quotient/combinatorial/tsp-v0")
        inside = inside.env
    return inside


def problem_of(env: Any) -> Problem:
    """The problem of a quotient; see ``quotient_of``."""
    return quotient_of(env).problem

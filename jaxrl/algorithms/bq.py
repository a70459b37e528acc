"""Bisimulation quotienting (Drakulic et al. 2023): construction of solutions learned from solved instances, whose every
suffix solves the sub-instance that it begins in."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.core.combine import iterate
from jaxrl.core.config import check_within, static
from jaxrl.core.counted import one_of
from jaxrl.core.descend import descend
from jaxrl.core.types import Algorithm, Learner
from jaxrl.envs.combinatorial.environment import Quotient
from jaxrl.envs.combinatorial.subproblems import Bucket, batch_of, buckets, drawn_left
from jaxrl.errors import InvalidArgument
from jaxrl.policies.constructors import Constructor, process_of
from jaxrl.sources.dataset import sampled
from jaxrl.sources.expert import Solved, load_labels

INFINITY = float("inf")


@struct.dataclass
class BQ(Constructor):
    """Imitates solved instances, in sub-problems of all sizes: in a quotient of what is left alone, encoded anew at
    every step; in a direct process, for comparison, of an instance that is encoded once.

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

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        self.check_network(env)
        check_within(self, learning_rate=(0, INFINITY), decay=(0, 1))
        sizes = ("decay_updates", "batch_size", "microbatch_size", "num_sizes")
        check_within(self, **dict.fromkeys(sizes, (1, INFINITY)))

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment such as ``quotient/combinatorial/tsp-v0``.

        Args:
            env_params: of no use here.
            updates: of the whole run; of no use here.

        Raises:
            InvalidArgument: without labels, or with those of another problem or size.
        """
        del env_params, updates
        if self.labels is None:
            raise InvalidArgument("labels", None, "must be a folder of solved instances, see experiments.label")
        process, labels = process_of(env), load_labels(self.labels)
        found, slots = labels.card.problem, labels.solved.instance.remaining.valid.shape[1]
        if (found, slots) != (process.problem.name, process.slots):
            allowed = f"must be of {process.problem.name} with {process.slots} slots, not of {found} with {slots}"
            raise InvalidArgument("labels", self.labels, allowed)
        return self.imitate(env, labels.solved)

    def imitate(self, env: Environment, solved: Solved) -> Algorithm:
        """The algorithm that learns from solved instances ``[N]``."""
        return iterate(sampled(solved, self.batch_size), self.learner(env))

    def learner(self, env: Environment) -> Learner:
        """Cross-entropy to the expert's actions, of batches ``Solved[B]``."""
        process, policy = process_of(env), self.policy(env)
        encode, score = self.encoder(env), self.scorer(env)
        problem, whole = process.problem, not isinstance(process, Quotient)
        # Not optax's schedule, which asks the rate of decay for its value.
        optimiser = optax.adam(lambda count: self.learning_rate * self.decay ** (count / self.decay_updates))

        def of_size(bucket: Bucket) -> Learner:
            def loss(params, batch: Solved, key):
                left_key, order_key = jax.random.split(key)
                left = drawn_left(problem, batch.actions, left_key, bucket)
                instances = encode(params, batch.instance)
                example = batch_of(problem, instances, batch.actions, left, order_key, None if whole else bucket.size)
                log_prob = jax.nn.log_softmax(score(params, example.instance).reshape(example.target.shape))
                taken = jnp.take_along_axis(example.target, jnp.argmax(log_prob, axis=-1)[:, None], axis=-1)
                value = -jnp.sum(example.target * log_prob, axis=-1).mean()
                return value, {"accuracy": jnp.mean(taken > 0)}

            return descend(policy.init, loss, optimiser, policy, self.microbatch_size)

        chosen = buckets(problem, process.slots, 1 if whole else self.num_sizes)
        return one_of([of_size(each) for each in chosen], [each.most - each.least + 1 for each in chosen])

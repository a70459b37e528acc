"""Networks that construct solutions, as a config asks for them and an environment's process needs them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.core.config import check_within, static
from jaxrl.core.types import Policy
from jaxrl.envs.combinatorial.environment import Construction, Quotient
from jaxrl.envs.combinatorial.groups import allowed_in
from jaxrl.envs.combinatorial.problem import Instance, Problem, Tokens, tokens
from jaxrl.errors import InvalidArgument
from jaxrl.networks.construction import ConstructionNetwork, EncodedOnceNetwork
from jaxrl.policies.bases import categorical
from jaxrl.policies.construction import Decode, Encode, Scorer, encoded, scorer

ROWS = "rows"
"""name among an instance's nodes of what ``EncodedOnceNetwork`` made of them"""

Process: TypeAlias = Quotient | Construction


@struct.dataclass(kw_only=True)
class Constructor:
    """The hyperparameters of a network that constructs solutions, for an algorithm to inherit; by keyword, so that its
    own come first."""

    layers: int = static(9)
    """Of the transformer."""
    width: int = static(192)
    """Of its embeddings."""
    heads: int = static(12)
    """Of its attention."""
    hidden_width: int = static(512)
    """Inside its dense networks."""
    latents: int | None = static(None)
    """Learned latents that the tokens of a quotient's network see each other through, a Perceiver; by default they see
    each other themselves. Its cost is linear in the nodes."""

    def check_network(self, env: Environment) -> None:
        """Raises InvalidArgument for sizes at odds with each other, or an environment without a network."""
        process = process_of(env)
        sizes = ("layers", "width", "heads", "hidden_width", "latents")
        check_within(self, **dict.fromkeys(sizes, (1, float("inf"))))
        if self.latents is not None and not isinstance(process, Quotient):
            raise InvalidArgument("latents", self.latents, f"must be None in a direct process, {env.name}")
        if self.width % self.heads:
            raise InvalidArgument("heads", self.heads, f"must divide width={self.width}")

    def logit_bound(self) -> float | None:
        """Of a network that encodes an instance once; None for none."""
        return None

    def network(self, process: Process) -> Any:
        """The module that scores actions: of sub-instances, or of a direct process by an instance encoded once."""
        problem, sizes = process.problem, (self.layers, self.width, self.heads, self.hidden_width)
        if isinstance(process, Quotient):
            return ConstructionNetwork(problem.flags, problem.matrix, *sizes, latents=self.latents)
        return EncodedOnceNetwork(problem.flags, *sizes, self.logit_bound())

    def encoder(self, env: Environment) -> Encode:
        """What comes before the first step of ``scorer``: ``(params, instances[B]) -> instances[B]``, in a direct
        process with the network's rows among the nodes, else as they are."""
        process = process_of(env)
        if isinstance(process, Quotient):
            return lambda params, instances: instances
        problem, network = process.problem, self.network(process)

        def encode(params, instances):
            whole = jax.vmap(lambda each: entire(problem, tokens(problem, each)))(instances)
            rows = network.apply(params, whole, method="encode")
            return instances.replace(nodes=instances.nodes | {ROWS: rows})

        return encode

    def scorer(self, env: Environment) -> Scorer:
        """``(params, instances[R]) -> logits[R, n, flags]``; in a direct process of instances from ``encoder``."""
        process = process_of(env)
        if isinstance(process, Quotient):
            return scorer(process.problem, self.network(process).apply)
        of_groups = self.group_scorer(env)

        def score(params, instances):
            one = jax.tree.map(lambda leaf: leaf[:, None], (instances.destination, instances.remaining))
            return of_groups(params, instances.replace(destination=one[0], remaining=one[1]))[:, 0]

        return score

    def group_scorer(self, env: Environment) -> Scorer:
        """``(params, group[B, k]) -> logits[B, k, n, flags]`` in a direct process, of instances from ``encoder`` with
        ``k`` partial solutions each; see ``jaxrl.envs.combinatorial.groups``."""
        process = process_of(env)
        problem, network = process.problem, self.network(process)

        def score(params, group: Instance):
            left = group.remaining
            allowed = allowed_in(problem, group)
            now = (group.nodes[ROWS], left.origin, group.destination, allowed, left.budget)
            return network.apply(params, *now, method="choose")

        return score

    def decoder(self, env: Environment, make: Callable[[Scorer], Decode]) -> Decode:
        """``make(scorer)``, such as a beam, behind ``encoder``."""
        return encoded(self.encoder(env), make(self.scorer(env)))

    def policy(self, env: Environment) -> Policy:
        """Categorical over the actions of an observation ``[..., n, C]``."""
        process = process_of(env)
        network = self.network(process)

        def seen(obs):
            view: Any = process.view(obs)
            if isinstance(process, Quotient):
                return (view,)
            whole = Tokens(view.features, view.present, view.origin, view.destination, view.allowed, None)
            ends = (slot_of(view.origin), slot_of(view.destination))
            return entire(process.problem, whole), *ends, view.allowed, view.budget

        def init(key):
            space = process.observation_space(process.default_params)
            return network.init(key, *seen(jnp.zeros(space.shape)))

        def logits(params, obs):
            found: Any = network.apply(params, *seen(obs))
            return found.reshape(*found.shape[:-2], -1)

        return categorical(init, logits)


def entire(problem: Problem, whole: Tokens) -> Tokens:
    """Tokens of an instance at its start, as they are encoded once. Where the start is a node like others its copy, the
    destination, is no token and not marked, and its embedding, of the same features, is that of the start."""
    if not problem.circular:
        return whole
    return whole._replace(valid=whole.valid & ~whole.destination, destination=jnp.zeros_like(whole.destination))


def slot_of(mark: jax.Array) -> jax.Array:
    """int32 ``[...]`` where ``mark [..., n]`` is true, -1 where it nowhere is."""
    return jnp.where(mark.any(axis=-1), jnp.argmax(mark, axis=-1), -1).astype(jnp.int32)


def process_of(env: Any) -> Process:
    """The process of constructing solutions inside an environment.

    Raises:
        InvalidArgument: if there is none, or none that a network can be made for.
    """
    inside = env
    while not isinstance(inside, Process):
        if not hasattr(inside, "env"):
            raise InvalidArgument("env", env.name, "must construct solutions, such as quotient/combinatorial/tsp-v0")
        inside = inside.env
    if isinstance(inside, Construction) and inside.problem.matrix:
        raise InvalidArgument("env", env.name, "must be a quotient: the direct process needs nodes with coordinates")
    return inside

"""How a learner of action values explores."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from gymnax.environments import spaces

from jaxrl.core.counted import CountedState
from jaxrl.core.types import Key, Learner, Shared


def epsilon_greedy(
    learner: Learner, space: spaces.Discrete | spaces.Box, epsilon: Callable[[jax.Array], jax.Array]
) -> Learner:
    """Acts as ``learner`` does, but for a share of steps in which an action of ``space`` is drawn uniformly.

    It reports nothing beside its actions. Judged greedily it is ``learner``.

    Laws: with ``epsilon = 0`` the actions are those of ``learner``; with 1 they are uniform; updates are those of
    ``learner``.

    Args:
        epsilon: the share, by the number of updates so far, an int32 that is ``Shared`` by all members.
    """

    numbers = 1 if isinstance(space, spaces.Discrete) else space.shape[0]

    def init(key: Key) -> CountedState:
        return CountedState(Shared(jnp.int32(0)), learner.init(key))

    def update(state, batch, key):
        inner, metrics = learner.update(state.inner, batch, key)
        return CountedState(Shared(state.calls.value + 1), inner), metrics

    def behaviour(state):
        inner, share = learner.behaviour(state.inner), epsilon(state.calls.value)

        def noise(key, shape):
            inner_key, key = jax.random.split(key)
            return inner.noise(inner_key, shape), jax.random.uniform(key, (*shape, 1 + numbers))

        def act(obs, noise):
            inner_noise, uniform = noise
            greedy, _ = inner.act(obs, inner_noise)
            explores = uniform[..., 0] < share
            if isinstance(space, spaces.Discrete):
                drawn = jnp.minimum((uniform[..., 1] * space.n).astype(jnp.int32), space.n - 1)
                return jnp.where(explores, drawn, greedy), {}
            drawn = space.low + (space.high - space.low) * uniform[..., 1:]
            return jnp.where(explores[..., None], drawn, greedy), {}

        return inner._replace(noise=noise, act=act)

    def policy(state, obs, key, greedy):
        if greedy:
            return learner.policy(state.inner, obs, key, greedy)
        explores = behaviour(state)
        return explores.act(obs, explores.noise(key, jax.tree.leaves(obs)[0].shape[:1]))[0]

    return Learner(init, update, behaviour, policy)


def linear_decay(
    start: float | jax.Array, end: float | jax.Array, fraction: float | jax.Array, updates: int
) -> Callable[[jax.Array], jax.Array]:
    """From ``start`` to ``end`` over the first ``fraction`` of ``updates``, and ``end`` from then on."""

    def value(calls: jax.Array) -> jax.Array:
        return start + (end - start) * jnp.minimum(calls / jnp.maximum(fraction * updates, 1e-6), 1.0)

    return value

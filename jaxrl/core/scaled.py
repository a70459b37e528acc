"""Combinators that show a learner observations and rewards on a running scale.

Each states its law; ``tests/core/test_combine.py`` tests them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.combine import on_inner
from jaxrl.core.moments import Moments
from jaxrl.core.types import Learner, PyTree

OBSERVATION_BOUND = 10.0
"""of standardised observations"""


class NormalisedState(NamedTuple):
    moments: Moments
    inner: PyTree

    def view(self, obs: jax.Array) -> jax.Array:
        """Observations as the learner within sees them."""
        return jnp.clip(self.moments.standardise(obs), -OBSERVATION_BOUND, OBSERVATION_BOUND)


def normalised(learner: Learner, shape: tuple[int, ...]) -> Learner:
    """Shows ``learner`` observations with the running mean taken off, divided by the running deviation and clipped.

    The statistics live here, in the learner's state, and are frozen within an iteration: acting, learning and judging
    all see the same scale, and only then do the batch's raw observations enter. Until the first batch they are 0 and 1.

    Laws: after any number of updates the moments are those of all rows seen; with data of mean 0 and deviation 1 it is
    ``learner``.

    Args:
        shape: of one observation.
    """

    def init(key):
        return NormalisedState(Moments.empty(shape), learner.init(key))

    def update(state, batch, key):
        seen = batch._replace(obs=state.view(batch.obs), next_obs=state.view(batch.next_obs))
        inner, metrics = learner.update(state.inner, seen, key)
        return NormalisedState(state.moments.add(batch.obs), inner), metrics

    def behaviour(state):
        inner = learner.behaviour(state.inner)
        return inner._replace(act=lambda obs, noise: inner.act(state.view(obs), noise))

    return Learner(
        init,
        update,
        behaviour,
        lambda state, obs, key, greedy: learner.policy(state.inner, state.view(obs), key, greedy),
    )


class ScaledRewardsState(NamedTuple):
    moments: Moments
    returns: jax.Array  # [N], discounted and running
    inner: PyTree


def scaled_rewards(learner: Learner, num_envs: int, discount: float | jax.Array, clip: float = 10.0) -> Learner:
    """Divides rewards by the running deviation of the discounted return, the usual reward scaling of PPO.

    Law: for a learner that normalises its advantages and returns, multiplying all rewards by a constant changes
    nothing once the statistics have seen a batch.

    Args:
        num_envs: ``N`` of the batches ``[T, N]``.
        discount: of the return whose deviation is measured.
        clip: bound of the scaled reward on both sides.
    """

    def init(key):
        return ScaledRewardsState(Moments.empty(()), jnp.zeros(num_envs), learner.init(key))

    def update(state, batch, key):
        def accumulate(running, step):
            reward, cut = step
            running = discount * running + reward
            return running * (1 - cut), running

        returns, running = jax.lax.scan(accumulate, state.returns, (batch.reward, batch.cut))
        moments = state.moments.add(running)
        scaled = batch._replace(reward=jnp.clip(batch.reward / moments.deviation, -clip, clip))
        inner, metrics = learner.update(state.inner, scaled, key)
        return ScaledRewardsState(moments, returns, inner), metrics

    return on_inner(learner, init, update)

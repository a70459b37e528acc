"""Probes of one step: what the reward is, and whether the action and the observation get through to it."""

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxrl.envs.probe.base import OneStep, ProbeParams


def _sign(key: jax.Array) -> jax.Array:
    return jax.random.rademacher(key, (1,), jnp.float32)


class Constant(OneStep):
    """One observation, 1; reward r whatever the action. V(1) = r.

    Fails where the value loss, its target or its optimiser is wrong.
    """

    def payoff(self, obs, action, params):
        """r."""
        return params.reward

    def value(self, obs, discount, params):
        """r."""
        return jnp.asarray(params.reward, jnp.float32)


class Observation(OneStep):
    """Observation o = -1 or 1, equally likely; reward r o whatever the action. V(o) = r o.

    Fails where the observation does not reach the value function.
    """

    def draw(self, key, params):
        """-1 or 1."""
        return _sign(key)

    def payoff(self, obs, action, params):
        """r o."""
        return params.reward * obs[0]

    def value(self, obs, discount, params):
        """r o."""
        return params.reward * obs[0]


class Action(OneStep):
    """One observation, 1; reward r for action 1 and -r for action 0.

    V(1) = r, and r (2 p - 1) for the policy that chooses action 1 with probability p.

    Fails where the policy gradient or the greedy choice is wrong.
    """

    def __init__(self):
        super().__init__()

    def payoff(self, obs, action, params):
        """r or -r."""
        return params.reward * (2 * action - 1)

    def value(self, obs, discount, params):
        """r."""
        return jnp.asarray(params.reward, jnp.float32)


class Joint(OneStep):
    """Observation o = -1 or 1, equally likely; reward r if the action is 1 at o = 1 or 0 at o = -1, and -r otherwise.

    V(o) = r for both o. A policy that ignores the observation has a mean of 0 over o, the uniform one 0 at both.
    Fails where observations, actions and rewards of different environments or steps are mixed up.
    """

    def __init__(self):
        super().__init__()

    def draw(self, key, params):
        """-1 or 1."""
        return _sign(key)

    def payoff(self, obs, action, params):
        """r or -r."""
        return params.reward * obs[0] * (2 * action - 1)

    def value(self, obs, discount, params):
        """r."""
        return jnp.asarray(params.reward, jnp.float32)


@struct.dataclass
class MaskParams(ProbeParams):
    """As ProbeParams, and:

    Args:
        penalty: the reward of an action that is not allowed.
    """

    penalty: float = -1.0


class Mask(OneStep):
    """Four actions, of which a random half is allowed; action a pays r a / 3 if it is, and `penalty` if not.

    The observation `[4]` is the mask itself, 1 for an allowed action, uniform over the six masks with two of them.
    V(obs) = r max(allowed a) / 3; the uniform policy over the allowed actions has r (their sum) / 6, and every masked
    policy at least 0. The mean of V over masks is r (3 * 3 + 2 * 2 + 1) / 18 = 7 r / 9.
    """

    actions = 4
    observations = 4
    low = 0.0
    Params = MaskParams

    def __init__(self):
        super().__init__()

    def draw(self, key, params):
        """Two ones and two zeros."""
        return jax.random.permutation(key, jnp.array([0.0, 0.0, 1.0, 1.0]))

    def action_mask(self, obs):
        """bool `[..., 4]` of observations `[..., 4]`."""
        return obs > 0.5

    def payoff(self, obs, action, params):
        """r a / 3 or the penalty."""
        return jnp.where(self.action_mask(obs)[action], params.reward * action / 3, params.penalty)

    def value(self, obs, discount, params):
        """r max(allowed a) / 3."""
        return jnp.max(jnp.where(self.action_mask(obs), params.reward * jnp.arange(4) / 3, -jnp.inf))


@struct.dataclass
class VectorParams(ProbeParams):
    """As ProbeParams, and:

    Args:
        compromise: what action 2 pays in either objective, in units of r.
    """

    compromise: float = 0.4


class Vector(OneStep):
    """Two objectives: action 0 pays (r, 0), action 1 (0, r) and action 2 (m, m) r with m = `compromise` = 0.4.

    V of a policy p `[3]` is r (p0 + m p2, p1 + m p2), so `value` takes the policy's probabilities, not the optimum. All
    three actions are Pareto optimal among the deterministic policies. With m < 1/2 action 2 lies inside the convex
    hull: a linear scalarisation never chooses it, a Chebyshev one with equal weights and the ideal point (r, r) does.
    """

    actions = 3
    Params = VectorParams
    reward_shape = (2,)

    def __init__(self):
        super().__init__()

    def _table(self, params) -> jax.Array:
        m = jnp.asarray(params.compromise, jnp.float32)
        return params.reward * (jnp.eye(3, 2) + jnp.zeros((3, 2)).at[2].set(m))

    def payoff(self, obs, action, params):
        """`[2]`."""
        return self._table(params)[action]

    def value(self, obs, discount, params, policy=(1 / 3, 1 / 3, 1 / 3)):
        """Value `[2]` of a policy `[3]`, uniform where it is not given."""
        return jnp.asarray(policy, jnp.float32) @ self._table(params)


@struct.dataclass
class TargetParams(ProbeParams):
    """As ProbeParams, and:

    Args:
        target: the best action, in [-1, 1].
    """

    target: float = 0.5


class Target(OneStep):
    """A continuous action a `[1]` in [-1, 1]; reward -r (a - target)^2. V = 0 at a = target = 0.5.

    A Gaussian policy of mean m and standard deviation s has -r ((m - target)^2 + s^2). Actions are not clipped.
    """

    Params = TargetParams

    def __init__(self):
        super().__init__(continuous=True)

    def payoff(self, obs, action, params):
        """-r (a - target)^2."""
        return -params.reward * jnp.square(jnp.reshape(action, ()) - params.target)

    def value(self, obs, discount, params):
        """0."""
        return jnp.float32(0.0)

    def action_space(self, params=None) -> spaces.Box:
        """Box of `[1]` in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (1,), jnp.float32)

"""How a policy is made of action values: the best action, a fixed policy, or the best one that stays near a reference.

A greedy rule answers ``choose(q)`` with the value of the best policy for action values ``q[..., A]`` and the policy,
and ``evaluate(q, policy)`` with the value of a given one. All are monotone in ``q`` and move with it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.bellman.short import greatest, total
from jaxrl.errors import InvalidArgument


class Choice(NamedTuple):
    """A policy, and what it is worth."""

    value: Any
    """``[...]``"""
    policy: Any
    """``[..., A]`` probabilities"""


class Greedy:
    """Base of the rules."""

    def choose(self, q: Any, allowed: Any = None) -> Choice:
        """The best policy for action values ``q[..., A]``, of which those not ``allowed`` are not looked at."""
        raise NotImplementedError

    def evaluate(self, q: Any, policy: Any) -> Any:
        """The value ``[...]`` of a policy ``[..., A]``."""
        return total(policy * jnp.where(policy > 0, q, 0), axis=-1)

    def paid(self, policy: Any) -> Any:
        """``[..., A]``: what is paid for each action of a policy beside its value, or None for nothing."""
        del policy
        return None

    def most_paid(self, actions: int) -> Any:
        """The most that can be, on the average over a policy."""
        del actions
        return 0.0


@struct.dataclass
class HardMax(Greedy):
    """The best action, the first of equally good ones."""

    def choose(self, q, allowed=None):
        """See ``Greedy.choose``."""
        q = q if allowed is None else jnp.where(allowed, q, -jnp.inf)
        return Choice(greatest(q, axis=-1), jax.nn.one_hot(q.argmax(axis=-1), q.shape[-1], dtype=q.dtype))


@struct.dataclass
class FixedPolicy(Greedy):
    """A policy that is what it is: evaluation instead of control.

    Args:
        policy: ``[S, A]`` probabilities, or ``[S]`` integers, as a numpy array.
    """

    policy: Any

    def __post_init__(self):
        _check_probabilities("policy", self.policy)

    def probabilities(self, actions: int, dtype: Any) -> Any:
        """``[S, A]``."""
        policy = jnp.asarray(self.policy)
        if jnp.issubdtype(policy.dtype, jnp.integer):
            return jax.nn.one_hot(policy, actions, dtype=dtype)
        return policy.astype(dtype)

    def choose(self, q, allowed=None):
        """See ``Greedy.choose``."""
        policy = self.probabilities(q.shape[-1], q.dtype)
        return Choice(self.evaluate(q, policy), policy)


@struct.dataclass
class Regularised(Greedy):
    """``max_pi pi q - temperature KL(pi || reference) = temperature log sum_a reference_a exp(q_a / temperature)``.

    Without a reference the entropy is what is rewarded: ``temperature log sum_a exp(q_a / temperature)``.

    Args:
        temperature: above 0.
        reference: ``[S, A]`` probabilities, or None.
    """

    temperature: Any
    reference: Any = None

    def __post_init__(self):
        if isinstance(self.temperature, int | float) and not self.temperature > 0:
            raise InvalidArgument("temperature", self.temperature, "must be above 0")
        _check_probabilities("reference", self.reference)

    def _log_reference(self, q, allowed):
        log_reference = jnp.zeros_like(q) if self.reference is None else jnp.log(jnp.asarray(self.reference, q.dtype))
        return log_reference if allowed is None else jnp.where(allowed, log_reference, -jnp.inf)

    def choose(self, q, allowed=None):
        """See ``Greedy.choose``."""
        logits = self._log_reference(q, allowed) + q / self.temperature
        return Choice(self.temperature * jax.nn.logsumexp(logits, axis=-1), jax.nn.softmax(logits, axis=-1))

    def evaluate(self, q, policy):
        """See ``Greedy.evaluate``: the divergence from the reference is paid."""
        return super().evaluate(q, policy) + (policy * self.paid(policy)).sum(axis=-1)

    def paid(self, policy):
        """See ``Greedy.paid``."""
        log_policy = jnp.log(jnp.where(policy > 0, policy, 1))
        return -self.temperature * (log_policy - jnp.where(policy > 0, self._log_reference(policy, None), 0))

    def most_paid(self, actions):
        """See ``Greedy.most_paid``."""
        if self.reference is None:
            return self.temperature * np.log(actions)
        least = jnp.where(self.reference > 0, self.reference, 1).min()
        return self.temperature * -jnp.log(least)


def _check_probabilities(name: str, policy: Any) -> None:
    """Refuses rows ``[S, A]`` that are no probabilities, unless they are traced or a tree is put together."""
    if not isinstance(policy, np.ndarray) or policy.ndim != 2:
        return
    wrong = (policy < 0).any(axis=1) | (np.abs(policy.sum(axis=1) - 1) > 1e-6)
    if wrong.any():
        state = int(wrong.argmax())
        raise InvalidArgument(f"{name}[{state}]", policy[state].tolist(), "must be probabilities of sum 1")

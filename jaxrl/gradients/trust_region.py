"""The step of trust region policy optimisation: along the natural gradient, as far as a divergence allows."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxrl.core.types import PyTree

BACKTRACK = 0.5
"""factor between two lengths that the line search tries"""


class Step(NamedTuple):
    params: PyTree
    improvement: jax.Array
    """of the loss: what it fell by; 0 where no length was accepted"""
    divergence: jax.Array
    accepted: jax.Array
    """bool"""


def trust_region_step(
    loss: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    params: PyTree,
    limit: float | jax.Array,
    damping: float | jax.Array = 0.1,
    iterations: int = 10,
    backtracks: int = 10,
) -> Step:
    """Minimises ``loss`` within ``divergence <= limit`` (Schulman et al. 2015, appendix C).

    The direction is ``-H^-1 g`` by conjugate gradients, ``H`` the curvature of the divergence, of which only products
    with vectors are made (forward over reverse). Its length makes the quadratic model of the divergence ``limit``, and
    is halved until the loss falls and the divergence is within the limit; where no length does, nothing changes.

    Args:
        loss, divergence: of parameters; the divergence and its gradient are 0 at ``params``.
        damping: times the identity, added to ``H``.
        iterations: of conjugate gradients.
        backtracks: lengths that are tried.
    """
    start, unravel = ravel_pytree(params)
    before, gradient = jax.value_and_grad(lambda x: loss(unravel(x)))(start)

    def curvature(vector):
        slope = jax.grad(lambda x: divergence(unravel(x)))
        return jax.jvp(slope, (start,), (vector,))[1] + damping * vector

    direction, _ = jax.scipy.sparse.linalg.cg(curvature, -gradient, maxiter=iterations, tol=1e-10)
    quadratic = jnp.maximum(direction @ curvature(direction), 1e-12)
    whole = jnp.sqrt(2 * limit / quadratic) * direction

    def attempt(state):
        tries, _, _ = state
        x = unravel(start + BACKTRACK**tries * whole)
        return tries + 1, before - loss(x), divergence(x)

    def refused(state):
        tries, improvement, moved = state
        return (tries < backtracks) & ~((improvement > 0) & (moved <= limit))

    tries, improvement, moved = jax.lax.while_loop(refused, attempt, (jnp.int32(0), -jnp.ones(()), jnp.zeros(())))
    accepted = (improvement > 0) & (moved <= limit)
    after = jnp.where(accepted, start + BACKTRACK ** (tries - 1) * whole, start)
    return Step(unravel(after), jnp.where(accepted, improvement, 0.0), jnp.where(accepted, moved, 0.0), accepted)

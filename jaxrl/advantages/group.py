"""Advantages within a group: what one of several attempts at the same task earned beside the others."""

import jax

from jaxrl.core.types import AdvantageTransform


def group_centre(axis: int = -1) -> AdvantageTransform:
    """The mean of the group is subtracted (the shared baseline of Kwon et al. 2020); it needs nothing of the batch.

    The member itself is in the mean. Of ``k`` independent attempts the mean of a score-function gradient is therefore
    ``(k - 1) / k`` of what it would be without a baseline: a smaller step in the same direction.

    Args:
        axis: of the group, in advantages of any shape.

    Example:
        >>> import jax.numpy as jnp
        >>> group_centre().update(jnp.array([[1.0, 3.0], [2.0, 2.0]]), None, ())[0].tolist()
        [[-1.0, 1.0], [0.0, 0.0]]
    """

    def update(advantage: jax.Array, batch, state):
        del batch
        return advantage - advantage.mean(axis=axis, keepdims=True), state

    return AdvantageTransform(lambda: (), update)

"""What the processes of this package share: lists of outcomes, checks of arguments, and the stage as a part of the
state."""

from typing import Any

import numpy as np
from jaxrl.envs.arguments import whole

from jaxrl.bellman.mdp import MDP, sparse_mdp


def merged(successors: Any, probabilities: Any, rewards: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists of outcomes in which none is there twice: the first of equal ones has the probability of all of them.

    Args:
        successors, probabilities, rewards: ``[S, A, n]``.

    Returns:
        The same three. Outcomes merged into another one keep their place, with probability 0.
    """
    successors, rewards = np.asarray(successors), np.asarray(rewards, float)
    p = np.array(probabilities, float)
    for later in range(1, p.shape[-1]):
        for earlier in range(later):
            same = (successors[..., later] == successors[..., earlier]) & (rewards[..., later] == rewards[..., earlier])
            p[..., earlier] += np.where(same, p[..., later], 0)
            p[..., later] = np.where(same, 0, p[..., later])
    return successors, p, rewards


def staged(process: MDP, horizon: int) -> MDP:
    """The process that ends after ``horizon`` steps, with the stage as a part of its state.

    State ``stage * S + s`` is state ``s`` with ``horizon - stage`` steps to go; the last state, ``horizon * S``, is the
    end. A learner that bootstraps at time limits solves the process without an end; on this one, the finite problem.

    Args:
        process: with ``S`` states.
        horizon: steps, at least 1.

    Returns:
        The process of ``horizon * S + 1`` states, with lists of outcomes.

    Raises:
        InvalidArgument: for a horizon below 1.

    Example:
        >>> from jaxrl.bellman.mdp import dense_mdp
        >>> staged(dense_mdp([[[1.0]]], [[2.0]]), 3).successors.ravel().tolist()
        [1, 2, 3, 3]
    """
    whole("horizon", horizon, 1)
    process = process.as_sparse()
    states = process.states
    end = horizon * states
    stage = np.arange(horizon)[:, None, None, None]
    successors = np.where(stage < horizon - 1, (stage + 1) * states + process.successors, end)

    def with_end(at_each_stage: np.ndarray, at_the_end: float | np.ndarray) -> np.ndarray:
        flat = at_each_stage.reshape(end, *at_each_stage.shape[2:])
        return np.concatenate([flat, np.broadcast_to(at_the_end, (1, *flat.shape[1:]))])

    def repeated(array: Any) -> np.ndarray:
        return np.broadcast_to(array, (horizon, *np.shape(array)))

    stays = np.zeros(process.outcomes)
    stays[0] = 1.0
    allowed = None if process.allowed is None else with_end(repeated(process.allowed), True)
    return sparse_mdp(
        with_end(successors, end),
        with_end(repeated(process.probabilities), stays),
        with_end(repeated(np.broadcast_to(process.rewards, process.probabilities.shape)), 0.0),
        float(process.discount),
        allowed=allowed,
        start=np.concatenate([process.start, np.zeros(end + 1 - states)]),
    )

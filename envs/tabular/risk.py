"""Processes so small that every policy with a memory can be listed, and with it every law of the return."""

import numpy as np
from jaxrl.envs.arguments import within

from jaxrl.bellman.mdp import MDP, sparse_mdp


def two_coin(win: float = 0.5, discount: float = 1.0) -> MDP:
    """A coin that nobody chose, then the choice of another one: what is best depends on what has been earned.

    State 0 pays 2 or -2 with equal probability, whatever the action, and leads to state 1. There action 0 pays nothing,
    and action 1 pays 3 with probability ``win`` and -1 otherwise; both end in state 2. Without discount, the mean of
    the worst three quarters of the returns is 0 for the policy that dares after the loss only, and -1/3 for the best
    one that does not look at what it has earned.

    Args:
        win: the probability that the second coin pays 3.

    Raises:
        InvalidArgument: for a probability outside [0, 1], or a discount outside (0, 1].
    """
    within("win", win, 0, 1)
    successors = [[[1, 1]] * 2, [[2, 2]] * 2, [[2, 2]] * 2]
    sure = [1.0, 0.0]
    probabilities = [[[0.5, 0.5]] * 2, [sure, [win, 1 - win]], [sure, sure]]
    rewards = [[[2, -2]] * 2, [[0, 0], [3, -1]], [[0, 0], [0, 0]]]
    return sparse_mdp(successors, probabilities, rewards, discount)


def bit_generator(discount: float = 0.5) -> MDP:
    """One state, and an action that is its own reward, 0 or 1, for ever.

    With a discount of 1/2 the actions are the binary digits of the return, so that every return within [0, 2] can be
    had; with a greater one, every return within [0, 1 / (1 - discount)].

    Raises:
        InvalidArgument: for a discount outside (0, 1].
    """
    return sparse_mdp(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), [[0.0, 1.0]], discount)


def gamble_chain(discount: float = 0.9) -> MDP:
    """Two states, in both of which one can play safe or gamble; meant for three steps.

    Action 0 pays 0.2 and leads to state 0. Action 1 leads to state 0 if it wins and to state 1 if it loses: in state 0
    it wins 3 with probability .6 and loses 1 otherwise, in state 1 it wins 4 or loses 2 with equal probability. Over
    three steps, policies that remember the outcomes have 42 different laws of the return.

    Raises:
        InvalidArgument: for a discount outside (0, 1].
    """
    successors = [[[0, 0], [0, 1]], [[0, 0], [0, 1]]]
    probabilities = [[[1, 0], [0.6, 0.4]], [[1, 0], [0.5, 0.5]]]
    rewards = [[[0.2, 0], [3, -1]], [[0.2, 0], [4, -2]]]
    return sparse_mdp(successors, probabilities, rewards, discount)

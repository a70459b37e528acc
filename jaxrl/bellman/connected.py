"""Which states of a process a policy can stay among for ever."""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from jaxrl.bellman.mdp import MDP


def multichain(mdp: MDP, policy: Any = None) -> tuple[list[int], list[int]] | None:
    """Two sets of states that cannot both be left and reached from each other, a policy able to stay in each; None if
    there are none, so that the best average reward is the same from every state (the process is weakly communicating).

    Only the outcomes that the process lists are looked at: an adversary who can remove some may make it multichain.

    Args:
        policy: ``[S, A]`` probabilities or ``[S]`` integers, to look only at what it does.
    """
    mdp = mdp.as_sparse()
    probabilities, successors = map(np.asarray, mdp.lists())
    possible = probabilities > 0
    if mdp.allowed is not None:
        possible &= np.asarray(mdp.allowed)[..., None]
    if policy is not None:
        policy = np.asarray(policy)
        taken = np.eye(mdp.actions)[policy] if policy.ndim == 1 else policy
        possible &= (taken > 0)[..., None]
    closed = end_components(successors, possible)
    return None if len(closed) <= 1 else (closed[0], closed[1])


def end_components(successors: np.ndarray, possible: np.ndarray) -> list[list[int]]:
    """The maximal end components: largest sets of states, connected, within which a policy can stay.

    Args:
        successors: int ``[S, A, n]``.
        possible: bool ``[S, A, n]``, the outcomes that there are.
    """
    states = len(successors)
    usable = np.asarray(possible.any(axis=-1))  # [S, A]
    while True:
        state, action, outcome = np.nonzero(possible & usable[..., None])
        target = successors[state, action, outcome]
        graph = sparse.csr_matrix((np.ones(len(state)), (state, target)), (states, states))
        component = csgraph.connected_components(graph, connection="strong")[1]
        leaves = (component[successors] != component[:, None, None]) & possible
        kept = usable & ~leaves.any(axis=-1)
        if (kept == usable).all():
            break
        usable = np.asarray(kept)
    alive = np.asarray(usable).any(axis=1)
    return [np.flatnonzero(alive & (component == c)).tolist() for c in np.unique(component[alive])]

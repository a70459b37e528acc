"""Dynamic programming on finite Markov decision processes, as a Bellman backup with three slots and its transforms."""

from jaxrl.bellman.mdp import MDP, dense_mdp, sparse_mdp, stack

__all__ = ["MDP", "dense_mdp", "sparse_mdp", "stack"]

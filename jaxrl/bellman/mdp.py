"""Finite Markov decision processes, as arrays."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import struct

from jaxrl.errors import InvalidArgument

ROW_SUM_TOLERANCE = 1e-6


@struct.dataclass
class MDP:
    """A finite Markov decision process: ``S`` states, ``A`` actions, and ``n`` outcomes of each action in each state.

    An outcome is a probability, a reward and a successor. In a *dense* process outcome ``j`` leads to state ``j``; in a
    *sparse* one each state and action has a list of successors. Several outcomes of a list may share a successor: a
    random reward is that. Outcomes of probability 0 fill lists up, and are not outcomes.

    Made by ``dense_mdp`` and ``sparse_mdp``, which check the arrays. All fields are leaves, so that processes of equal
    shapes can be stacked and solved under ``jax.vmap``.
    """

    probabilities: Any
    """``[S, A, n]``"""
    rewards: Any
    """``[S, A, n]``, earned on the way to the successor; the last axis is 1 where all outcomes earn the same"""
    successors: Any
    """int32 ``[S, A, n]``; None where outcome ``j`` leads to state ``j``"""
    discount: Any
    """``[]`` within (0, 1]"""
    allowed: Any
    """bool ``[S, A]``; None where every action is allowed in every state"""
    start: Any
    """``[S]``, the distribution of the first state"""
    between: Any = None
    """``[S, A, n, K]`` of sum 1; None where a successor is one state. Else ``successors`` are ``[S, A, n, K]``, and an
    outcome leads to a point between them, whose value is the mean of theirs under these weights: no chance, so that an
    adversary has no say in it."""

    @property
    def states(self) -> int:
        """``S``."""
        return self.probabilities.shape[-3]

    @property
    def actions(self) -> int:
        """``A``."""
        return self.probabilities.shape[-2]

    @property
    def outcomes(self) -> int:
        """``n``, the number of outcomes listed for each state and action."""
        return self.probabilities.shape[-1]

    @property
    def is_dense(self) -> bool:
        """Whether outcome ``j`` leads to state ``j``."""
        return self.successors is None

    def at_successors(self, values: Any) -> Any:
        """``[S, A, n, ...]``: numbers of the states ``[S, ...]``, at each outcome's successor."""
        if self.successors is None:
            return values[None, None]
        if self.between is None:
            return values[self.successors]
        return (self.between.reshape(*self.between.shape, *(1,) * (values.ndim - 1)) * values[self.successors]).sum(3)

    def expected_rewards(self) -> Any:
        """``[S, A]``: the expected reward of each action."""
        return (self.probabilities * self.rewards).sum(axis=-1)

    def lists(self) -> tuple[Any, Any]:
        """``[S, A, n * K]`` each: probabilities and successors of a sparse process, the points between states as if
        chance chose one of them."""
        if self.between is None:
            return self.probabilities, self.successors
        flat = (*self.probabilities.shape[:-1], -1)
        return (self.probabilities[..., None] * self.between).reshape(flat), self.successors.reshape(flat)

    def as_dense(self) -> "MDP":
        """The dense process with the same kernel and expected rewards; outcomes with one successor become one."""
        if self.successors is None:
            return self
        states, actions = np.ogrid[: self.states, : self.actions]
        p, successors = map(np.asarray, self.lists())
        rewards = np.broadcast_to(self.rewards, self.probabilities.shape)
        place = (states[..., None], actions[..., None], successors)
        kernel = np.zeros((self.states, self.actions, self.states))
        earned = np.zeros_like(kernel)
        np.add.at(kernel, place, p)
        np.add.at(earned, place, p * np.repeat(rewards, p.shape[-1] // rewards.shape[-1], axis=-1))
        rewards = np.divide(earned, kernel, out=np.zeros_like(kernel), where=kernel > 0)
        return dataclasses.replace(self, probabilities=kernel, rewards=rewards, successors=None, between=None)

    def as_sparse(self) -> "MDP":
        """The same process with lists of successors, as long as the longest needs to be."""
        if self.successors is not None:
            return self
        p = np.asarray(self.probabilities, float)
        longest = int((p > 0).sum(axis=-1).max())
        successors = np.argsort(p == 0, axis=-1, kind="stable")[..., :longest].astype(np.int32)
        rewards = np.broadcast_to(self.rewards, p.shape)
        p, rewards = (np.take_along_axis(values, successors, axis=-1) for values in (p, rewards))
        return dataclasses.replace(self, probabilities=p, rewards=rewards, successors=successors)


def dense_mdp(
    probabilities: Any, rewards: Any, discount: float = 1.0, *, allowed: Any = None, start: Any = None
) -> MDP:
    """A process from its full kernel, checked.

    Args:
        probabilities: ``[S, A, S]``, rows of sum 1.
        rewards: ``[S, A, S]`` for each transition, ``[S, A]`` for each action, or ``[S]`` on arrival.
        discount: within (0, 1].
        allowed: bool ``[S, A]``; every action everywhere by default. Rows of actions that are not are not read.
        start: ``[S]`` distribution of the first state; state 0 by default.

    Raises:
        InvalidArgument: for arrays whose shapes do not fit, a negative probability, a row that does not sum to 1, a
            reward that is not finite, a discount outside (0, 1], or a state without an action.

    Example:
        >>> mdp = dense_mdp([[[0.5, 0.5]], [[0.0, 1.0]]], rewards=[0.0, 1.0], discount=0.9)
        >>> mdp.states, mdp.actions, mdp.expected_rewards().tolist()
        (2, 1, [[0.5], [1.0]])
    """
    p = _array("probabilities", probabilities)
    if p.ndim != 3 or p.shape[0] != p.shape[2] or not p.size:
        raise InvalidArgument("the shape of probabilities", p.shape, "must be [S, A, S]")
    r = _array("rewards", rewards)
    if r.shape == p.shape[:2]:
        r = r[..., None]
    elif r.shape == p.shape[2:]:
        r = r[None, None]
    return _checked(p, r, None, discount, allowed, start)


def sparse_mdp(
    successors: Any, probabilities: Any, rewards: Any, discount: float = 1.0, *, allowed: Any = None, start: Any = None
) -> MDP:
    """A process from lists of outcomes, checked.

    Args:
        successors: integers ``[S, A, n]``, each outcome's next state.
        probabilities: ``[S, A, n]``, rows of sum 1; 0 for places in the list that are not used.
        rewards: ``[S, A, n]`` for each outcome, or ``[S, A]`` for each action.
        discount, allowed, start: as in ``dense_mdp``.

    Raises:
        InvalidArgument: as ``dense_mdp``, and for a successor that is no state.

    Example:
        One state that earns 1 or 2 with equal probability:

        >>> sparse_mdp([[[0, 0]]], [[[0.5, 0.5]]], [[[1.0, 2.0]]], discount=0.9).expected_rewards().tolist()
        [[1.5]]
    """
    p = _array("probabilities", probabilities)
    if p.ndim != 3 or not p.size:
        raise InvalidArgument("the shape of probabilities", p.shape, "must be [S, A, outcomes]")
    found = np.asarray(successors)
    if found.shape != p.shape or not np.issubdtype(found.dtype, np.integer):
        raise InvalidArgument("successors", (found.shape, str(found.dtype)), f"must be integers {list(p.shape)}")
    if found.min() < 0 or found.max() >= p.shape[0]:
        wrong = found[(found < 0) | (found >= p.shape[0])][0]
        raise InvalidArgument("successors", int(wrong), f"must be states 0 .. {p.shape[0] - 1}")
    r = _array("rewards", rewards)
    return _checked(p, r[..., None] if r.shape == p.shape[:2] else r, found.astype(np.int32), discount, allowed, start)


def stack(processes: list[MDP]) -> MDP:
    """Processes of equal shapes as one with a leading axis, for ``jaxrl.bellman.solve_many``.

    Raises:
        InvalidArgument: for none, or for processes of different shapes.
    """
    if not processes:
        raise InvalidArgument("processes", [], "must be at least one")
    shapes = [jax.tree.map(np.shape, process) for process in processes]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InvalidArgument(f"processes[{i}]", shape, f"must have the shapes of the first: {shapes[0]}")
    return jax.tree.map(lambda *leaves: np.stack(leaves), *processes)


def _array(name: str, value: Any) -> np.ndarray:
    """Finite numbers as float64."""
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise InvalidArgument(name, type(value).__name__, "must be an array of numbers") from None
    if not np.isfinite(array).all():
        wrong = ~np.isfinite(array)
        raise InvalidArgument(f"{name}{_place(wrong)}", float(array[wrong][0]), "must be finite")
    return array


def _checked(p, r, successors, discount, allowed, start) -> MDP:
    states, actions, outcomes = p.shape
    try:
        r = np.broadcast_to(r, (states, actions, 1 if r.shape[-1] == 1 else outcomes))
    except (ValueError, IndexError):
        expected = f"must be [{states}, {actions}, {outcomes}], or a number for each action, [{states}, {actions}]"
        raise InvalidArgument("the shape of rewards", r.shape, expected) from None
    if not 0 < float(discount) <= 1:
        raise InvalidArgument("discount", discount, "must be within (0, 1]")
    if allowed is not None:
        allowed = np.asarray(allowed, bool)
        if allowed.shape != (states, actions):
            raise InvalidArgument("the shape of allowed", allowed.shape, f"must be [{states}, {actions}]")
        if not allowed.any(axis=1).all():
            state = int(allowed.any(axis=1).argmin())
            raise InvalidArgument(f"allowed[{state}]", allowed[state].tolist(), "must allow an action in every state")
        nowhere = np.zeros(outcomes)
        nowhere[0] = 1.0
        p = np.where(allowed[..., None], p, nowhere)
        r = np.where(allowed[..., None], r, 0.0)
    if (p < 0).any():
        raise InvalidArgument(f"probabilities{_place(p < 0)}", float(p[p < 0][0]), "must not be negative")
    sums = p.sum(axis=-1)
    wrong = np.abs(sums - 1) > ROW_SUM_TOLERANCE
    if wrong.any():
        raise InvalidArgument(f"the sum of probabilities{_place(wrong)}", float(sums[wrong][0]), "must be 1")
    start = (np.arange(states) == 0).astype(float) if start is None else _array("start", start)
    if start.shape != (states,) or (start < 0).any() or abs(start.sum() - 1) > ROW_SUM_TOLERANCE:
        raise InvalidArgument("start", start.tolist(), f"must be a distribution over {states} states")
    return MDP(p / sums[..., None], r, successors, np.float64(discount), allowed, start)


def _place(where: np.ndarray) -> list[int]:
    """The first place."""
    return [int(i) for i in np.argwhere(where)[0]]

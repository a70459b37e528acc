"""Backups of laws of returns instead of their means.

An outcome's law is ``reward + discount G(successor)``. What it is worth is the expected utility ``E f`` of that, a
number, on which nature and greedy rule act as they do on values; the law of the state is then the mixture of the
outcomes' laws under nature's weights and the policy, brought back to the atoms of the space (Bellemare et al. 2017;
with utilities and a stock in the state: Pires et al. 2025). So the mean of a robust law is the robust value.

The backup of laws under a policy contracts in the greatest Wasserstein-1 distance of any state; that with a choice
does not, only its utilities converge: after ``k`` sweeps from laws ``G_0`` they are within ``L discount^k / (1 -
discount) sup W1(T G_0, G_0)`` of the best, for a utility with Lipschitz constant ``L``, errors of projection apart.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.bellman.backup import Backup, UndefinedComposition
from jaxrl.bellman.greedy import FixedPolicy, HardMax
from jaxrl.bellman.mdp import MDP
from jaxrl.bellman.space import Categorical, Law, wasserstein

OUTSIDE_TOLERANCE = 1e-6
"""probability beyond a categorical support from which on there is a warning"""


class LawSweep(NamedTuple):
    """A backup of the laws ``[S, N]`` of one process."""

    best: Callable[[Law], Any]
    """``law -> (law, value[S], policy[S, A], q[S, A], outside[])``; ``outside``: probability beyond the support"""
    evaluate: Callable[[Law, Any], Law]
    """``(law, policy[S, A]) -> law``"""
    values: Callable[[Law], Any]
    """``law -> [S]``"""


def law_sweep(mdp: MDP, backup: Backup) -> LawSweep:
    """What a sweep over the states does to laws."""
    nature, space, greedy, utility = backup.nature, backup.space, backup.greedy, backup.utility
    p, rewards = (jnp.moveaxis(x, -1, 0) for x in (mdp.probabilities, mdp.rewards))
    rewards = jnp.broadcast_to(rewards, p.shape)

    def outcomes(law):
        """Their laws ``[n, S, A, N]`` and what they are worth, ``[n, S, A]``."""
        ahead = laws_at_successors(mdp, law)
        ahead = Law(rewards[..., None] + mdp.discount * ahead.atoms, ahead.weights)
        ahead = Law(*(jnp.broadcast_to(x, (*p.shape, x.shape[-1])) for x in ahead))
        return ahead, ahead.expectation(utility)

    def mixed(law, weights, policy, only=None):
        """Before its projection; ``only``: the one action ``[S]`` that is taken."""
        paid = greedy.paid(policy)
        atoms = law.atoms if paid is None else law.atoms + paid[..., None]
        masses = law.weights * weights[..., None]
        if only is None:
            masses = masses * policy[..., None]
        else:
            atoms, masses = (jnp.take_along_axis(x, only[None, :, None, None], axis=2) for x in (atoms, masses))
        return Law(*(jnp.moveaxis(x, 0, -2).reshape(mdp.states, -1) for x in (atoms, masses)))

    def best(law):
        ahead, z = outcomes(law)
        if nature.rectangular == "s" and not isinstance(greedy, FixedPolicy):
            value, policy, weights = nature.respond_jointly(p, z, mdp.allowed)
            q = (weights * z).sum(axis=0)
        elif nature.rectangular == "s":
            policy = greedy.probabilities(mdp.actions, p.dtype)
            value, weights = nature.respond_to(p, z, policy)
            q = (weights * z).sum(axis=0)
        else:
            q, weights = nature.respond(p, z)
            value, policy = greedy.choose(q, mdp.allowed)
        only = policy.argmax(axis=-1) if isinstance(greedy, HardMax) and nature.rectangular == "sa" else None
        new = mixed(ahead, weights, policy, only)
        return space.project(new), value, policy, q, outside(new)

    def evaluate(law, policy):
        ahead, z = outcomes(law)
        weights = nature.respond_to(p, z, policy)[1] if nature.rectangular == "s" else nature.respond(p, z).weights
        return space.project(mixed(ahead, weights, policy))

    def outside(law):
        if not isinstance(space, Categorical):
            return jnp.zeros((), p.dtype)
        support = jnp.asarray(space.atoms)
        slack = 1e-9 * jnp.abs(support).max()
        beyond = (law.atoms < support[0] - slack) | (law.atoms > support[-1] + slack)
        return jnp.where(beyond, law.weights, 0).sum(axis=-1).max()

    return LawSweep(best, evaluate, lambda law: law.expectation(utility))


def laws_at_successors(mdp: MDP, law: Law) -> Law:
    """``[n, S, A, N]``; between states the mixture of their laws."""
    if mdp.is_dense:
        return Law(*(x[:, None, None] for x in law))
    if mdp.between is None:
        return Law(*(x[jnp.moveaxis(mdp.successors, -1, 0)] for x in law))
    successors, shares = (jnp.moveaxis(x, 2, 0) for x in (mdp.successors, mdp.between))
    atoms, weights = (x[successors] for x in law)  # [n, S, A, K, N]
    return Law(*(x.reshape(*x.shape[:-2], -1) for x in (atoms, weights * shares[..., None])))


def solve_laws(mdp: MDP, backup: Backup, initial, tolerance, method: str, max_iterations: int) -> tuple:
    """A process without an end; as ``jaxrl.bellman.solve._solve``, and then the laws and what lies outside."""
    sweep, dtype = law_sweep(mdp, backup), mdp.probabilities.dtype
    discount, slope = jnp.asarray(mdp.discount, dtype), backup.utility.slope()
    # of the first sweep, whatever is done: the laws at the start are points
    p, ahead = mdp.probabilities, mdp.at_successors(initial)
    change = jnp.abs(mdp.rewards + discount * ahead - initial[:, None, None])
    farthest = jnp.where((p > 0) | backup.nature.needs_all_states, change, 0).max()
    paid = backup.greedy.most_paid(mdp.actions)
    per_sweep = slope * (farthest + paid) / (1 - discount)
    history = jnp.full(max_iterations, jnp.nan, dtype)

    def small(bound, value):
        largest = jnp.maximum(jnp.abs(value).max(), 1)
        return bound <= jnp.maximum(tolerance, 8 * jnp.finfo(dtype).eps) * largest

    def value_step(state: _State):
        new, value, policy, q, outside = sweep.best(state.law)
        bound = per_sweep * discount ** (state.iteration + 1.0)
        history = state.history.at[state.iteration].set(bound)
        done = small(bound, value)
        return _State(new, state.law, policy, q, outside, state.iteration + 1, bound, done, history)

    def evaluated(law, policy):
        """Sweeps under a policy until their bound is small; it may start from any law."""
        start = jnp.maximum(wasserstein(sweep.evaluate(law, policy), law).max(), farthest + paid)

        def unfinished(carry):
            return ~small(slope * start / (1 - discount) * discount ** carry[1], carry[2])

        def swept(carry):
            new = sweep.evaluate(carry[0], policy)
            return new, carry[1] + 1, sweep.values(new)

        return jax.lax.while_loop(unfinished, swept, (law, 0.0, jnp.ones(mdp.states, dtype)))[0]

    def policy_step(state: _State):
        law = evaluated(state.law, state.policy)
        new, value, policy, q, outside = sweep.best(law)
        gain = jnp.maximum(value - sweep.values(law), 0).max()
        bound = gain / (1 - discount)
        done = small(bound, value) | small(gain / 4, value)  # evaluations end within the tolerance
        history = state.history.at[state.iteration].set(bound)
        return _State(new, law, policy, q, outside, state.iteration + 1, bound, done, history)

    law, nothing = backup.space.point(initial), jnp.asarray(jnp.nan, dtype)
    policy = jnp.full((mdp.states, mdp.actions), 1 / mdp.actions, dtype)
    if mdp.allowed is not None:
        policy = mdp.allowed / mdp.allowed.sum(axis=-1, keepdims=True).astype(dtype)
    start = _State(law, law, policy, policy, jnp.zeros((), dtype), jnp.int32(0), nothing, jnp.bool_(False), history)
    step = value_step if method == "value_iteration" else policy_step
    end = jax.lax.while_loop(lambda state: (state.iteration < max_iterations) & ~state.done, step, start)
    residual = wasserstein(end.law, end.previous).max()
    found = (end.policy, end.q, nothing, residual, end.bound, end.iteration, end.done, end.history)
    return sweep.values(end.law), *found, end.law, end.outside


class _State(NamedTuple):
    law: Any
    previous: Any
    policy: Any
    q: Any
    outside: Any
    iteration: Any
    bound: Any
    done: Any
    history: Any


def laws_backwards(backup: Any, mdp: MDP, initial, stages: Any) -> tuple:
    """Over the stages of a finite horizon: values ``[horizon + 1, S]``, policies and action values ``[horizon, S, A]``,
    laws ``[horizon + 1, S, N]`` and what lies outside.

    Args:
        backup: ``(stage) -> Backup``, all with one space.
    """

    def stage(law, t):
        sweep = law_sweep(mdp, backup(t))
        new, value, policy, q, outside = sweep.best(law)
        return new, (new, value, policy, q, outside)

    last = backup(0)
    law = last.space.point(initial)
    _, (laws, values, policies, q, outside) = jax.lax.scan(stage, law, stages, reverse=True)
    laws = jax.tree.map(lambda all_but_last, one: jnp.concatenate([all_but_last, one[None]]), laws, law)
    values = jnp.concatenate([values, last.utility(initial)[None]])
    return values, policies, q, laws, outside.max()


# --- what can be asked for ----------------------------------------------------------------------------------------


def check_laws(mdp: MDP, backup: Backup, horizon: int | None, method: str = "value_iteration") -> None:
    """Refuses a utility that the process does not allow.

    Raises:
        UndefinedComposition: with the reason.
    """
    utility, name = backup.utility, type(backup.utility).__name__
    if method == "modified_policy_iteration":
        raise UndefinedComposition("modified_policy_iteration of laws: use value_iteration or policy_iteration")
    if utility.needs_stock and mdp.between is None and not isinstance(backup.greedy, FixedPolicy):
        raise UndefinedComposition(
            f"the best policy for utility({name}) depends on what has been earned, which is no part of the state: use "
            "jaxrl.bellman.solve_with_stock, or follow(policy) for the law under a policy"
        )
    if (np.asarray(mdp.discount) < 1).any() and utility.degree is None:
        raise UndefinedComposition(
            f"utility({name}) with a discount below 1: it orders laws of X otherwise than those of discount X, so that "
            "what is best later is not what is best now; use a discount of 1 and a horizon"
        )
    if horizon is None and utility.slope() is None:
        raise UndefinedComposition(
            f"utility({name}) without a horizon: it is not Lipschitz, so that values of ever longer horizons need not "
            "approach that of the infinite one; give a horizon"
        )


def range_of_returns(mdp: MDP, horizon: int | None, initial: np.ndarray, all_states: bool) -> tuple[float, float]:
    """The least and the greatest return of any state, whatever is done and whatever happens."""
    p, rewards = np.asarray(mdp.probabilities), np.asarray(mdp.rewards)
    possible = np.broadcast_to((p > 0) | all_states, p.shape)
    if mdp.allowed is not None:
        possible = possible & np.asarray(mdp.allowed)[..., None]
    low = high = initial
    discount = float(mdp.discount)
    sweeps = horizon if horizon is not None else int(np.ceil(np.log(1e-9) / np.log(discount)))
    least, greatest = float(initial.min()), float(initial.max())
    for _ in range(sweeps):
        low = np.where(possible, rewards + discount * mdp.at_successors(low), np.inf).min(axis=(1, 2))
        high = np.where(possible, rewards + discount * mdp.at_successors(high), -np.inf).max(axis=(1, 2))
        least, greatest = min(least, float(low.min())), max(greatest, float(high.max()))
    return (least, greatest) if horizon is not None else (float(low.min()), float(high.max()))

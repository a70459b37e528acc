"""Solving finite decision processes: one ``solve`` for all backups, with what is known of its error."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.bellman.backup import Backup, UndefinedComposition
from jaxrl.bellman.connected import multichain
from jaxrl.bellman.greedy import FixedPolicy
from jaxrl.bellman.laws import (
    OUTSIDE_TOLERANCE,
    check_laws,
    laws_backwards,
    range_of_returns,
    solve_laws,
)
from jaxrl.bellman.mdp import MDP, stack
from jaxrl.bellman.nature import Nominal, with_numbers_of_states
from jaxrl.bellman.short import total
from jaxrl.bellman.space import Law, Scalar
from jaxrl.bellman.utilities import Mean
from jaxrl.errors import InvalidArgument

Method = Literal["value_iteration", "policy_iteration", "modified_policy_iteration"]
Precision = Literal["float64", "float32"]
DAMPING = 0.9
"""of relative value iteration: below 1, so that periodic chains converge"""
LARGEST_SOLVE = 2000
"""states up to which a policy is evaluated by a linear solve, which takes O(S^3)"""


class Solution(NamedTuple):
    """What ``solve`` found; a stage or a batch axis comes first where there is one."""

    value: np.ndarray
    """``[S]``; under the average criterion relative to that of state 0, of laws their expected utility"""
    policy: np.ndarray
    """``[S, A]`` probabilities"""
    q: np.ndarray
    """``[S, A]`` action values"""
    gain: np.ndarray
    """``[]`` average reward a step; NaN under the discounted criterion"""
    residual: np.ndarray
    """``[]`` the largest change of a value in the last sweep"""
    bound: np.ndarray
    """``[]`` no value, or under the average criterion the gain, is further than this from the exact one"""
    iterations: np.ndarray
    """``[]`` sweeps of the optimality backup"""
    converged: np.ndarray
    """``[]`` whether the bound is within the tolerance"""
    history: np.ndarray
    """``[iterations]`` the bound after each sweep; in a batch filled up with NaN"""
    law: Law | None = None
    """``[S, N]`` the laws of returns, if they were asked for"""
    outside: np.ndarray | None = None
    """``[]`` the greatest probability of a return beyond a categorical support, in the last sweep"""

    @property
    def actions(self) -> np.ndarray:
        """``[S]`` the likeliest action, the first of equally likely ones."""
        return self.policy.argmax(axis=-1)


def solve(
    mdp: MDP,
    backup: Backup | Callable[[Any], Backup] | None = None,
    *,
    method: Method = "value_iteration",
    tolerance: float | None = None,
    max_iterations: int = 10_000,
    sweeps: int = 20,
    horizon: int | None = None,
    initial: Any = None,
    precision: Precision = "float64",
) -> Solution:
    """Values and a policy of a finite decision process.

    All backups but the relaxed ``Lp`` are monotone and move with their argument, so after a sweep from ``v`` to ``w``
    the exact values lie within ``w + discount / (1 - discount) [min(w - v), max(w - v)]`` (MacQueen 1966, Porteus
    1971). Iteration stops on the width of that interval, which shrinks much faster than values settle, and answers with
    its middle.

    Args:
        mdp: the process, with a discount below 1 unless there is a horizon or the objective is an average.
        backup: nominal by default; with a horizon also a function of the stage, ``(t) -> Backup``.
        method: ``value_iteration``; ``policy_iteration``, which evaluates every policy to the end (by a linear solve
            where the nature is nominal and there are at most 2,000 states); or ``modified_policy_iteration``, which
            evaluates it for a few sweeps. Against an adversary a policy's value is a fixed point of its own: it is then
            evaluated with the adversary's response in every sweep, ever more exactly (as the partial policy iteration
            of Ho et al. 2021), since sweeps under a kernel held fixed may diverge.
        tolerance: of the bound, relative to the largest value (or the gain) or absolute where that is below 1; 1e-10
            in float64 and 1e-5 in float32 by default. No smaller one than rounding allows is waited for.
        max_iterations: sweeps of the optimality backup at most; a warning says if they were too few.
        sweeps: of modified policy iteration, at most per policy.
        horizon: stages of a finite horizon, each undiscounted only if the discount is 1. Then ``value`` is ``[horizon +
            1, S]``, the last being ``initial``, and ``policy`` and ``q`` are ``[horizon, S, A]``.
        initial: ``[S]`` values to start from, or at the end of the horizon; 0 by default.
        precision: of the computation.

    Raises:
        InvalidArgument: for an argument out of its range, a discount of 1 without an end, a nature that needs all
            states of a process with lists of successors, or a process with several gains under the average criterion.
        UndefinedComposition: for policy iteration under the average criterion.

    Example:
        >>> from jaxrl.bellman import L1, bellman, robust, solve, sparse_mdp
        >>> mdp = sparse_mdp([[[0, 0]]], [[[0.5, 0.5]]], [[[1.0, 2.0]]], discount=0.9)
        >>> solve(mdp).value.round(6).tolist(), solve(mdp, bellman(robust(L1(0.5)))).value.round(6).tolist()
        ([15.0], [12.5])
    """
    backup = Backup() if backup is None else backup
    if horizon is not None:
        return _finite(mdp, backup, horizon, initial, precision)
    if not isinstance(backup, Backup):
        raise InvalidArgument("backup", backup, "must be a Backup; a function of the stage needs a horizon")
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], mdp)
    options = _checked(batch, [backup], method, tolerance, max_iterations, sweeps, precision)
    with jax.enable_x64(precision == "float64"):
        start = _initial(mdp, initial)
        found = Solution(*jax.device_get(_solve(mdp, backup, start, **options)))
    return _reported(found._replace(history=found.history[: int(found.iterations)]), mdp, backup)


def solve_many(
    mdps: MDP | Sequence[MDP],
    backups: Backup | Sequence[Backup] | None = None,
    *,
    method: Method = "value_iteration",
    tolerance: float | None = None,
    max_iterations: int = 10_000,
    sweeps: int = 20,
    precision: Precision = "float64",
) -> Solution:
    """``solve`` for many processes of equal shapes, many backups of one kind, or pairs of both, as one program.

    On CPUs each is solved after the other, in cache and for as long as it takes, by every device at once; elsewhere all
    are solved together.

    Args:
        mdps: processes of equal shapes, stacked or not; or one for all backups.
        backups: that differ in numbers only, such as radii; or one for all processes.
        method, tolerance, max_iterations, sweeps, precision: as in ``solve``.

    Returns:
        As ``solve``, each field with a leading axis.

    Raises:
        InvalidArgument: as ``solve``; for different shapes or kinds; or for as many processes as there are not backups.

    Example:
        >>> from jaxrl.bellman import L1, bellman, robust, solve_many, sparse_mdp
        >>> mdp = sparse_mdp([[[0, 0]]], [[[0.5, 0.5]]], [[[1.0, 2.0]]], discount=0.9)
        >>> solve_many(mdp, [bellman(robust(L1(x))) for x in (0.0, 0.5, 1.0)]).value[:, 0].round(6).tolist()
        [15.0, 12.5, 10.0]
    """
    mdp = mdps if isinstance(mdps, MDP) else stack(list(mdps))
    backups = Backup() if backups is None else backups
    stacked_mdp = np.ndim(mdp.probabilities) == 4
    stacked_backup = not isinstance(backups, Backup)
    backup = _stacked(list(backups)) if stacked_backup else backups
    counts = {len(np.asarray(mdp.probabilities))} if stacked_mdp else set()
    counts |= {len(backups)} if stacked_backup else set()
    if len(counts) != 1:
        allowed = "must be several processes, several backups, or as many of one as of the other"
        raise InvalidArgument("mdps, backups", sorted(counts), allowed)
    (count,) = counts
    checked = mdp if stacked_mdp else jax.tree.map(lambda leaf: np.asarray(leaf)[None], mdp)
    of_each = list(backups) if stacked_backup else [backup]
    options = _checked(checked, of_each, method, tolerance, max_iterations, sweeps, precision)
    devices = jax.local_devices()[:count]
    size = -(-count // len(devices))
    axes = (0 if stacked_mdp else None, 0 if stacked_backup else None)
    with jax.enable_x64(precision == "float64"):
        parts = []
        for i, device in enumerate(devices):
            index = np.minimum(np.arange(i * size, (i + 1) * size), count - 1)
            own = [
                jax.tree.map(lambda leaf: np.asarray(leaf)[index], part) if axis == 0 else part  # noqa: B023
                for part, axis in zip((mdp, backup), axes)
            ]
            sequential = device.platform == "cpu"
            parts.append(_solve_batch(*jax.device_put(own, device), axes=axes, sequential=sequential, **options))
        parts = jax.device_get(parts)  # only now: every device is at work
    found = Solution(*jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts))
    found = found._replace(history=found.history[:, : int(found.iterations.max())])
    return _reported(found, mdp, backup)


# --- one sweep -----------------------------------------------------------------------------------------------------


class Sweep(NamedTuple):
    """A backup of one process."""

    best: Callable[[Any, Any], tuple[Any, Any, Any, Any]]
    """``(value[S], guess) -> (value, policy[S, A], q[S, A], guess)`` of the best policy"""
    evaluate: Callable[[Any, Any, Any], tuple[Any, Any]]
    """``(value[S], policy[S, A], guess) -> (value, guess)``"""
    guess: Any = None
    """nature's, before the first sweep"""


def backup_sweep(mdp: MDP, backup: Backup) -> Sweep:
    """What a sweep over the states does."""
    nature, greedy, discount = backup.nature, backup.greedy, 1.0 if backup.average else mdp.discount
    if nature.rectangular == "s":
        return _joint_sweep(mdp, backup, discount)
    action_values, guess = (
        _expectation(mdp, discount) if isinstance(nature, Nominal) else _response(mdp, nature, discount)
    )

    def best(value, guess):
        q, guess = action_values(value, guess)
        return *greedy.choose(q, mdp.allowed), q, guess

    def evaluate(value, policy, guess):
        q, guess = action_values(value, guess)
        return greedy.evaluate(q, policy), guess

    return Sweep(best, evaluate, guess)


def _first(sweep: Sweep, value: Any) -> Any:
    """``value[S]`` after one sweep."""
    return sweep.best(value, sweep.guess)[0]


def _joint_sweep(mdp: MDP, backup: Backup, discount) -> Sweep:
    """The same where policy and kernels of a state are chosen together."""
    nature, greedy = backup.nature, backup.greedy
    p, outcomes = _outcomes(mdp, discount)

    def best(value, guess):
        z = outcomes(value)
        if isinstance(greedy, FixedPolicy):
            policy = greedy.probabilities(mdp.actions, p.dtype)
            new, kernel = nature.respond_to(p, z, policy)
        else:
            new, policy, kernel = nature.respond_jointly(p, z, mdp.allowed)
        return new, policy, total(kernel * z), guess

    def evaluate(value, policy, guess):
        return nature.respond_to(p, outcomes(value), policy)[0], guess

    return Sweep(best, evaluate)


def _expectation(mdp: MDP, discount) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any]:
    """``(value[S], guess) -> (q[S, A], guess)`` and the first guess, which is none: expected rewards are summed once,
    not in every sweep."""
    expected = mdp.expected_rewards()
    if mdp.is_dense:
        return lambda value, guess: (expected + discount * (mdp.probabilities @ value), guess), None
    p, ahead = jnp.moveaxis(mdp.probabilities, -1, 0), _ahead(mdp)
    return lambda value, guess: (expected + discount * total(p * ahead(value)), guess), None


def _response(mdp: MDP, nature: Any, discount) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any]:
    """``(value[S], guess) -> (q[S, A], guess)`` under a nature, and its first guess."""
    p, outcomes = _outcomes(mdp, discount)
    pairs = p.shape[1:]
    rows = lambda x: x.reshape(*x.shape[:-2], -1)  # noqa: E731
    p = rows(p)  # compilers do not vectorise loops over a few actions
    nature = with_numbers_of_states(nature, lambda x: rows(jnp.broadcast_to(x, pairs)))

    def action_values(value, guess):
        response, guess = nature.respond_from(p, rows(outcomes(value)), guess)
        return response.value.reshape(pairs), guess

    return action_values, nature.guess(p)


def _outcomes(mdp: MDP, discount) -> tuple[Any, Callable[[Any], Any]]:
    """Probabilities ``[n, S, A]``, and ``(value[S]) -> z[n, S, A]``, what each outcome is worth."""
    p, rewards = (jnp.moveaxis(x, -1, 0) for x in (mdp.probabilities, mdp.rewards))
    ahead = _ahead(mdp)
    return p, lambda value: jnp.broadcast_to(rewards + discount * ahead(value), p.shape)


def _ahead(mdp: MDP) -> Callable[[Any], Any]:
    """``(value[S]) -> [n, S, A]`` at each outcome's successor. Outcomes come first: sums over a short last axis are not
    vectorised."""
    if mdp.is_dense:
        return lambda value: value[:, None, None]
    if mdp.between is not None:
        successors, shares = (jnp.moveaxis(x, (-1, 2), (0, 1)) for x in (mdp.successors, mdp.between))
        return lambda value: total(shares * value.at[successors].get(mode="promise_in_bounds"))
    successors = jnp.moveaxis(mdp.successors, -1, 0)
    return lambda value: value.at[successors].get(mode="promise_in_bounds")


# --- iterations ----------------------------------------------------------------------------------------------------


class _State(NamedTuple):
    value: Any
    guess: Any
    iteration: Any
    residual: Any
    bound: Any
    done: Any
    history: Any


@partial(jax.jit, static_argnames=("method", "max_iterations", "sweeps"))
def _solve(mdp, backup, initial, tolerance, method, max_iterations, sweeps):
    """One process; a tuple in the order of ``Solution``."""
    if not backup.space.is_scalar:
        return solve_laws(mdp, backup, initial, tolerance, method, max_iterations)
    best, evaluate, guess = backup_sweep(mdp, backup)
    dtype = mdp.probabilities.dtype
    discount, average = jnp.asarray(mdp.discount, dtype), backup.average
    rounding = 8 * jnp.finfo(dtype).eps
    exact = method != "modified_policy_iteration" and isinstance(backup.nature, Nominal) and mdp.states <= LARGEST_SOLVE
    factor = jnp.asarray(1.0, dtype) if average else discount / (1 - discount)

    def bounds(value, new):
        change = new - value
        low, high = change.min(), change.max()
        residual = jnp.maximum(-low, high)
        if average:
            return residual, (high - low) / 2, (low + high) / 2
        if backup.nature.monotone:
            return residual, factor * (high - low) / 2, factor * (low + high) / 2
        return residual, factor * residual, jnp.zeros_like(low)

    def step(state: _State) -> _State:
        new, policy, q, guess = best(state.value, state.guess)
        residual, bound, shift = bounds(state.value, new)
        largest = jnp.abs(new).max()
        wanted = tolerance * jnp.maximum(jnp.abs(shift) if average else largest, 1)
        done = bound <= jnp.maximum(wanted, factor * rounding * largest)
        if average:
            moved = state.value + DAMPING * (new - state.value)
            following = moved - moved[0]
        elif method == "value_iteration":
            following = new
        elif exact:
            following = _linear(mdp, policy, backup.greedy.evaluate(q, policy) - _expected(mdp, policy, state.value))
        else:
            following, guess = _evaluated(evaluate, new, policy, guess, state.iteration)
        history = state.history.at[state.iteration].set(bound)
        # The answer to the last sweep is the middle of its bounds.
        value = jnp.where(done, new + (0 if average else shift), following)
        return _State(value, guess, state.iteration + 1, residual, bound, done, history)

    def _evaluated(evaluate, value, policy, guess, iteration):
        """Sweeps under a policy until its own residual is small enough, or as many as are allowed."""
        robust = not isinstance(backup.nature, Nominal)
        most = max_iterations if robust or method == "policy_iteration" else sweeps
        # Partial policy iteration: each policy is evaluated by discount^2 better than the one before.
        wanted = jnp.where(robust and method != "policy_iteration", discount ** (2.0 * iteration), 0)

        def unfinished(carry):
            _, count, residual, first = carry
            small = jnp.maximum(wanted * first, jnp.maximum(tolerance / factor / 2, rounding) * jnp.abs(value).max())
            return (count < most) & (residual > small)

        def swept(carry):
            (value, guess), count, _, first = carry
            new, guess = evaluate(value, policy, guess)
            change = new - value
            span = change.max() - change.min() if backup.nature.monotone else jnp.abs(change).max()
            return (new, guess), count + 1, span, jnp.where(count == 0, span, first)

        start = ((value, guess), 0, jnp.asarray(jnp.inf, dtype), jnp.asarray(0.0, dtype))
        return jax.lax.while_loop(unfinished, swept, start)[0]

    def unfinished(state):
        return (state.iteration < max_iterations) & ~state.done

    nothing = jnp.asarray(jnp.nan, dtype)
    start = _State(initial, guess, jnp.int32(0), nothing, nothing, jnp.bool_(False), jnp.full(max_iterations, nothing))
    state = jax.lax.while_loop(unfinished, step, start)
    new, policy, q, _ = best(state.value, state.guess)
    gain = bounds(state.value, new)[2] if average else nothing
    value = state.value - state.value[0] if average else state.value
    return value, policy, q, gain, state.residual, state.bound, state.iteration, state.done, state.history


@partial(jax.jit, static_argnames=("axes", "sequential", "method", "max_iterations", "sweeps"))
def _solve_batch(mdp, backup, axes, sequential, **options):
    def one(own):
        whole = [part if axis == 0 else shared for part, shared, axis in zip(own, (mdp, backup), axes)]
        return _solve(*whole, jnp.zeros(whole[0].states, whole[0].probabilities.dtype), **options)

    own = [part if axis == 0 else None for part, axis in zip((mdp, backup), axes)]
    return jax.lax.map(one, own) if sequential else jax.vmap(one)(own)


def _expected(mdp: MDP, policy, value):
    """``[S]``: the discounted value of the next state under a policy."""
    ahead = (mdp.probabilities * mdp.at_successors(value)).sum(axis=-1)
    return mdp.discount * (policy * ahead).sum(axis=-1)


def _linear(mdp: MDP, policy, rewards):
    """``[S]``: the solution of ``v = rewards + discount P_policy v``."""
    if mdp.is_dense:
        kernel = jnp.einsum("sa,sat->st", policy, mdp.probabilities)
    else:
        rows = jnp.arange(mdp.states)[:, None, None]
        empty = jnp.zeros((mdp.states, mdp.states), mdp.probabilities.dtype)
        probabilities, successors = mdp.lists()
        kernel = empty.at[rows, successors].add(policy[..., None] * probabilities)
    return jnp.linalg.solve(jnp.eye(mdp.states, dtype=kernel.dtype) - mdp.discount * kernel, rewards)


def _finite(mdp: MDP, backup, horizon: int, initial, precision) -> Solution:
    """Backwards over the stages of a finite horizon."""
    if not isinstance(horizon, int | np.integer) or horizon < 1:
        raise InvalidArgument("horizon", horizon, "must be a whole number of stages, at least 1")
    constant = backup if isinstance(backup, Backup) else None
    of_stage = None if constant is not None else backup
    first = backup if isinstance(backup, Backup) else backup(0)
    _check_numbers(mdp, first)
    if first.average:
        raise UndefinedComposition("average_reward with a horizon: a finite sum has no long-run average; drop one")
    if not first.space.is_scalar:
        check_laws(mdp, first, horizon)
    with jax.enable_x64(precision == "float64"):
        found = _backwards(mdp, constant, _initial(mdp, initial), of_stage=of_stage, horizon=int(horizon))
        values, policies, q, law, outside = jax.device_get(found)
    gain, residual, bound, iterations, converged = map(np.array, (np.nan, 0.0, 0.0, horizon, True))
    nothing = np.zeros(horizon)
    found = Solution(values, policies, q, gain, residual, bound, iterations, converged, nothing, law, outside)
    return _reported(found, mdp, first, int(horizon), initial)


@partial(jax.jit, static_argnames=("of_stage", "horizon"))
def _backwards(mdp, backup, initial, of_stage, horizon):
    """Values ``[horizon + 1, S]``, policies and action values ``[horizon, S, A]``, and laws with what lies outside."""
    stages, of_stage = jnp.arange(horizon), of_stage or (lambda t: backup)
    if not of_stage(0).space.is_scalar:
        return laws_backwards(of_stage, mdp, initial, stages)

    def stage(carry, t):
        new, policy, q, guess = backup_sweep(mdp, of_stage(t)).best(*carry)
        return (new, guess), (new, policy, q)

    start = initial, backup_sweep(mdp, of_stage(0)).guess
    _, (values, policies, q) = jax.lax.scan(stage, start, stages, reverse=True)
    return jnp.concatenate([values, initial[None]]), policies, q, None, None


# --- arguments -----------------------------------------------------------------------------------------------------


def _initial(mdp: MDP, initial: Any):
    states = mdp.states
    if initial is None:
        return jnp.zeros(states, jnp.result_type(float))
    if np.shape(initial) != (states,) or not np.isfinite(np.asarray(initial)).all():
        raise InvalidArgument("initial", np.asarray(initial).tolist(), f"must be finite values of {states} states")
    return jnp.asarray(initial, jnp.result_type(float))


def check_support(mdp: MDP, backup: Backup) -> None:
    """Refuses a nature that may move mass to every state, where not every state is an outcome."""
    if backup.nature.needs_all_states and not mdp.is_dense and mdp.between is None:
        raise InvalidArgument(
            "support", "all", "needs a dense process: use mdp.as_dense(), in which mass may go to every state"
        )


def _check_numbers(mdp: MDP, backup: Backup) -> None:
    """Refuses a backup whose numbers do not fit one process."""
    check_support(mdp, backup)
    states, actions = mdp.states, mdp.actions
    for name in ("policy", "reference"):
        given = getattr(backup.greedy, name, None)
        if given is not None and np.shape(given) not in ((states, actions), (states,) if name == "policy" else ()):
            raise InvalidArgument(f"the shape of {name}", np.shape(given), f"must be [{states}, {actions}]")
    try:
        value = jax.ShapeDtypeStruct((states,), np.float32)
        scalar = dataclasses.replace(backup, space=Scalar(), utility=Mean())
        shape = jax.eval_shape(lambda mdp, value: _first(backup_sweep(mdp, scalar), value), mdp, value).shape
    except (TypeError, ValueError):
        shape = None
    if shape != (states,):
        raise InvalidArgument(
            "nature",
            backup.nature,
            f"its numbers must be single ones, or one for each state and action: [{states}, {actions}]",
        )


def _checked(batch: MDP, backups: list[Backup], method, tolerance, max_iterations, sweeps, precision) -> dict[str, Any]:
    """The options of ``_solve``, from arguments that have been looked at: processes ``[B, ...]``, and as many backups
    of one kind or one for all."""
    methods = ("value_iteration", "policy_iteration", "modified_policy_iteration")
    if method not in methods:
        raise InvalidArgument("method", method, f"must be one of {', '.join(methods)}")
    if precision not in ("float64", "float32"):
        raise InvalidArgument("precision", precision, "must be float64 or float32")
    if tolerance is None:
        tolerance = 1e-10 if precision == "float64" else 1e-5
    if not tolerance > 0:
        raise InvalidArgument("tolerance", tolerance, "must be above 0")
    for name, value in (("max_iterations", max_iterations), ("sweeps", sweeps)):
        if value < 1:
            raise InvalidArgument(name, value, "must be at least 1")
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    _check_numbers(first, backups[0])
    if not backups[0].space.is_scalar:
        check_laws(first, backups[0], None, method)
    if backups[0].average:
        if method != "value_iteration":
            raise UndefinedComposition(
                f"average_reward with {method}: only value_iteration bounds the gain against every nature"
            )
        count = max(len(batch.probabilities), len(backups))
        for i in range(count):
            one = jax.tree.map(lambda leaf: leaf[min(i, len(leaf) - 1)], batch)  # noqa: B023
            greedy = backups[min(i, len(backups) - 1)].greedy
            states = multichain(one, greedy.policy if isinstance(greedy, FixedPolicy) else None)
            if states is not None:
                which = f"process {i} of {count}, " if count > 1 else ""
                raise InvalidArgument(
                    "mdp",
                    f"{which}{one.states} states",
                    f"must have one gain, but a policy can stay among the states {states[0]} for ever and among "
                    f"{states[1]} as well (a multichain process); join them, or use a discount",
                )
    elif (np.asarray(batch.discount) >= 1).any():
        raise InvalidArgument("discount", 1.0, "must be below 1, unless there is a horizon or average_reward()")
    return {"method": method, "tolerance": tolerance, "max_iterations": max_iterations, "sweeps": sweeps}


def _stacked(backups: list[Backup]) -> Backup:
    if not backups:
        raise InvalidArgument("backups", [], "must be at least one")
    kinds = [jax.tree.structure(backup) for backup in backups]
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise InvalidArgument(f"backups[{i}]", backups[i], f"must be of the kind of the first, {backups[0]}")
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *backups)


def _reported(
    found: Solution, mdp: MDP, backup: Backup, horizon: int | None = None, initial: np.ndarray | None = None
) -> Solution:
    """The solution, with a warning if it is not within the tolerance or its laws not within their support."""
    if not found.converged.all():
        short = int((~found.converged).sum())
        warnings.warn(
            f"{short} of {found.converged.size} processes not solved to the tolerance after "
            f"{int(found.iterations.max())} iterations: the bound is {float(found.bound.max()):.3g}; raise "
            "max_iterations or tolerance",
            stacklevel=3,
        )
    if found.outside is not None and np.max(found.outside) > OUTSIDE_TOLERANCE:
        needed = "the range of its returns"
        if np.ndim(mdp.probabilities) == 3:
            first = np.zeros(mdp.states) if initial is None else np.asarray(initial, float)
            low, high = range_of_returns(mdp, horizon, first, backup.nature.needs_all_states)
            needed = f"[{low:.6g}, {high:.6g}], which no policy's returns leave"
        warnings.warn(
            f"the atoms do not cover the returns: a probability of up to {float(np.max(found.outside)):.3g} was moved "
            f"to their ends, and means with it; Categorical needs atoms over {needed}",
            stacklevel=3,
        )
    return found

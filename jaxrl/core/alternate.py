"""The learner of several parts that are trained in turn, such as an actor and its critics."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl.core.combine import update_if
from jaxrl.core.descend import TrainState, acting
from jaxrl.core.types import Behaviour, Key, Learner, Metrics, Policy, PyTree, Shared


class Term(NamedTuple):
    """What trains one part of the parameters."""

    loss: Callable[[dict[str, PyTree], PyTree, Key, Metrics], tuple[jax.Array, Metrics]]
    """``(params, batch, key, earlier) -> (loss, metrics)``, of all parts, and of what the terms before it measured"""
    optimiser: optax.GradientTransformation
    period: int = 1
    """a step at every ``period``-th update"""


class AlternatingState(NamedTuple):
    calls: Shared
    params: dict[str, PyTree]
    optimiser: dict[str, PyTree]


def alternate(
    init: Callable[[Key], dict[str, PyTree]], terms: Mapping[str, Term], policy: Policy, part: str = "actor"
) -> Learner:
    """One gradient step of each term after the other, each on the part of the parameters that has its name.

    A term sees the parts as earlier ones of the same update left them. Parts without a term stay as they are. Behaves
    by ``policy`` with one ``part``, and reports nothing beside its actions, so that a replay buffer keeps nothing
    else. Metrics: the terms' own, and ``<name>_loss``; those of a term that takes no step weigh nothing.

    Laws: one term makes the updates of ``descend`` on its part; a term changes no other part.

    Args:
        init: ``(key) -> params``, a dict of parts.
        terms: in the order of their steps.
    """

    def init_state(key):
        params = init(key)
        optimiser = {name: term.optimiser.init(params[name]) for name, term in terms.items()}
        return AlternatingState(Shared(jnp.int32(0)), params, optimiser)

    def step_of(name: str, term: Term, params: dict[str, PyTree], earlier: Metrics):
        def step(own: TrainState, batch: Any, key: Key):
            def loss(trained):
                return term.loss(params | {name: trained}, batch, key, earlier)

            (value, measured), gradient = jax.value_and_grad(loss, has_aux=True)(own.params)
            updates, optimiser = term.optimiser.update(gradient, own.optimiser, own.params)
            own = TrainState(optax.apply_updates(own.params, updates), optimiser)
            return own, measured | {f"{name}_loss": value}

        return step

    def update(state, batch, key):
        calls, params, optimiser, metrics = state.calls.value + 1, state.params, state.optimiser, {}
        for (name, term), term_key in zip(terms.items(), jax.random.split(key, len(terms))):
            own, step = TrainState(params[name], optimiser[name]), step_of(name, term, params, metrics)
            if term.period == 1:
                own, measured = step(own, batch, term_key)
            else:
                own, measured = update_if(calls % term.period == 0, step, own, batch, term_key)
            params, optimiser, metrics = (
                params | {name: own.params},
                optimiser | {name: own.optimiser},
                metrics | measured,
            )
        return AlternatingState(Shared(calls), params, optimiser), metrics

    behaviour, judge = acting(policy, lambda state: state.params[part])
    return Learner(init_state, update, lambda state: silent(behaviour(state)), judge)


def silent(behaviour: Behaviour) -> Behaviour:
    """Reports nothing beside its actions."""
    return behaviour._replace(act=lambda obs, noise: (behaviour.act(obs, noise)[0], {}))

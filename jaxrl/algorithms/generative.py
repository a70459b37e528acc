"""What learners share whose policy makes actions of noise: critics beside it, prior data, and slow copies of both."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.off_policy import INFINITY, OffPolicy
from jaxrl.core.alternate import Term, alternate, silent
from jaxrl.core.combine import relabel
from jaxrl.core.config import check_within, static
from jaxrl.core.counted import TargetState, WithTarget, with_target
from jaxrl.core.descend import acting, descend, judged_as_it_acts
from jaxrl.core.types import Algorithm, Key, Learner, Metrics, Policy, PyTree, Transition
from jaxrl.losses.value import squared_error
from jaxrl.policies.control import Critics, check_bounded
from jaxrl.sources.dataset import rows_of


class Agent(NamedTuple):
    """Policies and critics of parameters with the parts ``base``, ``critics`` and others. Actions are in units in which
    the environment's box is [-1, 1]."""

    base: Policy
    """what is trained"""
    critics: Critics
    policy: Policy
    """what acts: made of the base, and perhaps of other parts; sends actions of the environment"""
    value_init: Callable[[Key], PyTree] | None = None
    value: Callable[[PyTree, PyTree], jax.Array] | None = None
    """of states, ``(params, obs[B]) -> [B]``, where it is learned"""


@struct.dataclass(kw_only=True)
class Generative(OffPolicy):
    """The hyperparameters of a generative policy beside critics, for an algorithm to inherit."""

    base_rate: float = 0.005
    """How far the copy of the base policy moves at each move; 1 copies."""
    decay_updates: int | None = static(None)
    """Gradient steps over which the step size of the base policy falls to 0, as a cosine; it stays by default."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_bounded(env, env_params)
        self.check_off_policy(env, env_params)
        check_within(self, base_rate=(0, 1), decay_updates=(1, INFINITY))

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment with continuous actions in a box.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; of no use here.
        """
        del updates
        env_params = env.default_params if env_params is None else env_params
        learner = self.learner(self.agent(env, env_params), env, env_params, self.prior_data(env))
        learner = relabel(judged_as_it_acts(learner), in_units(env, env_params))
        return self.algorithm(learner, env, env_params)

    def agent(self, env: Environment, env_params: Any) -> Any:
        """Policies and critics that fit an environment, an ``Agent``."""
        raise NotImplementedError

    def terms(self, agent: Any, env: Environment, env_params: Any) -> Mapping[str, Term]:
        """What each part is trained by, of batches as ``beside_copies`` has them."""
        raise NotImplementedError

    def learner(self, agent: Any, env: Environment, env_params: Any, prior: Transition | None = None) -> Learner:
        """What learns from a batch ``Transition[B, ...]`` with actions in units of half the box."""
        del prior
        terms = self.terms(agent, env, env_params)
        return self.beside_copies(lambda key: self.parts(agent, key), terms, agent.policy)

    def parts(self, agent: Any, key: Key) -> dict[str, PyTree]:
        """Parameters to start from."""
        base_key, critics_key = jax.random.split(key)
        return agent.base.init(base_key) | {"critics": agent.critics.init(critics_key)}

    def beside_copies(
        self,
        init: Callable[[Key], dict[str, PyTree]],
        terms: Mapping[str, Term],
        policy: Policy,
        period: int = 1,
        base: Callable[[PyTree, PyTree], PyTree] = lambda own, slow: slow,
    ) -> Learner:
        """The learner of these terms, of batches ``WithTarget(WithTarget(Transition, base), critics)`` with slow copies
        of base and critics. Acts by ``policy`` with those of the critics.

        Args:
            period: gradient steps for each move of the copy of the base.
            base: which base it acts with, of the one that learns and its slow copy.
        """
        learner = alternate(init, terms, policy, part="base")
        learner = with_target(learner, lambda state: state.params["critics"], self.target_rate)
        learner = with_target(learner, lambda state: state.inner.params["base"], self.base_rate, period)

        def parameters(state: TargetState):
            own = state.inner.inner.params
            return own | {"base": base(own["base"], state.target), "critics": state.inner.target}

        behaviour, judge = acting(policy, parameters)
        return learner._replace(behaviour=lambda state: silent(behaviour(state)), policy=judge)

    def temporal_difference(
        self, critics: Critics, params: PyTree, transition: Transition, v_t: jax.Array, key: Key
    ) -> tuple[jax.Array, Metrics]:
        """The critics' loss, of the value ``[B]`` of the successors, and their mean value."""
        target_tm1 = jax.lax.stop_gradient(transition.reward + self.gamma * transition.discount * v_t)
        q_tm1 = critics.values(params["critics"], transition.obs, transition.action, key)
        return squared_error(q_tm1, target_tm1).mean(), {"q": q_tm1.mean()}

    def falling(self, learning_rate: Any) -> Any:
        """The step size, for optax: as it is, or falling over ``decay_updates``."""
        if self.decay_updates is None:
            return learning_rate
        return optax.cosine_decay_schedule(learning_rate, self.decay_updates)


def of_batch(batch: WithTarget) -> tuple[Transition, PyTree, PyTree]:
    """Transition, slow base and slow critics of a batch as ``Generative.beside_copies`` has it."""
    return batch.batch.batch, batch.batch.target, batch.target


def in_units(env: Environment, env_params: Any) -> Callable[[PyTree, Transition, Key], Transition]:
    """For ``relabel``: actions in units of half the box, 0 at its centre."""
    space = env.action_space(env_params)
    centre, half_width = (space.high + space.low) / 2, (space.high - space.low) / 2
    return lambda state, batch, key: batch._replace(action=(batch.action - centre) / half_width)


def imitated(
    base: Policy,
    params: PyTree,
    prior: Transition,
    steps: int,
    batch_size: int,
    optimiser: optax.GradientTransformation,
    key: Key,
) -> PyTree:
    """The parameters of ``base`` after so many steps of its ``fit_loss`` on random rows of the data.

    Args:
        prior: ``[rows, ...]``, its actions in the units of ``base``.
    """
    fit_loss: Any = base.fit_loss

    def loss(params, transition: Transition, key):
        return fit_loss(params, transition.obs, transition.action, key), {}

    imitation = descend(lambda key: params, loss, optimiser, base)
    prior = jax.tree.map(jnp.asarray, prior)

    def step(state, key):
        batch_key, key = jax.random.split(key)
        return imitation.update(state, rows_of(prior, batch_key, (batch_size,)), key)[0], None

    init_key, key = jax.random.split(key)
    state, _ = jax.lax.scan(step, imitation.init(init_key), jax.random.split(key, steps))
    return state.params

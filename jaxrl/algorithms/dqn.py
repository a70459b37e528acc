"""Deep Q-networks (Mnih et al. 2015) and what has been built on them: double, dueling, n-step, prioritised, C51,
QR-DQN, IQN, Munchausen, utilities of stock and return (D-eta-N), and combinations of these."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.bellman.utilities import Utility
from jaxrl.core.combine import iterate, repeated
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.counted import WithTarget, after, with_target
from jaxrl.core.descend import descend, step_size, with_clipping
from jaxrl.core.types import Algorithm
from jaxrl.envs import stock_of
from jaxrl.errors import InvalidArgument
from jaxrl.losses.q_learning import greedy_policy, munchausen_reward, tied_policy
from jaxrl.losses.value_spaces import Backup, ValueSpace, categorical, quantiles, scalar
from jaxrl.networks.torsos import Activation
from jaxrl.policies.critics import UTILITIES, Critic, critic_of, greedy
from jaxrl.policies.exploration import epsilon_greedy, linear_decay
from jaxrl.policies.networks import Torso, check_discrete, q_network
from jaxrl.policies.stocks import with_edits
from jaxrl.sources.random_play import warn_of_returns_outside
from jaxrl.sources.replay import Prioritised, prioritising, replay
from jaxrl.sources.rollout import least_truncated_length, rollout

INFINITY = float("inf")
COSINES = 64
"""functions that embed a quantile level, as in the paper"""


@struct.dataclass
class DQN(Torso):
    """Q-learning from replayed transitions against a target network. As it stands DQN; options make the others."""

    learning_rate: float = 5e-4
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor."""
    epsilon_start: float = 1.0
    """Share of random actions at first; until learning starts all are random."""
    epsilon_end: float = 0.05
    """Share of random actions in the end."""
    exploration_fraction: float = 0.5
    """The share falls linearly over this part of the run."""
    target_rate: float = 1.0
    """How far the target network moves towards the online one, each time it does; 1 copies it."""
    huber_threshold: float = 1.0
    """Errors count squared up to this size and linearly beyond; inf for squared errors throughout."""
    max_grad_norm: float = INFINITY
    """Gradients are scaled down to this global norm."""
    adam_epsilon: float = 1e-8
    """Adam's constant in the denominator."""
    v_min: float = -10.0
    """Least return of the categorical support."""
    v_max: float = 10.0
    """Greatest return of the categorical support."""
    priority_exponent: float = 0.6
    """Prioritised: how much priorities count; 0 is uniform."""
    importance_exponent: float = 0.4
    """Prioritised: how much of the bias is corrected at first; rises linearly to 1, all of it, over the run."""
    munchausen_coefficient: float = 0.9
    """Munchausen: how much of the scaled log-policy is added to the reward."""
    munchausen_temperature: float = 0.03
    """Munchausen: temperature of the softmax policy."""
    munchausen_low: float = -1.0
    """Munchausen: the scaled log-policy is no less than this."""
    utility_below: float = 1.0
    """Piecewise utility: slope for losses. (1 - w) / level + w here, w for gains: w mean + (1 - w) CVaR."""
    utility_above: float = 1.0
    """Piecewise utility: slope for gains."""
    num_envs: int = static(8)
    """Environments of each member."""
    num_steps: int = static(1)
    """Steps of each environment in an iteration."""
    num_updates: int = static(1)
    """Gradient steps of an iteration."""
    batch_size: int = static(128)
    """Transitions of each gradient step."""
    capacity: int = static(50_000)
    """Transitions that are kept, rounded up to whole iterations."""
    learning_starts: int = static(1_000)
    """Environment steps before the first gradient step."""
    target_every: int = static(250)
    """Gradient steps between two moves of the target network."""
    n_step: int = static(1)
    """Steps of each return before the bootstrap."""
    double: bool = static(False)
    """The online network chooses the action that the target network values."""
    dueling: bool = static(False)
    """A stream for the state and one for the actions."""
    prioritised: bool = static(False)
    """Draw transitions in proportion to their errors."""
    munchausen: bool = static(False)
    """Soft backups, and the scaled log-policy added to the reward."""
    space: Literal["scalar", "categorical", "quantiles", "implicit"] = static("scalar")
    """What is learnt of the return: its mean (DQN), a categorical law (C51), its quantiles (QR-DQN), or its quantile
    function (IQN)."""
    num_atoms: int = static(51)
    """Atoms of the categorical law."""
    num_quantiles: int = static(32)
    """Quantiles of each law; of IQN those drawn for each loss, and those of an action's mean."""
    utility: Literal["mean", "shortfall", "surplus", "nearness", "piecewise"] = static("mean")
    """Actions are chosen by the mean of this function of stock + return, all but the mean in environments that show a
    stock (stock/...): min(x, 0), max(x, 0), -abs(x), or with slopes of its own below and above 0 (D-eta-N)."""
    stock_edits: int = static(0)
    """Each transition drawn is also learnt from with so many other stocks."""
    head_sizes: tuple[int, ...] = static(())
    """Widths of dense layers behind the torso; each dueling stream has its own."""
    anneal_learning_rate: bool = static(False)
    """Let the step size fall linearly to 0 over the run."""
    activation: Activation = static("relu", kw_only=True)
    """Nonlinearity of every layer but the heads."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment; warns of a
        categorical support that random play already leaves."""
        unit = dict.fromkeys(
            ("gamma", "epsilon_start", "epsilon_end", "exploration_fraction", "target_rate", "importance_exponent"),
            (0, 1),
        )
        least_one = dict.fromkeys(
            ("num_envs", "num_steps", "num_updates", "batch_size", "target_every", "n_step", "num_quantiles"),
            (1, INFINITY),
        )
        least_zero = ("learning_rate", "max_grad_norm", "adam_epsilon", "priority_exponent", "munchausen_coefficient")
        check_within(
            self,
            **unit,
            **least_one,
            **dict.fromkeys(least_zero, (0, INFINITY)),
            **dict.fromkeys(("learning_starts", "stock_edits"), (0, INFINITY)),
            **dict.fromkeys(("utility_below", "utility_above"), (-1e6, 1e6)),
            num_atoms=(2, INFINITY),
            huber_threshold=(1e-6, INFINITY),
            munchausen_temperature=(1e-6, INFINITY),
            munchausen_low=(-INFINITY, 0),
            capacity=(max(self.batch_size, self.n_step * self.num_envs), INFINITY),
        )
        check_one_of(self, space=("scalar", "categorical", "quantiles", "implicit"), utility=tuple(UTILITIES))
        check_discrete(env, env_params)
        self.check_torso(env, env_params)
        if any(size < 1 for size in self.head_sizes):
            raise InvalidArgument("head_sizes", self.head_sizes, "must be positive widths")
        if self.space in ("quantiles", "implicit") and np.isinf(self.huber_threshold).any():
            raise InvalidArgument("huber_threshold", self.huber_threshold, "must be finite for quantiles")
        if self.munchausen and self.double:
            raise InvalidArgument("double", True, "must be False with munchausen, whose backup chooses no action")
        if self.munchausen and self.n_step > 1:
            raise InvalidArgument("n_step", self.n_step, "must be 1 with munchausen, which changes every reward")
        self.check_stock(env)
        if self.space == "categorical":
            if not np.all(np.asarray(self.v_min) < np.asarray(self.v_max)):
                raise InvalidArgument("v_min", self.v_min, f"must be less than v_max={self.v_max}")
            warn_of_returns_outside(env, env_params, self.gamma, self.v_min, self.v_max)

    def check_stock(self, env: Environment) -> None:
        """Raises InvalidArgument for a utility or stocks that values or the environment know nothing of."""
        if self.utility == "mean" and not self.stock_edits:
            return
        if self.utility != "mean" and self.space == "scalar":
            raise InvalidArgument("utility", self.utility, "must be mean in the scalar space, which has no laws")
        if self.utility != "mean" and self.munchausen:
            raise InvalidArgument("utility", self.utility, "must be mean with munchausen, whose bonus is no return")
        stock = stock_of(env)
        if stock is None:
            raise InvalidArgument("env", env.name, f"must show a stock for utility and stock_edits: stock/{env.name}")
        if not np.allclose(self.gamma, stock.gamma, rtol=1e-6, atol=0):
            raise InvalidArgument("gamma", self.gamma, f"must be that of the environment's stock, {stock.gamma:g}")
        if self.stock_edits and not stock.low < stock.high:
            raise InvalidArgument("stock_edits", self.stock_edits, f"must be 0 with one stock only, {stock.low:g}")

    def value_space(self) -> ValueSpace:
        """What the network's numbers of an action mean."""
        if self.space == "scalar":
            return scalar(self.huber_threshold)
        if self.space == "categorical":
            return categorical(self.num_atoms, self.v_min, self.v_max)
        return quantiles(self.num_quantiles, self.huber_threshold)

    def critic(self, env: Environment, env_params: Any) -> Critic:
        """The network on an environment with discrete actions."""
        space = self.value_space()
        cosines = COSINES if self.space == "implicit" else None
        network = q_network(self, env, env_params, space.size, self.head_sizes, self.dueling, cosines)
        return critic_of(network, env, env_params, space, self.expected_utility())

    def expected_utility(self) -> Utility | None:
        """What actions are chosen by the expectation of, None for the mean."""
        return None if self.utility == "mean" else UTILITIES[self.utility](self.utility_below, self.utility_above)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment with discrete actions.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; the horizon of the exploration and of the importance weights, which need it.
        """
        if updates is None:
            raise InvalidArgument("updates", updates, "must be given: exploration falls over a part of the run")
        env_params = env.default_params if env_params is None else env_params
        critic, space, implicit = self.critic(env, env_params), self.value_space(), self.space == "implicit"
        outputs, values, actions = critic.outputs, critic.values, critic.actions
        stock, choose = stock_of(env), greedy_policy if self.utility == "mean" else tied_policy

        def one(outputs_tm1, a_tm1, q_tm1, outputs_t, q_t, r_t, discount_t, levels_tm1):
            policy_t, bonus_t = choose(q_t), None
            if self.munchausen:
                temperature = self.munchausen_temperature
                r_t += munchausen_reward(q_tm1, a_tm1, self.munchausen_coefficient, temperature, self.munchausen_low)
                policy_t = jax.nn.softmax(q_t / temperature)
                bonus_t = -temperature * jax.nn.log_softmax(q_t / temperature)
            target = jax.lax.stop_gradient(space.target(outputs_t, Backup(r_t, discount_t, policy_t, bonus_t)))
            chosen = jax.nn.one_hot(a_tm1, actions) @ outputs_tm1
            loss = space.loss(chosen, target, levels_tm1)
            return loss, space.error(chosen, target, loss), space.mean(chosen[None])[0], target

        def loss(params, batch: WithTarget, key):
            transitions, target_params = batch.batch, batch.target
            if self.stock_edits:
                edit_key, key = jax.random.split(key)
                transitions = with_edits(transitions, stock, self.stock_edits, edit_key)
            obs, action, reward, discount, _, next_obs, extras = transitions
            levels_tm1, levels_t = None, None
            if implicit:
                levels_tm1, levels_t = jax.random.uniform(key, (2, *reward.shape, space.size))
            outputs_tm1 = outputs(params, obs, levels_tm1)
            outputs_t = outputs(target_params, next_obs, levels_t)
            # IQN chooses by other levels than those it values the choice at.
            same = not implicit and not self.double
            chooser = params if self.double else target_params
            q_t = critic.worth(outputs_t, next_obs) if same else values(chooser, next_obs)
            q_tm1 = values(target_params, obs) if self.munchausen else jnp.zeros_like(q_t)
            losses, priority, q, target = jax.vmap(one)(
                outputs_tm1, action, q_tm1, outputs_t, q_t, reward, self.gamma * discount, levels_tm1
            )
            metrics = {"q": q.mean()}
            if self.space == "categorical":
                metrics["support_gap"] = target[1].mean()
            if self.prioritised:
                drawn = jax.lax.stop_gradient(priority).reshape(1 + self.stock_edits, -1)
                metrics["priority"] = drawn.mean(axis=0)
                losses = losses * extras["importance"]
            return losses.mean(), metrics

        steps = self.num_envs * self.num_steps
        start = max(0, -(-self.learning_starts // steps) - 1)
        decay = linear_decay(self.epsilon_start, self.epsilon_end, self.exploration_fraction, updates)
        learning_rate = step_size(self.learning_rate, self.anneal_learning_rate, updates, self.num_updates)
        optimiser = with_clipping(optax.adam(learning_rate, eps=self.adam_epsilon), self.max_grad_norm)

        learner = descend(critic.init, loss, optimiser, greedy(critic, ties=self.utility != "mean"))
        learner = with_target(learner, lambda state: state.params, self.target_rate, self.target_every)
        learner = repeated(learner, self.num_updates, stacked=("priority",))
        if self.prioritised:
            learner = prioritising(learner, (self.num_updates, self.batch_size))
        learner = after(learner, start)
        learner = epsilon_greedy(
            learner, env.action_space(env_params), lambda calls: jnp.where(calls < start, 1.0, decay(calls))
        )

        source = replay(
            rollout(env, env_params, self.num_envs, self.num_steps),
            lambda key: learner.behaviour(learner.init(key)),
            self.capacity,
            self.batch_size,
            self.num_updates,
            self.n_step,
            self.gamma,
            Prioritised(self.priority_exponent, linear_decay(self.importance_exponent, 1.0, 1.0, updates))
            if self.prioritised
            else None,
            least_truncated_length(env_params),
        )
        return iterate(source, learner)

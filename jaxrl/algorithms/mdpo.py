"""Mirror descent policy optimisation (Tomar et al. 2020), on-policy and off-policy."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxrl.algorithms.on_policy import INFINITY, Labelled, OnPolicy
from jaxrl.algorithms.sac import COMBINATIONS, SAC
from jaxrl.core.alternate import Term, alternate
from jaxrl.core.combine import held
from jaxrl.core.config import check_within, static
from jaxrl.core.counted import Numbered, WithTarget, numbered, with_target
from jaxrl.core.descend import descend
from jaxrl.core.types import Algorithm, Key, Learner, Metrics
from jaxrl.errors import InvalidArgument
from jaxrl.losses.policy_gradient import mirror_descent, proximal_cost
from jaxrl.policies.bases import modal
from jaxrl.policies.control import Control
from jaxrl.policies.networks import actor_critic


@struct.dataclass
class MDPO(OnPolicy):
    """On-policy mirror descent: gradient steps on the linearised return, less a divergence from the policy that the
    iteration began with. The new policy comes first in the divergence, as TRPO's and PPO's does not."""

    learning_rate: float = 3e-4
    """Adam's step size for the policy."""
    step_size: float = 1.0
    """Of mirror descent, t_0: the divergence is divided by it."""
    num_policy_steps: int = static(10)
    """Gradient steps of the policy on each iteration's whole rollout; 1 is a policy gradient."""
    anneal_step_size: bool = static(True)
    """Let t_k = t_0 (1 - k / K) fall linearly over the K iterations of the run."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(self, learning_rate=(0, INFINITY), step_size=(1e-6, INFINITY), num_policy_steps=(1, INFINITY))
        self.check_on_policy(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: K, the iterations of the whole run, for ``anneal_step_size``, which needs it.
        """
        if self.anneal_step_size and updates is None:
            raise InvalidArgument("updates", updates, "must be given when the step size is annealed")
        env_params = env.default_params if env_params is None else env_params
        network, policy = actor_critic(self, env, env_params, critic=False)
        outputs, kl, annealed_over = policy.outputs, policy.kl, updates if self.anneal_step_size else None
        assert outputs is not None
        assert kl is not None

        def loss(params, numbered_batch: Numbered, key):
            batch: Labelled = numbered_batch.batch
            log_prob, entropy = policy.log_prob(params, batch.obs, batch.action, key)
            left = 1.0 if annealed_over is None else 1 - numbered_batch.calls / annealed_over
            moved = kl(outputs(params, batch.obs), batch.outputs)
            t_k = self.step_size * left
            total = mirror_descent(log_prob, batch.log_prob, batch.advantage, moved, t_k).mean()
            return total, {"policy_loss": total, "entropy": entropy.mean(), "kl": moved.mean()}

        actor = descend(policy.init, loss, self.optimiser(self.learning_rate), policy)
        actor = numbered(held(actor, self.num_policy_steps))
        return self.from_rollouts(actor, policy, network, env, env_params, lambda state: state.inner.params)


@struct.dataclass
class SoftMDPO(SAC):
    """Off-policy mirror descent in the soft process: SAC's actor pays for its divergence from the policy of up to
    ``refresh_every`` gradient steps ago, ``c log pi + (temperature - c) log pi_k - Q_1``.

    With ``kl_coefficient = temperature`` the old policy drops out and what is left is SAC. As published, the
    temperature is given, the actor climbs the first critic, and critics learn from a network of the state's value.
    """

    temperature: float | None = 0.2
    """Weight of the entropy; None to learn it."""
    kl_coefficient: float = 1.0
    """c, 1 over the step size of mirror descent."""
    tsallis_index: float = 1.0
    """q of the Tsallis divergence that stands for the KL, within [1, 2]; 1 is the KL. Of each dimension of the action,
    and summed; continuous actions only."""
    refresh_every: int = static(1000)
    """Gradient steps between two copies of the policy to the old one."""
    value_network: bool = static(True)
    """Bootstrap from a network of the state's value, instead of from the critics' copies."""
    actor_value: Literal["least", "mean", "first"] = static("first")
    """What of the critics' values the actor climbs."""
    explores: bool = static(True)
    """Sample actions while collecting; the authors' code takes the mean action after the uniform start."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        check_within(self, kl_coefficient=(1e-6, INFINITY), tsallis_index=(1, 2), refresh_every=(1, INFINITY))
        if isinstance(env.action_space(env_params), spaces.Discrete) and not np.all(
            np.asarray(self.tsallis_index) == 1
        ):
            raise InvalidArgument("tsallis_index", self.tsallis_index, "must be 1 for discrete actions")

    def actor_loss(self, agent: Control) -> Callable[..., tuple[jax.Array, Metrics]]:
        """SAC's and the price of leaving the old policy, which comes around the batch as ``WithTarget``."""

        compared = agent.compared
        assert compared is not None

        def loss(params, batch: WithTarget, key, earlier):
            del earlier
            obs, combine = batch.batch.batch.obs, COMBINATIONS[self.actor_value]
            q, log_prob = agent.expected(params["actor"], params["critics"], obs, key, combine)
            own, old = compared(params["actor"], batch.target, obs, key)
            cost = proximal_cost(own, old, self.weight(params), self.kl_coefficient, self.tsallis_index).sum(axis=-1)
            return (cost - q).mean(), {"entropy": -log_prob.mean(), "kl": (own - old).sum(axis=-1).mean()}

        return loss

    def learner(self, init: Callable[[Key], Any], agent: Control, terms: dict[str, Term]) -> Learner:
        """SAC's with the actor's step first, and the old policy around its batch."""

        def inside(term: Term) -> Term:
            return term._replace(loss=lambda params, batch, *rest: term.loss(params, batch.batch, *rest))

        others = {name: inside(term) for name, term in terms.items() if name != "actor"}
        policy = agent.policy if self.explores else modal(agent.policy)
        learner = alternate(init, {"actor": terms["actor"]} | others, policy)
        learner = with_target(learner, lambda state: state.params["actor"], 1.0, self.refresh_every)
        return with_target(learner, lambda state: state.inner.params[self.slow], self.target_rate)

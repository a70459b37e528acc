"""Trust region policy optimisation (Schulman et al. 2015)."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.on_policy import INFINITY, Labelled, OnPolicy
from jaxrl.core.config import check_within, static
from jaxrl.core.descend import TrainState, acting
from jaxrl.core.types import Algorithm, Learner
from jaxrl.gradients.trust_region import trust_region_step
from jaxrl.policies.networks import actor_critic


@struct.dataclass
class TRPO(OnPolicy):
    """One natural-gradient step of the policy on each iteration's rollout, as long as the divergence KL(old, new)
    allows."""

    max_kl: float = 0.01
    """Greatest mean divergence KL(old, new) of a step."""
    damping: float = 0.1
    """Added to the curvature."""
    conjugate_gradient_iterations: int = static(10)
    """Of the search for the direction."""
    backtracks: int = static(10)
    """Lengths that the line search tries, each half of the one before."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(
            self,
            max_kl=(1e-9, INFINITY),
            damping=(0, INFINITY),
            conjugate_gradient_iterations=(1, INFINITY),
            backtracks=(1, INFINITY),
        )
        self.check_on_policy(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; of no use here.
        """
        del updates
        env_params = env.default_params if env_params is None else env_params
        network, policy = actor_critic(self, env, env_params, critic=False)
        outputs, kl = policy.outputs, policy.kl
        assert outputs is not None
        assert kl is not None

        def update(state: TrainState, batch: Labelled, key):
            def loss(params):
                log_prob, _ = policy.log_prob(params, batch.obs, batch.action, key)
                return -jnp.mean(jnp.exp(log_prob - batch.log_prob) * batch.advantage)

            def divergence(params):
                return kl(batch.outputs, outputs(params, batch.obs)).mean()

            step = trust_region_step(
                loss,
                divergence,
                state.params,
                self.max_kl,
                self.damping,
                self.conjugate_gradient_iterations,
                self.backtracks,
            )
            accepted = step.accepted.astype(jnp.float32)
            metrics = {"improvement": step.improvement, "kl": step.divergence, "accepted": accepted}
            return TrainState(step.params, ()), metrics

        behaviour, judge = acting(policy)
        actor = Learner(lambda key: TrainState(policy.init(key), ()), update, behaviour, judge)
        return self.from_rollouts(actor, policy, network, env, env_params)

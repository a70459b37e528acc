"""Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.off_policy import INFINITY, OffPolicy
from jaxrl.core.alternate import Term, alternate
from jaxrl.core.config import check_within, static
from jaxrl.core.counted import WithTarget, with_target
from jaxrl.core.types import Algorithm
from jaxrl.losses.value import squared_error
from jaxrl.policies.bases import noisy
from jaxrl.policies.control import check_bounded, critics, tanh_actor


@struct.dataclass
class TD3(OffPolicy):
    """A deterministic actor climbs its first critic; the least of the critics at a smoothed target action is the
    target, and actor and target networks move once for every few steps of the critics."""

    exploration_noise: float = 0.1
    """Standard deviation of what is added to actions while exploring, in half-widths of the action space."""
    target_noise: float = 0.2
    """Standard deviation of what is added to the target's action, in half-widths of the action space."""
    target_noise_clip: float = 0.5
    """Greatest size of it, in the same unit."""
    policy_delay: int = static(2)
    """Steps of the critics for each step of the actor and of the target networks."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_bounded(env, env_params)
        self.check_off_policy(env, env_params)
        noises = dict.fromkeys(("exploration_noise", "target_noise", "target_noise_clip"), (0, INFINITY))
        check_within(self, **noises, policy_delay=(1, INFINITY))

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment with continuous actions in a box.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run; of no use here.
        """
        del updates
        env_params = env.default_params if env_params is None else env_params
        space = env.action_space(env_params)
        critic, policy = critics(self, env, env_params), tanh_actor(self, env, env_params)
        half_width = (space.high - space.low) / 2

        def critic_loss(params, batch: WithTarget, key, earlier):
            (obs, action, reward, discount, _, next_obs, _), target = batch
            noise_key, target_key, drop_key = jax.random.split(key, 3)
            noise = self.target_noise * jax.random.normal(noise_key, action.shape)
            noise = jnp.clip(noise, -self.target_noise_clip, self.target_noise_clip)
            action_t = jnp.clip(policy.mode(target["actor"], next_obs) + half_width * noise, space.low, space.high)
            q_t = critic.values(target["critics"], next_obs, action_t, target_key).min(axis=0)
            target_tm1 = jax.lax.stop_gradient(reward + self.gamma * discount * q_t)
            q_tm1 = critic.values(params["critics"], obs, action, drop_key)
            return squared_error(q_tm1, target_tm1).sum(axis=0).mean(), {"q": q_tm1.mean()}

        def actor_loss(params, batch: WithTarget, key, earlier):
            obs, first = batch.batch.obs, jax.tree.map(lambda leaf: leaf[:1], params["critics"])
            return -critic.values(first, obs, policy.mode(params["actor"], obs), key).mean(), {}

        def init(key):
            actor_key, critics_key = jax.random.split(key)
            return {"actor": policy.init(actor_key), "critics": critic.init(critics_key)}

        terms = {
            "critics": Term(critic_loss, self.optimiser(self.critic_learning_rate)),
            "actor": Term(actor_loss, self.optimiser(self.actor_learning_rate), self.policy_delay),
        }
        explores = noisy(policy, self.exploration_noise, space.shape[0], space.low, space.high)
        learner = alternate(init, terms, explores)
        learner = with_target(learner, lambda state: state.params, self.target_rate, self.policy_delay)
        return self.algorithm(learner, env, env_params)

"""Q-score matching (Psenka et al. 2023): a diffusion policy whose score is the gradient of the critics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import Generative, of_batch
from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.core.alternate import Term
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.types import Policy
from jaxrl.networks.denoiser import PreActivationMLP, denoiser
from jaxrl.policies.bases import stretched
from jaxrl.policies.control import Critics, critics
from jaxrl.policies.denoising import Denoisers, denoisers_of, generative
from jaxrl.policies.diffusion import SCHEDULES, Schedule, ddpm, variance_preserving
from jaxrl.policies.transforms import on_part


class ScoreAgent(NamedTuple):
    """As ``Agent``, and what the network of the base says of noised actions."""

    base: Policy
    critics: Critics
    policy: Policy
    denoisers: Denoisers
    """of the parameters of the base alone"""
    schedule: Schedule


@struct.dataclass
class QSM(Generative):
    """The noise that the network finds is made minus ``q_grad`` times the critics' gradient at the noised action, all
    levels of noise alike; nothing is imitated, and no gradient passes through the steps.

    As reimplemented by Ren et al. (2024): chain, network and step sizes are theirs, the original's could not be read.
    Targets take the least of the slow critics at actions of the policy that learns.
    """

    q_grad: float = 10.0
    """What the gradient of the critics is multiplied by; its inverse is a temperature."""
    base_rate: float = 1.0
    """How far the copy of the policy that acts moves at each step: there is none."""
    diffusion_steps: int = static(20)
    """Steps from noise to an action."""
    schedule: str = static("cosine")
    """Of the noise: vp, cosine or linear."""
    base_width: int = static(512)
    """Width of the policy's network."""
    base_pairs: int = static(1)
    """Residual pairs of layers of the policy's network."""
    actor_learning_rate: float = 1e-4
    """Adam's step size for the policy."""
    critic_learning_rate: float = 1e-3
    """Adam's step size for the critics."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        check_one_of(self, schedule=tuple(SCHEDULES))
        counts = ("diffusion_steps", "base_width", "base_pairs")
        check_within(self, q_grad=(0, INFINITY), **dict.fromkeys(counts, (1, INFINITY)))

    def agent(self, env: Environment, env_params: Any) -> ScoreAgent:
        """Policy and critics that fit an environment."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, schedule = space.shape[0], SCHEDULES[self.schedule](self.diffusion_steps)
        init, network = denoiser(size, shape, lambda: PreActivationMLP(self.base_width, self.base_pairs))
        process, sampler = variance_preserving(schedule), ddpm(schedule, "posterior", clip="action")
        base = on_part(generative(init, network, process, sampler, size, rank=len(shape)), "base")
        policy = stretched(base, space.low, space.high)
        return ScoreAgent(base, critics(self, env, env_params), policy, denoisers_of(network, process), schedule)

    def terms(self, agent: ScoreAgent, env: Environment, env_params: Any) -> dict[str, Term]:
        """What critics and policy are trained by."""
        del env, env_params
        levels = agent.schedule

        def critic_loss(params, batch, key, earlier):
            del earlier
            transition, _, target = of_batch(batch)
            act_key, drop_key = jax.random.split(key)
            noise = agent.base.noise(act_key, transition.reward.shape)
            action_t, _ = agent.base.sample(params, transition.next_obs, noise)
            v_t = agent.critics.values(target, transition.next_obs, action_t).min(axis=0)
            return self.temporal_difference(agent.critics, params, transition, v_t, drop_key)

        def base_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            step_key, noise_key = jax.random.split(key)
            step = jax.random.randint(step_key, (*transition.reward.shape, 1), 1, len(levels.beta) + 1)
            level = levels.level(step)
            x = level.noised(transition.action, jax.random.normal(noise_key, transition.action.shape))

            def value(x):
                return agent.critics.values(params["critics"], transition.obs, x).mean(axis=0).sum()

            goal = jax.lax.stop_gradient(self.q_grad * jax.grad(value)(x))
            found = agent.denoisers(params["base"], transition.obs)(x, level).eps
            return jnp.square(found + goal).mean(), {"q_gradient": jnp.abs(goal).mean()}

        return {
            "critics": Term(critic_loss, self.optimiser(self.critic_learning_rate)),
            "base": Term(base_loss, self.optimiser(self.falling(self.actor_learning_rate))),
        }

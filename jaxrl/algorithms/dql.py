"""Diffusion-QL (Wang et al. 2022): a diffusion policy that imitates the data and climbs the critics, with gradients
through all of its steps."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import Agent, Generative, of_batch
from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.core.alternate import Term
from jaxrl.core.config import check_within, static
from jaxrl.core.types import Learner, Transition
from jaxrl.networks.denoiser import denoiser
from jaxrl.networks.torsos import MLP, Activation
from jaxrl.policies.bases import stretched
from jaxrl.policies.control import critics
from jaxrl.policies.denoising import generative
from jaxrl.policies.diffusion import ddpm, variance_preserving, vp_schedule
from jaxrl.policies.transforms import best_of, on_part, rematerialised, repeated, several


@struct.dataclass
class DQL(Generative):
    """Imitation, and a value whose weight is relative to the size of another critic's values.

    Published for learning offline, with prior data. Targets take actions of the slow copy of the policy, acting the
    policy that learns and slow critics. Unlike in the authors' code, that copy moves from the first step on, not from
    the thousandth.
    """

    eta: float = 1.0
    """Weight of the value beside imitation."""
    temperature: float = 1.0
    """Of the choice among candidates by their values."""
    num_candidates: int = static(50)
    """Actions of the policy that are compared when it acts."""
    target_samples: int = static(1)
    """Actions of the target, of which each critic takes its greatest value; 10 were published for mazes."""
    diffusion_steps: int = static(5)
    """Steps from noise to an action."""
    base_hidden_sizes: tuple[int, ...] = static((256, 256, 256))
    """Widths of the dense layers of the diffusion's network."""
    base_period: int = static(5)
    """Gradient steps for each move of the slow copy of the policy."""
    decay_updates: int | None = static(2_000_000)
    """Gradient steps over which all step sizes fall to 0, as a cosine; None for never."""
    max_grad_norm: float = 10.0
    """Gradients of the policy and of the critics are each scaled down to this global norm."""
    hidden_sizes: tuple[int, ...] = static((256, 256, 256))
    """Widths of the dense layers of the critics."""
    activation: Activation = static("mish")
    """Nonlinearity of every layer of the critics but the heads."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        counts = ("num_candidates", "target_samples", "diffusion_steps", "base_period")
        check_within(self, eta=(0, INFINITY), temperature=(1e-6, INFINITY), **dict.fromkeys(counts, (1, INFINITY)))

    def agent(self, env: Environment, env_params: Any) -> Agent:
        """Policy and critics that fit an environment."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, schedule = space.shape[0], vp_schedule(self.diffusion_steps)
        init, network = denoiser(size, shape, lambda: MLP(self.base_hidden_sizes, "mish", orthogonal=False))
        sampler = ddpm(schedule, "posterior", clip="action")
        base = generative(init, network, variance_preserving(schedule), sampler, size, reduce="mean", rank=len(shape))
        base, critic = rematerialised(on_part(base, "base")), critics(self, env, env_params)

        def score(params, obs, action, draw):
            return critic.values(params["critics"], obs, action).min(axis=0) / self.temperature

        policy = best_of(self.num_candidates, score, temperature=1.0)(base)
        return Agent(base, critic, stretched(policy, space.low, space.high))

    def learner(self, agent: Agent, env: Environment, env_params: Any, prior: Transition | None = None) -> Learner:
        """What learns from a batch ``Transition[B, ...]`` with actions in units of half the box."""
        del prior
        terms = self.terms(agent, env, env_params)
        return self.beside_copies(
            lambda key: self.parts(agent, key), terms, agent.policy, self.base_period, base=lambda own, slow: own
        )

    def terms(self, agent: Agent, env: Environment, env_params: Any) -> dict[str, Term]:
        """What critics and policy are trained by."""
        del env, env_params
        fit_loss: Any = agent.base.fit_loss
        candidates = several(self.target_samples)(agent.base)

        def critic_loss(params, batch, key, earlier):
            del earlier
            transition, base, target = of_batch(batch)
            act_key, drop_key = jax.random.split(key)
            next_obs, rows = transition.next_obs, transition.reward.shape
            action_t, _ = candidates.sample(params | {"base": base}, next_obs, candidates.noise(act_key, rows))
            flat = action_t.reshape(-1, action_t.shape[-1])
            q_t = agent.critics.values(target, repeated(next_obs, self.target_samples), flat)
            v_t = q_t.reshape(-1, *action_t.shape[:2]).max(axis=-1).min(axis=0)
            return self.temporal_difference(agent.critics, params, transition, v_t, drop_key)

        def base_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            fit_key, act_key, flip_key = jax.random.split(key, 3)
            imitation = fit_loss(params, transition.obs, transition.action, fit_key)
            action, _ = agent.base.sample(params, transition.obs, agent.base.noise(act_key, transition.reward.shape))
            q = agent.critics.values(params["critics"], transition.obs, action)
            climbed = jax.random.randint(flip_key, (), 0, self.num_critics)
            scale = jnp.abs(q[(climbed + 1) % self.num_critics]).mean()
            value = q[climbed].mean() / jax.lax.stop_gradient(scale)
            return imitation - self.eta * value, {"imitation_loss": imitation}

        return {
            "critics": Term(critic_loss, self.optimiser(self.falling(self.critic_learning_rate))),
            "base": Term(base_loss, self.optimiser(self.falling(self.actor_learning_rate))),
        }

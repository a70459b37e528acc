"""IDQL (Hansen-Estruch et al. 2023): critics that see no action outside the data, a policy that only imitates, and the
best of many of its actions. With a flow for the policy it is what Park et al. (2025) call IFQL."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import Agent, Generative, of_batch
from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.core.alternate import Term
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.types import Key, PyTree
from jaxrl.losses.value import expectile_error
from jaxrl.networks.denoiser import ResidualMLP, TimeFeatures, denoiser
from jaxrl.policies.bases import stretched
from jaxrl.policies.control import critics, state_value
from jaxrl.policies.denoising import generative
from jaxrl.policies.diffusion import ddpm, variance_preserving, vp_schedule
from jaxrl.policies.flow import flow, rectified_flow
from jaxrl.policies.transforms import best_of, on_part


@struct.dataclass
class IDQL(Generative):
    """Values of states are an expectile of those of the data's actions, and the targets of these (Kostrikov et al.
    2022); the policy imitates all data alike.

    Published for learning offline, with prior data. Acts by slow copies of policy and critics. The authors' further
    steps at the least noise are left out, and the step size of the policy alone falls.
    """

    expectile: float = 0.7
    """Of the values of actions, which is the value of a state; 0.9 was published for mazes."""
    base_rate: float = 0.001
    """How far the copy of the policy that acts moves at each step."""
    num_candidates: int = static(64)
    """Actions of the policy that are compared when it acts."""
    choice: Literal["best", "expectile"] = static("best")
    """The candidate of greatest value, or a random one with weights that the expectile gives to values above and below
    the state's."""
    base: Literal["diffusion", "flow"] = static("diffusion")
    """What makes actions of noise."""
    diffusion_steps: int = static(5)
    """Steps from noise to an action."""
    base_width: int = static(256)
    """Width of the policy's network."""
    base_blocks: int = static(3)
    """Residual blocks of the policy's network."""
    base_dropout: float = static(0.1)
    """Share of the features of every block that is dropped in training."""
    decay_updates: int | None = static(3_000_000)
    """Gradient steps over which the step size of the policy falls to 0, as a cosine; None for never."""
    batch_size: int = static(512)
    """Transitions of each gradient step."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        check_one_of(self, choice=("best", "expectile"), base=("diffusion", "flow"))
        counts = ("num_candidates", "diffusion_steps", "base_width", "base_blocks")
        check_within(
            self,
            expectile=(1e-6, 1 - 1e-6),
            base_dropout=(0, 1 - 1e-6),
            **dict.fromkeys(counts, (1, INFINITY)),
        )

    def agent(self, env: Environment, env_params: Any) -> Agent:
        """Policy and critics that fit an environment."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, flows = space.shape[0], self.base == "flow"
        init, network = denoiser(
            size,
            shape,
            lambda: ResidualMLP(self.base_width, self.base_blocks, "mish", self.base_dropout),
            lambda: TimeFeatures("learned", 64, (128, 128), "mish"),
        )
        schedule = vp_schedule(self.diffusion_steps)
        process = rectified_flow() if flows else variance_preserving(schedule)
        sampler = flow(self.diffusion_steps) if flows else ddpm(schedule, clip="x")
        base = generative(init, network, process, sampler, size, rank=len(shape), dropping=self.base_dropout > 0)
        base, critic = on_part(base, "base"), critics(self, env, env_params)
        value_init, value = state_value(self, env, env_params)

        def score(params, obs, action, draw):
            q = critic.values(params["critics"], obs, action).min(axis=0)
            if self.choice == "best":
                return q
            return jnp.log(jnp.where(q > value(params["value"], obs), self.expectile, 1 - self.expectile))

        policy = best_of(self.num_candidates, score, None if self.choice == "best" else 1.0)(base)
        return Agent(base, critic, stretched(policy, space.low, space.high), value_init, value)

    def parts(self, agent: Agent, key: Key) -> dict[str, PyTree]:
        """Parameters to start from."""
        assert agent.value_init is not None
        return super().parts(agent, key) | {"value": agent.value_init(jax.random.fold_in(key, 1))}

    def terms(self, agent: Agent, env: Environment, env_params: Any) -> dict[str, Term]:
        """What value, critics and policy are trained by."""
        del env, env_params
        fit_loss, value = agent.base.fit_loss, agent.value
        assert fit_loss is not None
        assert value is not None

        def value_loss(params, batch, key, earlier):
            del key, earlier
            transition, _, target = of_batch(batch)
            q = agent.critics.values(target, transition.obs, transition.action).min(axis=0)
            v = value(params["value"], transition.obs)
            return expectile_error(v, q, self.expectile).mean(), {"v": v.mean()}

        def critic_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            v_t = value(params["value"], transition.next_obs)
            return self.temporal_difference(agent.critics, params, transition, v_t, key)

        def base_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            return fit_loss(params, transition.obs, transition.action, key), {}

        return {
            "value": Term(value_loss, self.optimiser(self.critic_learning_rate)),
            "critics": Term(critic_loss, self.optimiser(self.critic_learning_rate)),
            "base": Term(base_loss, self.optimiser(self.falling(self.actor_learning_rate))),
        }

"""Flow Q-learning (Park et al. 2025): a flow that only imitates, and a one-step policy that copies it and climbs the
critics."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import Generative
from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.algorithms.sac import COMBINATIONS
from jaxrl.core.alternate import silent
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.counted import WithTarget, with_target
from jaxrl.core.descend import descend
from jaxrl.core.types import Key, Learner, Metrics, Policy, PyTree, Transition
from jaxrl.networks.control import Actor
from jaxrl.networks.denoiser import TimeFeatures, denoiser
from jaxrl.networks.torsos import MLP, Activation
from jaxrl.policies.bases import stretched
from jaxrl.policies.control import Critics, critics
from jaxrl.policies.denoising import generative
from jaxrl.policies.flow import distillation, flow, pushforward, rectified_flow
from jaxrl.policies.transforms import on_part


class FlowAgent(NamedTuple):
    """As ``Agent``, and the policy that acts before it is clipped, of the part ``one_step``."""

    base: Policy
    critics: Critics
    policy: Policy
    student: Policy


@struct.dataclass
class FQL(Generative):
    """One step of one optimiser on the sum of all losses; no gradient passes through the flow's steps.

    Published for learning offline, with prior data. The critics' copy moves after a step, and not, as in the authors'
    code, towards the critics before it. Features are standardised before activations, not behind them.
    """

    alpha: float = 10.0
    """Weight of copying the flow; 10 to 1000 were published for rewards of -1, or 0.03 to 10 with normalise_value."""
    base_rate: float = 1.0
    """Of no use here: there is no slow copy of the flow."""
    normalise_value: bool = static(False)
    """Divide the value that is climbed by its mean size."""
    target_value: Literal["mean", "least"] = static("mean")
    """What of the critics' values the target is."""
    flow_steps: int = static(10)
    """Steps of the flow from noise to an action."""
    base_hidden_sizes: tuple[int, ...] = static((512, 512, 512, 512))
    """Widths of the dense layers of the flow and of the one-step policy."""
    hidden_sizes: tuple[int, ...] = static((512, 512, 512, 512))
    """Widths of the dense layers of the critics."""
    activation: Activation = static("gelu")
    """Nonlinearity of every layer but the heads."""
    layer_norm: bool = static(True)
    """Standardise the features of every layer of the critics."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        check_one_of(self, target_value=("mean", "least"))
        check_within(self, alpha=(0, INFINITY), flow_steps=(1, INFINITY))

    def agent(self, env: Environment, env_params: Any) -> FlowAgent:
        """Policies and critics that fit an environment."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size = space.shape[0]

        def torso():
            return MLP(self.base_hidden_sizes, self.activation, orthogonal=False)

        def beside(obs, noise):
            return jnp.concatenate([obs.reshape(*noise.shape[:-1], -1), noise], axis=-1)

        def generate(params, noise, obs) -> Any:
            return actor.apply(params, beside(obs, noise))

        init, network = denoiser(size, shape, torso, lambda: TimeFeatures("none", sizes=()))
        sampler, actor = flow(self.flow_steps), Actor(torso, size)
        base = generative(init, network, rectified_flow(), sampler, size, reduce="mean", rank=len(shape))
        student = pushforward(lambda key: actor.init(key, beside(jnp.zeros(shape), jnp.zeros(size))), generate, size)
        student = on_part(student, "one_step")
        policy = stretched(student, space.low, space.high)
        return FlowAgent(on_part(base, "base"), critics(self, env, env_params), policy, student)

    def parts(self, agent: FlowAgent, key: Key) -> dict[str, PyTree]:
        """Parameters to start from."""
        return super().parts(agent, key) | agent.student.init(jax.random.fold_in(key, 1))

    def loss(self, agent: FlowAgent, params: PyTree, batch: WithTarget, key: Key) -> tuple[jax.Array, Metrics]:
        """Of all parts, of a transition with slow critics; and its summands."""
        transition, target = batch
        obs, rows = transition.obs, transition.reward.shape
        act_key, drop_key, fit_key, noise_key = jax.random.split(key, 4)
        fit_loss: Any = agent.base.fit_loss

        def act(obs, noise):
            return jnp.clip(agent.student.sample(params, obs, noise)[0], -1, 1)

        action_t = act(transition.next_obs, agent.student.noise(act_key, rows))
        v_t = COMBINATIONS[self.target_value](agent.critics.values(target, transition.next_obs, action_t))
        critic_loss, measured = self.temporal_difference(agent.critics, params, transition, v_t, drop_key)

        imitation = fit_loss(params, obs, transition.action, fit_key)
        noise = agent.student.noise(noise_key, rows)
        copying = distillation(agent.student, agent.base)(params, params, obs, noise)
        fixed = jax.lax.stop_gradient(params["critics"])
        value = agent.critics.values(fixed, obs, act(obs, noise)).mean(axis=0)
        scale = jax.lax.stop_gradient(jnp.abs(value).mean()) if self.normalise_value else 1.0
        total = critic_loss + imitation + self.alpha * copying - value.mean() / scale
        parts = {"critics_loss": critic_loss, "imitation_loss": imitation, "copying_loss": copying}
        return total, measured | parts

    def learner(self, agent: FlowAgent, env: Environment, env_params: Any, prior: Transition | None = None) -> Learner:
        """What learns from a batch ``Transition[B, ...]`` with actions in units of half the box."""
        del env, env_params, prior

        def loss(params, batch, key):
            return self.loss(agent, params, batch, key)

        rates = {
            "base": self.actor_learning_rate,
            "one_step": self.actor_learning_rate,
            "critics": self.critic_learning_rate,
        }
        optimiser = optax.multi_transform(
            {name: self.optimiser(self.falling(rate)) for name, rate in rates.items()},
            lambda params: {name: name for name in params},
        )
        learner = descend(lambda key: self.parts(agent, key), loss, optimiser, agent.policy)
        learner = with_target(learner, lambda state: state.params["critics"], self.target_rate)
        behaviour = learner.behaviour
        return learner._replace(behaviour=lambda state: silent(behaviour(state)))

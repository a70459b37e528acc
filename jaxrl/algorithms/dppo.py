"""Diffusion policy policy optimisation (Ren et al. 2024): PPO of the steps of a diffusion, as steps of the process."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import imitated, in_units
from jaxrl.algorithms.ppo import INFINITY, PPO, refuse_likelihoods
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.descend import step_size, with_clipping
from jaxrl.core.types import Policy
from jaxrl.errors import InvalidArgument
from jaxrl.losses.policy_gradient import clipped_surrogate
from jaxrl.networks.denoiser import PreActivationMLP, denoiser
from jaxrl.networks.torsos import Activation
from jaxrl.policies.bases import stretched
from jaxrl.policies.denoising import denoisers_of, generative
from jaxrl.policies.diffusion import SCHEDULES, ddpm, variance_preserving
from jaxrl.policies.fine_tuned import fine_tuned
from jaxrl.policies.networks import value_network
from jaxrl.sources.dataset import load

CLIP_RATE = 3.0
"""of the exponential along which the clip grows from step to step"""


@struct.dataclass
class DPPO(PPO):
    """A diffusion that has imitated prior data, if there are any, is frozen but for a copy of it that makes the last
    steps, and that is trained by PPO's surrogate of every step.

    A minibatch has all trained steps of its transitions, where the authors' draws pairs of transition and step; its
    critic has plain dense layers, not residual ones, and an action is one step of the environment, not a chunk of four.
    """

    clip: float = 0.01
    """At the last step of the chain."""
    first_clip: float = 0.01
    """At the first trained step; between them it grows exponentially."""
    learning_rate: float = 1e-4
    """Adam's step size for the policy."""
    value_learning_rate: float = 1e-3
    """Adam's step size for the critic."""
    entropy_coefficient: float = 0.0
    """Must be 0: the steps' spread is given."""
    denoising_discount: float = 0.99
    """Of the advantage, for each trained step that follows."""
    least_std: float = 0.1
    """Of the noise of every step of the chain."""
    least_log_prob_std: float = 0.1
    """Of the density of every trained step."""
    low_quantile: float = 0.0
    """Advantages below that quantile of the minibatch are raised to it."""
    high_quantile: float = 1.0
    """Advantages above that quantile of the minibatch are lowered to it."""
    target_kl: float | None = 1.0
    """An iteration's remaining minibatches are skipped once the approximate KL exceeds this; None for never."""
    max_grad_norm: float = INFINITY
    """Gradients of policy and critic are each scaled down to this global norm."""
    pretraining_learning_rate: float = 1e-3
    """Adam's step size for imitation."""
    diffusion_steps: int = static(20)
    """Steps from noise to an action."""
    trained_steps: int = static(10)
    """How many of them, the last ones, are trained."""
    schedule: str = static("cosine")
    """Of the noise: vp, cosine or linear."""
    base_width: int = static(512)
    """Width of the diffusion's network."""
    base_pairs: int = static(1)
    """Residual pairs of layers of the diffusion's network."""
    prior: str | None = static(None)
    """Folder of a data set to imitate first; see jaxrl.sources.dataset."""
    pretraining: int = static(0)
    """Steps of imitation before anything else is done."""
    pretraining_batch_size: int = static(128)
    """Transitions of each of them."""
    num_envs: int = static(40)
    """Environments of each member."""
    num_steps: int = static(500)
    """Steps of each environment in an iteration."""
    num_epochs: int = static(5)
    """Passes over an iteration's transitions."""
    hidden_sizes: tuple[int, ...] = static((256, 256, 256))
    """Widths of the dense layers of the critic."""
    activation: Activation = static("mish")
    """Nonlinearity of every layer of the critic but the head."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        refuse_likelihoods(self, env, env_params)
        check_one_of(self, schedule=tuple(SCHEDULES))
        rates = ("value_learning_rate", "pretraining_learning_rate", "first_clip", "pretraining")
        counts = ("diffusion_steps", "base_width", "base_pairs", "pretraining_batch_size")
        check_within(
            self,
            **dict.fromkeys(rates, (0, INFINITY)),
            **dict.fromkeys(counts, (1, INFINITY)),
            **dict.fromkeys(("denoising_discount", "low_quantile", "high_quantile"), (0, 1)),
            **dict.fromkeys(("least_std", "least_log_prob_std"), (1e-6, INFINITY)),
            trained_steps=(1, self.diffusion_steps),
        )
        if (np.asarray(self.low_quantile) > np.asarray(self.high_quantile)).any():
            raise InvalidArgument(
                "low_quantile", self.low_quantile, f"must be at most high_quantile={self.high_quantile}"
            )
        if (self.prior is None) != (self.pretraining == 0):
            raise InvalidArgument("pretraining", self.pretraining, "must be positive with prior data, and 0 without")
        if self.pretraining and self.normalise_observations:
            raise InvalidArgument("normalise_observations", True, "must be False with pretraining, which is before any")
        if self.prior is not None:
            load(self.prior, env)
        super().check(env, env_params)

    def networks(self, env: Environment, env_params: Any) -> tuple[Policy, Callable, Callable | None]:
        """The chain's policy and the critic."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, schedule = space.shape[0], SCHEDULES[self.schedule](self.diffusion_steps)
        init, network = denoiser(size, shape, lambda: PreActivationMLP(self.base_width, self.base_pairs))
        process, sampler = variance_preserving(schedule), ddpm(schedule, "posterior", clip="action")
        base = generative(init, network, process, sampler, size, reduce="mean", rank=len(shape))
        if self.prior is not None:
            prior = in_units(env, env_params)(None, load(self.prior, env).transitions, jax.random.key(0))
            optimiser = optax.adam(self.pretraining_learning_rate)

            def pretrained(key):
                init_key, fit_key = jax.random.split(key)
                start, rows = init(init_key), self.pretraining_batch_size
                return imitated(base, start, prior, self.pretraining, rows, optimiser, fit_key)

            base = base._replace(init=pretrained)
        steps = fine_tuned(
            base, denoisers_of(network, process), schedule, size, self.trained_steps, self.least_std,
            self.least_log_prob_std, rank=len(shape),
        )  # fmt: skip
        value_init, value = value_network(self, env, env_params)

        def init_all(key):
            actor_key, critic_key = jax.random.split(key)
            return steps.init(actor_key) | {"critic": value_init(critic_key)}

        policy = stretched(steps._replace(init=init_all), space.low, space.high)
        return policy, lambda params, obs: value(params["critic"], obs), None

    def surrogate(self, log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
        """PPO's of each trained step, ``[B, trained_steps]``."""
        low, high = (jnp.quantile(advantage, level) for level in (self.low_quantile, self.high_quantile))
        advantage = jnp.clip(advantage, low, high)
        later = jnp.arange(self.trained_steps - 1, -1, -1)
        weighed = advantage[..., None] * jnp.asarray(self.denoising_discount) ** later
        return clipped_surrogate(log_prob, old_log_prob, weighed, self.clips())

    def clips(self) -> jax.Array:
        """``[trained_steps]``, of the noisiest first."""
        if self.trained_steps == 1:
            return jnp.asarray(self.clip)[None]
        share = jnp.expm1(CLIP_RATE * jnp.linspace(0.0, 1.0, self.trained_steps)) / math.expm1(CLIP_RATE)
        return self.first_clip + (self.clip - self.first_clip) * share

    def optimiser(self, updates: int | None) -> optax.GradientTransformation:
        """Adam for policy and critic, after clipping, and none for what is frozen."""

        def adam(learning_rate):
            steps = self.num_epochs * self.num_minibatches
            falling = step_size(learning_rate, self.anneal_learning_rate, updates, steps)
            return with_clipping(optax.adam(falling, eps=1e-5), self.max_grad_norm)

        return optax.multi_transform(
            {
                "base": optax.set_to_zero(),
                "tuned": adam(self.learning_rate),
                "critic": adam(self.value_learning_rate),
            },
            lambda params: {name: name for name in params},
        )

"""EXPO (Dong et al. 2025): a diffusion policy that only imitates, small edits that climb the critics, and the best of
many candidates both when acting and in the target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.generative import Generative, imitated, in_units, of_batch
from jaxrl.algorithms.off_policy import INFINITY, mean_of
from jaxrl.core.alternate import Term
from jaxrl.core.chain import chain
from jaxrl.core.config import check_within, static
from jaxrl.core.types import Learner, Policy, Transition
from jaxrl.errors import InvalidArgument
from jaxrl.networks.control import Actor
from jaxrl.networks.denoiser import ResidualMLP, TimeFeatures, denoiser
from jaxrl.networks.torsos import MLP
from jaxrl.policies.bases import gaussian, squash, stretched
from jaxrl.policies.control import Critics, critics
from jaxrl.policies.denoising import generative
from jaxrl.policies.diffusion import ddpm, variance_preserving, vp_schedule
from jaxrl.policies.transforms import best, edit, on_part, several, with_edits


class EditedAgent(NamedTuple):
    """The policies and critics of EXPO, of parameters with the parts ``base``, ``edit`` and ``critics``. Actions are in
    units in which the environment's box is [-1, 1]; edited ones may leave it."""

    base: Policy
    """a diffusion"""
    editor: Policy
    """of observations and actions, ``(obs, action)``"""
    critics: Critics
    policy: Policy
    """the best, by the critics in its parameters, of actions of the base and of their edits; sends it clipped into the
    box"""
    bootstrap: Policy
    """whose actions the critics' targets are the values of: ``policy``, or one edited action of the base, or one of
    several drawn by their values, with the log-probability of that"""


@struct.dataclass
class EXPO(Generative):
    """No gradient passes through the diffusion: it imitates what it replays, and a Gaussian policy learns to edit its
    actions within a small box.

    Actions are stored as they are sent.
    """

    edit_width: float = 0.05
    """Greatest edit of a coordinate, in half-widths of the action space."""
    base_rate: float = 0.001
    """How far the copy of the diffusion that acts moves at each of its steps."""
    base_learning_rate: float = 3e-4
    """AdamW's step size for the diffusion."""
    initial_temperature: float = 1.0
    """Where the weight of the edits' entropy starts."""
    backup_inverse_temperature: float = 1.0
    """With backup_entropy, what the values of candidates are multiplied by before they are drawn by the softmax; the
    authors' is not known."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for the logarithm of the temperature."""
    target_entropy: float | None = None
    """Of the edits, in nats; by default minus half the number of dimensions, plus the logarithm of edit_width each."""
    num_proposals: int = static(8)
    """Actions of the diffusion that are compared."""
    num_edits: int = static(8)
    """How many of them are compared edited as well; with 0 the best of the diffusion's own is chosen."""
    best_in_target: bool = static(True)
    """Bootstrap from the best candidate too; else from one action of the diffusion, edited if any are, and candidates
    are only compared to act."""
    backup_entropy: bool = static(False)
    """Count the entropy of choosing in the target: its action is not the best of all candidates but drawn among the
    edited ones by their values, for prior data that are few or narrow. Densities of edits do not count, and acting
    stays as it is."""
    edit_fresh_proposals: bool = static(False)
    """Train edits on actions that the diffusion makes for replayed observations, as they are when candidates are
    compared, instead of on the replayed actions."""
    target_critics: int = static(2)
    """Critics of the random subset whose least value counts."""
    diffusion_steps: int = static(10)
    """Steps from noise to an action."""
    base_width: int = static(256)
    """Width of the diffusion's network."""
    base_blocks: int = static(3)
    """Residual blocks of the diffusion's network."""
    decay_updates: int | None = static(3_000_000)
    """Steps over which the step sizes of diffusion and edits fall to 0, as a cosine; None for never."""
    pretraining: int = static(0)
    """Steps of the diffusion on the prior data before anything else is done."""
    num_critics: int = static(10)
    """Critics with weights of their own."""
    hidden_sizes: tuple[int, ...] = static((256, 256, 256))
    """Widths of the dense layers of critics and edits."""
    layer_norm: bool = static(True)
    """Standardise the features of every layer of the critics."""
    update_to_data: float = static(20.0)
    """Gradient steps of the critics for each environment step; all else takes one step for those of an iteration."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        super().check(env, env_params)
        check_within(
            self,
            edit_width=(1e-6, 1),
            **dict.fromkeys(("base_learning_rate", "temperature_learning_rate"), (0, INFINITY)),
            initial_temperature=(1e-6, INFINITY),
            backup_inverse_temperature=(0, 1e9),
            num_edits=(0, self.num_proposals),
            target_critics=(1, self.num_critics),
            pretraining=(0, INFINITY),
            **dict.fromkeys(("num_proposals", "diffusion_steps", "base_width", "base_blocks"), (1, INFINITY)),
        )
        if self.backup_entropy and not self.num_edits:
            raise InvalidArgument("num_edits", 0, "must be at least 1 with backup_entropy")
        if self.backup_entropy and not self.best_in_target:
            raise InvalidArgument("best_in_target", False, "must be True with backup_entropy, which chooses otherwise")
        if self.pretraining and self.normalise_observations:
            allowed = "must be False with pretraining, which sees observations as they are"
            raise InvalidArgument("normalise_observations", True, allowed)
        if self.prior is None and self.pretraining:
            raise InvalidArgument("pretraining", self.pretraining, "must be 0 without prior data")
        if self.target_entropy is not None:
            most = env.action_space(env_params).shape[0] * np.log(2 * np.asarray(self.edit_width))
            if not (np.asarray(self.target_entropy) < most).all():
                raise InvalidArgument(
                    "target_entropy", self.target_entropy, f"must be below {most}, the greatest of edits of that width"
                )

    def agent(self, env: Environment, env_params: Any) -> EditedAgent:
        """Policies and critics that fit an environment."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        size, schedule = space.shape[0], vp_schedule(self.diffusion_steps)
        init, network = denoiser(
            size,
            shape,
            lambda: ResidualMLP(self.base_width, self.base_blocks, "swish"),
            lambda: TimeFeatures("learned", 128, (256, 256), "swish"),
        )
        chain_of = ddpm(schedule, clip="x")
        base = generative(init, network, variance_preserving(schedule), chain_of, size, rank=len(shape))
        actor = Actor(lambda: MLP(self.hidden_sizes, self.activation, orthogonal=False), 2 * size)

        def together(where):
            obs, action = where
            return jnp.concatenate([obs.reshape(*action.shape[:-1], -1), action], axis=-1)

        def mean_and_log_std(params, where):
            out: Any = actor.apply(params, together(where))
            mean, log_std = jnp.split(out, 2, axis=-1)
            return mean, jnp.clip(log_std, self.log_std_min, self.log_std_max)

        def init_editor(key):
            return actor.init(key, together((jnp.zeros(shape), jnp.zeros(size))))

        editor = squash(gaussian(init_editor, mean_and_log_std, size), -self.edit_width, self.edit_width)
        editor, critic = on_part(editor, "edit"), critics(self, env, env_params)

        def score(params, obs, action, uniform):
            return self.least(critic, params["critics"], obs, action, uniform[0])

        def uniform(key, shape):
            return jax.random.uniform(key, (*shape, self.num_critics))

        def sharpened(params, obs, action, uniform):
            return self.backup_inverse_temperature * score(params, obs, action, uniform)

        based = on_part(base, "base")
        policy = chain(several(self.num_proposals), with_edits(editor, self.num_edits), best(score, draw=uniform))(
            based
        )
        policy = bootstrap = stretched(policy, space.low, space.high)
        edited = edit(editor)(based) if self.num_edits else based
        if self.backup_entropy:
            softly = best(sharpened, temperature=1.0, draw=uniform, of_choice=True)
            bootstrap = chain(several(self.num_edits), softly)(edited)
        elif not self.best_in_target:
            bootstrap = edited
        return EditedAgent(based, editor, critic, policy, bootstrap)

    def least(self, critic: Critics, params: Any, obs: Any, action: Any, uniform: jax.Array) -> jax.Array:
        """``[R]``: the least value of the critics with the least of ``uniform[C]``, as many as ``target_critics``."""
        if self.target_critics < self.num_critics:
            subset = jnp.argsort(uniform)[: self.target_critics]
            params = jax.tree.map(lambda leaf: leaf[subset], params)
        return critic.values(params, obs, action).min(axis=0)

    def terms(self, agent: EditedAgent, env: Environment, env_params: Any, period: int = 1) -> dict[str, Term]:
        """What critics, diffusion, edits and temperature are trained by, of batches as
        ``beside_copies`` has them.

        Args:
            period: of the steps of all but the critics.
        """
        size = env.action_space(env_params).shape[0]
        fit_loss: Any = agent.base.fit_loss

        def critic_loss(params, batch, key, earlier):
            del earlier
            transition, _, target = of_batch(batch)
            act_key, subset_key, drop_key = jax.random.split(key, 3)
            next_obs, rows = transition.next_obs, transition.reward.shape
            # The diffusion that learns, not the copy that acts, and the slow critics.
            with_slow = params | {"critics": target}
            action_t, log_prob_t = agent.bootstrap.sample(with_slow, next_obs, agent.bootstrap.noise(act_key, rows))
            uniform = jax.random.uniform(subset_key, (self.num_critics,))
            v_t = self.least(agent.critics, target, next_obs, action_t, uniform)
            if self.backup_entropy:
                v_t = v_t - jnp.exp(params["temperature"]) * log_prob_t
            return self.temporal_difference(agent.critics, params, transition, v_t, drop_key)

        def base_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            return fit_loss(params, transition.obs, transition.action, key), {}

        def edit_loss(params, batch, key, earlier):
            del earlier
            transition, _, _ = of_batch(batch)
            action, rows = transition.action, transition.reward.shape
            if self.edit_fresh_proposals:
                noise = agent.base.noise(jax.random.fold_in(key, 1), rows)
                action = jax.lax.stop_gradient(agent.base.sample(params, transition.obs, noise)[0])
            where = (transition.obs, action)
            own, log_prob = agent.editor.sample(params, where, agent.editor.noise(key, rows))
            edited = action + agent.editor.decode(own, params, where)
            q = agent.critics.values(params["critics"], transition.obs, edited).mean(axis=0)
            temperature = jnp.exp(params["temperature"])
            return (temperature * log_prob - q).mean(), {"entropy": -log_prob.mean()}

        def temperature_loss(params, batch, key, earlier):
            del batch, key
            entropy, temperature = mean_of(earlier["entropy"]), jnp.exp(params["temperature"])
            goal = self.entropy_goal(size)
            return temperature * (jax.lax.stop_gradient(entropy) - goal), {"temperature": temperature}

        return {
            "critics": Term(critic_loss, self.optimiser(self.critic_learning_rate)),
            "base": Term(base_loss, optax.adamw(self.falling(self.base_learning_rate)), period),
            "edit": Term(edit_loss, self.optimiser(self.falling(self.actor_learning_rate)), period),
            "temperature": Term(temperature_loss, optax.adam(self.temperature_learning_rate), period),
        }

    def entropy_goal(self, size: int) -> Any:
        """``target_entropy``, or its default for actions ``[size]``."""
        if self.target_entropy is not None:
            return self.target_entropy
        return size * (jnp.log(self.edit_width) - 0.5)

    def learner(
        self, agent: EditedAgent, env: Environment, env_params: Any, prior: Transition | None = None
    ) -> Learner:
        """What learns from a batch ``Transition[B, ...]`` with actions in units of half the box."""
        period = self.updates_per_iteration
        terms = self.terms(agent, env, env_params, period)

        def init(key):
            base_key, edit_key, critics_key, fit_key = jax.random.split(key, 4)
            params = agent.base.init(base_key) | agent.editor.init(edit_key)
            params["critics"] = agent.critics.init(critics_key)
            params["temperature"] = jnp.log(jnp.asarray(self.initial_temperature, jnp.float32))
            if prior is not None and self.pretraining:
                data = in_units(env, env_params)(None, prior, fit_key)
                optimiser = terms["base"].optimiser
                params |= imitated(
                    agent.base, {"base": params["base"]}, data, self.pretraining, self.batch_size, optimiser, fit_key
                )
            return params

        return self.beside_copies(init, terms, agent.policy, period)

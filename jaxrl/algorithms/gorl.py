"""GoRL (arXiv:2512.02581): a policy that is easy to train, in front of a generator that reinforcement learning never
differentiates. PPO and SAC act in the generator's latents, and now and then it is fitted anew to what they do."""

from collections.abc import Callable
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment

from jaxrl.algorithms.off_policy import INFINITY
from jaxrl.algorithms.ppo import PPO
from jaxrl.algorithms.sac import SAC
from jaxrl.core.combine import relabel
from jaxrl.core.config import check_one_of, check_within, static
from jaxrl.core.fitting import check_batch, fit
from jaxrl.core.moments import Moments
from jaxrl.core.stages import in_stages, judged_by_best
from jaxrl.core.types import Algorithm, AlgorithmState, Behaviour, Key, Learner, Metrics, Policy
from jaxrl.engine.evaluate import evaluate
from jaxrl.envs.transforms.latents import DecodeActions
from jaxrl.errors import InvalidArgument
from jaxrl.networks.actor_critic import EncoderCritic
from jaxrl.networks.torsos import MLP, Activation
from jaxrl.policies.bases import gaussian
from jaxrl.policies.control import check_bounded
from jaxrl.policies.decoders import Decoder, DecoderParams, decoder
from jaxrl.sources.episodes import in_best_episodes
from jaxrl.sources.replay import forgotten
from jaxrl.sources.rollout import rollout

HELD_OUT = 0.1
"""share of the decoder's data that chooses among its epochs"""


@struct.dataclass(kw_only=True)
class Latents:
    """The hyperparameters of decoders and stages, for an algorithm to inherit that learns in the space of latents.

    A run is as many stages as ``stages`` has numbers. In each a new encoder, the algorithm's policy, learns in front of
    a decoder that is fixed; the first decoder is the identity, or near it. Between two stages the best encoder so far
    acts, sampling, and a new decoder learns to make its actions of noise from N(0, I). These environment steps,
    ``refinement_rollouts * refinement_steps * refinement_envs`` a stage, are not among the run's, as in the paper.

    A single stage is the algorithm with a tanh on the side of the environment.
    """

    decoder_learning_rate: float = 3e-4
    """Adam's step size for the decoder."""
    elite_episodes: float = 0.5
    """Share of episodes that are the best ones, for elite_data."""
    elite_data: float = 0.0
    """Share of the decoder's data that is drawn from the best episodes alone; the rest, and by default all, is from
    all episodes."""
    stages: tuple[float, ...] = static((2.0, 2.0, 1.0, 1.0))
    """Lengths of the stages, as shares of the run."""
    decoder: Literal["flow", "diffusion"] = static("flow")
    """Generator: ten Euler steps of a flow, or nine of DDIM."""
    decoder_sizes: tuple[int, ...] = static((64, 64, 64, 64))
    """Widths of the dense layers of the decoder."""
    decoder_steps: int = static(10)
    """Steps from noise to an action."""
    decoder_draws: int = static(8)
    """Times and noises that each action is trained with in a gradient step."""
    decoder_epochs: int = static(50)
    """Passes of a decoder over its data at most."""
    decoder_batch_size: int = static(8192)
    """Actions of each gradient step of a decoder."""
    patience: int = static(20)
    """Epochs without progress on the held-out tenth of the data after which a decoder is ready."""
    refinement_envs: int = static(64)
    """Environments that the decoder's data are collected from."""
    refinement_rollouts: int = static(8)
    """Times that each of these begins anew."""
    refinement_steps: int = static(1000)
    """Steps of each time."""
    refinement_noise: Literal["prior", "encoder"] = static("prior")
    """What the decoder is trained to make an action of: any noise, or, as an ablation, the latent it came from."""
    reinitialise: bool = static(True)
    """Begin every stage with a new encoder, critic, optimiser and statistics; False as an ablation."""
    num_scores: int = static(10)
    """Times in a stage that the encoder is judged; the best one acts from then on, and at the stage's end. With 0 the
    last one does."""
    score_episodes: int = static(16)
    """Greedy episodes of each time."""

    def check_latents(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_bounded(env, env_params)
        names = ("decoder_draws", "decoder_epochs", "decoder_batch_size", "patience", "score_episodes")
        names += ("refinement_envs", "refinement_rollouts", "refinement_steps")
        check_within(
            self,
            decoder_learning_rate=(0, INFINITY),
            elite_episodes=(1e-6, 1),
            elite_data=(0, 1),
            decoder_steps=(1 if self.decoder == "flow" else 2, INFINITY),
            num_scores=(0, INFINITY),
            **dict.fromkeys(names, (1, INFINITY)),
        )
        check_one_of(self, decoder=("flow", "diffusion"), refinement_noise=("prior", "encoder"))
        if not self.stages or not all(0 < length < INFINITY for length in self.stages):
            raise InvalidArgument("stages", self.stages, "must be positive lengths, one at least")
        if any(size < 1 for size in self.decoder_sizes):
            raise InvalidArgument("decoder_sizes", self.decoder_sizes, "must be positive widths")
        if len(self.stages) > 1:
            check_batch(self.refinement_rows, HELD_OUT, self.decoder_batch_size, "decoder_batch_size")

    @property
    def refinement_rows(self) -> int:
        """Actions that a decoder is fitted to."""
        return self.refinement_envs * self.refinement_rollouts * self.refinement_steps

    def ends(self, updates: int) -> tuple[int, ...]:
        """Updates of a run of ``updates`` after which each stage but the last is over."""
        shares = np.cumsum(self.stages) / np.sum(self.stages)
        return tuple(int(end) for end in np.rint(updates * shares[:-1]))

    def generator(self, env: Environment, env_params: Any) -> Decoder:
        """The decoder that fits an environment's spaces."""
        space, shape = env.action_space(env_params), env.observation_space(env_params).shape
        sizes = {"sizes": self.decoder_sizes, "steps": self.decoder_steps, "draws": self.decoder_draws}
        return decoder(self.decoder, space.shape[0], shape, **sizes)

    def from_stages(
        self,
        make: Callable[[Environment, Any, jax.Array], Algorithm],
        env: Environment,
        env_params: Any,
        updates: int | None,
        bound: float = INFINITY,
        **settings: Any,
    ) -> Algorithm:
        """The algorithm in stages.

        Args:
            make: ``(env, env_params, stage) -> Algorithm`` of one stage, where actions are latents.
            updates: of the whole run.
            bound: of latents.
            settings: of ``in_stages``.
        """
        if updates is None:
            raise InvalidArgument("updates", updates, "must be given, for the stages to share")
        generator, ends = self.generator(env, env_params), self.ends(updates)
        latents = DecodeActions(env, generator.decode, bound=bound)
        longest = max(np.diff((0, *ends, updates)))
        period = max(1, int(longest) // self.num_scores) if self.num_scores else None

        def decoded(policy: Callable, given: DecoderParams) -> Callable:
            params = latents.params(env_params, given)
            return lambda state, obs, key, greedy=True: latents.sent(params, obs, policy(state, obs, key, greedy))

        def in_latents(given: DecoderParams, stage: jax.Array) -> Algorithm:
            algorithm = make(latents, latents.params(env_params, given), stage)
            if period is None:
                return algorithm

            def score(policy: Callable, key: Key) -> jax.Array:
                params = latents.params(env_params, given)
                act = lambda obs, keys: policy(obs[0], keys[0])[None]  # noqa: E731
                limit = env_params.max_steps_in_episode
                return evaluate(act, latents, params, key[None], self.score_episodes, limit)["evaluation_return"][0]

            return judged_by_best(algorithm, score, period)

        def stage_of(given: DecoderParams, stage: jax.Array) -> Algorithm:
            algorithm = in_latents(given, stage)
            return algorithm._replace(policy=decoded(algorithm.policy, given))

        def following(given: DecoderParams, learner: Any, stage: jax.Array, key: Key) -> tuple[DecoderParams, Metrics]:
            collect_key, fit_key = jax.random.split(key)
            encoder, params = in_latents(given, stage).policy, latents.params(env_params, given)

            def act(obs, keys):
                return encoder(AlgorithmState(None, learner, keys[0]), obs, keys[0], False), {}

            obs, latent = self.collected(latents, params, Behaviour(jax.random.split, act), collect_key)
            return self.refined(generator, obs, generator.decode(given, obs, latent), latent, fit_key)

        return in_stages(stage_of, lambda _: generator.identity(), following, ends, fresh=self.reinitialise, **settings)

    def collected(
        self, latents: DecodeActions, params: Any, behaviour: Behaviour, key: Key
    ) -> tuple[jax.Array, jax.Array]:
        """Observations ``[rows, *O]`` and latents ``[rows, D]`` of fresh rollouts."""
        source = rollout(latents, params, self.refinement_envs, self.refinement_steps)
        choose_key, key = jax.random.split(key)

        def once(key):
            start_key, play_key = jax.random.split(key)
            _, batch, _ = source.next(source.init(start_key), behaviour, play_key)
            return batch.obs, batch.action, batch.reward, batch.cut

        played = jax.lax.map(once, jax.random.split(key, self.refinement_rollouts))
        # The times that environments begin are as so many environments more, [T, R * N].
        obs, latent, reward, cut = jax.tree.map(
            lambda leaf: jnp.moveaxis(leaf, 1, 0).reshape(leaf.shape[1], -1, *leaf.shape[3:]), played
        )
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (obs, latent))
        # A share of 0 draws nothing anew: unknown when tracing, and as cheap as the rollouts are dear.
        best = in_best_episodes(reward, cut, self.elite_episodes).reshape(-1)
        which_key, draw_key = jax.random.split(choose_key)
        index = jnp.arange(best.size)
        drawn = jnp.searchsorted(jnp.cumsum(best), jax.random.randint(draw_key, index.shape, 1, best.sum() + 1))
        elite = jax.random.uniform(which_key, index.shape) < self.elite_data
        index = jnp.where(elite, drawn, index)
        return jax.tree.map(lambda leaf: leaf[index], rows)

    def refined(
        self, generator: Decoder, obs: jax.Array, action: jax.Array, latent: jax.Array, key: Key
    ) -> tuple[DecoderParams, Metrics]:
        """A decoder of fresh weights, fitted to actions ``[rows, D]`` before the tanh."""
        init_key, fit_key = jax.random.split(key)
        start = generator.init(init_key, Moments.empty(obs.shape[1:]).add(obs))
        paired = self.refinement_noise == "encoder"

        def loss(network, rows, key):
            obs, action, latent = rows
            return generator.loss(start._replace(network=network), obs, action, key, latent if paired else None)

        fitted = fit(
            start.network,
            loss,
            (obs, action, latent),
            fit_key,
            optax.adam(self.decoder_learning_rate),
            self.decoder_epochs,
            self.decoder_batch_size,
            HELD_OUT,
            self.patience,
        )
        metrics = {"decoder_loss": fitted.loss, "decoder_epochs": fitted.epochs.astype(jnp.float32)}
        return start._replace(network=fitted.params), metrics


@struct.dataclass
class GoRL(Latents, PPO):
    """PPO in the latents of a flow or a diffusion that imitates, stage by stage, what PPO has made of the one before.

    Defaults are those of the authors' code, for MuJoCo Playground, but for what follows. Time limits are bootstrapped
    through, where theirs drops the step; minibatches are of steps, not of sequences of 30; layers begin orthogonal;
    observations are standardised by their true moments, where theirs shrink; all advantages are of 480 steps.
    """

    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 0.995
    """Discount factor."""
    clip: float = 0.15
    """The probability ratio is clipped to 1 - clip .. 1 + clip, in the first stage."""
    later_clip: float = 0.3
    """The same in later stages."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm, in the first stage."""
    later_max_grad_norm: float = 1.0
    """The same in later stages."""
    latent_penalty: float = 0.0005
    """Price of the mean square of the encoder's means, and of its standard deviations, in the first stage."""
    later_latent_penalty: float = 0.001
    """The same in later stages."""
    reward_scale: float = 10.0
    """Rewards are multiplied by this."""
    num_envs: int = static(2048)
    """Environments of each member."""
    num_steps: int = static(480)
    """Steps of each environment in an iteration."""
    num_epochs: int = static(16)
    """Passes over an iteration's transitions."""
    num_minibatches: int = static(32)
    """Gradient steps of each pass."""
    normalise_observations: bool = static(True)
    """Standardise observations by their running moments."""
    hidden_sizes: tuple[int, ...] = static((32, 32, 32, 32))
    """Widths of the dense layers of the encoder."""
    critic_sizes: tuple[int, ...] = static((256, 256, 256, 256, 256))
    """Widths of the dense layers of the critic."""
    activation: Activation = static("swish")
    """Nonlinearity of every layer but the heads."""
    prior_start: bool = static(False)
    """Begin every stage with the encoder N(0, I), whose actions are those that the decoder was fitted to."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        names = ("later_clip", "later_max_grad_norm", "latent_penalty", "later_latent_penalty")
        check_within(self, **dict.fromkeys(names, (0, INFINITY)), reward_scale=(1e-6, INFINITY))
        if self.network != "mlp":
            raise InvalidArgument("network", self.network, "must be 'mlp'")
        for name in ("shared_torso", "squash", "anneal_learning_rate"):
            if getattr(self, name):
                raise InvalidArgument(name, True, "must be False in front of a decoder")
        if any(size < 1 for size in self.critic_sizes):
            raise InvalidArgument("critic_sizes", self.critic_sizes, "must be positive widths")
        self.check_latents(env, env_params)
        super().check(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run, which the stages share.
        """
        env_params = env.default_params if env_params is None else env_params

        def stage_of(latents, params, stage):
            return PPO.make(self.in_stage(stage), latents, params)

        return self.from_stages(stage_of, env, env_params, updates)

    def in_stage(self, stage: jax.Array) -> "GoRL":
        """With the coefficients of one stage."""
        first, config = stage == 0, cast(Any, self)
        return config.replace(
            clip=jnp.where(first, self.clip, self.later_clip),
            max_grad_norm=jnp.where(first, self.max_grad_norm, self.later_max_grad_norm),
            latent_penalty=jnp.where(first, self.latent_penalty, self.later_latent_penalty),
        )

    def networks(self, env: Environment, env_params: Any) -> tuple[Policy, Callable, Callable | None]:
        """The encoder, the critic, and the penalty of latents far from 0."""
        shape = env.observation_space(env_params).shape
        network = EncoderCritic(
            lambda: MLP(self.hidden_sizes, self.activation, len(shape)),
            lambda: MLP(self.critic_sizes, self.activation, len(shape)),
            env.action_space(env_params).shape[0],
            self.prior_start,
        )

        def apply(params, obs, method) -> Any:
            return network.apply(params, obs, method=method)

        def init(key):
            return network.init(key, jnp.zeros(shape))

        encoder = gaussian(init, lambda params, obs: apply(params, obs, "actor"), network.size)

        def penalty(params, batch, key):
            del key
            mean, log_std = apply(params, batch.obs, "actor")
            squares = jnp.square(mean).mean() + jnp.exp(2 * log_std).mean()
            return self.latent_penalty * squares, {"latent_squares": squares}

        return encoder, lambda params, obs: apply(params, obs, "critic"), penalty

    def learner(self, env: Environment, env_params: Any, updates: int | None = None) -> Learner:
        """PPO's, of scaled rewards."""

        def scaled(state, batch, key):
            del state, key
            return batch._replace(reward=self.reward_scale * batch.reward)

        return relabel(super().learner(env, env_params, updates), scaled)


@struct.dataclass
class GoRLSAC(Latents, SAC):
    """SAC in the latents of a flow or a diffusion that imitates, stage by stage, what SAC has made of the one before.

    Critics are of observation and latent, and a stage begins with an empty buffer. Latents lie within a box, into which
    SAC's tanh maps them, since beyond it a decoder has seen no noise.
    """

    latent_bound: float = static(3.0)
    """Latents lie within -latent_bound .. latent_bound."""
    stages: tuple[float, ...] = static((2.0, 1.0, 1.0))
    """Lengths of the stages, as shares of the run."""
    update_to_data: float = static(20.0)
    """Gradient steps for each environment step; those of an iteration must be a whole number."""

    def check(self, env: Environment, env_params: Any) -> None:
        """Raises InvalidArgument for values out of range or at odds with each other or with the environment."""
        check_within(self, latent_bound=(1e-6, 1e6))
        self.check_latents(env, env_params)
        super().check(env, env_params)

    def make(self, env: Environment, env_params: Any = None, updates: int | None = None) -> Algorithm:
        """The algorithm on an environment.

        Args:
            env_params: the environment's own by default.
            updates: of the whole run, which the stages share.
        """
        env_params = env.default_params if env_params is None else env_params

        def stage_of(latents, params, stage):
            del stage
            return SAC.make(self, latents, params)

        return self.from_stages(stage_of, env, env_params, updates, self.latent_bound, renewed=forgotten)

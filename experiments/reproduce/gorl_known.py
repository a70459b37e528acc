"""Known answers of GoRL: decoders without weights, what refinement keeps and what it cannot make, and gradients,
divergences and a bound in the space of latents."""

from collections.abc import Callable, Iterator

import numpy as np

from experiments.reproduce.table import Row, at_least, at_most, exact

BANDIT = "control/two-modes-v0"


def gains() -> Iterator[Row]:
    """What decoders make of latents when all weights are 0."""
    import jax
    import jax.numpy as jnp

    from jaxrl.policies.decoders import decoder

    obs, latent = jnp.ones((64, 2)), jax.random.normal(jax.random.key(0), (64, 3))
    made = {kind: decoder(kind, 3, (2,), (8,)) for kind in ("flow", "diffusion")}
    identity = {kind: each.identity() for kind, each in made.items()}
    moved = made["flow"].decode(identity["flow"], obs, latent) - latent
    yield exact("flow without weights, largest distance from the latent", float(jnp.abs(moved).max()), 0.0, 0.0)
    decode, params = made["diffusion"].decode, identity["diffusion"]
    first, cosine = (decode(p, obs, latent) / latent for p in (params, params._replace(scale=jnp.float32(1))))
    yield exact("gain of the first diffusion, of a linear schedule", float(first.mean()), 1.051910, 1e-5)
    yield exact("gain of a diffusion without weights, cosine schedule", float(cosine.mean()), 6.442673, 1e-4)


def identity() -> Iterator[Row]:
    """One stage in front of the identity is PPO with the tanh outside of its policy."""
    import jax
    import jax.numpy as jnp

    from jaxrl import PPO, GoRL, make
    from jaxrl.core.combine import layers
    from jaxrl.policies.bases import enclosed

    env = make("Pendulum-v1")
    space = env.action_space(env.default_params)

    class Outside(GoRL):
        """No latents, decoders or stages."""

        def make(self, env, env_params=None, updates=None):
            del updates
            return PPO.make(self.in_stage(jnp.int32(0)), env, env.default_params if env_params is None else env_params)

        def networks(self, env, env_params):
            encoder, critic, penalty = super().networks(env, env_params)
            return enclosed(encoder, space.low, space.high), critic, penalty

    sizes = {"num_envs": 2, "num_steps": 8, "num_epochs": 1, "num_minibatches": 2, "num_scores": 0, "stages": (1.0,)}
    sizes |= {"hidden_sizes": (8,), "critic_sizes": (8,), "decoder_sizes": (8,), "decoder_steps": 3}
    found = []
    for kind in (GoRL, Outside):
        algorithm = kind(**sizes).make(env, updates=2)
        update, state = jax.jit(algorithm.update), jax.jit(algorithm.init)(jax.random.key(0))
        start = state
        for _ in range(2):
            state, _ = update(state)
        # The last of the layers has the parameters.
        ended, began = (jax.tree.leaves(list(layers(each.learner))[-1].params) for each in (state, start))
        found.append((state.source.obs, ended, began))
    (obs, ours, start), (other_obs, theirs, _) = found
    apart = max(float(jnp.abs(a - b).max()) for a, b in zip([obs, *ours], [other_obs, *theirs]))
    # 0, but for two programs that a compiler without its optimisations may round differently.
    yield exact("identity decoder beside PPO: distance of parameters and observations", apart, 0.0, 1e-7)
    moved = min(float(jnp.abs(a - b).max()) for a, b in zip(ours, start))
    yield at_least("the same: how far each of their arrays moved meanwhile", [moved], 1e-4)


def refinements() -> Iterator[Row]:
    """What a decoder keeps of a Gaussian, and two modes made by choosing data."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.transforms import DecodeActions

    from jaxrl import GoRL, make
    from jaxrl.core.types import Behaviour
    from jaxrl.policies.denoising import gaussian_mixture
    from jaxrl.policies.flow import flow

    env = make(BANDIT)
    config = GoRL(
        decoder_sizes=(32, 32, 32), decoder_batch_size=256, decoder_epochs=60, decoder_learning_rate=3e-3,
        refinement_envs=64, refinement_rollouts=1, refinement_steps=64,
    )  # fmt: skip
    generator = config.generator(env, env.default_params)
    latents = DecodeActions(env, generator.decode)
    noise = jax.random.normal(jax.random.key(9), (4000, 1))

    @jax.jit
    def refined(config, given, mean, deviation, key):
        """A refinement with an encoder that does not learn, and what data and decoder are like."""
        collect_key, fit_key = jax.random.split(key)
        params = latents.params(env.default_params, given)
        normal = lambda key, shape: mean + deviation * jax.random.normal(key, (*shape, 1))  # noqa: E731
        obs, latent = config.collected(latents, params, Behaviour(normal, lambda obs, z: (z, {})), collect_key)
        action = generator.decode(given, obs, latent)
        new, _ = config.refined(generator, obs, action, latent, fit_key)
        return new, action[:, 0], generator.decode(new, jnp.ones((len(noise), 1)), noise)[:, 0]

    def distance(a, b) -> float:
        """The 2-Wasserstein distance of samples."""
        shares = (np.arange(1000) + 0.5) / 1000
        return float(np.sqrt(np.mean((np.quantile(a, shares) - np.quantile(b, shares)) ** 2)))

    mean, deviation = 0.5, 0.6
    _, data, made = refined(config, generator.identity(), mean, deviation, jax.random.key(0))
    denoiser = gaussian_mixture(jnp.ones(1), jnp.full((1, 1), mean), jnp.full(1, deviation))
    perfect = flow(config.decoder_steps).run(denoiser, noise[:, None])[:, 0]
    name = "Gaussian encoder, distance (W2) of a decoder's actions from"
    yield exact(f"{name} those of an exact denoiser", distance(made, perfect), 0.0, 0.06)
    yield exact(f"{name} its data, beyond the steps' own", distance(made, data), distance(perfect, data), 0.06)
    linear = float(np.corrcoef(noise[:, 0], made)[0, 1] ** 2)
    yield exact("Gaussian encoder, how much of a decoder is linear", linear, 1.0, 0.01)

    given, chosen = generator.identity(), config.replace(elite_data=0.8)
    for key in jax.random.split(jax.random.key(1), 2):
        given, _, made = refined(chosen, given, 0.0, 1.0, key)
    action = 2 * np.tanh(np.asarray(made))
    near = lambda mode: float((np.abs(action - mode) < 0.3).mean())  # noqa: E731
    for mode in (-1, 1):
        yield at_least(f"two modes, data of the best half, third stage: share within 0.3 of {mode}", [near(mode)], 0.2)
    share = near(0) / min(near(-1), near(1))
    yield exact("the same: within 0.3 of 0 there is less than half as much", float(share < 0.5), 1.0, 0.0)


def draws() -> Iterator[Row]:
    """Whether the noise that decoders are trained with has to do with the latents that the actions come from."""
    import jax
    import jax.numpy as jnp

    from jaxrl.core.moments import Moments
    from jaxrl.policies.decoders import decoder

    made = decoder("flow", 1, (1,), (8,))
    params = made.identity()._replace(moments=Moments.empty((1,)))
    rows = 20_000
    obs, latent = jnp.ones((rows, 1)), jax.random.normal(jax.random.key(0), (rows, 1))
    for name, eps, known in (("prior", None, 0.0), ("encoder", latent, 1.0)):
        # Without weights the loss is E(z - eps)^2 = 2 - 2 correlation, of actions that are the latents.
        loss = made.loss(params, obs, latent, jax.random.key(1), eps)
        yield exact(f"correlation of latents with training noise, refinement_noise='{name}'", 1 - loss / 2, known, 0.02)


def gradients() -> Iterator[Row]:
    """Score-function gradients in latents and in actions beside differences of the return."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.transforms import DecodeActions

    from jaxrl import make
    from jaxrl.policies.bases import gaussian

    env = make(BANDIT)

    def decode(params, obs, latent):
        del params, obs
        return latent + 0.3 * jnp.sin(2 * latent)

    latents = DecodeActions(env, decode)
    params, theta, obs = latents.default_params, jnp.array([0.3, np.log(0.7)]), jnp.ones((400_000, 1))
    encoder = gaussian(
        lambda key: theta,
        lambda theta, obs: (jnp.broadcast_to(theta[0], obs.shape), jnp.broadcast_to(theta[1], obs.shape)),
        1,
    )

    def payoff(latent):
        return env.payoff(latents.sent(params, obs, latent)[..., 0], params.inner)

    def slope(latent):
        return jax.vmap(jax.grad(lambda z: decode(None, None, z)))(latent[:, 0])[:, None]

    @jax.jit
    def estimates():
        latent, _ = encoder.sample(theta, obs, encoder.noise(jax.random.key(0), obs.shape[:1]))
        earned = payoff(latent) - payoff(latent).mean()
        action, back = decode(None, None, latent), jnp.zeros_like(latent)
        for _ in range(20):  # by Newton's method, that its density needs no latent
            back = back - (decode(None, None, back) - action) / slope(back)

        def score(of_latent, log_volume):
            density = lambda theta: encoder.log_prob(theta, obs, of_latent, jax.random.key(0))[0] - log_volume  # noqa: E731
            return jax.grad(lambda theta: (density(theta) * earned).mean())(theta)

        return score(latent, 0.0), score(back, jnp.log(slope(back))[:, 0]), jnp.abs(back - latent).max()

    def expected(theta) -> float:
        z = np.linspace(-8, 8, 40_001)
        density = np.exp(-((z - theta[0]) ** 2) / (2 * np.exp(2 * theta[1]))) / np.sqrt(2 * np.pi) / np.exp(theta[1])
        action = 2 * np.tanh(z + 0.3 * np.sin(2 * z))
        reward = np.exp(-((action - 1) ** 2) / 0.08) + np.exp(-((action + 1) ** 2) / 0.08)
        return float(np.trapezoid(density * reward, z))

    in_latents, in_actions, missed = jax.device_get(estimates())
    at, step = np.asarray(theta, float), 1e-4
    known = np.array([(expected(at + step * e) - expected(at - step * e)) / (2 * step) for e in np.eye(2)])
    for name, ours, reference in zip(("mean", "log deviation"), in_latents, known):
        yield exact(f"gradient of a bandit's return by the encoder's {name}, from latents", ours, reference, 0.01)
    apart = float(np.abs(in_latents - in_actions).max())
    yield exact("the same from the density of actions, distance", apart, 0.0, 1e-4 + 10 * float(missed))


def divergences() -> Iterator[Row]:
    """A decoder brings encoders closer together, never further apart."""
    import jax
    import jax.numpy as jnp
    from scipy import stats

    from jaxrl.core.moments import Moments
    from jaxrl.policies.bases import gaussian_kl
    from jaxrl.policies.decoders import decoder

    one, other = (0.0, 1.0), (0.7, 0.6)
    inputs = [(jnp.array([mean]), jnp.log(jnp.array([deviation]))) for mean, deviation in (other, one)]
    known = float(gaussian_kl(*inputs))
    edges = np.linspace(-7, 7, 20_001)
    cells = [np.diff(stats.norm.cdf(edges, *each)) for each in (other, one)]
    centres = jnp.asarray((edges[1:] + edges[:-1]) / 2, jnp.float32)[:, None]
    made = decoder("flow", 1, (1,), (16,))

    @jax.jit
    def through_flow(key):
        params = made.init(key, Moments.empty((1,)))
        wilder = params._replace(network=jax.tree.map(lambda leaf: 2 * leaf, params.network))
        return made.decode(wilder, jnp.ones_like(centres), centres)[:, 0]

    through = np.asarray(through_flow(jax.random.key(0)))

    def divergence(image, bins) -> float:
        """Between what is left of both in bins of the image."""
        place = np.digitize(image, np.linspace(image.min(), image.max(), bins + 1)[1:-1])
        p, q = (np.bincount(place, each, bins) for each in cells)
        kept = p > 0
        return float(np.sum(p[kept] * np.log(p[kept] / q[kept])))

    same = divergence(through, 4000)
    yield exact("KL of two encoders' actions through a flow, which is one to one", same, known, 0.01 * known)
    yield at_most("the same in 20 bins, beside that of the latents", [divergence(through, 20)], known)
    folded = divergence(np.abs(np.asarray(centres[:, 0])), 4000)
    yield at_most("KL of two encoders' actions |z|, beside that of the latents", [folded], known)


def bound() -> Iterator[Row]:
    """How much better another encoder is at least, on random processes of two states with three latents."""
    random, gamma = np.random.default_rng(0), 0.9

    def of(policy, kernel, reward):
        step, earned = np.einsum("sz,szt->st", policy, kernel), (policy * reward).sum(axis=1)
        value = np.linalg.solve(np.eye(2) - gamma * step, earned)
        visits = (1 - gamma) * np.linalg.solve(np.eye(2) - gamma * step.T, start)
        return value, visits, reward + gamma * kernel @ value - value[:, None]

    start, slack, tight = np.array([0.5, 0.5]), [], []
    for _ in range(2000):
        which = random.integers(0, 2, (2, 3))  # the action that each latent is decoded to in each state
        of_action, paid = random.dirichlet([1, 1], (2, 2)), random.normal(size=(2, 2))
        kernel, reward = of_action[np.arange(2)[:, None], which], paid[np.arange(2)[:, None], which]
        policy = random.dirichlet([1, 1, 1], 2)
        share = random.uniform() ** 3
        other = (1 - share) * policy + share * random.dirichlet([1, 1, 1], 2)
        (value, visits, advantage), (better, *_) = of(policy, kernel, reward), of(other, kernel, reward)
        gained = start @ (better - value)
        expected = visits @ (other * advantage).sum(axis=1) / (1 - gamma)
        apart = 0.5 * np.abs(other - policy).sum(axis=1).max()
        least = expected - 2 * gamma / (1 - gamma) ** 2 * np.abs(advantage).max() * apart
        slack.append(gained - least)
        if share < 0.01 and abs(gained) > 1e-9:  # else nothing that differs is decoded to different actions
            tight.append(abs(gained - expected) / abs(gained))
    broken = int((np.array(slack) < -1e-12).sum())
    yield exact("bound of what another encoder gains, processes out of 2,000 that break it", broken, 0, 0)
    name = "gain of encoders less than 0.01 apart beside its first order, median error"
    yield at_most(name, [float(np.median(tight))], 0.01)


KNOWN: tuple[Callable[[], Iterator[Row]], ...] = (
    gains, identity, refinements, draws, gradients, divergences, bound,
)  # fmt: skip

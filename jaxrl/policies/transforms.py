"""Transforms of policies that make candidates, edit them, choose among them, decode latents and guide samplers.

They act on observations ``[B, ...]``. Whatever the transform, parameters are one tree for all that it is made of:
``on_part`` makes a policy look at its own part only.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl.core.chain import chain
from jaxrl.core.types import Key, Policy, PyTree
from jaxrl.errors import InvalidArgument
from jaxrl.policies.bases import carried, select_action
from jaxrl.policies.denoising import At, classifier_free, gradient_of, pushed
from jaxrl.policies.mixture import route
from jaxrl.sources.rollout import select

Transform: TypeAlias = Callable[[Policy], Policy]


def on_part(policy: Policy, name: str) -> Policy:
    """``policy`` with the parameters ``params[name]``, inside parameters of several parts; its ``init`` makes
    ``{name: ...}``. What it is steered by sees all parts."""

    def look(function: Callable | None) -> Any:
        return None if function is None else lambda params, *rest, **more: function(params[name], *rest, **more)

    def decode(action, params=None, obs=None):
        return policy.decode(action, None if params is None else params[name], obs)

    whole = policy._replace(
        init=lambda key: {name: policy.init(key)},
        sample=look(policy.sample),
        log_prob=look(policy.log_prob),
        mode=look(policy.mode),
        decode=decode,
        outputs=look(policy.outputs),
        fit_loss=look(policy.fit_loss),
        steered=None,
    )

    def sampling_as(steered: Policy) -> Policy:
        again = steered.steered
        return whole._replace(
            sample=steered.sample,
            log_prob=steered.log_prob,
            mode=steered.mode,
            steered=None if again is None else lambda change: sampling_as(again(change)),
        )

    inner = policy.steered
    if inner is None:
        return whole
    return whole._replace(
        steered=lambda change: sampling_as(inner(lambda own: change(lambda params, obs: own(params[name], obs))))
    )


# --- candidates -------------------------------------------------------------------------------------------------

MODE_KEY = 0
"""of what a mode has to draw, so that it is one"""


def several(n: int) -> Transform:
    """``n`` independent actions of the policy, ``[B, n, D]``, with a log-probability each, ``[B, n]``; all in one batch
    of ``B * n`` rows. With ``n=1`` it is the policy, with an axis more.

    The mode is the policy's own and beside it ``n - 1`` actions drawn with a fixed key.
    """
    if n < 1:
        raise InvalidArgument("n", n, "must be at least 1")

    def transform(policy: Policy) -> Policy:
        def noise(key, shape):
            return policy.noise(key, (*shape, n))

        def sample(params, obs, noise):
            drawn = policy.sample(params, repeated(obs, n), flat(noise))
            return jax.tree.map(lambda leaf: leaf.reshape(-1, n, *leaf.shape[1:]), drawn)

        def mode(params, obs):
            first = policy.mode(params, obs)[:, None]
            if n == 1:
                return first
            drawn, _ = sample(params, obs, noise(jax.random.key(MODE_KEY), (rows(obs),)))
            return jnp.concatenate([first, drawn[:, 1:]], axis=1)

        return candidates(policy, noise, sample, mode, lambda inner: several(n)(inner))

    return transform


def edit(editor: Policy) -> Transform:
    """Adds to every action of the policy what ``editor`` makes of observation and action (Dong et al. 2025).

    Samples have the log-density of action and edit together; there is none of the sum.

    Args:
        editor: its observations are pairs ``(obs[B, ...], action[B, D])``; what it decodes its actions to is added. One
            that adds 0 leaves the policy as it is.
    """

    def transform(policy: Policy) -> Policy:
        def noise(key, shape):
            return policy.noise(key, shape), editor.noise(jax.random.fold_in(key, 1), shape)

        def sample(params, obs, noise):
            action, log_prob = policy.sample(params, obs, noise[0])
            sent, edit_log_prob = edited(editor, params, obs, action, noise[1])
            return sent, log_prob + edit_log_prob

        def mode(params, obs):
            action = policy.mode(params, obs)
            where = (obs, action)
            return action + editor.decode(editor.mode(params, where), params, where)

        return candidates(policy, noise, sample, mode, lambda inner: edit(editor)(inner))

    return transform


def with_edits(editor: Policy, count: int) -> Transform:
    """Of candidates ``[B, n, D]``, as ``several`` makes them: edits of the first ``count`` behind them,
    ``[B, n + count, D]``; see ``edit``. Those of a mode are modes of the editor."""
    if count < 0:
        raise InvalidArgument("count", count, "must be at least 0")

    def transform(policy: Policy) -> Policy:
        def first(each: jax.Array) -> jax.Array:
            if each.shape[1] < count:
                raise InvalidArgument("count", count, f"must be at most n={each.shape[1]}")
            return each[:, :count].reshape(-1, *each.shape[2:])

        def behind(each: jax.Array, more: jax.Array) -> jax.Array:
            return jnp.concatenate([each, more.reshape(-1, count, *each.shape[2:])], axis=1)

        def noise(key, shape):
            return policy.noise(key, shape), editor.noise(jax.random.fold_in(key, 1), (*shape, count))

        def sample(params, obs, noise):
            action, log_prob = policy.sample(params, obs, noise[0])
            more, more_log_prob = edited(editor, params, repeated(obs, count), first(action), flat(noise[1]))
            return behind(action, more), behind(log_prob, first(log_prob) + more_log_prob)

        def mode(params, obs):
            action = policy.mode(params, obs)
            where = (repeated(obs, count), first(action))
            return behind(action, where[1] + editor.decode(editor.mode(params, where), params, where))

        return candidates(policy, noise, sample, mode, lambda inner: with_edits(editor, count)(inner))

    return transform if count else lambda policy: policy


def edited(
    editor: Policy, params: PyTree, obs: PyTree, action: jax.Array, noise: PyTree
) -> tuple[jax.Array, jax.Array]:
    """Actions with an edit added, and the log-density of the edit."""
    where = (obs, action)
    own, log_prob = editor.sample(params, where, noise)
    return action + editor.decode(own, params, where), log_prob


Score: TypeAlias = Callable[[PyTree, PyTree, jax.Array, Any], jax.Array]
"""``(params, obs[R, ...], action[R, D], draw[R, ...]) -> [R]``"""


def no_draw(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """For scores that are not random."""
    del key
    return jnp.zeros((*shape, 0))


def best(
    score: Score, temperature: float | None = None, draw: Callable = no_draw, of_choice: bool = False
) -> Transform:
    """Of candidates ``[B, n, D]`` the one of greatest score, ``[B, D]``, the first of equals. Its log-probability is
    what it was as a candidate, which is not that of being chosen. A single candidate is not scored.

    Args:
        score: of candidates as they are sent.
        temperature: chooses with probabilities ``softmax(score / temperature)`` instead.
        draw: ``(key, shape) -> draw[*shape, ...]``, of random scores, such as of a random subset of critics: one draw
            for all candidates of an observation.
        of_choice: gives the log-probability of the choice among the candidates instead, 0 without a temperature.
    """
    if temperature is not None and not temperature > 0:
        raise InvalidArgument("temperature", temperature, "must be positive")

    def transform(policy: Policy) -> Policy:
        def noise(key, shape):
            score_key, choice_key = jax.random.split(jax.random.fold_in(key, 2))
            return policy.noise(key, shape), draw(score_key, shape), jax.random.uniform(choice_key, shape)

        def choose(params, obs, action, drawn, uniform) -> tuple[jax.Array, jax.Array]:
            """Which candidate, and the log-probability of that."""
            n, certain = action.shape[1], jnp.zeros(action.shape[:1])
            if n == 1:
                return certain.astype(jnp.int32), certain
            every = repeated(obs, n)
            sent = policy.decode(flat(action), params, every)
            values = score(params, every, sent, repeated(drawn, n)).reshape(-1, n)
            if temperature is None:
                return jnp.argmax(values, axis=-1), certain
            index = route(values / temperature, uniform)
            return index, select_action(jax.nn.log_softmax(values / temperature), index)

        def sample(params, obs, noise):
            inner, drawn, uniform = noise
            found = policy.sample(params, obs, inner)
            index, chosen = choose(params, obs, found[0], drawn, uniform)
            action, log_prob = jax.tree.map(lambda leaf: taken(leaf, index), found)
            return action, chosen if of_choice else log_prob

        def mode(params, obs):
            action = policy.mode(params, obs)
            _, drawn, _ = noise(jax.random.key(MODE_KEY), (rows(obs),))
            middle = jnp.full(action.shape[:1], 0.5)
            return taken(action, choose(params, obs, action, drawn, middle)[0])

        return candidates(policy, noise, sample, mode, lambda inner: best(score, temperature, draw, of_choice)(inner))

    return transform


def best_of(n: int, score: Score, temperature: float | None = None, draw: Callable = no_draw) -> Transform:
    """The one of greatest score among ``n`` actions of the policy; ``best_of(1, score)`` is the policy. See ``several``
    and ``best``."""
    return chain(several(n), best(score, temperature, draw))


def candidates(policy: Policy, noise: Callable, sample: Callable, mode: Callable, transform: Transform) -> Policy:
    """``policy`` with another way to make actions, whose density is not known in closed form."""

    def log_prob(params, obs, action, key):
        raise TypeError("chosen and edited actions have no likelihood")

    return Policy(
        policy.init,
        noise,
        sample,
        log_prob,
        mode,
        decode=policy.decode,
        fit_loss=policy.fit_loss,
        steered=carried(policy, transform),
    )


def rows(obs: PyTree) -> int:
    """``B``."""
    return jax.tree.leaves(obs)[0].shape[0]


def repeated(tree: PyTree, n: int) -> PyTree:
    """Every row ``n`` times, one after the other: ``[B, ...] -> [B * n, ...]``."""
    return tree if n == 1 else jax.tree.map(lambda leaf: jnp.repeat(leaf, n, axis=0), tree)


def flat(tree: PyTree) -> PyTree:
    """``[B, n, ...] -> [B * n, ...]``."""
    # Not -1, since the noise of a deterministic policy has no numbers.
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), tree)


def taken(each: jax.Array, index: jax.Array) -> jax.Array:
    """``each[b, index[b]]``: ``[B, n, ...], [B] -> [B, ...]``."""
    return jnp.take_along_axis(each, index.reshape(-1, *[1] * (each.ndim - 1)), axis=1)[:, 0]


# --- latents and guidance ---------------------------------------------------------------------------------------


def latent(decoder: Callable[[PyTree, PyTree, jax.Array], jax.Array]) -> Transform:
    """Sends what ``decoder(params, obs, action)`` makes of the policy's action, which is a latent to it; likelihoods
    stay those of the latent. The identity leaves the policy as it is."""

    def transform(policy: Policy) -> Policy:
        def decode(action, params, obs):
            return decoder(params, obs, policy.decode(action, params, obs))

        return policy._replace(decode=decode, steered=carried(policy, latent(decoder)))

    return transform


def decoder_of(policy: Policy) -> Callable[[PyTree, PyTree, jax.Array], jax.Array]:
    """The decoder ``(params, obs, latent[B, D]) -> action[B, D]`` that a policy with one draw is, such as a flow."""

    def decode(params, obs, latent):
        return policy.decode(policy.sample(params, obs, latent[..., None, :])[0], params, obs)

    return decode


def steerable(policy: Policy) -> Callable[..., Policy]:
    """``policy.steered``.

    Raises:
        InvalidArgument: if there is none.
    """
    if policy.steered is None:
        raise InvalidArgument("policy", policy, "must be a diffusion or a flow policy")
    return policy.steered


def rematerialised(policy: Policy) -> Policy:
    """The policy, whose gradients through all steps from noise to an action keep only the points between the steps:
    what is inside a denoiser is computed again on the way back (Chen et al. 2016)."""
    return steerable(policy)(lambda own: lambda params, obs: jax.checkpoint(own(params, obs)))


def guide(score: Callable[..., jax.Array], scale: float | jax.Array, at: At = "noised") -> Transform:
    """Samples with a density greater by a factor near ``exp(scale * score)``; with a scale of 0 it is the policy.

    A log-probability that a classifier gives, a value, or minus an energy are such scores.

    Args:
        score: ``(params, obs[B, ...], action[B, D], level) -> [B]``; of candidates, rows are of candidates.
        at: where its gradient is taken; see ``gradient_of``.
    """

    def transform(policy: Policy) -> Policy:
        def change(own):
            def denoisers(params, obs):
                gradient = gradient_of(lambda action, level: score(params, obs, action, level), at)
                return pushed(own(params, obs), gradient, scale)

            return denoisers

        return steerable(policy)(change)

    return transform


def guide_free(null: Callable[[PyTree], PyTree], weight: float | jax.Array) -> Transform:
    """Guides by the difference between the policy's denoiser and what it is for ``null(obs)`` (Ho and Salimans 2022).
    It must have learned both, see ``with_null``. With a weight of 0 it is the policy."""

    def transform(policy: Policy) -> Policy:
        def change(own):
            return lambda params, obs: classifier_free(own(params, obs), own(params, null(obs)), weight)

        return steerable(policy)(change)

    return transform


def with_null(null: Callable[[PyTree], PyTree], probability: float) -> Transform:
    """Shows ``null(obs)`` instead of ``obs`` to a random share of the rows in ``fit_loss``."""
    if not 0 <= probability <= 1:
        raise InvalidArgument("probability", probability, "must be within [0, 1]")

    def transform(policy: Policy) -> Policy:
        fit = policy.fit_loss
        if fit is None:
            raise InvalidArgument("policy", policy, "must have a fit_loss")

        def fit_loss(params, obs, action, key, *rest, **more):
            drop = jax.random.bernoulli(jax.random.fold_in(key, 1), probability, (rows(obs),))
            return fit(params, select(drop, null(obs), obs), action, key, *rest, **more)

        return policy._replace(fit_loss=fit_loss, steered=carried(policy, with_null(null, probability)))

    return transform

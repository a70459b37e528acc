"""The few types everything else is made of: bundles of pure functions, and the data that passes between them.

Array axes are always in the order ``[member, time, environment, feature...]``. No function here sees the member axis:
the engine adds it with ``jax.vmap``. Below, ``T`` is the number of steps of a rollout and ``N`` the number of
environments of one member.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

PyTree: TypeAlias = Any
Key: TypeAlias = jax.Array
Metrics: TypeAlias = dict[str, Any]


class Average(NamedTuple):
    """A metric that is a weighted mean, kept as its two sums so that parts of it can be added up exactly.

    A plain scalar metric ``x`` means ``Average(x, 1)``. With ``weight == 0`` (no episode ended) the value is NaN.
    """

    total: jax.Array
    weight: jax.Array


class Shared(NamedTuple):
    """A state leaf that is equal for all members by construction, such as a counter of iterations.

    The engine gives it no member axis, so a ``jax.lax.cond`` on it stays a branch instead of turning into a select
    that pays for both sides in every member.
    """

    value: PyTree


class Transition(NamedTuple):
    """What happened in one step, or with leading axes ``[T, N]`` in a rollout.

    ``discount`` is 0 only where the episode terminated; ``cut`` is 1 at every end of an episode, by termination or by a
    time limit; ``next_obs`` is always the true successor of ``obs``, never the first observation of the next episode.
    ``extras`` holds what the policy reported beside its action, such as ``log_prob``.
    """

    obs: PyTree
    action: PyTree
    reward: jax.Array
    discount: jax.Array
    cut: jax.Array
    next_obs: PyTree
    extras: dict[str, PyTree]


class Source(NamedTuple):
    """Where batches come from: a rollout, a replay buffer around a rollout, a data set, an expert."""

    init: Callable[[Key], PyTree]
    """``(key) -> state``"""
    next: Callable[[PyTree, "Behaviour", Key], tuple[PyTree, PyTree, Metrics]]
    """``(state, behaviour, key) -> (state, batch, metrics)``"""
    steps: int
    """environment steps taken by one call of ``next``"""


class Behaviour(NamedTuple):
    """How a source is to act: a deterministic function of observations and noise.

    Noise is drawn apart so that a rollout can draw all of it at once: a random generator inside a loop over small steps
    costs more than the policy.
    """

    noise: Callable[[Key, tuple[int, ...]], PyTree]
    """``(key, shape) -> noise[*shape, ...]``"""
    act: Callable[[PyTree, PyTree], tuple[PyTree, dict[str, PyTree]]]
    """``(obs[N, ...], noise[N, ...]) -> (action[N, ...], extras)``"""
    feedback: PyTree = None
    """what the learner tells the source about the batches before, such as priorities; None if nothing"""


class Learner(NamedTuple):
    """Turns a batch into better parameters."""

    init: Callable[[Key], PyTree]
    """``(key) -> state``"""
    update: Callable[[PyTree, PyTree, Key], tuple[PyTree, Metrics]]
    """``(state, batch, key) -> (state, metrics)``"""
    behaviour: Callable[[PyTree], Behaviour]
    """``(state) -> Behaviour``: how the source should act"""
    policy: Callable[..., PyTree]
    """``(state, obs[N, ...], key, greedy) -> action[N, ...]``: how the agent behaves when it is judged"""


class AlgorithmState(NamedTuple):
    """The whole state of one member: nothing of a run lives outside it."""

    source: PyTree
    learner: PyTree
    key: Key


class Algorithm(NamedTuple):
    """``update`` is one iteration of a fixed size: collect, then learn."""

    init: Callable[[Key], AlgorithmState]
    update: Callable[[AlgorithmState], tuple[AlgorithmState, Metrics]]
    policy: Callable[..., PyTree]
    """``(state, obs[N, ...], key, greedy=True) -> action[N, ...]``"""
    steps_per_update: int
    """environment steps of one ``update``"""


class Policy(NamedTuple):
    """A distribution over actions given observations; every function takes observations with any leading axes.

    ``fit_loss`` is for generative bases that are trained by regression rather than by likelihood.
    """

    init: Callable[[Key], PyTree]
    """``(key) -> params``"""
    noise: Callable[[Key, tuple[int, ...]], PyTree]
    """``(key, shape) -> noise[*shape, ...]``, all the randomness of ``sample``"""
    sample: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, jax.Array]]
    """``(params, obs, noise) -> (action, log_prob)``"""
    log_prob: Callable[..., tuple[jax.Array, jax.Array]]
    """``(params, obs, action, key) -> (log_prob, entropy)``, both of one forward pass; the entropy may be an unbiased
    one-sample estimate, for which the key is"""
    mode: Callable[[PyTree, PyTree], PyTree]
    """``(params, obs) -> action``, the most likely one"""
    decode: Callable[..., PyTree] = lambda action, *where: action
    """``(action, params, obs) -> sent``, what the environment is sent for an action of this policy, such as its tanh;
    log-probabilities are of what is sent. Parameters and observation may be left out but for policies, such as
    ``latent`` ones, whose actions mean something else in every state"""
    outputs: Callable[[PyTree, PyTree], PyTree] | None = None
    """``(params, obs) -> outputs[..., k]``, the parameters of the distribution; None where it has no closed form"""
    kl: Callable[[PyTree, PyTree], jax.Array] | None = None
    """``(outputs, others) -> [...]``: the divergence KL(outputs, others), expected under the first"""
    fit_loss: Callable[..., jax.Array] | None = None
    """``(params, obs, action, key, weights=None, slow=None, eps=None) -> loss`` of imitating actions; ``weights`` are
    of rows, ``slow`` are parameters that follow slowly, ``eps`` is the noise that each action is to be made of"""
    steered: Callable[..., "Policy"] | None = None
    """``(change) -> Policy``: a policy that makes actions of noise step by step, with ``change(denoisers)`` in place of
    its own denoisers, ``(params, obs) -> denoiser``; None for all others"""


class AdvantageTransform(NamedTuple):
    """A transform in the advantage slot, stateful in the way of optax."""

    init: Callable[[], PyTree]
    """``() -> state``"""
    update: Callable[[jax.Array, Any, PyTree], tuple[jax.Array, PyTree]]
    """``(advantage, batch, state) -> (advantage, state)``"""

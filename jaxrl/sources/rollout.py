"""A policy in vectorised copies of an environment: the source of all on-policy batches."""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment

from jaxrl.core.types import Average, Behaviour, Key, PyTree, Source, Transition
from jaxrl.errors import InvalidArgument

ResetPolicy: TypeAlias = Literal["fresh", "pool", "cached"]

POOL_WINDOW = 8
"""steps that share one fresh reset of each environment under ``pool``"""


class RolloutState(NamedTuple):
    env_state: PyTree
    obs: PyTree
    episode_return: jax.Array  # [N]
    episode_length: jax.Array  # [N]
    cached: tuple[PyTree, PyTree] | None


def rollout(
    env: Environment,
    env_params: Any,
    num_envs: int,
    num_steps: int,
    reset: ResetPolicy = "pool",
) -> Source:
    """Steps ``num_envs`` copies of ``env`` for ``num_steps`` and yields ``Transition[T, N, ...]``.

    Episodes run on from one batch to the next. An environment whose episode ended goes on from a reset:

    - ``fresh``: a reset computed at every step for every environment, what gymnax does;
    - ``pool``: resets drawn together before the rollout, one for each environment and window of 8 steps. Independent
      draws, new for every rollout; two episodes of one environment start alike only if both began in one window;
    - ``cached``: every environment returns to the first state it ever had, what Brax does.

    Metrics: ``episode_return`` and ``episode_length`` of the episodes that ended, and ``episodes`` that ended
    per batch.

    Raises:
        InvalidArgument: for sizes below one or an unknown ``reset``.
    """
    for name, size in (("num_envs", num_envs), ("num_steps", num_steps)):
        if size < 1:
            raise InvalidArgument(name, size, "must be at least 1")
    if reset not in get_args(ResetPolicy):
        raise InvalidArgument("reset", reset, f"must be one of {', '.join(get_args(ResetPolicy))}")

    def reset_all(key: Key, *shape: int):
        keys = jax.random.split(key, (*shape, num_envs))
        reset_one = lambda key: env.reset_env(key, env_params)  # noqa: E731
        for _ in range(len(shape) + 1):
            reset_one = jax.vmap(reset_one)
        return reset_one(keys)

    def init(key: Key) -> RolloutState:
        obs, env_state = reset_all(key)
        zeros = jnp.zeros(num_envs)
        cached = (obs, env_state) if reset == "cached" else None
        return RolloutState(env_state, obs, zeros, zeros, cached)

    step_env = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
    is_truncated = jax.vmap(env.is_truncated, in_axes=(0, None))

    def next_batch(state: RolloutState, behaviour: Behaviour, key: Key):
        reset_key, act_key, env_key, fresh_key = jax.random.split(key, 4)
        pool = reset_all(reset_key, -(-num_steps // POOL_WINDOW)) if reset == "pool" else None

        def step(carry, inputs):
            state, totals = carry
            time, noise, env_keys, fresh_key = inputs
            action, extras = behaviour.act(state.obs, noise)
            next_obs, env_state, reward, terminated, _ = step_env(env_keys, state.env_state, action, env_params)
            cut = terminated | is_truncated(env_state, env_params)
            if reset == "pool":
                start = jax.tree.map(lambda leaf: leaf[time // POOL_WINDOW], pool)
            else:
                start = state.cached or reset_all(fresh_key)
            obs, env_state = select(cut, start, (next_obs, env_state))

            ended = cut.astype(jnp.float32)
            episode_return = state.episode_return + reward
            episode_length = state.episode_length + 1
            totals = jax.tree.map(jnp.add, totals, (ended * episode_return, ended * episode_length, ended))
            transition = Transition(
                state.obs, action, reward, 1.0 - terminated.astype(jnp.float32), ended, next_obs, extras
            )
            state = RolloutState(
                env_state, obs, (1 - ended) * episode_return, (1 - ended) * episode_length, state.cached
            )
            return (state, totals), transition

        zeros = jnp.zeros(num_envs)
        inputs = (
            jnp.arange(num_steps),
            behaviour.noise(act_key, (num_steps, num_envs)),
            jax.random.split(env_key, (num_steps, num_envs)),
            jax.random.split(fresh_key, num_steps),
        )
        (state, totals), batch = jax.lax.scan(step, (state, (zeros, zeros, zeros)), inputs)
        total_return, total_length, episodes = jax.tree.map(jnp.sum, totals)
        metrics = {
            "episode_return": Average(total_return, episodes),
            "episode_length": Average(total_length, episodes),
            "episodes": episodes,
        }
        return state, batch, metrics

    return Source(init, next_batch, num_envs * num_steps)


def select(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """``yes`` where ``condition[N]`` holds, else ``no``, for leaves ``[N, ...]``; typed keys included."""

    def pick(a, b):
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(pick, yes, no)


def least_truncated_length(env_params: Any) -> int:
    """The least number of steps after which an episode can be truncated, 1 if that is not known when tracing."""
    limit = getattr(env_params, "max_steps_in_episode", None)
    return limit if isinstance(limit, int) and limit >= 1 else 1

"""What every environment has to do, as one check that also serves environments of a user's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxrl.envs.base import Environment, action_mask, reward_shape

from jaxrl.errors import UserError

LANES = (2, 3)
_FOR_EVER = 10**6


def check(env: Environment, seed: int = 0, steps: int = 16, limit: int = 5, limit_in_obs: bool = False) -> None:
    """Check an environment against the contract in `jaxrl.envs`, with random actions among the allowed ones.

    Compiles one program: `steps` steps of `env.step` under two nested vmaps and a scan, with the parameters traced.

    Args:
        env: the environment.
        seed: of all random numbers.
        steps: steps to take; more than twice the limit, so that episodes end and start again.
        limit: the time limit to try.
        limit_in_obs: whether observations depend on the limit itself, as where they tell the share of it that is over.

    Raises:
        UserError: the first promise that is not kept, in words.
    """
    _check_types(env)
    _check_episodes(env, seed, steps, limit, limit_in_obs)


def _require(holds: bool, env: Environment, otherwise: str) -> None:
    if not holds:
        raise UserError(f"{env.name}: {otherwise}")


def _check_types(env: Environment) -> None:
    params, key = env.default_params, jax.random.key(0)
    space = env.observation_space(params)
    obs, state = jax.eval_shape(env.reset_env, key, params)
    action = jax.eval_shape(env.action_space(params).sample, key)
    next_obs, next_state, reward, terminated, _ = jax.eval_shape(env.step_env, key, state, action, params)
    truncated = jax.eval_shape(env.is_truncated, next_state, params)

    declared = f"{jnp.dtype(space.dtype)}{list(space.shape)}"
    _require(_text(obs) == declared, env, f"observations are {_text(obs)}, in a space of {declared}")
    for name, first, second in (("observation", obs, next_obs), ("state", state, next_state)):
        tree, next_tree = jax.tree.structure(first), jax.tree.structure(second)
        _require(tree == next_tree, env, f"the {name} is {tree} from reset_env and {next_tree} from step_env")
        for (path, x), y in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second)):
            where = f"{name}{jax.tree_util.keystr(path)}"
            _require(_text(x) == _text(y), env, f"{where} is {_text(x)} from reset_env and {_text(y)} from step_env")
            _require(not x.weak_type and not y.weak_type, env, f"{where} is weakly typed; see jaxrl.envs.strong")
    expected = f"float32{list(reward_shape(env))}"
    _require(_text(reward) == expected, env, f"the reward is {_text(reward)}, not {expected}")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        _require(_text(flag) == "bool[]", env, f"{name} is {_text(flag)}, not bool[]")
    _require(isinstance(params.max_steps_in_episode, int), env, "params.max_steps_in_episode is not an int")
    _require(env.num_actions >= 1, env, "num_actions is less than 1")


def _check_episodes(env: Environment, seed: int, steps: int, limit: int, limit_in_obs: bool) -> None:
    params = env.default_params
    short, long = (dataclasses.replace(params, max_steps_in_episode=n) for n in (limit, _FOR_EVER))
    run = jax.jit(lambda key, params: _run(env, steps, key, params))
    limited = jax.device_get(run(jax.random.key(seed), short))
    repeated = jax.device_get(run(jax.random.key(seed), short))
    unlimited = jax.device_get(run(jax.random.key(seed), long))

    for x, y in zip(jax.tree.leaves(limited), jax.tree.leaves(repeated)):
        _require(np.array_equal(x, y, equal_nan=True), env, "the same key gives another episode")
    contained = limited["contained"].all() and unlimited["contained"].all()
    _require(contained, env, "an observation is outside observation_space")
    _require(not unlimited["truncated"].any(), env, "truncated before the time limit")

    for lane in np.ndindex(LANES):
        count, cut = 0, None
        for t in range(steps):
            at = (t, *lane)
            count += 1
            done = limited["terminated"][at] or limited["truncated"][at]
            right = limited["truncated"][at] == (count >= limit)
            _require(right, env, f"truncated is {limited['truncated'][at]} at step {count}, limit {limit}")
            _require((limited["time"][at] == 0) == done, env, f"state.time is {limited['time'][at]} after step {count}")
            if cut is None and limited["truncated"][at]:
                cut = t
            if done:
                count = 0
        # Up to and including the first cut, the limit must have changed nothing but the flag: the cut is not a
        # termination, and the final observation is the true successor, not the next episode's first one.
        until = steps if cut is None else cut + 1
        for name in ("terminated", "reward", "final"):
            if name == "final" and limit_in_obs:
                continue
            x, y = (run[name][(slice(until), *lane)] for run in (limited, unlimited))
            _require(np.array_equal(x, y, equal_nan=True), env, f"the time limit changes {name} before or at the limit")


def _run(env: Environment, steps: int, key, params):
    def both(function, *axes):
        return jax.vmap(jax.vmap(function, axes), axes)

    key_reset, key_steps = jax.random.split(key)
    space, actions = env.observation_space(params), env.action_space(params)

    def act(key, obs):
        mask = action_mask(env, obs)
        if mask is None:
            return actions.sample(key)
        return jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf)).astype(actions.dtype)

    def one(carry, key):
        obs, state = carry
        keys, keys_act = jax.random.split(key, (2, *LANES))
        action = both(act, 0, 0)(keys_act, obs)
        obs, state, reward, terminated, truncated, info = both(env.step, 0, 0, 0, None)(keys, state, action, params)
        final = info["final_observation"]
        contains = both(lambda x: jnp.all(space.contains(x)), 0)
        return (obs, state), {
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "final": final,
            "contained": contains(obs) & contains(final),
            "time": state.time,
        }

    start = both(env.reset, 0, None)(jax.random.split(key_reset, LANES), params)
    return jax.lax.scan(one, start, jax.random.split(key_steps, steps))[1]


def _text(x: jax.ShapeDtypeStruct) -> str:
    return f"{x.dtype}{list(x.shape)}"

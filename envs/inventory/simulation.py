"""What a policy costs, on many demand traces at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxrl.envs.inventory.environment import InventoryNetwork, InventoryParams

from jaxrl.errors import InvalidArgument

BLOCK = 128
"""periods whose demand is drawn together at most, so that memory does not grow with the horizon"""


def simulate(
    env: InventoryNetwork,
    policy: Callable[[jax.Array], jax.Array],
    keys: jax.Array,
    periods: int,
    params: InventoryParams | None = None,
    *,
    ignore: int = 0,
    round_orders: bool = False,
) -> jax.Array:
    """Average cost per store and period of each of ``B`` scenarios: start, parameters and demand trace.

    Differentiable in whatever ``policy`` closes over: the pathwise gradient of Alvo et al. (2023).

    Args:
        policy: ``(obs[B, D]) -> orders[B, E]``.
        keys: ``[B]``, a scenario each.
        periods: to simulate.
        params: the environment's own by default.
        ignore: periods at the start that do not count.
        round_orders: order whole units, as where demand is counted.

    Returns:
        ``[B]``; profits are negative costs.

    Raises:
        InvalidArgument: unless ``0 <= ignore < periods``.
    """
    if not 0 <= ignore < periods:
        raise InvalidArgument("ignore", ignore, f"must be within 0 .. {periods - 1}, less than all periods")
    params = env.default_params if params is None else params
    advance = jax.vmap(env.advance, in_axes=(0, 0, 0, None))

    def period(carry, inputs):
        obs, state, total = carry
        time, demand = inputs
        orders = policy(obs)
        if round_orders:
            orders = jnp.round(orders)
        obs, state, reward = advance(state, orders, demand, params)
        return (obs, state, total - jnp.where(time >= ignore, reward, 0)), None

    def block(carry, inputs):
        keys, times = inputs
        # [T, B, K]: all demand of a block before its loop, since a generator inside a loop of small steps is slow
        demand = jax.vmap(
            lambda key, state: env.draw_noise(key, state, params, times.shape[0]), in_axes=(0, 0), out_axes=1
        )(keys, carry[1])
        return jax.lax.scan(period, carry, (times, demand))

    split = jax.vmap(jax.random.split)(keys)
    obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(split[:, 0], params)
    carry = (obs, state, jnp.zeros(keys.shape))
    length = -(-periods // -(-periods // BLOCK))
    whole, rest = divmod(periods, length)
    block_keys = jax.vmap(lambda key: jax.random.split(key, whole + bool(rest)), out_axes=1)(split[:, 1])
    times = jnp.arange(whole * length).reshape(whole, length)
    if whole == 1:
        carry, _ = block(carry, (block_keys[0], times[0]))
    else:
        carry, _ = jax.lax.scan(block, carry, (block_keys[:whole], times))
    if rest:
        carry, _ = block(carry, (block_keys[-1], jnp.arange(whole * length, periods)))
    return carry[2] / (periods - ignore)

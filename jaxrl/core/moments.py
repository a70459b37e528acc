"""Running mean and variance."""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Moments:
    """Count, mean and variance of a stream, merged batch by batch (Chan, Golub and LeVeque 1979; Welford for batches).

    Before anything was added the mean is 0 and the deviation 1.
    """

    count: jax.Array
    mean: jax.Array
    squares: jax.Array
    """sum of squared deviations from the mean"""

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Moments":
        """The moments of nothing, for values of ``shape``."""
        return cls(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape))

    def add(self, values: jax.Array) -> "Moments":
        """Merges ``values[..., *shape]``; all leading axes count as rows."""
        rows = jnp.asarray(values, jnp.float32).reshape(-1, *self.mean.shape)
        n = rows.shape[0]
        mean = rows.mean(axis=0)
        squares = jnp.square(rows - mean).sum(axis=0)
        count = self.count + n
        shift = mean - self.mean
        return Moments(
            count,
            self.mean + shift * (n / count),
            self.squares + squares + jnp.square(shift) * (self.count * n / count),
        )

    @property
    def deviation(self) -> jax.Array:
        """Population standard deviation, at least 1e-4; 1 before anything was added."""
        variance = self.squares / jnp.maximum(self.count, 1)
        return jnp.where(self.count > 0, jnp.maximum(jnp.sqrt(variance), 1e-4), 1.0)

    def standardise(self, values: jax.Array) -> jax.Array:
        """``(values - mean) / deviation``, float32."""
        return (jnp.asarray(values, jnp.float32) - self.mean) / self.deviation

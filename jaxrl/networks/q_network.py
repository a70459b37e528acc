"""Action values, plain, dueling or distributional, on a torso."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.networks.initialisers import orthogonal
from jaxrl.networks.torsos import MLP


class QNetwork(nn.Module):
    """``[..., A, K]``: K numbers for each of A actions, for observations with any leading axes.

    Attributes:
        torso: makes a fresh torso module.
        actions: A.
        size: K, such as 1 for values, or the number of atoms or quantiles. With ``cosines`` the module is also given
            levels ``[..., K]`` for which it returns quantiles, and K is their number.
        head_sizes: dense layers between torso and outputs; with ``dueling`` each stream has its own.
        dueling: the sum of a stream for the state and one for the actions, whose mean over actions is taken off (Wang
            et al. 2016, eq. 9), for each of the K numbers.
        cosines: functions ``cos(pi i level)``, i = 0, 1, ..., that embed a level (Dabney et al. 2018b, eq. 4); None for
            outputs that take no levels.
    """

    torso: Callable[[], nn.Module]
    actions: int
    size: int = 1
    head_sizes: Sequence[int] = ()
    activation: str = "relu"
    dueling: bool = False
    cosines: int | None = None

    @nn.compact
    def __call__(self, obs: jax.Array, levels: jax.Array | None = None) -> jax.Array:
        features = self.torso()(obs)
        if self.cosines is None:
            return self.heads(features, self.size)
        assert levels is not None, "quantiles at which levels?"
        waves = jnp.cos(jnp.pi * levels[..., None] * jnp.arange(self.cosines))
        embedding = nn.relu(nn.Dense(features.shape[-1], kernel_init=orthogonal(2**0.5))(waves))
        values = self.heads(features[..., None, :] * embedding, 1)  # [..., K, A, 1]
        return jnp.swapaxes(values[..., 0], -1, -2)

    def heads(self, features: jax.Array, size: int) -> jax.Array:
        """``[..., H] -> [..., A, size]``."""
        actions = self.stream(features, self.actions, size)
        if not self.dueling:
            return actions
        return self.stream(features, 1, size) + actions - actions.mean(axis=-2, keepdims=True)

    def stream(self, features: jax.Array, rows: int, size: int) -> jax.Array:
        hidden = MLP(self.head_sizes, self.activation)(features) if self.head_sizes else features
        output = nn.Dense(rows * size, kernel_init=orthogonal(1.0))(hidden)
        return output.reshape(*output.shape[:-1], rows, size)

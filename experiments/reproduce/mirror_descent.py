"""Known answers of mirror descent, for the tests and the table of MDPO: steps of one state and of a process of two."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from experiments.reproduce.table import Row, exact
from jaxrl.losses.policy_gradient import mirror_descent, proximal_cost
from jaxrl.policies.bases import categorical_kl

OLD = jnp.array([0.2, 0.3, 0.5])
ADVANTAGE = jnp.array([1.0, 0.0, -1.0])
STEPS = {
    0.5: ((0.35342001, 0.32154011, 0.32503989), -0.13867961),
    1.0: ((0.52905648, 0.29194350, 0.17900002), 0.02722218),
}
"""policy and objective by step size"""
REVERSED = (0.38006272, 0.29233243, 0.32760485)
"""where the other direction of the divergence ends, step size 0.5"""
SOFT, SOFTMAX = (0.55849654, 0.28418360, 0.15731985), (0.99326236, 0.00669255, 0.00004509)
"""of a soft step with temperature 0.2 and c = 1, and where such steps end"""
MEANS = {0: 2.930267, 1: 5.587972, 10: 8.900182}
"""of the two states' values, by the number of steps of size 1"""


def minimum(loss: Callable, logits: jax.Array, steps: int = 4000, size: float = 0.5) -> jax.Array:
    """Where gradient descent on logits ends."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, steps, lambda _, x: x - size * jax.grad(loss)(x), x))(logits)


def objective(kl: Callable, step_size: float) -> Callable:
    """The on-policy loss of one state, its expectation taken over the old policy."""

    def loss(logits):
        log_prob = jax.nn.log_softmax(logits)
        return jnp.sum(OLD * mirror_descent(log_prob, jnp.log(OLD), ADVANTAGE, kl(logits), step_size))

    return loss


def soft_loss(logits: jax.Array, coefficient: float, temperature: float = 0.2) -> jax.Array:
    """The off-policy loss of one state, exactly."""
    log_prob = jax.nn.log_softmax(logits)
    cost = proximal_cost(log_prob, jnp.log(OLD), temperature, coefficient)
    return jnp.sum(jnp.exp(log_prob) * (cost - ADVANTAGE))


def two_states(steps: int) -> np.ndarray:
    """``[steps + 1]`` means of the values of both states under mirror descent with exact values, from the uniform
    policy; the first step is taken by gradient descent, which must reach the closed form."""
    p = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.05, 0.95]]])
    reward, policy, means = np.array([[0.1, 0.0], [0.0, 1.0]]), np.full((2, 2), 0.5), []
    for step in range(steps + 1):
        v = np.linalg.solve(np.eye(2) - 0.9 * np.einsum("sa,sat->st", policy, p), (policy * reward).sum(axis=1))
        means.append(v.mean())
        q, old = reward + 0.9 * p @ v, jnp.log(policy)
        policy = special.softmax(np.log(policy) + q, axis=1)
        if step == 0:

            def loss(logits, old=old, advantage=q - v[:, None]):
                kl = categorical_kl(logits, old)[:, None]
                return jnp.sum(jnp.exp(old) * mirror_descent(jax.nn.log_softmax(logits), old, advantage, kl, 1.0))

            np.testing.assert_allclose(jax.nn.softmax(minimum(loss, old)), policy, atol=1e-5)
    return np.array(means)


def closed_forms() -> Iterator[Row]:
    """All of them, as rows."""
    for size, (policy, value) in STEPS.items():
        loss = objective(lambda logits: categorical_kl(logits, jnp.log(OLD)), size)
        found = minimum(loss, jnp.log(OLD))
        worst = float(jnp.abs(jax.nn.softmax(found) - jnp.array(policy)).max())
        yield exact(f"step of size {size:g}, largest error of a probability", worst, 0.0, 2e-6)
        yield exact(f"step of size {size:g}, objective", -float(loss(found)), value, 1e-6)
        if size == 0.5:
            moved = float(categorical_kl(found, jnp.log(OLD)))
            yield exact("step of size 0.5, KL(new, old)", moved, 0.08352987, 1e-6)
    found = jax.nn.softmax(minimum(objective(lambda logits: categorical_kl(jnp.log(OLD), logits), 0.5), jnp.log(OLD)))
    worst = float(jnp.abs(found - jnp.array(REVERSED)).max())
    yield exact("KL(old, new) instead, largest error of a probability", worst, 0.0, 2e-6)
    found = jax.nn.softmax(minimum(lambda logits: soft_loss(logits, 1.0), jnp.zeros(3)))
    yield exact("soft step, largest error of a probability", float(jnp.abs(found - jnp.array(SOFT)).max()), 0.0, 2e-6)
    slope = float(jnp.abs(jax.grad(soft_loss)(jnp.log(jnp.array(SOFTMAX)), 0.2)).max())
    yield exact("c equal to the temperature, slope at the softmax of Q / temperature", slope, 0.0, 1e-7)
    policy = np.asarray(OLD)
    for _ in range(60):  # the closed form of a soft step, which is right as the row above says
        policy = special.softmax(0.8 * np.log(policy) + np.asarray(ADVANTAGE))
    worst = float(np.abs(policy - SOFTMAX).max())
    yield exact("60 soft steps, largest distance from that softmax", worst, 0.0, 1e-5)
    means = two_states(10)
    for step, value in MEANS.items():
        yield exact(f"mean value of two states after {step} steps", float(means[step]), value, 1e-6)
    yield exact("least change of it in a step, where negative", float(min(np.diff(means).min(), 0.0)), 0.0, 0.0)

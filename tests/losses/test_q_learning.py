"""Targets and losses of action values against hand-worked numbers and plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxrl.losses.q_learning import (
    categorical_cross_entropy,
    categorical_projection,
    expected_target,
    greedy_policy,
    huber,
    midpoints,
    munchausen_reward,
    quantile_huber,
)
from jaxrl.losses.value_spaces import Backup, categorical, quantiles, scalar

ONLINE, TARGET = jnp.array([1.0, 3.0, 2.0]), jnp.array([5.0, 0.5, 4.0])


def test_q_learning_and_double_q_learning():
    """The target network's greatest value, and its value of the online network's choice."""
    assert expected_target(1.0, 0.9, TARGET, greedy_policy(TARGET)) == pytest.approx(1 + 0.9 * 5)
    assert expected_target(1.0, 0.9, TARGET, greedy_policy(ONLINE)) == pytest.approx(1 + 0.9 * 0.5)
    assert expected_target(1.0, 0.0, TARGET, greedy_policy(TARGET)) == 1
    np.testing.assert_array_equal(greedy_policy(jnp.array([2.0, 2.0])), [1, 0])


def test_munchausen():
    """Against the formulas in numpy; the log-policy is bounded below; as the temperature falls it is Q-learning."""
    temperature, q = 0.5, np.array([1.0, 2.0, 0.0])
    pi = np.exp(q / temperature) / np.exp(q / temperature).sum()
    for action in range(3):
        expected = 0.9 * max(temperature * np.log(pi[action]), -1.0)
        reward = munchausen_reward(jnp.asarray(q, jnp.float32), jnp.int32(action), 0.9, temperature, -1.0)
        assert reward == pytest.approx(expected, rel=1e-5)
    assert 0.9 * temperature * np.log(pi[2]) < -0.9, "one of them is bounded"
    soft = expected_target(
        0.3, 0.9, jnp.asarray(q), jnp.asarray(pi), -temperature * jnp.log(jnp.asarray(pi, jnp.float32))
    )
    # sum_a pi (q - t log pi) is the log-sum-exp
    assert soft == pytest.approx(0.3 + 0.9 * temperature * np.log(np.exp(q / temperature).sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("error", "threshold", "loss", "slope"),
    [
        (0.5, 1.0, 0.125, 0.5),
        (-3.0, 1.0, 2.5, -1.0),
        (3.0, np.inf, 4.5, 3.0),
        (3.0, 2.0, 4.0, 2.0),
        (0.0, np.inf, 0, 0),
    ],
)
def test_huber(error, threshold, loss, slope):
    value, gradient = jax.value_and_grad(huber)(jnp.float32(error), jnp.float32(threshold))
    assert value == pytest.approx(loss)
    assert gradient == pytest.approx(slope)


def projected(z, p, support):
    """The projection by a loop over atoms, as in algorithm 1 of Bellemare et al. (2017)."""
    result, spacing = np.zeros(len(support)), (support[-1] - support[0]) / (len(support) - 1)
    for atom, mass in zip(z, p):
        b = (np.clip(atom, support[0], support[-1]) - support[0]) / spacing
        low, high = int(np.floor(b)), int(np.ceil(b))
        if low == high:
            result[low] += mass
        else:
            result[low] += mass * (high - b)
            result[high] += mass * (b - low)
    return result


@pytest.mark.parametrize("seed", range(3))
def test_categorical_projection(seed):
    draw = np.random.default_rng(seed)
    support = np.linspace(-3, 5, 17)
    for low, high, covered in ((-3, 5, True), (-6, 9, False)):
        z, p = draw.uniform(low, high, 12), draw.dirichlet(np.ones(12))
        z[0] = support[4]
        result = np.asarray(categorical_projection(*(jnp.asarray(x, jnp.float32) for x in (z, p, support))))
        np.testing.assert_allclose(result, projected(z, p, support), atol=1e-5)
        assert result.sum() == pytest.approx(1, abs=1e-5)
        gap = abs(result @ support - z @ p)
        assert (gap < 1e-5) == covered
    on_support = draw.dirichlet(np.ones(17)).astype(np.float32)
    again = categorical_projection(jnp.asarray(support, jnp.float32), on_support, jnp.asarray(support, jnp.float32))
    np.testing.assert_allclose(again, on_support, atol=1e-5)


def test_categorical_cross_entropy():
    """Least at the target's own probabilities, with a gradient of softmax minus target."""
    logits, p = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.2, 0.3, 0.5])
    value, gradient = jax.value_and_grad(categorical_cross_entropy)(logits, p)
    assert value == pytest.approx(float(-(p * jnp.log(jax.nn.softmax(logits))).sum()), rel=1e-6)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - p, atol=1e-6)


def test_quantile_huber_is_the_double_sum():
    draw = np.random.default_rng(0)
    q, z, level, k = draw.normal(size=4), draw.normal(size=7), midpoints(4), 0.3
    expected = 0.0
    for i in range(4):
        for j in range(7):
            u = z[j] - q[i]
            loss = 0.5 * u**2 if abs(u) <= k else k * (abs(u) - 0.5 * k)
            expected += abs(level[i] - (u < 0)) * loss / k / 7
    value = quantile_huber(jnp.asarray(q, jnp.float32), level, jnp.asarray(z, jnp.float32), k)
    assert value == pytest.approx(float(expected), rel=1e-5)


def test_quantile_regression_finds_the_midpoint_quantiles():
    """Of a fixed skewed law: with a threshold far below its scale, the (2 i + 1) / (2 N) quantiles."""
    number, law = 5, stats.expon()
    samples = jnp.asarray(law.ppf((np.arange(2_000) + 0.5) / 2_000), jnp.float32)
    gradient = jax.grad(lambda q: quantile_huber(q, midpoints(number), samples, 1e-3))
    q = jax.lax.fori_loop(0, 1_000, lambda i, q: q - 2 / (1 + i / 100) * gradient(q), jnp.zeros(number))
    np.testing.assert_allclose(q, law.ppf([0.1, 0.3, 0.5, 0.7, 0.9]), atol=0.01)


def test_the_spaces_agree_on_what_is_certain():
    """With laws that are one value the three targets are the same number, greedy or soft."""
    values = jnp.array([1.0, 2.0, -1.0])
    for backup in (
        Backup(0.5, 0.9, greedy_policy(values)),
        Backup(0.5, 0.9, jnp.array([0.2, 0.5, 0.3]), jnp.array([0.1, -0.2, 0.3])),
    ):
        number = scalar(1.0).target(values[:, None], backup)
        law = quantiles(4, 1.0).target(jnp.broadcast_to(values[:, None], (3, 4)), backup)
        np.testing.assert_allclose(law, jnp.full(4, number), rtol=1e-6)
        space = categorical(13, -3.0, 3.0)
        logits = jnp.where(jnp.abs(jnp.linspace(-3, 3, 13)[None, :] - values[:, None]) < 0.1, 0.0, -1e9)
        np.testing.assert_allclose(space.mean(logits), values, atol=1e-5)
        probabilities, gap = space.target(logits, backup)
        assert float(probabilities @ jnp.linspace(-3, 3, 13)) == pytest.approx(float(number), abs=1e-5)
        assert gap < 1e-5
    outputs = jnp.array([2.5])
    loss = scalar(np.inf).loss(outputs, jnp.float32(1.0), None)
    assert loss == pytest.approx(1.5**2 / 2)
    assert scalar(np.inf).error(outputs, jnp.float32(1.0), loss) == pytest.approx(1.5)


def test_the_gap_of_a_support_that_is_too_small_is_how_far_the_mean_is_moved():
    space = categorical(3, -1.0, 1.0)
    probabilities, gap = space.target(jnp.zeros((1, 3)), Backup(2.0, 1.0, jnp.ones(1)))
    np.testing.assert_allclose(probabilities, [0, 0, 1])  # atoms at 1, 2 and 3
    assert gap == pytest.approx(1.0)


def test_regression_in_each_space_finds_the_mean():
    """Gradient descent on one-step targets 0 and 1, equally likely."""
    for space in (scalar(np.inf), categorical(11, -1.0, 2.0), quantiles(8, 1.0)):
        backups = [Backup(jnp.float32(r), jnp.float32(0), jnp.ones(1)) for r in (0.0, 1.0)]

        def loss(outputs, space=space, backups=backups):
            targets = [space.target(jax.lax.stop_gradient(outputs), backup) for backup in backups]
            return sum(space.loss(outputs[0], target, None) for target in targets)

        optimiser = optax.adam(0.05)
        outputs = jnp.zeros((1, space.size))

        def step(i, carry, loss=loss, optimiser=optimiser):
            outputs, state = carry
            updates, state = optimiser.update(jax.grad(loss)(outputs), state)
            return optax.apply_updates(outputs, updates), state

        outputs, _ = jax.lax.fori_loop(0, 1000, step, (outputs, optimiser.init(outputs)))
        assert float(space.mean(outputs)[0]) == pytest.approx(0.5, abs=0.02)

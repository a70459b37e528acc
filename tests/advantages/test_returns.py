"""Advantages against an independent slow reference, and successors' values against a second pass of the critic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl.advantages.returns import ValuedTransitions, gae, generalised_advantage, standardise, values_of
from jaxrl.core.types import Transition


def slow_advantage(reward, discount, cut, value, next_value, lambda_):
    """The definition, forwards: the sum over l of delta_{t+l}, weighted by the discounts and traces on the way."""
    advantage = np.zeros_like(reward)
    for env in range(reward.shape[1]):
        for start in range(len(reward)):
            weight = 1.0
            for t in range(start, len(reward)):
                delta = reward[t, env] + discount[t, env] * next_value[t, env] - value[t, env]
                advantage[start, env] += weight * delta
                if cut[t, env]:
                    break
                weight *= discount[t, env] * lambda_
    return advantage


def trajectories(seed, steps, envs):
    """Random rewards and values with both kinds of end; a termination is a cut, a cut need not be a termination."""
    generator = np.random.default_rng(seed)
    reward, value, next_value = generator.normal(size=(3, steps, envs))
    terminated = generator.random((steps, envs)) < 0.2
    cut = terminated | (generator.random((steps, envs)) < 0.2)
    return reward, 1.0 - terminated, cut.astype(float), value, next_value


@given(
    seed=st.integers(0, 10**6),
    steps=st.sampled_from([1, 2, 7, 8, 17]),
    gamma=st.floats(0, 1),
    lambda_=st.floats(0, 1),
)
def test_against_the_definition(seed, steps, gamma, lambda_):
    batch = trajectories(seed, steps, 3)
    reward, discount, cut, value, next_value = batch
    expected = slow_advantage(reward, gamma * discount, cut, value, next_value, lambda_)
    valued = ValuedTransitions(*[jnp.asarray(x, jnp.float32) for x in batch])
    np.testing.assert_allclose(estimate(gamma, lambda_, valued), expected, rtol=1e-4, atol=1e-5)


@jax.jit
def estimate(gamma, lambda_, valued):
    """What the transform makes of any advantage."""
    advantage, state = gae(gamma, lambda_).update(jnp.full_like(valued.reward, 99.0), valued, ())
    assert state == ()
    return advantage


def golden(discount, cut):
    """Rewards 1, 2, 3; values 10, 20, 30 and then 40; discount 0.5, lambda 0.5; an end, if any, at step 1."""
    column = lambda *x: jnp.asarray(x, jnp.float32)[:, None]  # noqa: E731
    # the successor of an episode's last step is worth 7, which is not the value of the next episode's first
    next_value = column(20, 7 if cut else 30, 40)
    return generalised_advantage(
        column(1, 2, 3),
        0.5 * column(1, discount, 1),
        column(0, cut, 0),
        column(10, 20, 30),
        next_value,
        0.5,
    )[:, 0]


def test_golden_values():
    # deltas 1, -3, -7; A2 = -7, A1 = -3 + A2 / 4, A0 = 1 + A1 / 4
    np.testing.assert_allclose(golden(discount=1, cut=0), [1 - 4.75 / 4, -4.75, -7])
    # a time limit: the delta bootstraps from 7, and the trace stops
    np.testing.assert_allclose(golden(discount=1, cut=1), [1 - 14.5 / 4, -14.5, -7])
    # a termination: nothing comes after
    np.testing.assert_allclose(golden(discount=0, cut=1), [1 - 18 / 4, -18, -7])


def test_lambda_of_one_is_the_return_and_of_zero_the_temporal_difference():
    reward, discount, _, value, _ = trajectories(0, 9, 2)
    discount[:] = 1
    next_value = np.concatenate([value[1:], [[5.0, 6.0]]])
    arguments = [jnp.asarray(x, jnp.float32) for x in (reward, 0.9 * discount, 0 * discount, value, next_value)]
    returns, following = np.zeros_like(reward), np.array([5.0, 6.0])
    for t in reversed(range(9)):
        following = returns[t] = reward[t] + 0.9 * following
    np.testing.assert_allclose(generalised_advantage(*arguments, 1.0), returns - value, rtol=1e-4, atol=1e-5)
    one_step = reward + 0.9 * next_value - value
    np.testing.assert_allclose(generalised_advantage(*arguments, 0.0), one_step, rtol=1e-5, atol=1e-6)


def test_standardise():
    advantage = jnp.asarray(np.random.default_rng(0).normal(3, 7, (8, 4)), jnp.float32)
    result, state = standardise().update(advantage, None, ())
    assert abs(result.mean()) < 1e-6
    assert result.std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(result, (advantage - advantage.mean()) / advantage.std(), rtol=1e-5, atol=1e-6)
    constant, _ = standardise().update(jnp.ones((2, 2)), None, state)
    np.testing.assert_array_equal(constant, 0)


def rollout_of(generator, steps, envs, limit, termination):
    """A rollout with time limits exactly at ``limit`` steps, in which every observation is different."""
    obs, next_obs, discount, cut = (np.zeros((steps, envs), np.float32) for _ in range(4))
    for env in range(envs):
        age, now = int(generator.integers(0, limit)), generator.normal()
        for t in range(steps):
            obs[t, env], next_obs[t, env] = now, generator.normal()
            age += 1
            terminated = generator.random() < termination
            ended = terminated or age >= limit
            discount[t, env], cut[t, env] = not terminated, ended
            age, now = (0, generator.normal()) if ended else (age, next_obs[t, env])
    zeros = jnp.zeros((steps, envs))
    return Transition(jnp.asarray(obs)[..., None], zeros, zeros, jnp.asarray(discount), jnp.asarray(cut),
                      jnp.asarray(next_obs)[..., None], {})  # fmt: skip


@pytest.mark.parametrize("steps", [1, 5, 16, 33])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 15, 16, 17, 1000])
@pytest.mark.parametrize("termination", [0.0, 0.15])
def test_values_of_are_those_of_a_second_pass(steps, limit, termination):
    calls = []

    def critic(obs):
        calls.append(obs.shape)
        return jnp.sin(3 * obs[..., 0]) + obs[..., 0]

    for seed in range(5):
        batch = rollout_of(np.random.default_rng(seed), steps, 4, limit, termination)
        value, next_value = jax.jit(lambda batch: values_of(critic, batch, limit))(batch)
        np.testing.assert_allclose(value, critic(batch.obs), rtol=1e-6, atol=1e-6)
        reference = np.asarray(critic(batch.next_obs))
        assert np.isfinite(next_value).all()
        used = np.asarray(batch.discount) == 1
        np.testing.assert_allclose(np.asarray(next_value)[used], reference[used], rtol=1e-6, atol=1e-6)
    evaluated = calls[0][0]
    assert evaluated == min(steps + 1 + -(-steps // limit), 2 * steps) or -(-steps // limit) < steps
    if limit >= steps > 1:
        assert evaluated == steps + 2, "one more observation for the end of the rollout and one for a time limit"


def test_values_of_structured_observations():
    batch = rollout_of(np.random.default_rng(0), 12, 3, 4, 0.1)
    image = lambda obs: {"a": obs, "b": jnp.broadcast_to(obs[..., None], (*obs.shape[:2], 2, 2)) * 2}  # noqa: E731
    structured = batch._replace(obs=image(batch.obs), next_obs=image(batch.next_obs))
    critic = lambda obs: jnp.cos(obs["a"][..., 0]) + obs["b"].sum((-1, -2))  # noqa: E731
    _, next_value = values_of(critic, structured, 4)
    used = np.asarray(batch.discount) == 1
    np.testing.assert_allclose(np.asarray(next_value)[used], np.asarray(critic(structured.next_obs))[used], rtol=1e-5)

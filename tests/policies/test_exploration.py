"""Epsilon-greedy behaviour: its frequencies, its schedule, and that judging is another matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxrl.core.types import Behaviour, Learner
from jaxrl.policies.exploration import epsilon_greedy, linear_decay

KEY = jax.random.key(0)
ACTIONS, ROWS = 4, 20_000


def greedy_learner():
    """Always takes action 2, and tells its source something."""

    def two(obs):
        return jnp.full(obs.shape[:1], 2)

    return Learner(
        lambda key: jnp.float32(0),
        lambda state, batch, key: (state + batch, {}),
        lambda state: Behaviour(jax.random.uniform, lambda obs, noise: (two(obs), {"log_prob": noise}), "told"),
        lambda state, obs, key, greedy: two(obs),
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_shares_of_actions(epsilon):
    """The greedy action also comes up among the random ones."""
    learner = epsilon_greedy(greedy_learner(), spaces.Discrete(ACTIONS), lambda calls: jnp.float32(epsilon))
    state, obs = learner.init(KEY), jnp.zeros((ROWS, 1))
    behaviour = learner.behaviour(state)
    action, extras = behaviour.act(obs, behaviour.noise(KEY, (ROWS,)))
    assert extras == {}
    assert behaviour.feedback == "told"
    expected = epsilon / ACTIONS + (1 - epsilon) * (np.arange(ACTIONS) == 2)
    for chosen in (action, learner.policy(state, obs, KEY, False)):
        share = np.bincount(chosen, minlength=ACTIONS) / ROWS
        assert len(share) == ACTIONS
        assert (np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / ROWS)).all()
    assert (learner.policy(state, obs, KEY, True) == 2).all()


def test_the_share_falls_by_the_number_of_updates():
    decay = linear_decay(1.0, 0.2, 0.5, 8)
    np.testing.assert_allclose([decay(jnp.int32(n)) for n in range(7)], [1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2], rtol=1e-6)
    assert linear_decay(1.0, 0.2, 0.0, 8)(jnp.int32(1)) == pytest.approx(0.2)
    learner = epsilon_greedy(greedy_learner(), spaces.Discrete(ACTIONS), lambda calls: jnp.where(calls < 2, 1.0, 0.0))
    state = learner.init(KEY)
    for call in range(3):
        behaviour = learner.behaviour(state)
        action, _ = behaviour.act(jnp.zeros((50, 1)), behaviour.noise(KEY, (50,)))
        assert bool((action == 2).all()) == (call == 2)
        state, _ = learner.update(state, 1.0, KEY)
    assert state.inner == 3

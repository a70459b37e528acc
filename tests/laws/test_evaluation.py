"""Evaluation against a loop that plays one episode after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs import make

from jaxrl import InvalidArgument
from jaxrl.engine.evaluate import evaluate
from jaxrl.engine.sinks import Sink

EPISODES = 4
KEYS = jax.random.split(jax.random.key(5), 3)
THRESHOLDS = jnp.array([-0.05, 0.0, 0.3])  # a policy for each member, none of them good


def policy(obs, keys):
    """Pushes where the pole falls to, from the member's threshold on."""
    return (obs[..., 2] + 0.3 * obs[..., 3] > THRESHOLDS[:, None]).astype(jnp.int32)


def judged(env, max_steps, batch=None):
    function = jax.jit(lambda keys: evaluate(policy, env, env.default_params, keys, EPISODES, max_steps, batch))
    return {name: np.asarray(values) for name, values in function(KEYS).items()}


def played(env, max_steps):
    """Return and length of every episode of every member, from the first observations that the engine draws."""
    params, step = env.default_params, jax.jit(env.step_env)
    result = np.zeros((2, len(KEYS), EPISODES))
    for member in range(len(KEYS)):
        for episode in range(EPISODES):
            obs, state = starts(env, member, episode)
            for _ in range(max_steps):
                action = policy(jnp.broadcast_to(obs, (3, 1, 4)), None)[member, 0]
                obs, state, reward, terminated, _ = step(jax.random.key(0), state, action, params)
                result[:, member, episode] += float(reward), 1
                if terminated or env.is_truncated(state, params):
                    break
    return result


def starts(env, member, episode):
    """An episode's reset: of a key of its own, derived from the member's."""
    reset_key, _, _ = jax.random.split(KEYS[member], 3)
    return env.reset_env(jax.random.split(reset_key, EPISODES)[episode], env.default_params)


@pytest.fixture(scope="module")
def env():
    """An environment whose steps are deterministic, with a limit that one of the policies reaches."""
    return make("CartPole-v1", max_steps_in_episode=60)


def test_it_is_a_plain_loop(env):
    returns, lengths = played(env, 60)
    result = judged(env, 60)
    np.testing.assert_allclose(result["evaluation_return"], returns.mean(axis=1))
    np.testing.assert_allclose(result["evaluation_length"], lengths.mean(axis=1))
    assert len(np.unique(lengths)) >= 4
    assert lengths.max() <= 60


def test_no_episode_is_longer_than_the_bound(env):
    returns, _ = played(env, 7)
    result = judged(env, 7)
    np.testing.assert_array_equal(result["evaluation_length"], [7, 7, 7])
    np.testing.assert_allclose(result["evaluation_return"], returns.mean(axis=1))


@pytest.mark.parametrize("batch", [1, 2])
def test_how_many_episodes_run_at_once_does_not_matter(env, batch):
    whole, parts = judged(env, 60), judged(env, 60, batch)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6)


def test_what_happens_after_the_end_does_not_count():
    """NaN rewards included: the fault comes at the step after the limit of the shortest episode."""
    env = make("probe/faulty-v0", max_steps_in_episode=5, fault_step=6)
    function = jax.jit(
        lambda keys: evaluate(
            lambda obs, keys: jnp.zeros(obs.shape[:2], jnp.int32), env, env.default_params, keys, 2, 20
        )
    )
    np.testing.assert_array_equal(function(KEYS)["evaluation_return"], [5, 5, 5])


def test_a_members_episodes_depend_on_its_key_only(env):
    one = jax.jit(
        lambda keys: evaluate(
            lambda obs, k: policy(jnp.broadcast_to(obs, (3, *obs.shape[1:])), k)[1:2],
            env,
            env.default_params,
            keys,
            4,
            60,
        )
    )(KEYS[1:2])
    assert one["evaluation_return"][0] == judged(env, 60)["evaluation_return"][1]


def test_the_engine_judges_the_greedy_policy(run, tiny):
    """The reported value is that of the final state's greedy actions, on the episodes of the evaluation's key."""
    from jaxrl.engine.transfer import evaluation_keys  # the derivation is the engine's own affair

    result = run(seeds=3, tile=1)
    env = make("CartPole-v1")
    algorithm = tiny.make(env)
    states = result.states

    def act(state, obs, key):
        return algorithm.policy(state, obs, key, greedy=True)

    from jaxrl.engine.population import populate

    keys = evaluation_keys(populate(tiny, 3).keys(0), len(result.updates) - 1)
    again = jax.jit(
        lambda states, keys: evaluate(
            lambda obs, keys: jax.vmap(act)(states, obs, keys), env, env.default_params, keys, 2, 500
        )
    )(states, keys)
    np.testing.assert_allclose(result.metrics["evaluation_return"][:, -1], again["evaluation_return"])


def test_metrics_are_averages_over_episodes_not_over_updates(run):
    """A long stretch with one episode and a short one with ten count as eleven."""

    class Rows(Sink):
        """Keeps the rows."""

        def __init__(self):
            self.rows = []

        def write(self, evaluation, rows):
            self.rows.append(rows)

    each, whole = Rows(), Rows()
    run(seeds=3, tile=1, evaluate_every=16, sinks=[each])
    run(seeds=3, tile=1, evaluate_every=16 * 12, sinks=[whole])
    episodes = np.stack([rows["episodes"] for rows in each.rows])
    returns = np.nan_to_num(np.stack([rows["episode_return"] for rows in each.rows]))
    expected = (episodes * returns).sum(axis=0) / episodes.sum(axis=0)
    np.testing.assert_allclose(whole.rows[-1]["episode_return"], expected, rtol=1e-5)
    assert (episodes == 0).any(), "an update without an end of an episode says NaN, and counts nothing"
    assert np.isnan(np.stack([rows["episode_return"] for rows in each.rows])[episodes == 0]).all()


@pytest.mark.parametrize(
    ("argument", "settings"),
    [
        ("evaluation_batch", {"evaluation_episodes": 4, "evaluation_batch": 3}),
        ("evaluation_episodes", {"evaluation_episodes": 0}),
        ("evaluate_every", {"evaluate_every": -1}),
        ("updates", {"updates": 0}),
        ("steps", {"updates": None, "steps": 0}),
        ("steps", {"updates": 3, "steps": 100}),
        ("tile", {"tile": 0}),
        ("seeds", {"seeds": 0}),
        ("seeds", {"seeds": [1, 1]}),
        ("seeds", {"seeds": [-1]}),
        ("seeds", {"seeds": [0.5]}),
    ],
)
def test_bad_arguments_are_named(run, argument, settings):
    with pytest.raises(InvalidArgument) as error:
        run(**settings)
    assert error.value.argument == argument

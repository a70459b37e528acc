"""Tabular processes against their published numbers, and the environment against the processes that it samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrl.envs import tabular
from jaxrl.envs.tabular import TabularEnvironment
from scipy.stats import binom, norm

from jaxrl import envs
from jaxrl.bellman import dense_mdp, sparse_mdp
from jaxrl.engine.population import checked_env_fields
from jaxrl.errors import InvalidArgument

SMALL = {
    "tabular/riverswim-v0": [{}, {"version": "osband", "observation": "index"}],
    "tabular/machine-replacement-v0": [{}],
    "tabular/inventory-v0": [{"capacity": 6, "max_order": 3, "demand": {0: 0.3, 1: 0.5, 3: 0.2}}],
    "tabular/gamblers-ruin-v0": [{"target": 5}, {"target": 5, "on_arrival": True, "observation": "index"}],
    "tabular/garnet-v0": [{"states": 20, "actions": 3, "branching": 4}],
    "tabular/windy-walk-v0": [{"alpha": 0.8}],
    "tabular/cliff-walking-v0": [{}],
    "tabular/gridworld-v0": [{"layout": "S.# X.. #.G", "slip": 0.3, "step": -0.1}],
    "tabular/two-coin-v0": [{"win": 0.3}],
    "tabular/bit-generator-v0": [{}],
    "tabular/gamble-chain-v0": [{}, {"horizon": 3}],
    "tabular/american-option-v0": [{"decisions": 3, "refinement": 2}, {"decisions": 2, "observation": "one-hot"}],
    "tabular/trading-v0": [{"periods": 3, "trades": 3, "max_trade": 1.0, "max_position": 2.0, "prices": 5}],
    "tabular/homeostasis-v0": [{}],
}
CASES = [(env_id, settings) for env_id, several in SMALL.items() for settings in several]
# All are of one class. These show the state and a mask, features and a mask, and a one-hot vector with two rewards.
KINDS = [CASES[5], *CASES[-2:]]


# --- what the tests share ----------------------------------------------------------------------------------------


def optimal(process, tolerance=1e-11):
    """Optimal values ``[S]`` and actions ``[S]``, by iterating the definition."""
    p, r, values = np.asarray(process.probabilities), process.expected_rewards(), np.zeros(process.states)
    while True:
        q = r + process.discount * (p * process.at_successors(values)).sum(-1)
        if process.allowed is not None:
            q = np.where(process.allowed, q, -np.inf)
        if np.abs(q.max(1) - values).max() < tolerance:
            return q.max(1), q.argmax(1)
        values = q.max(1)


def row(process, state, action):
    """What an action can lead to: {(successor, reward): probability}."""
    process = process.as_sparse()
    p, successors = process.probabilities[state, action], process.successors[state, action]
    rewards = np.broadcast_to(process.rewards[state, action], p.shape)
    found = {}
    for chance, successor, reward in zip(p, successors, rewards):
        if chance > 0:
            key = (int(successor), round(float(reward), 9))
            found[key] = found.get(key, 0) + float(chance)
    return found


def laws(process, state, horizon):
    """Every law of the return that a policy with a memory can have, each a frozenset of (return, probability).

    Such a policy has an own plan for what comes after each outcome.
    """
    if horizon == 0:
        return {frozenset({(0.0, 1.0)})}
    found = set()
    for action in range(process.actions):
        outcomes = list(row(process, state, action).items())
        later = [laws(process, successor, horizon - 1) for (successor, _), _ in outcomes]
        for plan in itertools.product(*later):
            law = {}
            for ((_, reward), chance), rest in zip(outcomes, plan):
                for value, p in rest:
                    total = round(reward + float(process.discount) * value, 9)
                    law[total] = law.get(total, 0) + chance * p
            found.add(frozenset((value, round(p, 12)) for value, p in law.items()))
    return found


def worst_mean(law, share):
    """The mean of the worst share of a law."""
    total, left = 0.0, share
    for value, p in sorted(law):
        total, left = total + min(p, left) * value, left - min(p, left)
    return total / share


@jax.jit
def _steps(params, keys):
    """Successors and rewards of every state and action ``[S, A, samples]``, and whether the successor is an end."""
    env = TabularEnvironment(tabular.bit_generator(), observation="index")  # whose parameters are replaced

    def one(state, action, key):
        state = tabular.TabularState(time=jnp.int32(0), state=state)
        _, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return state.state, reward, terminated

    states, actions = params.cumulative.shape[:2]
    over_keys = jax.vmap(one, (None, None, 0))
    over_actions = jax.vmap(over_keys, (None, 0, 0))
    return jax.vmap(over_actions, (0, None, 0))(jnp.arange(states), jnp.arange(actions), keys)


def steps(params, samples, seed=0, padded=(0, 0, 0)):
    """As ``_steps``, as numpy, in a program for ``padded`` states, actions and outcomes if these are more."""
    size = params.cumulative.shape
    more = [(0, max(full - n, 0)) for full, n in zip(padded, size)]
    if any(padded):
        params = params.replace(
            cumulative=np.pad(params.cumulative, more, constant_values=1.0),
            rewards=np.pad(np.broadcast_to(params.rewards, size), more),
            successors=np.pad(params.successors, more),
            start=np.pad(params.start, more[0], constant_values=1.0),
            terminal=np.pad(params.terminal, more[0]),
        )
    keys = jax.random.split(jax.random.key(seed), (*params.cumulative.shape[:2], samples))
    return [np.asarray(x)[: size[0], : size[1]] for x in _steps(params, keys)]


def mismatch(env, process, samples=1000, padded=(50, 10, 9)):
    """How likely it is to see an outcome as often, or as rarely, as it was seen: the least of all outcomes of allowed
    actions; 0 if one was seen that cannot be.

    Outcomes are (successor, reward), so that rewards are compared exactly.
    """
    successors, rewards, _ = steps(env.default_params, samples, padded=padded)
    least = 1.0
    for state, action in np.ndindex(successors.shape[:2]):
        if process.allowed is not None and not process.allowed[state, action]:
            continue
        expected = {(s, round(r, 4)): p for (s, r), p in row(process, state, action).items()}
        pairs = np.stack([successors[state, action], rewards[state, action].astype(float).round(4)], -1)
        values, counts = np.unique(pairs, axis=0, return_counts=True)
        seen = {(int(s), r): n for (s, r), n in zip(values, counts)}
        if seen.keys() - expected.keys():
            return 0.0
        for outcome, p in expected.items():
            n = seen.get(outcome, 0)
            least = min(least, binom.cdf(n, samples, p), binom.sf(n - 1, samples, p))
    return least


# --- the environment and its process -----------------------------------------------------------------------------


@pytest.mark.parametrize(("env_id", "settings"), [case for case in CASES if case[0] != "tabular/homeostasis-v0"])
def test_steps_follow_the_process(env_id, settings):
    """Of some 1,000 outcomes, none is seen as often or rarely as chance would have it once in a million."""
    env = envs.make(env_id, **settings)
    # In one program for all; rewards of one number an action in one of their own.
    own = env_id == "tabular/garnet-v0"
    assert not own or env.default_params.rewards.shape[2] == 1
    assert mismatch(env, env.process, **({"padded": (0, 0, 0)} if own else {})) > 1e-6


def test_the_comparison_notices_a_wrong_probability_or_reward():
    process = tabular.riverswim("osband")
    env = TabularEnvironment(process)
    wrong = np.array(process.probabilities)
    wrong[2, 1, 1:4] = 0.12, 0.6, 0.28
    assert mismatch(env, process.replace(probabilities=wrong)) < 1e-6
    rewards = np.array(process.rewards)
    rewards[0, 0, 0] = 0.006
    assert mismatch(env, process.replace(rewards=rewards)) == 0


def test_one_process_dense_and_in_lists_is_sampled_alike():
    process = tabular.riverswim()
    lists = process.as_sparse()
    assert lists.outcomes == 3
    for name, table in tabular.tables(process).items():
        np.testing.assert_array_equal(table, tabular.tables(lists)[name])


def test_first_states_follow_the_start():
    process = dense_mdp(np.full((4, 1, 4), 0.25), np.ones((4, 1)), start=[0.0, 0.2, 0.0, 0.8])
    env = TabularEnvironment(process, observation="index")
    first = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), 2000), env.default_params)[0]
    counts = np.bincount(first, minlength=4)
    assert counts[0] == counts[2] == 0
    assert 1e-6 < binom.cdf(counts[1], 2000, 0.2) < 1 - 1e-6


def test_outcomes_that_cannot_be_are_never_drawn():
    """Also where rounding leaves room at the ends of a list: thirds, with nothing before, between and after them."""
    third = 1 / 3
    table = tabular.tables(sparse_mdp([[[0] * 6]], [[[0, third, 0, third, third, 0]]], [[0.0]]), outcomes=8)
    row = table["cumulative"][0, 0]
    assert row.dtype == np.float32
    assert row[0] == 0
    assert row[1] == row[2]
    np.testing.assert_array_equal(row[4:], 1)
    np.testing.assert_allclose(row[:4], [0, third, third, 2 * third], rtol=1e-6)


@pytest.mark.parametrize(("env_id", "settings"), KINDS)
def test_contract(env_id, settings):
    envs.check(envs.make(env_id, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "settings"), [case for case in CASES if case not in KINDS])
def test_contract_of_the_others(env_id, settings):
    envs.check(envs.make(env_id, **settings))


def test_every_registered_one_is_tested():
    assert SMALL.keys() == tabular.SETTINGS.keys()
    assert {env_id for env_id in envs.registered() if env_id.startswith("tabular/")} == SMALL.keys()
    for env_id in SMALL:
        assert envs.make(env_id).name == env_id
        assert len(envs.documentation(env_id).split("\n")[0]) > 20


def test_settings_go_to_the_process_and_the_time_limit_to_the_parameters():
    env = envs.make("tabular/windy-walk-v0", alpha=0.25, max_steps_in_episode=7)
    np.testing.assert_array_equal(envs.unwrapped(env).process.probabilities, tabular.windy_walk(0.25).probabilities)
    assert env.default_params.max_steps_in_episode == 7
    with pytest.raises(InvalidArgument, match="did you mean 'alpha'"):
        envs.make("tabular/windy-walk-v0", alfa=0.25)


def test_ends_are_states_that_pay_nothing_for_ever():
    p = np.zeros((4, 2, 4))
    p[0, :, 1] = p[1, :, 1] = p[2, :, 2] = p[3, 0, 3] = p[3, 1, 0] = 1  # 1 ends, 2 pays, 3 can be left
    rewards = np.zeros((4, 2))
    rewards[2] = 1
    for allowed, expected in ((None, [1]), ([[1, 1], [1, 1], [1, 1], [1, 0]], [1, 3])):
        table = tabular.tables(dense_mdp(p, rewards, allowed=allowed))
        assert np.flatnonzero(table["terminal"]).tolist() == expected


def test_what_is_not_allowed_does_what_the_first_allowed_action_does():
    process = tabular.inventory(capacity=3, max_order=3, demand={1: 1.0})
    env = TabularEnvironment(process, observation="index")
    successors, rewards, _ = steps(env.default_params, 1000, padded=(50, 10, 9))
    np.testing.assert_array_equal(successors[3, :, 0], [2] * 4)
    np.testing.assert_allclose(rewards[3, :, 0], 16 - 0.3 * 2, rtol=1e-6)
    np.testing.assert_array_equal(successors[1, :, 0], [0, 1, 2, 0])


@pytest.mark.parametrize("kind", ["one-hot", "index", "features"])
def test_masks_are_in_the_observation(kind):
    process = tabular.inventory(capacity=5, max_order=3, demand={1: 1.0})
    features = np.linspace(-1, 1, 12).reshape(6, 2)
    env = TabularEnvironment(process, observation=features if kind == "features" else kind)
    states = tabular.TabularState(time=jnp.zeros(6, jnp.int32), state=jnp.arange(6))
    obs = jax.jit(jax.vmap(lambda state: env.observe(None, state, None, env.default_params)))(states)
    expected = np.arange(6)[:, None] + np.arange(4) <= 5
    np.testing.assert_array_equal(envs.action_mask(env, obs), expected)
    np.testing.assert_array_equal(envs.action_mask(env, obs.reshape(2, 3, *obs.shape[1:])), expected.reshape(2, 3, 4))
    shown = {"one-hot": np.eye(6), "index": np.arange(6), "features": np.concatenate([features, expected], 1)}
    np.testing.assert_allclose(obs, shown[kind], rtol=1e-6)
    assert envs.action_mask(envs.make("tabular/riverswim-v0"), jnp.zeros(6)) is None


def test_vector_rewards_are_earned_on_arrival():
    env = envs.make("tabular/homeostasis-v0")
    assert envs.reward_shape(env) == (2,)
    successors, rewards, terminated = (x[:, :, 0] for x in steps(env.default_params, 1))
    paid = {3: [1, 0], 11: [0, 1]}  # state 11: the wall is no state
    np.testing.assert_array_equal(rewards, [[paid.get(s, [0, 0]) for s in of_state] for of_state in successors])
    assert set(paid) <= set(successors.ravel())
    assert not terminated.any()


def test_variants_are_members_of_one_program():
    processes = [tabular.gridworld("S.G ...", slip=slip) for slip in (0.0, 0.5)]
    processes.append(dense_mdp(np.full((6, 4, 6), 1 / 6), np.zeros(6), start=np.full(6, 1 / 6)))
    fields = tabular.variants(processes)
    assert {field.shape[0] for field in fields.values()} == {3}
    assert fields["cumulative"].shape == (3, 6, 4, 6)
    env = TabularEnvironment(processes[2])
    fitted = checked_env_fields(env.default_params, fields)
    for name, field in fields.items():
        np.testing.assert_array_equal(fitted[name], field)
    params = [env.default_params.replace(**{name: field[i] for name, field in fields.items()}) for i in range(3)]
    for member, process in zip(params, processes):
        env.check_params(member)
        seen = steps(member, 1000, padded=(50, 10, 9))[0]
        possible = process.as_dense().probabilities > 0
        for state, action in np.ndindex(6, 4):
            assert set(seen[state, action]) == set(np.flatnonzero(possible[state, action]))


# --- known numbers -----------------------------------------------------------------------------------------------


def test_riverswim():
    craam, osband = tabular.riverswim(), tabular.riverswim("osband")
    assert row(craam, 0, 0) == {(0, 5): 1}
    assert row(craam, 0, 1) == {(0, 0): 0.7, (1, 0): 0.3}
    assert row(craam, 3, 1) == {(2, 0): 0.1, (3, 0): 0.6, (4, 0): 0.3}
    assert row(craam, 5, 1) == {(4, 0): 0.7, (5, 10_000): 0.3}
    assert row(osband, 0, 0) == {(0, 0.005): 1}
    assert row(osband, 4, 1) == {(3, 0): 0.05, (4, 0): 0.6, (5, 0): 0.35}
    assert row(osband, 5, 1) == {(4, 1): 0.4, (5, 1): 0.6}
    assert row(osband, 5, 0) == {(4, 0): 1}
    expected = [1530.963997, 2097.987700, 3064.028083, 4520.866761, 6680.874750, 9875.275469]
    np.testing.assert_allclose(optimal(craam)[0], expected, rtol=1e-9)


def test_the_average_reward_of_riverswim():
    process, values = tabular.riverswim("osband"), np.zeros(6)
    for _ in range(3000):
        q = process.expected_rewards() + (process.probabilities * values).sum(-1)
        gain, values = q.max(1) - values, q.max(1)
    np.testing.assert_allclose(gain, 0.428622434, rtol=1e-8)
    np.testing.assert_allclose(values - values[0], [0, 0.714371, 2.041059, 3.455222, 4.881880, 6.310324], atol=1e-6)


def test_machine_replacement():
    process = tabular.machine_replacement()
    assert row(process, 6, 0) == {(6, 0): 0.2, (7, -20): 0.8}
    assert row(process, 6, 1) == {(7, -20): 0.3, (8, -10): 0.1, (9, -2): 0.6}
    assert row(process, 0, 1) == {(1, 0): 0.3, (8, -10): 0.1, (9, -2): 0.6}
    assert row(process, 8, 0) == {(8, -10): 1}
    assert row(process, 8, 1) == {(8, -10): 0.4, (9, -2): 0.6}
    assert row(process, 9, 0) == {(9, -2): 0.2, (0, 0): 0.8}
    assert row(process, 9, 1) == {(9, -2): 1}
    # An adversary that may go anywhere earns nothing on transitions that are not possible.
    assert not process.rewards[process.probabilities == 0].any()
    expected = [-1.766580, -12.880655, -8.933287, -1.822156]
    np.testing.assert_allclose(optimal(process)[0][[0, 6, 8, 9]], expected, atol=1e-6)


def test_inventory():
    process = tabular.inventory()
    assert (process.states, process.actions) == (101, 51)
    # 3 in stock, 4 ordered: what is sold and left, 4 bought, one delivery
    costs = 4 * 5 + 2
    units = {0: 0.1, 2: 0.5, 3: 0.1, 4: 0.1, 5: 0.1, 7: 0.1}
    expected = {(7 - sold, 16 * sold - costs - 0.3 * (7 - sold)): p for sold, p in units.items()}
    assert row(process, 3, 4) == pytest.approx(expected)
    assert row(process, 0, 0) == pytest.approx({(0, 0): 1})
    np.testing.assert_array_equal(process.allowed.sum(1)[[0, 50, 51, 99, 100]], [51, 51, 50, 2, 1])
    values, orders = optimal(process)
    np.testing.assert_allclose(values[[0, 1, 10]], [127.814920, 132.814920, 179.745029], atol=1e-6)
    np.testing.assert_array_equal(orders[:12], [12, 11, 10, 9, 8] + [0] * 7)


def test_gamblers_ruin():
    ruin = tabular.gamblers_ruin(on_arrival=True, discount=1.0)
    odds = 0.3 / 0.7
    expected = (1 - odds ** np.arange(10)) / (1 - odds**10)
    np.testing.assert_allclose(optimal(ruin)[0], [*expected, 0], atol=1e-9)  # with good odds the least bet is best
    forever = tabular.gamblers_ruin(discount=0.9)
    assert optimal(forever)[0][10] == pytest.approx(10)
    assert row(forever, 8, 5) == {(10, 0): 0.7, (3, 0): pytest.approx(0.3)}
    assert forever.start.argmax() == 5


def test_garnet():
    process = tabular.garnet(3, states=2000, actions=2, branching=6, rewards=(-2, 3))
    ordered = np.sort(process.successors, axis=-1)
    assert (np.diff(ordered, axis=-1) > 0).all()  # distinct
    assert set(np.unique(process.rewards)) == {-2, -1, 0, 1, 2, 3}
    # Exponential weights over their sum are uniform on the simplex: variance (n - 1) / n^2 / (n + 1).
    assert process.probabilities.var() == pytest.approx(5 / 36 / 7, rel=0.03)
    counts = np.bincount(process.successors.ravel(), minlength=2000)
    assert counts.var() == pytest.approx(12, rel=0.2)  # 24,000 uniform successors
    again, other = (tabular.garnet(seed, states=2000, actions=2, branching=6) for seed in (3, 4))
    np.testing.assert_array_equal(again.successors, process.successors)
    assert not np.array_equal(other.successors, process.successors)
    every = tabular.garnet(0, states=4, actions=2, branching=4, rewards=(0, 10), integers=False)
    assert (np.sort(every.successors, axis=-1) == np.arange(4)).all()
    assert (every.rewards % 1).all()


def test_windy_walk():
    process = tabular.windy_walk(0.5)
    assert process.states == 30
    assert process.start.argmax() == 0
    assert row(process, 2, 2) == {(3, -1): 0.5, (1, -1): 0.5}  # row 0, column 2, to the east
    assert row(process, 2, 1) == {(2, -1): 0.5, (1, -1): 0.5}  # a wall to the south
    assert row(process, 2, 3) == {(1, -1): 1}
    assert row(process, 4, 2) == {(5, -1): 1}  # no wind in column 4
    assert row(process, 5, 3) == {(5, 0): 1}  # the goal
    assert row(process, 10, 2) == {(11, -1): 1 - 0.5**3, (9, -1): 0.5**3}  # row 2, column 2
    assert row(process, 20, 1) == {(26, -1): 1 - 0.5**6, (19, -1): 0.5**6}  # row 4, column 2, to the south
    values, calm = optimal(tabular.windy_walk(0.0))
    assert values[0] == pytest.approx(-4.524381, abs=1e-6)
    assert optimal(process)[0][0] == pytest.approx(-7.952147, abs=1e-6)
    # The best way without wind, in the wind:
    here = np.arange(30)
    kernel = process.as_dense().probabilities[here, calm]
    cost = process.expected_rewards()[here, calm]
    assert np.linalg.solve(np.eye(30) - 0.95 * kernel, cost)[0] == pytest.approx(-10.294413, abs=1e-6)


def test_cliff_walking():
    process = tabular.cliff_walking()
    start = int(process.start.argmax())
    assert start == 24  # the lower left corner
    # up 5/8, any other 1/8; left and down stay
    assert row(process, start, 0) == {(16, 0): 0.625, (25, -1): 0.125, (24, 0): 0.25}
    assert row(process, 30, 1) == {(31, 10): 0.625, (22, 0): 0.125, (30, -1): 0.125, (29, -1): 0.125}
    assert row(process, 31, 0) == {(31, 0): 1}
    assert row(process, 0, 3) == {(0, 0): 0.75, (1, 0): 0.125, (8, 0): 0.125}


def test_gridworld():
    process = tabular.gridworld("S.# X.. #.G", step=-0.1)
    assert tabular.cells("S.# X.. #.G") == ["S", ".", "X", ".", ".", ".", "G"]
    assert process.start.argmax() == 0
    directions = [next(iter(row(process, 3, action))) for action in range(4)]
    assert directions == [(1, -0.1), (4, -0.1), (5, -0.1), (2, -1.1)]  # north, east, south, west
    assert row(process, 4, 0) == {(4, -0.1): 1}  # a wall
    assert row(process, 4, 2) == {(6, 0.9): 1}
    for end in (2, 6):
        assert all(row(process, end, action) == {(end, 0): 1} for action in range(4))
    slippery = tabular.gridworld("S.# X.. #.G", slip=1.0)
    assert row(slippery, 3, 0) == row(slippery, 3, 2) == {(1, 0): 0.25, (2, -1): 0.25, (4, 0): 0.25, (5, 0): 0.25}
    assert tabular.gridworld(3).start.argmax() == 0
    assert tabular.cells(3)[-1] == "G"
    np.testing.assert_allclose(tabular.gridworld("..G").start, [0.5, 0.5, 0])


def test_two_coin():
    found = laws(tabular.two_coin(), 0, 2)
    assert len(found) == 4
    means = sorted(worst_mean(law, 0.75) for law in found)
    np.testing.assert_allclose(means, [-1, -2 / 3, -1 / 3, 0], atol=1e-9)
    for share, best in ((0.25, -2), (0.5, -1), (0.9, 0.555556), (1.0, 1.0)):
        assert max(worst_mean(law, share) for law in found) == pytest.approx(best, abs=1e-6)
    discounted = laws(tabular.two_coin(discount=0.9), 0, 2)
    assert max(worst_mean(law, 0.75) for law in discounted) == pytest.approx(-0.0666667, abs=1e-6)
    # the worst of second coins within [.5 - e, .5 + e]
    for e, value in ((0.1, -0.266667), (0.2, -0.533333), (0.3, -0.666667)):
        worst = laws(tabular.two_coin(0.5 - e), 0, 2)
        assert max(worst_mean(law, 0.75) for law in worst) == pytest.approx(value, abs=1e-6)
    # nearest to a return of 1: safe after the win, risky after the loss
    law = max(found, key=lambda law: -sum(p * abs(value - 1) for value, p in law))
    assert dict(law) == {2.0: 0.5, 1.0: 0.25, -3.0: 0.25}


def test_bit_generator():
    found = laws(tabular.bit_generator(), 0, 8)
    returns = sorted(value for law in found for value, _ in law)
    np.testing.assert_allclose(returns, np.arange(256) / 128, atol=1e-9)  # every multiple of 2^-7 up to 2
    for target in (-0.5, 0.3, 1.9, 2.5):
        nearest = min(abs(target - value) for value in returns)
        assert nearest == pytest.approx(max(0, -target, target - 2), abs=2**-7)


def test_gamble_chain():
    found = laws(tabular.gamble_chain(), 0, 3)
    assert len(found) == 42
    assert max(worst_mean(law, 0.1) for law in found) == pytest.approx(0.542)
    best = max(found, key=lambda law: worst_mean(law, 0.5))
    assert worst_mean(best, 0.5) == pytest.approx(0.9772)
    assert dict(best) == pytest.approx({-4.42: 0.1, 0.44: 0.1, 2.762: 0.2, 3.342: 0.6})
    # The stage in the state changes nothing, and ends it.
    ended = tabular.staged(tabular.gamble_chain(), 3)
    assert (ended.states, row(ended, 6, 1)) == (7, {(6, 0): 1})
    assert laws(ended, 0, 5) == found


def test_stages_keep_start_mask_and_discount():
    process = tabular.gamblers_ruin(target=4, capital=3, discount=0.8)
    twice = tabular.staged(process, 2)
    assert (twice.states, twice.start.argmax(), float(twice.discount)) == (11, 3, 0.8)
    np.testing.assert_array_equal(twice.allowed[5:10], process.allowed)
    assert row(twice, 2, 1) == {(8, 0): 0.7, (6, 0): pytest.approx(0.3)}
    assert row(twice, 9, 0) == {(10, 1): 1}


def test_american_option():
    process = tabular.american_option()
    price, stage = tabular.american_option_features().T
    assert (price[0], stage[0]) == (1, 0)
    assert stage[-1] == 1
    assert row(process, 0, 1) == {(370, 0): 1}
    low = int(np.flatnonzero((stage == 0.5) & (price < 0.7))[-1])
    assert row(process, low, 1) == {(370, round(1 - price[low], 9)): 1}
    last = int(np.flatnonzero((stage == 0.9) & (price < 0.7))[-1])
    assert row(process, last, 0) == row(process, last, 1) == {(370, round(1 - price[last], 9)): 1}
    # The logarithm of the next price is normal up to the fifth moment; prices grow by the drift but for higher ones.
    chances, successors = process.probabilities[low, 0], process.successors[low, 0]
    change = np.log(price[successors] / price[low])
    mean, std = (-0.3 - 0.3**2 / 2) * 0.1, 0.3 * np.sqrt(0.1)
    moments = [(chances * ((change - mean) / std) ** k).sum() for k in range(1, 6)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3, 0], atol=1e-9)
    assert (chances * price[successors]).sum() == pytest.approx(price[low] * np.exp(-0.03), rel=1e-7)
    # With a falling price the put is exercised as late as can be, and is worth what a European one is.
    years = 0.9
    upper = ((-0.3 + 0.3**2 / 2) * years) / (0.3 * np.sqrt(years))
    european = norm.cdf(-(upper - 0.3 * np.sqrt(years))) - np.exp(-0.3 * years) * norm.cdf(-upper)
    assert optimal(process)[0][0] == pytest.approx(european, rel=1e-3)


def test_trading():
    settings = {"trades": 11, "max_position": 4.0}
    process = tabular.trading(**settings)
    price, position, stage = tabular.trading_features(**settings).T
    start = int(process.start.argmax())
    np.testing.assert_allclose([price[start], position[start], stage[start]], [1, 0, 0], atol=1e-12)
    # The next price's moments are those of the continuous process, whatever the price.
    for state in (start, start - 4, start + 5):
        chances, successors = process.probabilities[state, 5], process.successors[state, 5]
        mean = (chances * price[successors]).sum()
        assert mean == pytest.approx(1 + (price[state] - 1) * np.exp(-0.2))
        assert (chances * (price[successors] - mean) ** 2).sum() == pytest.approx((1 - np.exp(-0.4)) / 4)
    # Bought 2 at the start, sold 1.2 in the last period:
    np.testing.assert_allclose(process.rewards[start, 10], -2 - 0.005 * 4)
    np.testing.assert_allclose(position[process.successors[start, 10]], 2)
    last = int(np.flatnonzero((stage == 0.9) & np.isclose(position, 2) & np.isclose(price, 1))[0])
    assert (process.successors[last, 2] == process.states - 1).all()
    final = 1.2 - 0.005 * 1.2**2 + 0.8 * np.unique(price[:-1].round(9)) - 0.5 * 0.8**2
    np.testing.assert_allclose(process.rewards[last, 2], final, atol=1e-8)
    most = int(np.flatnonzero((stage == 0.5) & np.isclose(position, 3.6))[0])
    np.testing.assert_array_equal(process.allowed[most], [True] * 7 + [False] * 4)
    assert process.allowed[-1].all()


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        ("riverswim", {"version": "crame"}, "version='crame': .*did you mean 'craam'"),
        ("riverswim", {"discount": 1.5}, r"discount=1.5: must be within \(0, 1\]"),
        ("inventory", {"capacity": 0}, "capacity=0: must be a whole number of at least 1"),
        ("inventory", {"demand": {1: 0.5}}, "demand=.*sum to 1"),
        ("inventory", {"demand": {1.5: 1.0}}, "demand=1.5: must be a whole number"),
        ("gamblers_ruin", {"win": 1.2}, r"win=1.2: must be a number within \[0, 1\]"),
        ("gamblers_ruin", {"capital": 11}, r"capital=11: must be a number within \[0, 10\]"),
        ("garnet", {"states": 3, "branching": 4}, "branching=4: must be at most the number of states, 3"),
        ("garnet", {"rewards": (2, 1)}, r"rewards=\(2, 1\)"),
        ("garnet", {"rewards": (0.5, 1)}, "whole if integers=True"),
        ("windy_walk", {"alpha": -0.1}, "alpha=-0.1"),
        ("cliff_walking", {"width": 1}, "width=1: must be a whole number of at least 2"),
        ("gridworld", {"layout": "S. ..."}, "layout='S. ...': must have rows of one length"),
        ("gridworld", {"layout": "# #"}, "cells in them"),
        ("gridworld", {"layout": "GX"}, "needs a cell to start from"),
        ("gridworld", {"terminal": "SG"}, "terminal='SG': must not include S"),
        ("gridworld", {"slip": float("nan")}, "slip=nan"),
        ("two_coin", {"win": 2}, "win=2"),
        ("american_option", {"strike": 0}, "strike=0: must be above 0"),
        ("american_option", {"refinement": 0}, "refinement=0"),
        ("american_option", {"drift": float("inf")}, "drift=inf: must be a number that is finite"),
        ("trading", {"prices": 4}, "prices=4: must be odd"),
        ("trading", {"max_position": 0.5, "trades": 5}, "max_position=0.5: must be a multiple of the least trade, 1"),
    ],
)
def test_bad_settings_are_refused(function, settings, message):
    with pytest.raises(InvalidArgument, match=message):
        getattr(tabular, function)(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation": "pixels"}, "observation='pixels': must be 'one-hot', 'index' or features"),
        ({"observation": np.zeros((5, 2))}, r"the shape of observation=\(5, 2\): must be \[6, D\]"),
        ({"observation": np.full((6, 1), np.nan)}, "observation=nan: not finite"),
        ({"arrival_rewards": np.zeros(6)}, r"the shape of arrival_rewards=\(6,\)"),
        ({"layout": ["..", ".."]}, r"layout=.*: must have a cell for each of 6 states"),
        ({"max_steps_in_episode": 0}, "max_steps_in_episode=0"),
    ],
)
def test_bad_environments_are_refused(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        TabularEnvironment(tabular.riverswim(), **settings)


def test_bad_parameters_variants_and_stages_are_refused():
    env = envs.make("tabular/riverswim-v0")
    params = env.default_params
    other = TabularEnvironment(tabular.machine_replacement()).default_params
    for wrong, message in [
        (other, "the shape of cumulative"),
        (params.replace(cumulative=params.cumulative * 0.5), "cumulative='rows': must rise"),
        (params.replace(start=params.start[::-1] * 0 - 1), "start='rows'"),
        (params.replace(successors=params.successors + 1), r"must be within 0 .. 5"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            envs.check_params(env, wrong)
    with pytest.raises(InvalidArgument, match="must be at least one"):
        tabular.variants([])
    with pytest.raises(InvalidArgument, match=r"processes\[1\]=\(10, 2\)"):
        tabular.variants([tabular.riverswim(), tabular.machine_replacement()])
    with pytest.raises(InvalidArgument, match="must allow the same actions"):
        tabular.variants([tabular.riverswim(), tabular.riverswim().replace(allowed=np.ones((6, 2), bool))])
    with pytest.raises(InvalidArgument, match="outcomes=2: must be a whole number of at least 3"):
        tabular.tables(tabular.riverswim(), outcomes=2)
    with pytest.raises(InvalidArgument, match="horizon=0"):
        tabular.staged(tabular.riverswim(), 0)

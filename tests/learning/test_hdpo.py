"""HDPO: its gradient against differences and the score function, its updates by hand, its runs, what it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxrl.envs.inventory import simulate
from jaxrl.envs.inventory.data import demand_series
from jaxrl.envs.inventory.optimal import backlogged_newsvendor
from jaxrl.envs.inventory.settings import (
    many_warehouses,
    one_store_backlogged,
    one_store_lost,
    real_store,
    serial,
    transshipment,
)

import jaxrl
from jaxrl import HDPO, InvalidArgument, UserError, train
from jaxrl.core.descend import descend
from jaxrl.engine.evaluate import evaluate
from jaxrl.engine.sinks import Sink
from jaxrl.engine.transfer import evaluation_keys, select_members
from jaxrl.policies.bases import deterministic
from jaxrl.policies.inventory import POLICIES

KEY = jax.random.key(0)
LOST = "inventory/one-store-lost-v0"

# --- the gradient -------------------------------------------------------------------------------------------------


def replayed(split="train"):
    """The 20 periods of ``train`` after its history, or the 10 of ``validation``."""
    sales = np.random.default_rng(0).integers(0, 9, (5, 1, 40))
    return real_store(demand_series(sales, np.cos(np.arange(40.0)), history=4, warm_up=2), split, lead_time=(1, 3))


@pytest.mark.parametrize(
    ("policy", "make", "width"),
    [
        pytest.param("base_stock", many_warehouses, 3.0, marks=pytest.mark.slow),
        pytest.param("capped_base_stock", one_store_lost, 3.0, marks=pytest.mark.slow),
        ("echelon_stock", functools.partial(serial, (1, 1, 2, 1)), 3.0),
        ("vanilla", one_store_lost, 0.3),
        pytest.param("data_driven", replayed, 0.1, marks=pytest.mark.slow),
        ("graph", functools.partial(transshipment, 3, 1, warehouse_lead_time=1), 0.3),
    ],
    ids=["base_stock", "capped_base_stock", "echelon_stock", "vanilla", "data_driven", "graph"],
)
def test_the_gradient_adds_up_to_the_difference_of_the_cost(policy, make, width):
    """Along a random line in the parameters: central differences that kinks do not disturb, since between them the
    mean gradient is the slope of the chord."""
    env, points = make(), 400
    orders = POLICIES[policy](env, env.default_params, sizes=(8,))
    keys = jax.random.split(KEY, 32)

    @jax.jit
    def along(key):
        params = orders.init(key)
        leaves, structure = jax.tree.flatten(params)
        directions = [jax.random.normal(jax.random.fold_in(key, i), leaf.shape) for i, leaf in enumerate(leaves)]

        def cost(step):
            moved = [leaf + step * direction for leaf, direction in zip(leaves, directions)]
            act = functools.partial(orders.act, jax.tree.unflatten(structure, moved))
            return simulate(env, act, keys, 12).mean()

        middles = width * ((jnp.arange(points) + 0.5) / points - 0.5)
        return cost(-width / 2), cost(width / 2), jax.lax.map(jax.grad(cost), middles)

    before, after, slopes = along(jax.random.key(3))
    change = after - before
    assert abs(change) > 1e-2 * abs(before), "flat"
    assert slopes.std() > 1e-3 * abs(slopes).mean(), "straight"
    np.testing.assert_allclose(width * np.float64(slopes).mean(), change, rtol=1e-2)


def test_the_score_function_has_the_same_mean_and_a_far_larger_variance():
    """A Gaussian policy of fixed deviation around a base-stock policy's order, differentiated either way."""
    env, periods, std, level, count = one_store_backlogged(lead_time=1), 6, 2.0, 9.0, 100_000
    params = env.default_params

    def cost(level, key):
        start_key, demand_key, noise_key = jax.random.split(key, 3)
        start = env.reset_env(start_key, params)

        def period(carry, inputs):
            (obs, state), (demand, noise) = carry, inputs
            order = jnp.maximum(level - obs.sum(), 0) + std * noise
            score = jnp.where(level > obs.sum(), noise / std, 0)  # d log density / d level, the stock given
            *carry, reward = env.advance(state, order, demand, params)
            return tuple(carry), (-reward, score)

        noise = jax.random.normal(noise_key, (periods,))
        demand = env.draw_noise(demand_key, start[1], params, periods)
        _, (costs, scores) = jax.lax.scan(period, start, (demand, noise))
        return costs.sum(), scores.sum()

    @jax.jit
    def both(keys):
        (costs, scores), pathwise = jax.vmap(jax.value_and_grad(cost, has_aux=True), in_axes=(None, 0))(level, keys)
        return pathwise, costs * scores

    pathwise, score_function = (np.float64(gradient) for gradient in both(jax.random.split(KEY, count)))
    difference = pathwise - score_function
    error = difference.std() / np.sqrt(count)
    ratio = score_function.var() / pathwise.var()
    said = f"{pathwise.mean():.3f} and {score_function.mean():.3f} +- {error:.3f}, variance ratio {ratio:.1f}"
    assert 4 * error < 0.2 * abs(pathwise.mean()), said
    assert abs(difference.mean()) < 4 * error, said
    assert ratio > 10, said


# --- an update ----------------------------------------------------------------------------------------------------

TINY = HDPO(
    learning_rate=0.5,
    policy="base_stock",
    batch_size=16,
    horizon=8,
    num_scenarios=32,
    development_scenarios=16,
    development_horizon=10,
    development_ignore=4,
    development_every=2,
)


def test_an_update_is_adams_on_the_mean_cost_of_the_batch_and_every_second_is_scored():
    env = one_store_lost(lead_time=2)
    algorithm = TINY.make(env)
    assert algorithm.steps_per_update == 16 * 8
    state, update, seen = algorithm.init(KEY), jax.jit(algorithm.update), []
    adam = optax.adam(0.5)

    def cost_of(level, keys, periods, ignore=0):
        policy = lambda obs: jnp.maximum(jax.nn.softplus(level) - obs.sum(-1, keepdims=True), 0)  # noqa: E731
        return simulate(env, policy, keys, periods, ignore=ignore).mean()

    @jax.jit
    def by_hand(level, adam_state, source, key):
        from jaxrl.sources.scenarios import scenarios

        _, keys, _ = scenarios(16, 8, 32).next(source, None, key)
        cost, gradient = jax.value_and_grad(cost_of)(level, keys, 8)
        change, adam_state = adam.update(gradient, adam_state)
        return level + change, adam_state, cost

    score_of = jax.jit(lambda level, key: -cost_of(level, jax.random.split(key, 16), 10, 4))
    level = jnp.full(1, 10.0)
    adam_state = adam.init(level)
    for call in range(1, 5):
        level, adam_state, cost = by_hand(level, adam_state, state.source, jax.random.split(state.key, 3)[0])
        state, metrics = update(state)
        np.testing.assert_allclose(state.learner.inner.params["level"], level, rtol=1e-4)
        np.testing.assert_allclose([metrics["training_cost"], metrics["loss"]], cost, rtol=1e-5)
        assert metrics["score"].weight == (call % 2 == 0)
        if call % 2 == 0:
            seen.append((float(score_of(level, state.learner.key)), float(level[0])))
            np.testing.assert_allclose(metrics["score"].total, seen[-1][0], rtol=1e-5)
    best = max(seen)[1]
    np.testing.assert_allclose(state.learner.best["level"], best, rtol=1e-4)
    ordered = algorithm.policy(state, jnp.zeros((1, 4)), KEY)
    np.testing.assert_allclose(ordered, np.log1p(np.exp([[best]])), rtol=1e-4)


def test_gradients_are_clipped_to_their_norm_before_adam():
    """So that with a tiny norm Adam's own epsilon is what counts."""
    env = one_store_lost(lead_time=2)
    steps = []
    for norm in (float("inf"), 1e-8):
        algorithm = TINY.replace(max_grad_norm=norm).make(env)
        state, _ = jax.jit(algorithm.update)(algorithm.init(KEY))
        steps.append(abs(float(state.learner.inner.params["level"][0]) - 10))
    assert steps[0] == pytest.approx(0.5, rel=1e-4)
    assert steps[1] == pytest.approx(0.25, rel=1e-3), "0.5 * norm / (norm + epsilon)"


@pytest.mark.parametrize("size", [1, 3, 5, 6, 11])
def test_microbatches_make_the_update_of_the_whole_batch_within_rounding(size, trees):
    """In equal parts of at most that many rows, as few as there can be."""
    shapes = []

    def loss(params, batch, key):
        shapes.append(batch["x"].shape[0])
        error = jnp.tanh(batch["x"] @ params["w"]) - batch["y"]
        return jnp.mean(error**2), {"largest": jnp.mean(jnp.abs(error))}

    def init(key):
        return {"w": jax.random.normal(key, (3,))}

    policy = deterministic(init, lambda params, obs: obs @ params["w"])
    batch = {"x": jax.random.normal(KEY, (12, 3)), "y": jnp.arange(12.0)}
    results = []
    for microbatch_size in (None, size):
        shapes.clear()
        learner = descend(init, loss, optax.adam(0.1), policy, microbatch_size)
        results.append(learner.update(learner.init(KEY), batch, KEY))
    assert set(shapes) == {max(rows for rows in (1, 2, 3, 4, 6, 12) if rows <= size)}
    trees.close(*results, rtol=1e-5, atol=1e-6)


def test_microbatches_of_scenarios_change_nothing_but_rounding(trees):
    env, states = one_store_lost(), []
    for size in (16, 5):
        algorithm = TINY.replace(policy="vanilla", hidden_sizes=(8,), microbatch_size=size, learning_rate=1e-3).make(
            env
        )
        states.append(jax.jit(algorithm.update)(algorithm.init(KEY)))
    trees.close(states[0][0].learner.inner.params, states[1][0].learner.inner.params, rtol=1e-3, atol=1e-5)
    trees.close(states[0][1], states[1][1], rtol=1e-4, atol=1e-5)


# --- runs ---------------------------------------------------------------------------------------------------------

VARIANTS = {"underage": [4.0, 9.0], "lead_time": [1, 2]}
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def run(mesh_of, programs_once):
    """Six updates in one tile a member, judged after every third."""

    def run(config=TINY, env=LOST, **settings):
        settings = {"seeds": 2, "updates": 6, "evaluate_every": 3 * 16 * 8, "evaluation_episodes": 3, **settings}
        return train(config, env, mesh=mesh_of(1), **{"tile": 1, **settings})

    return run


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """Two problems, each with a learning rate of its own, and two seeds."""
    directory = tmp_path_factory.mktemp("hdpo") / "run"
    return run(TINY.replace(learning_rate=jnp.array([0.5, 0.2])), env_variants=VARIANTS, directory=directory)


def test_the_table_tells_the_problem_of_each_member(trained):
    rows = trained.frame.query("evaluation == 1").set_index("member")
    assert rows["env.underage"].tolist() == [4, 4, 9, 9]
    assert rows["env.lead_time"].tolist() == [1, 1, 2, 2]
    assert rows["seed"].tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(rows["learning_rate"], np.float32([0.5, 0.5, 0.2, 0.2]))
    assert trained.updates.tolist() == [3, 6]
    assert (trained.metrics["evaluation_length"] == 100).all()
    assert np.isfinite(trained.metrics["best_score"]).all()


@pytest.mark.optimised
def test_a_member_is_bitwise_the_one_that_is_trained_alone_on_its_problem(run, trained, trees):
    for variant in range(2):
        own = {name: values[variant : variant + 1] for name, values in VARIANTS.items()}
        alone = run(TINY.replace(learning_rate=[0.5, 0.2][variant]), env_variants=own, seeds=[1])
        trees.equal(select_members(trained.states, 2 * variant + 1), select_members(alone.states, 0))
        trees.equal(trees.rows(trained.metrics, 2 * variant + 1), trees.rows(alone.metrics, 0))


@pytest.mark.parametrize("variant", [0, 1])
def test_a_member_is_the_one_of_an_environment_with_these_settings_within_rounding(run, trained, trees, variant):
    settings = {name: values[variant] for name, values in VARIANTS.items()}
    alone = run(TINY.replace(learning_rate=[0.5, 0.2][variant]), env_settings=settings, seeds=[1])
    for all_members, one in (
        (trained.states.learner.inner, alone.states.learner.inner),
        (trained.metrics, alone.metrics),
    ):
        trees.close(trees.rows(all_members, 2 * variant + 1), trees.rows(one, 0), **ROUNDING)


def evaluated(policy, env, params, keys):
    """The return of three episodes of a policy of one member."""

    def act(obs, keys):
        return policy(obs[0], keys[0])[None]

    return float(jax.jit(lambda keys: evaluate(act, env, params, keys, 3, 100)["evaluation_return"][0])(keys))


def test_a_loaded_run_has_the_problem_and_the_policy_of_each_member(trained):
    loaded = jaxrl.load_run(trained.directory)
    for member in (0, 3):
        params = loaded.member_env_params(member)
        variant = member // 2
        assert params.underage.tolist() == [VARIANTS["underage"][variant]]
        assert params.lead_time.tolist() == [VARIANTS["lead_time"][variant]]
        assert params.holding.tolist() == [1.0]
        # the engine's own evaluation in the member's own problem gives what the training reported
        key, policy = loaded.population.keys(0)[member : member + 1], loaded.policy(member)
        expected = trained.metrics["evaluation_return"][member, 1]
        judged = [
            evaluated(policy, loaded.env, loaded.member_env_params(other), evaluation_keys(key, 1))
            for other in (member, 3 - member)
        ]
        np.testing.assert_allclose(judged[0], expected, rtol=1e-5)
        assert abs(judged[1] - expected) > 1e-3 * abs(expected)
        level = np.asarray(loaded.member_state(member).learner.best["level"])
        np.testing.assert_allclose(policy(jnp.zeros((1, 4)), KEY)[0], np.log1p(np.exp(level)), rtol=1e-5)


def test_an_interrupted_run_goes_on_to_the_same_end(run, trained, trees, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 0.0)

    class Interrupt(Sink):
        """Stops the run in its fifth update, after the second evaluation's choice of the best."""

        def progress(self, done, steps_per_second, seconds_left, latest):
            if done == 5:
                raise KeyboardInterrupt

    request = {"env_variants": VARIANTS, "directory": tmp_path / "run", "checkpoint_seconds": 0}
    config = TINY.replace(learning_rate=jnp.array([0.5, 0.2]))
    with pytest.raises(KeyboardInterrupt):
        run(config, sinks=[Interrupt()], **request)
    assert jaxrl.load_run(tmp_path / "run").updates == 4
    resumed = run(config, **request)
    trees.equal(resumed.states, trained.states)
    trees.equal(resumed.metrics, trained.metrics)
    with pytest.raises(UserError, match="env_variants"):
        run(config, **request | {"env_variants": VARIANTS | {"underage": [4.0, 10.0]}})


def test_policies_on_recorded_demand_are_scored_on_the_validation_periods():
    config = TINY.replace(policy="data_driven", learning_rate=1e-3)
    env, held_out = replayed(), replayed("validation")
    algorithm = config.make(env)
    update, state = jax.jit(algorithm.update), algorithm.init(KEY)
    for _ in range(2):
        state, metrics = update(state)
    keys = jax.random.split(state.learner.key, 16)
    act = functools.partial(config.orders(env, env.default_params).act, state.learner.best)
    score, other = (-simulate(which, act, keys, 10, ignore=4).mean() for which in (held_out, env))
    np.testing.assert_allclose(metrics["score"].total, score, rtol=1e-5)
    assert abs(other - score) > 1e-3 * abs(score), "the training periods would do as well"
    assert held_out.validation_params(held_out.default_params) is held_out.default_params


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("argument", "periods"), [("horizon", 20), ("development_horizon", 10)])
def test_horizons_beyond_the_recorded_periods_are_refused(argument, periods):
    env, config = replayed(), TINY.replace(policy="data_driven", **{argument: periods})
    config.check(env, env.default_params)
    with pytest.raises(InvalidArgument, match=f"^{argument}={periods + 1}.*{periods}"):
        config.replace(**{argument: periods + 1}).check(env, env.default_params)


@pytest.fixture
def nothing_compiled(monkeypatch):
    """Makes compilation an error."""

    def never(self, *arguments):
        raise AssertionError("compiled before the request was refused")

    monkeypatch.setattr("jaxrl.engine.program.Program.compiled_start", never)


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("num_scenarios", {"num_scenarios": 24}),
        ("num_scenarios", {"num_scenarios": 0}),
        ("policy", {"policy": "oracle"}),
        ("policy", {"policy": "symmetry_aware"}),
        ("batch_size", {"batch_size": 0}),
        ("horizon", {"horizon": 0}),
        ("learning_rate", {"learning_rate": -1.0}),
        ("learning_rate", {"learning_rate": float("nan")}),
        ("learning_rate", {"learning_rate": np.array([0.1, -0.1])}),
        ("max_grad_norm", {"max_grad_norm": -1.0}),
        ("development_ignore", {"development_ignore": 10}),
        ("development_ignore", {"development_ignore": -1}),
        ("development_every", {"development_every": 0}),
        ("development_scenarios", {"development_scenarios": 0}),
        ("microbatch_size", {"microbatch_size": 0}),
        ("hidden_sizes", {"policy": "vanilla", "hidden_sizes": (8, 0)}),
    ],
)
def test_hyperparameters_out_of_range_are_refused_by_name(run, nothing_compiled, argument, changes):
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        run(TINY.replace(**changes))


@pytest.mark.parametrize(
    ("argument", "env", "policy"),
    [
        ("env", "CartPole-v1", "vanilla"),
        ("policy", "inventory/many-warehouses-v0", "echelon_stock"),
        ("policy", "inventory/many-warehouses-v0", "symmetry_aware"),
    ],
)
def test_environments_that_do_not_fit_are_refused(run, nothing_compiled, argument, env, policy):
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        run(TINY.replace(policy=policy), env)


@pytest.mark.parametrize(
    "variants",
    [
        {"underge": [4.0, 9.0]},
        {"max_steps_in_episode": [5, 6]},
        {"lower": [1.0, 2.0]},
        {"underage": [4.0, 9.0], "lead_time": [1]},
        {"underage": []},
        {"underage": 4.0},
        {"underage": [[4.0, 9.0], [1.0, 2.0]]},
        {"underage": ["dear", "cheap"]},
        {"lead_time": [1, 9]},
        {"lead_time": [0, 1]},
        {"lead_time": [1.5, 2.5]},
        {"underage": [4.0, -9.0]},
        {"underage": [4.0, np.nan]},
    ],
)
def test_variants_of_the_environment_that_are_none_are_refused(run, nothing_compiled, variants):
    with pytest.raises(InvalidArgument, match=r"^(env_variants|underage|lead_time)"):
        run(env_variants=variants)


def test_variants_and_vectors_of_hyperparameters_have_one_length(run, nothing_compiled):
    with pytest.raises(InvalidArgument, match=r"^env_variants=.*\[3\]"):
        run(TINY.replace(learning_rate=jnp.array([0.1, 0.2, 0.3])), env_variants=VARIANTS)


def test_annealing_needs_the_length_of_the_run():
    with pytest.raises(InvalidArgument, match=r"^updates=None"):
        TINY.replace(anneal_learning_rate=True).make(one_store_lost())


# --- learning -----------------------------------------------------------------------------------------------------


def test_a_base_stock_policy_learns_the_newsvendors_cost():
    """Within one percent of the optimum of waiting demand with L = 1 and p = 4."""
    env = one_store_backlogged(lead_time=1, underage=4.0)
    optimum = backlogged_newsvendor(1, 5.0, 1.6, 4.0)
    assert optimum.cost == pytest.approx(3.1666, abs=1e-4)
    config = HDPO(
        learning_rate=0.3, policy="base_stock", batch_size=256, horizon=30, num_scenarios=1024,
        development_scenarios=512, development_every=20,
    )  # fmt: skip
    result = train(config, env, seeds=2, updates=60, evaluate_every=0)
    cost = jax.jit(
        lambda level: simulate(
            env,
            lambda obs: jnp.maximum(jax.nn.softplus(level) - obs.sum(-1, keepdims=True), 0),
            jax.random.split(jax.random.key(9), 2000),
            300,
            ignore=30,
        )
    )
    for level in result.states.learner.best["level"]:
        costs = np.float64(cost(level))
        assert 4 * costs.std() / np.sqrt(2000) < 0.01 * optimum.cost
        assert costs.mean() < 1.01 * optimum.cost
        assert jax.nn.softplus(level)[0] == pytest.approx(optimum.level, abs=0.5)


def test_a_network_learns_to_order():
    """From about 16 a period of hardly any order to below 8; the best base-stock policy costs 6.3."""
    config = HDPO(
        learning_rate=1e-2, hidden_sizes=(16, 16), batch_size=128, horizon=30, num_scenarios=None,
        development_scenarios=256, development_every=25,
    )  # fmt: skip
    result = train(config, LOST, env_settings={"lead_time": 2}, seeds=2, updates=150, evaluate_every=25 * 128 * 30)
    costs = -result.metrics["evaluation_return"] / 100
    assert (costs[:, -1] < 8).all()
    assert (costs[:, -1] < 0.8 * result.metrics["training_cost"][:, 0]).all()

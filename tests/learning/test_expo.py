"""EXPO: known answers, what it learns on a probe, who learns from what, prior data, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduce import expo as known
from experiments.reproduce import expo_maze
from jaxrl import EXPO, InvalidArgument, make, train
from jaxrl.core.counted import WithTarget
from jaxrl.core.types import Transition
from jaxrl.engine.program import member_axes
from jaxrl.policies.transforms import edit, several
from jaxrl.sources.dataset import Card, DataSet, save

ENV = make("Pendulum-v1")
PARAMS = ENV.default_params
SMALL = {
    "hidden_sizes": (8,), "base_width": 8, "base_blocks": 1, "num_proposals": 2, "num_edits": 1, "diffusion_steps": 2,
    "num_critics": 3, "target_critics": 2, "batch_size": 4, "capacity": 64, "learning_starts": 4, "num_envs": 2,
    "update_to_data": 1.0,
}  # fmt: skip


# Ten steps of diffusion: with fewer its actions are closer together than what it imitates, which is its own actions
# here, so that they contract wherever they are. And entropy that is worth less than an edit from the start on: at a
# temperature of 1 edits as small as these are noise for some thousand updates.
LEARNS = EXPO(
    hidden_sizes=(16,), base_width=16, base_blocks=1, num_proposals=4, num_edits=4, num_critics=3, target_critics=2,
    batch_size=32, capacity=4096, learning_starts=256, num_envs=8, update_to_data=0.125, edit_width=0.2,
    initial_temperature=0.01, temperature_learning_rate=1e-2, critic_learning_rate=1e-2, actor_learning_rate=1e-2,
    base_learning_rate=3e-3, target_rate=0.1, base_rate=0.05,
)  # fmt: skip


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    """A data set of Pendulum."""
    path, random = tmp_path_factory.mktemp("prior") / "data", np.random.default_rng(0)
    obs, next_obs = random.normal(size=(2, 20, 3)).astype(np.float32)
    action = random.uniform(-2, 2, size=(20, 1)).astype(np.float32)
    zeros = np.zeros(20, np.float32)
    steps = Transition(obs, action, zeros - 1, zeros + 1, zeros, next_obs, {})
    save(DataSet(Card(ENV.name, "uniform", -1200.0, -150.0), steps, zeros.astype(int)), path)
    return str(path)


@pytest.mark.parametrize("part", [pytest.param(known.candidates, marks=pytest.mark.slow), known.edits, known.chosen])
def test_known_answers(part):
    rows = list(part())
    assert rows
    assert [row for row in rows if row.verdict != "holds"] == []


def parts(state):
    """Parameters, the copy of the diffusion that acts, and slow critics of an algorithm's state."""
    learner = state.learner  # behind the counts of exploration and of learning_starts
    while not hasattr(learner, "target"):
        learner = learner.inner
    return learner.inner.inner.params, learner.target, learner.inner.target


@pytest.mark.slow
def test_an_action_and_edits_towards_it(mesh_of):
    """All seeds choose actions around the target, closer to it than the diffusion's, and edits lead to it."""
    env, seeds = make("probe/target-v0"), range(1000, 1004)
    result = train(LEARNS, env, seeds=seeds, updates=500, evaluate_every=0, mesh=mesh_of(1), tile=len(seeds))
    algorithm, agent = LEARNS.make(env), LEARNS.agent(env, env.default_params)
    obs, edited = jnp.ones((256, 1)), jnp.array([[-0.1], [1.0]])

    def look(state):
        key, (params, slow, _) = jax.random.key(0), parts(state)
        imitated = agent.base.sample({"base": slow}, obs, agent.base.noise(key, obs.shape[:1]))[0]
        where = (obs[:2], edited)
        edits = agent.editor.decode(agent.editor.mode(params, where), params, where)
        return algorithm.policy(state, obs, key)[:, 0], imitated[:, 0], edits[:, 0]

    chosen, imitated, edits = jax.jit(jax.vmap(look, in_axes=(member_axes(result.states),)))(result.states)
    assert (jnp.abs(jnp.median(chosen, axis=1) - 0.5) < 0.15).all()
    far, near = (jnp.square(each - 0.5).mean(axis=1) for each in (imitated, chosen))
    assert (near < far / 2).all()
    assert (edits[:, 0] > 0.1).all()
    assert (edits[:, 1] < -0.1).all()


def test_a_target_of_one_sample():
    """Without edits it is the diffusion's action; with them it is within their width."""
    params, obs, found = None, jnp.ones((64, 3)), {}
    for count in (0, 1):
        agent = EXPO(**SMALL | {"num_edits": count}, best_in_target=False).agent(ENV, PARAMS)
        params = params or agent.base.init(jax.random.key(0)) | agent.editor.init(jax.random.key(1))
        noise = agent.bootstrap.noise(jax.random.key(2), (64,))
        found[count], _ = agent.bootstrap.sample(params, obs, noise)
        own, _ = agent.base.sample(params, obs, noise[0] if count else noise)
        distance = jnp.abs(found[count] - own)
        assert distance.max() <= (0.05 + 1e-6 if count else 0)
        assert count == 0 or distance.min() > 0


def agent_and_batch(config, reward=1.0):
    """With parameters, the logarithm of the temperature 0, and a batch of four rows."""
    agent = config.agent(ENV, PARAMS)
    keys = jax.random.split(jax.random.key(0), 6)
    params = agent.base.init(keys[0]) | agent.editor.init(keys[1])
    params |= {"critics": agent.critics.init(keys[2]), "temperature": jnp.float32(0)}
    obs, action = jax.random.normal(keys[3], (4, 3)), jax.random.uniform(keys[4], (4, 1))
    transition = Transition(obs, action, jnp.full(4, reward), jnp.ones(4), jnp.zeros(4), obs, {})
    return agent, params, WithTarget(WithTarget(transition, params["base"]), params["critics"])


def test_the_entropy_of_choosing_counts():
    """Where all values are 0, a choice among n has the log-probability -log n, and targets are gamma alpha log n."""
    config = EXPO(**SMALL | {"num_proposals": 5, "num_edits": 3}, backup_entropy=True)
    agent, params, batch = agent_and_batch(config, reward=0.0)
    params |= {"critics": jax.tree.map(jnp.zeros_like, params["critics"]), "temperature": jnp.log(0.2)}
    batch = batch._replace(target=params["critics"])

    @jax.jit
    def found(params, batch, key):
        _, log_prob = agent.bootstrap.sample(params, jnp.ones((16, 3)), agent.bootstrap.noise(key, (16,)))
        return log_prob, config.terms(agent, ENV, PARAMS)["critics"].loss(params, batch, key, {})[0]

    log_prob, loss = found(params, batch, jax.random.key(1))
    np.testing.assert_allclose(log_prob, -np.log(3), rtol=1e-6)
    np.testing.assert_allclose(loss, (config.gamma * 0.2 * np.log(3)) ** 2 / 2, rtol=1e-5)


def test_a_sharp_choice_in_the_target_is_the_best_edited_one():
    sizes = SMALL | {"num_proposals": 4, "num_edits": 4, "num_critics": 2}
    sharp, even = (EXPO(**sizes, backup_entropy=True, backup_inverse_temperature=b) for b in (1e6, 0.0))
    agent, params, _ = agent_and_batch(sharp)
    obs = jax.random.normal(jax.random.key(2), (16, 3))

    @jax.jit
    def found(params, obs):
        noise = agent.bootstrap.noise(jax.random.key(3), (16,))
        every, _ = several(4)(edit(agent.editor)(agent.base)).sample(params, obs, noise[0])
        values = agent.critics.values(params["critics"], jnp.repeat(obs, 4, axis=0), every.reshape(-1, 1))
        _, log_even = even.agent(ENV, PARAMS).bootstrap.sample(params, obs, noise)
        return agent.bootstrap.sample(params, obs, noise), every, values.min(axis=0).reshape(16, 4), log_even

    (action, log_sharp), every, values, log_even = found(params, obs)
    np.testing.assert_array_equal(action, every[jnp.arange(16), jnp.argmax(values, axis=1)])
    np.testing.assert_allclose(log_sharp, 0, atol=0.05)  # values are rounded before they are multiplied by 1e6
    np.testing.assert_allclose(log_even, -np.log(4), rtol=1e-6)


def test_edits_of_fresh_proposals():
    """If the diffusion makes the replayed actions, they are edits of these; and else not."""
    configs = [EXPO(**SMALL, edit_fresh_proposals=fresh) for fresh in (False, True)]
    agent, params, batch = agent_and_batch(configs[0])
    replayed = batch.batch.batch.action
    copying = agent._replace(base=agent.base._replace(sample=lambda params, obs, noise: (replayed, None)))

    @jax.jit
    def losses(params, batch):
        key = jax.random.key(1)
        cases = [(config, each) for each in (agent, copying) for config in configs]
        return [config.terms(each, ENV, PARAMS)["edit"].loss(params, batch, key, {})[0] for config, each in cases]

    of_replayed, of_own, *of_copied = losses(params, batch)
    np.testing.assert_allclose(of_copied, [of_replayed] * 2, rtol=1e-6)
    assert abs(of_own - of_replayed) > 1e-5


@pytest.mark.parametrize("options", [{}, {"backup_entropy": True, "edit_fresh_proposals": True}], ids=["", "options"])
def test_nobody_learns_through_another(options):
    """Gradients of each loss are exactly 0 for all parts but its own and, of the edits', the critics."""
    config, key = EXPO(**SMALL, **options), jax.random.key(5)
    agent, params, batch = agent_and_batch(config)

    @jax.jit
    def sizes(params):
        found = {}
        for name, term in config.terms(agent, ENV, PARAMS).items():
            loss = lambda p, term=term: term.loss(p, batch, key, {"entropy": jnp.float32(-1)})[0]  # noqa: E731
            gradient = jax.grad(loss)(params)
            found[name] = {
                part: sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(gradient[part])) for part in params
            }
        return found

    for name, parts in sizes(params).items():
        assert parts[name] > 0
        others = {"critics", "temperature"} if name == "edit" else set()
        assert all(size == 0 for part, size in parts.items() if part not in others | {name}), name


@pytest.mark.slow
def test_steps_and_slow_copies(prior, trees):
    """Critics step with every batch; all else once an iteration, after which the acting copy of the diffusion moves."""
    config = EXPO(**SMALL, prior=prior, pretraining=3, base_rate=0.25)
    config.check(ENV, PARAMS)
    algorithm, plain = config.make(ENV, PARAMS), EXPO(**SMALL, prior=prior).make(ENV, PARAMS)
    update = jax.jit(algorithm.update)
    start, without = jax.jit(lambda key: (algorithm.init(key), plain.init(key)))(jax.random.key(0))
    states = [start]
    for _ in range(3):
        states.append(update(states[-1])[0])

    (first, slow, target), (waited, *_), (second, later_slow, later_target), _ = map(parts, states)
    trees.equal(first, waited)
    trees.equal(slow, first["base"])
    assert not trees.same(target, later_target)
    for name in first:
        assert not trees.same(first[name], second[name]), name
    moved = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, slow, second["base"])
    trees.close(later_slow, moved, rtol=1e-5, atol=1e-7)
    fresh = parts(without)[0]
    trees.equal(fresh | {"base": None}, first | {"base": None})
    assert not trees.same(fresh["base"], first["base"])
    action = algorithm.policy(states[-1], jnp.ones((5, 3)), jax.random.key(0))
    assert action.shape == (5, 1)
    assert jnp.abs(action).max() <= 2
    assert all(np.isfinite(leaf).all() for leaf in trees.leaves(parts(states[-1])))


@pytest.mark.parametrize(
    ("argument", "settings"),
    [
        ("edit_width", {"edit_width": 0.0}),
        ("num_edits", {"num_edits": 3}),
        ("num_proposals", {"num_proposals": 0, "num_edits": 0}),
        ("target_critics", {"target_critics": 4}),
        ("num_edits", {"backup_entropy": True, "num_edits": 0}),
        ("best_in_target", {"backup_entropy": True, "best_in_target": False}),
        ("backup_inverse_temperature", {"backup_inverse_temperature": -1.0}),
        ("diffusion_steps", {"diffusion_steps": 0}),
        ("target_entropy", {"target_entropy": -0.5}),
        ("pretraining", {"pretraining": 5}),
        ("normalise_observations", {"pretraining": 5, "normalise_observations": True}),
        ("path", {"prior": "nowhere"}),
    ],
)
def test_what_cannot_be(argument, settings):
    with pytest.raises(InvalidArgument) as error:
        EXPO(**SMALL | settings).check(ENV, PARAMS)
    assert error.value.argument == argument


def test_data_of_another_environment(prior):
    other = make("MountainCarContinuous-v0")
    with pytest.raises(InvalidArgument, match="env="):
        EXPO(**SMALL, prior=prior).check(other, other.default_params)
    with pytest.raises(InvalidArgument, match="even"):
        EXPO(**SMALL | {"batch_size": 5}, prior=prior).check(ENV, PARAMS)
    with pytest.raises(InvalidArgument, match="continuous"):
        EXPO(**SMALL).check(make("CartPole-v1"), make("CartPole-v1").default_params)


def test_verdicts_in_the_maze():
    """Better by a tenth or with intervals apart; at a tenth no further than that below the imitation."""
    evaluations = 20

    def curve(success, length):
        return {"evaluation_return": np.full((4, evaluations), success), "evaluation_length": np.full((4, 20), length)}

    curves = {"EXPO": curve(0.9, 30.0), "others": curve(0.75, 40.0), "imitation": curve(0.95, 30.0)}
    verdicts = [row.verdict for row in expo_maze.rows(curves, 1_000, "")]
    assert verdicts == ["holds", "holds", "holds", "holds", "falls short", "holds", "falls short"]
    curves["EXPO"]["evaluation_return"][:, 1] = 0.8  # the second of twenty
    assert [row.verdict for row in expo_maze.rows(curves, 1_000, "")][2] == "falls short"
    rising = np.array([[0.5, 0.95, 0.8], [0.9, 0.9, 0.9], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(expo_maze.until(rising, 1_000), [2_000, 1_000, 4_000])
    noisy = np.array([0.7, 0.9, 0.8, 0.8])
    assert expo_maze.better("", noisy, noisy - 0.05, 0.1).verdict == "falls short"
    assert expo_maze.better("", noisy + 0.1, noisy + 0.15, 0.1).verdict.startswith("not testable here")

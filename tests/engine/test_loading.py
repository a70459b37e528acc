"""A run that is loaded is the run that was trained, and what cannot be loaded is refused in one line."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxrl
from jaxrl import envs
from jaxrl.engine.episode import episode_recorder
from jaxrl.engine.evaluate import evaluate
from jaxrl.engine.hosts import Process
from jaxrl.engine.loading import find_member

SIZES = {"num_envs": 2, "num_steps": 8, "num_minibatches": 2, "num_epochs": 1, "hidden_sizes": (8,)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two configs x two seeds, and the directory that they were trained into."""
    config = jaxrl.PPO(learning_rate=jnp.array([1e-3, 3e-3]), **SIZES)
    directory = tmp_path_factory.mktemp("loading") / "run"
    return jaxrl.train(
        config,
        "CartPole-v1",
        seeds=[5, 9],
        updates=4,
        evaluate_every=32,
        evaluation_episodes=4,
        directory=directory,
        keep_learners=True,
    )


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the run that may be damaged, and a function that changes its config.json."""
    directory = tmp_path / "copy"
    shutil.copytree(trained.directory, directory)

    def edit(**changes):
        file = directory / "config.json"
        content = json.loads(file.read_text())
        content["request"] |= changes
        file.write_text(json.dumps(content))
        return directory

    return edit


def refusal(directory, **arguments):
    with pytest.raises(jaxrl.UserError) as error:
        jaxrl.load_run(directory, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_states_and_hyperparameters_are_those_of_the_training(trained, trees):
    run = jaxrl.load_run(trained.directory)
    trees.equal(run.states, trained.states)
    assert run.updates == 4
    np.testing.assert_array_equal(run.members, [0, 1, 2, 3])
    np.testing.assert_array_equal(run.population.seed, [5, 9, 5, 9])
    config = run.member(2)
    assert config.learning_rate == np.float32(3e-3)
    assert isinstance(config.learning_rate, float)
    assert config.hidden_sizes == (8,)
    assert run.frozen_at(2) is None


@pytest.mark.parametrize("evaluation", [0, 1])
def test_loaded_policy_earns_what_the_training_reported(trained, evaluation):
    """The engine's own evaluation of the policy as it was then, with the keys of then, gives the same return."""
    run = jaxrl.load_run(trained.directory)
    assert run.learners == [2, 4]
    run = run.at(run.learners[evaluation])
    place = 3
    key = run.population.keys(0)[place]
    key = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), evaluation)

    def policy(obs, keys):
        return run.policy(3)(obs[0], keys[0])[None]

    returns = evaluate(policy, run.env, run.env_params, key[None], 4, run.env_params.max_steps_in_episode)
    expected = trained.frame.query(f"member == 3 and evaluation == {evaluation}")["evaluation_return"].item()
    assert returns["evaluation_return"][0] == expected


def test_best_member_has_the_highest_last_return(trained, copy):
    directory = copy()
    for file in (directory / "metrics").glob("*.parquet"):
        rows = pd.read_parquet(file)
        last = rows["evaluation"].iloc[0] == 1
        rows["evaluation_return"] = [3.0, 9.0, 7.0, np.nan] if last else [3.0, 9.0, 90.0, 99.0]
        rows.to_parquet(file, index=False)
    assert jaxrl.load_run(directory).best_member() == 1


def test_members_outside_the_run_are_refused(trained):
    run = jaxrl.load_run(trained.directory)
    with pytest.raises(jaxrl.InvalidArgument, match=r"member=4: must be within 0 \.\. 3"):
        run.member(4)


def test_members_given_up_are_absent_and_the_others_keep_their_numbers(tmp_path, trees):
    """Members 1 and 2 go on; before the last evaluation as after it the rows tell who they are."""
    directory = tmp_path / "run"
    trained = jaxrl.train(
        jaxrl.PPO(learning_rate=jnp.array([1e-3, 3e-3]), **SIZES),
        "CartPole-v1",
        seeds=2,
        updates=4,
        evaluate_every=32,
        evaluation_episodes=2,
        directory=directory,
        checkpoint_seconds=0,
        keep=lambda rows: [1, 2],
    )
    run = jaxrl.load_run(directory)
    np.testing.assert_array_equal(run.members, [1, 2])
    trees.equal(run.states, trained.states)
    with pytest.raises(jaxrl.InvalidArgument, match=r"member=0: must be one of those not given up: \[1, 2\]"):
        run.policy(0)
    newest = max((directory / "checkpoints").iterdir())
    shutil.rmtree(newest)
    assert jaxrl.load_run(directory).updates < 4
    np.testing.assert_array_equal(jaxrl.load_run(directory).members, [1, 2])
    (directory / "metrics" / "000001.parquet").unlink()
    assert "let it go on first" in refusal(directory)


def test_members_split_among_processes_are_put_together(trained, copy, trees):
    """Two processes' checkpoints, written as they write them, give the population; also if one is ahead by one."""
    from jaxrl.engine import checkpoint
    from jaxrl.engine.transfer import select_members

    directory = copy(processes=2)
    whole = jaxrl.load_run(trained.directory)
    shutil.rmtree(directory / "checkpoints")
    for process in range(2):
        share = select_members(whole.state, np.array(Process(process, 2).share(4)))
        checkpoint.save(directory / "checkpoints" / str(process), 4, share)
        if process == 0:
            checkpoint.save(directory / "checkpoints" / "0", 5, share)
    run = jaxrl.load_run(directory)
    assert run.updates == 4
    trees.equal(run.state, whole.state)
    shutil.rmtree(directory / "checkpoints" / "1")
    assert "has no checkpoint yet" in refusal(directory)


def test_members_of_a_sweep_are_found_in_its_parts(trained, copy, tmp_path):
    """Of two parts of four members each, the second is the trained run; the first would not load."""
    sweep = tmp_path / "sweep"
    config = json.loads((trained.directory / "config.json").read_text())["request"]["config"]
    (sweep / "parts").mkdir(parents=True)
    copy(config=config | {"num_envs": 4}).rename(sweep / "parts" / "000")
    shutil.copytree(trained.directory, sweep / "parts" / "001")
    (sweep / "metrics").mkdir()
    rows = trained.frame.assign(hidden_sizes="8")
    other = rows.assign(num_envs=4, evaluation_return=-1.0)
    rows = rows.assign(num_envs=2, member=rows["member"] + 4, evaluation_return=rows["member"] % 3.0)
    pd.concat([other, rows]).to_parquet(sweep / "metrics" / "000000.parquet")
    (sweep / "config.json").write_text(json.dumps({"request": {"sweep": {}}}))
    for number, place in ((5, 1), (None, 2)):
        found = find_member(sweep, number)
        assert found.number == place + 4
        assert found.member == place
        assert found.run.directory == sweep / "parts" / "001"
    with pytest.raises(jaxrl.InvalidArgument, match=r"member=8: must be within 0 \.\. 7"):
        find_member(sweep, 8)
    shutil.rmtree(sweep / "parts" / "001")
    with pytest.raises(jaxrl.UserError, match="none of its parts trained member 5"):
        find_member(sweep, 5)
    assert "holds a sweep" in refusal(sweep)


def test_damaged_newest_checkpoint_gives_way_to_the_one_before(copy):
    directory = copy()
    shutil.copytree(directory / "checkpoints" / f"{4:012d}", directory / "checkpoints" / f"{9:012d}")
    (directory / "checkpoints" / f"{9:012d}" / "_CHECKPOINT_METADATA").write_text("damaged")
    assert jaxrl.load_run(directory).updates == 4


def test_all_checkpoints_damaged(copy):
    directory = copy()
    for checkpoint in (directory / "checkpoints").iterdir():
        (checkpoint / "manifest.json").write_text("{")
    assert "has no whole checkpoint: " in refusal(directory)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"env": "Cartpole-v9"}, "env='Cartpole-v9': unknown env; did you mean 'CartPole-v1'"),
        ({"algorithm": "PPQ"}, "algorithm='PPQ': unknown algorithm; did you mean 'PQN' or 'PPO'"),
        (
            {"algorithm": "Result"},
            "algorithm='Result': unknown algorithm; known: BQ, DPPO, DQL, DQN, EXPO, FPO, FQL, GoRL, GoRLSAC, HDPO"
            ", IDQL, MDPO, PMOE, PMOEPPO, POMO, PPO, PQN, QSM, REINFORCE, SAC, SoftMDPO, TD3, TRPO, ValueIteration",
        ),
        ({"env_params": "EnvParams(gravity=1.0)"}, "was trained with env_params=EnvParams(gravity=1.0)"),
        ({"config": {"learning_rate": 1.0}}, "has other hyperparameters than this version's: activation, "),
        ({"sweep": {}}, "holds a sweep"),
    ],
)
def test_runs_that_cannot_be_rebuilt(copy, changes, said):
    assert said in refusal(copy(**changes))


def test_checkpoint_of_another_program(copy):
    content = json.loads((copy() / "config.json").read_text())["request"]["config"]
    assert "holds another state than this version trains" in refusal(copy(config=content | {"hidden_sizes": [4]}))


def test_directories_without_a_run(copy, tmp_path):
    assert "holds no run" in refusal(tmp_path / "nowhere")
    directory = copy()
    (directory / "config.json").write_text('{"request": {"algorithm": "PPO"}}')
    assert "its config.json has no config and no env" in refusal(directory)
    (directory / "config.json").write_text("{")
    assert "config.json is damaged" in refusal(directory)


def test_run_without_a_checkpoint_yet(copy):
    directory = copy()
    shutil.rmtree(directory / "checkpoints")
    assert "has no checkpoint yet" in refusal(directory)


def test_environment_and_algorithm_may_be_given(trained, copy, trees):
    """As one must for those that jaxrl does not know by name."""
    directory = copy(env="Mine-v0")
    run = jaxrl.load_run(directory, env=envs.make("CartPole-v1"), algorithm=jaxrl.PPO)
    trees.equal(run.states, trained.states)


@pytest.mark.parametrize(("limit", "ended"), [(5, "truncated"), (500, "terminated")])
def test_recorded_episode_is_a_whole_one(limit, ended):
    """Always pushing right, CartPole falls after about ten steps; no state comes after the end."""
    env = envs.make("CartPole-v1", max_steps_in_episode=limit)
    record = episode_recorder(lambda obs, key: jnp.ones(1, jnp.int32), env, env.default_params, limit)
    episode = record(jax.random.key(0))
    assert episode.ended == ended
    assert episode.total == episode.length == len(episode.actions) == len(episode.states.x) - 1
    np.testing.assert_array_equal(episode.states.time, np.arange(episode.length + 1))
    assert (np.abs(episode.states.theta[:-1]) < env.default_params.theta_threshold_radians).all()
    fell = abs(episode.states.theta[-1]) > env.default_params.theta_threshold_radians
    assert fell == (ended == "terminated")


def test_learners_that_were_kept(trained, trees, copy):
    run = jaxrl.load_run(trained.directory)
    trees.equal(run.at(4).states, trained.states)
    assert not trees.same(run.at(2).states.learner, trained.states.learner)
    with pytest.raises(jaxrl.UserError, match="update 3"):
        run.at(3)
    directory = copy()
    (file,) = (directory / "learners" / f"{2:012d}").glob("manifest.json")
    file.write_text(file.read_text().replace("[", "[1", 1))
    with pytest.raises(jaxrl.UserError, match="has changed"):
        jaxrl.load_run(directory).at(2)
    with pytest.raises(jaxrl.InvalidArgument, match="keep_learners"):
        jaxrl.train(jaxrl.PPO(**SIZES), "CartPole-v1", updates=1, keep_learners=True)

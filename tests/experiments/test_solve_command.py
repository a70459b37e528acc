"""Models in folders, and the command that solves instances from files with them."""

import jax
import pytest

from experiments.models import load_model, save_model
from experiments.solve import main
from jaxrl import BQ, POMO, UserError, make, train
from jaxrl.sources.expert import label, request

PLACES = [(0, 0), (3, 0), (3, 4), (0, 4), (1, 2)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that has learned nothing."""
    config = BQ(layers=1, width=8, heads=2, hidden_width=8)
    params = config.policy(make("quotient/combinatorial/tsp-v0", nodes=4)).init(jax.random.key(0))
    directory = tmp_path_factory.mktemp("model") / "tsp"
    save_model(directory, "tsp", {"nodes": 4}, config, params, {"why": "a test"})
    return directory, params


@pytest.fixture
def instance(tmp_path):
    """Five places, as a file."""
    rows = [f"{i} {x} {y}" for i, (x, y) in enumerate(PLACES, 1)]
    lines = ["NAME: five", "TYPE: TSP", "DIMENSION: 5", "EDGE_WEIGHT_TYPE: EUC_2D", "NODE_COORD_SECTION", *rows, "EOF"]
    path = tmp_path / "five.tsp"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_models_come_back(model, trees):
    directory, params = model
    found = load_model(directory)
    trees.equal(found.params, params)
    assert found.config.labels is None
    assert found.config.width == 8
    assert found.card["about"] == {"why": "a test"}
    with pytest.raises(UserError, match=r"neither a model\.json nor a run"):
        load_model(directory.parent)


@pytest.mark.slow
def test_a_run_of_pomo_solves_what_a_model_does(instance, tmp_path, monkeypatch, capsys):
    """Its network, of the direct process, kept as a model and as a run, finds the same tour from all starts."""
    pytest.importorskip("tsplib95")
    monkeypatch.chdir(tmp_path)
    config = POMO(layers=1, width=8, heads=2, hidden_width=8, batch_size=2)
    settings = {"nodes": 4}
    how = {"seeds": 1, "updates": 2, "evaluate_every": 0, "directory": tmp_path / "run", "env_settings": settings}
    result = train(config, "combinatorial/tsp-v0", **how)
    params = jax.tree.map(lambda leaf: leaf[0], result.states.learner.params)
    save_model(tmp_path / "model", "tsp", settings, config, params, {}, prefix="")
    lines = []
    for folder in ("run", "model"):
        assert main(["tsp", "--file", str(instance), "--model", folder, "--starts", "9", "--beam", "24"]) == 0
        lines.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("solution")])
    assert lines[0] == lines[1]
    assert len(lines[0][0].split()) == 5


def test_the_best_member_of_a_run(tmp_path):
    label(tmp_path / "labels", request("tsp", {"nodes": 4}, solver="held-karp"), 8, workers=0)
    config = BQ(layers=1, width=8, heads=2, hidden_width=8, batch_size=4, num_sizes=1, labels=str(tmp_path / "labels"))
    env = make("quotient/combinatorial/tsp-v0", nodes=4)
    how = {"seeds": 2, "updates": 2, "evaluate_every": 0, "directory": tmp_path / "run", "env_settings": {"nodes": 4}}
    result = train(config, env.name, **how)
    found = load_model(tmp_path / "run")
    assert found.problem == "tsp"
    expected = jax.tree.map(lambda leaf: leaf[found.card["about"]["member"]], result.states.learner.params)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), found.params, expected))


def test_an_instance_is_solved(model, instance, tmp_path, monkeypatch, capsys):
    """By a beam that tries everything: the shortest tour, 3 + 4 + 3 and by way of (1, 2) back, distances rounded."""
    pytest.importorskip("tsplib95")
    monkeypatch.chdir(tmp_path)
    how = ["--model", str(model[0]), "--beam", "24", "--neighbours", "50", "--symmetries", "2"]
    assert main(["tsp", "--file", str(instance), *how]) == 0
    said = capsys.readouterr().out
    assert "length     14," in said
    assert "neighbours 6, all there are" in said
    assert (tmp_path / "five.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tsp", "--file", "nowhere.tsp"], "file='nowhere.tsp'"),
        (["kp", "--file", "nowhere.tsp"], "kp"),
        (["atsp", "--file", "{instance}", "--model", "{model}"], "must be a atsp"),
        (["tsp", "--file", "{instance}", "--model", "elsewhere"], "model="),
        (["tsp", "--file", "{instance}", "--model", "{model}", "--beam", "0"], "width=0"),
    ],
)
def test_refusals(arguments, said, model, instance, capsys):
    pytest.importorskip("tsplib95")
    filled = [argument.format(instance=instance, model=model[0]) for argument in arguments]
    assert main(filled) == 2
    assert said in capsys.readouterr().err

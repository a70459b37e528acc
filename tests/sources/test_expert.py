"""Experts: every solver against exact optima, and label sets that are made once, resumed and extended."""

import json

import jax
import numpy as np
import pytest
from jaxrl.envs.combinatorial import PROBLEMS

import jaxrl.sources.expert as expert
from experiments.label import main
from jaxrl.errors import InvalidArgument, UserError
from jaxrl.sources.dataset import sampled
from jaxrl.sources.expert import label, load_labels, request, right
from jaxrl.sources.solvers import SOLVERS, lengthened

SMALL = {
    "tsp": {"nodes": 8},
    "atsp": {"nodes": 8},
    "cvrp": {"nodes": 7, "capacity": 15},
    "op": {"nodes": 8, "length": 2.0},
    "kp": {"nodes": 12, "capacity": 2000},
}
COMPILED = [pytest.mark.slow]  # numba takes longer than all other tests here
OTHERS = [
    pytest.param(problem, name, marks=COMPILED * (each.package == "numba"))
    for name, each in SOLVERS.items()
    for problem in each.problems
    if each.package
]


@pytest.fixture(scope="module")
def optima(tmp_path_factory):
    """Exact costs by problem."""
    found = {}

    def of(problem):
        if problem not in found:
            card = request(problem, SMALL[problem], 1000, "knapsack" if problem == "kp" else "held-karp")
            found[problem] = label(tmp_path_factory.mktemp(problem) / "exact", card, 4, workers=0).cost
        return found[problem]

    return of


@pytest.mark.parametrize(("problem", "solver"), OTHERS)
def test_solvers_find_the_optimum_of_small_instances(problem, solver, optima, tmp_path):
    """Feasibility, step by step, and costs are checked by ``label`` itself."""
    pytest.importorskip(SOLVERS[solver].package)
    labels = label(tmp_path / "labels", request(problem, SMALL[problem], 1000, solver), 4, workers=0)
    np.testing.assert_allclose(labels.cost, optima(problem), atol=2e-6)


def test_knapsacks_are_worth_what_is_measured_of_their_kind(tmp_path):
    """36.2 on average with 100 items; here within four standard errors."""
    labels = label(tmp_path / "labels", request("kp", {"nodes": 100}, 1000, "knapsack"), 100, workers=0)
    error = labels.cost.std() / 10
    assert abs(-labels.cost.mean() - 36.2) < 4 * error + 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "mean"), [(20, 3.835), (50, 5.698)])
def test_tours_are_as_long_as_is_measured_of_their_kind(tmp_path, nodes, mean):
    pytest.importorskip("elkai")
    labels = label(tmp_path / "labels", request("tsp", {"nodes": nodes}, 1000, "elkai", 3), 400, workers=2)
    assert abs(labels.cost.mean() - mean) < 4 * labels.cost.std() / 20


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Labels of tiny knapsacks, in files of three; and whose instances were solved since."""
    monkeypatch.setattr(expert, "SHARD", 3)
    seeds = []
    solve_all = expert.solve_all
    monkeypatch.setattr(expert, "solve_all", lambda *args: (seeds.extend(args[3]), solve_all(*args))[1])
    card = request("kp", {"nodes": 6, "capacity": 1200}, 1000, "knapsack")
    return lambda number, directory="labels": label(tmp_path / directory, card, number, workers=0), seeds


def test_labels_are_resumed_and_extended(few, tmp_path, trees):
    make, seeds = few
    whole = make(8)
    assert len(whole.cost) == 8
    seeds.clear()
    trees.equal(make(8)._replace(card=None), whole._replace(card=None))
    trees.equal(make(4).solved, trees.rows(whole.solved, slice(4)))
    assert seeds == []
    (tmp_path / "labels" / "labels-00001.npz").unlink()  # as if killed
    with pytest.raises(InvalidArgument, match="at most 3"):
        load_labels(tmp_path / "labels", 8)
    trees.equal(make(8).solved, whole.solved)
    assert seeds == [1003, 1004, 1005]
    seeds.clear()
    longer = make(10)  # the last file was not full
    assert seeds == [1006, 1007, 1008, 1009]
    trees.equal(trees.rows(longer.solved, slice(8)), whole.solved)
    trees.equal(make(10, "elsewhere").solved, longer.solved)


def test_a_directory_has_labels_of_one_kind(few, tmp_path):
    make, _ = few
    make(2)
    other = request("kp", {"nodes": 6, "capacity": 1200}, 1001, "knapsack")
    with pytest.raises(InvalidArgument, match="with another seed"):
        label(tmp_path / "labels", other, 2, workers=0)
    with pytest.raises(InvalidArgument, match=r"with a card\.json"):
        load_labels(tmp_path)


def test_what_is_no_solution_is_refused(few, monkeypatch, tmp_path):
    make, _ = few
    wrong = SOLVERS["knapsack"]._replace(solve=lambda arrays, seed, effort: [[0, 0]])
    monkeypatch.setitem(SOLVERS, "knapsack", wrong)
    with pytest.raises(UserError, match=r"no solution of instance 0 \(seed 1000\)"):
        make(2)
    assert not list((tmp_path / "labels").glob("*.npz"))


def test_solutions_that_leave_something_out_are_not_right(optima, tmp_path):
    card = request("cvrp", SMALL["cvrp"], 1000, "held-karp")
    labels = label(tmp_path / "labels", card, 1, workers=0)
    instance, actions = jax.tree.map(lambda leaf: leaf[0], labels.solved)
    judge = jax.jit(lambda actions: right(PROBLEMS["cvrp"], instance, actions)[0])
    assert judge(actions)
    without_flag = np.where(actions % 2 == 1, actions - 1, actions)
    for wrong in (
        np.where(np.arange(7) < 6, actions, -1),
        np.where(np.arange(7) < 6, actions, actions[0]),
        without_flag,
    ):
        assert not judge(wrong)


def test_tours_go_on_while_something_can_be_reached():
    arrays = {"cost": 1.0 - np.eye(4), "prize": np.array([0, 1.0, 3.0, 2.0]), "length": 3.5}
    assert lengthened([1], arrays) == [1, 2]
    assert lengthened([1, 2], arrays) == [1, 2]


def test_batches_of_labels(few):
    labels = few[0](5)
    source = sampled(labels.solved, 16)
    _, batch, _ = source.next(source.init(jax.random.key(0)), None, jax.random.key(0))
    assert batch.actions.shape == (16, 6)
    assert batch.instance.remaining.valid.shape == (16, 6)
    known = {row.tobytes() for row in labels.solved.actions}
    assert {row.tobytes() for row in np.asarray(batch.actions)} <= known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tps"], "did you mean 'tsp'"),
        (["tsp", "--solver", "hygese"], "must be one that solves tsp"),
        (["tsp", "--solver", "held-karp"], "nodes=99: must be at most 16"),
        (["kp", "--settings", "weight=3"], "settings="),
        (["kp", "--settings", "weight"], "must be key=value"),
        (["kp", "--effort", "-1"], "effort=-1.0: must be above 0"),
        (["kp", "--instances", "0"], "instances=0"),
    ],
)
def test_requests_that_cannot_be_met(arguments, message, capsys, tmp_path):
    assert main([*arguments, "--workers", "0", "--directory", str(tmp_path / "labels")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_the_command(workers, capsys, tmp_path):
    directory = tmp_path / "labels"
    arguments = ["kp", "--nodes", "6", "--settings", "capacity=1200", "--solver", "knapsack", "--seed", "1000"]
    assert main([*arguments, "--instances", "5", "--workers", workers, "--directory", str(directory)]) == 0
    assert "labels     5, mean cost -" in capsys.readouterr().out
    card = json.loads((directory / "card.json").read_text())
    assert card["settings"] == {"nodes": 6, "capacity": 1200}
    assert len(load_labels(directory).cost) == 5

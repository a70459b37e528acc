"""Files of TSPLIB and CVRPLIB, made up here."""

import jax
import numpy as np
import pytest
from jaxrl.envs.combinatorial import files, solution_cost

from jaxrl.errors import InvalidArgument, UserError
from jaxrl.sources.solvers import actions_from, arrays_of

SQUARE = "NODE_COORD_SECTION\n1 0 0\n2 30 0\n3 30 41\n4 0 40\n"
EUCLIDEAN = "DIMENSION: 4\nEDGE_WEIGHT_TYPE: EUC_2D\n"
CUSTOMERS = EUCLIDEAN + "CAPACITY: 10\n" + SQUARE + "DEMAND_SECTION\n1 0\n2 6\n3 4\n4 5\nDEPOT_SECTION\n1\n-1\nEOF\n"
MATRIX = "DIMENSION: 3\nEDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: FULL_MATRIX\nEDGE_WEIGHT_SECTION\n"


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(f"NAME: {name}\n{text}")
        return tmp_path / name

    return write


def cost_of(problem, instance, actions):
    return float(jax.jit(lambda actions: solution_cost(problem, instance, actions))(np.asarray(actions)))


def test_tsp(file):
    pytest.importorskip("tsplib95")
    problem, instance = files.read_tsplib(file("a.tsp", f"TYPE: TSP\n{EUCLIDEAN}{SQUARE}EOF\n"))
    tour = files.read_tour(file("a.tour", "TYPE: TOUR\nDIMENSION: 4\nTOUR_SECTION\n2\n3\n4\n1\n-1\nEOF\n"))
    np.testing.assert_array_equal(tour, [1, 2, 3])
    assert cost_of(problem, instance, tour) == 30 + 41 + 30 + 40  # sqrt(901) is rounded
    at = np.asarray(instance.nodes["coordinates"])
    np.testing.assert_allclose(at[[0, 1, 2, 4]], [[0, 0], [30 / 41, 0], [30 / 41, 1], [0, 0]], rtol=1e-6)


def test_atsp(file):
    pytest.importorskip("tsplib95")
    rows = "9999 1 2\n3 9999 4\n5 6 9999\nEOF\n"
    problem, instance = files.read_tsplib(file("a.atsp", f"TYPE: ATSP\n{MATRIX}{rows}"))
    assert problem.name == "atsp"
    assert cost_of(problem, instance, [1, 2]) == 1 + 4 + 5
    assert cost_of(problem, instance, [2, 1]) == 2 + 6 + 3
    with pytest.raises(InvalidArgument, match="must have coordinates"):
        files.read_tsplib(file("b.tsp", f"TYPE: TSP\n{MATRIX}{rows}"))
    shown = "DISPLAY_DATA_TYPE: TWOD_DISPLAY\n"
    places = "DISPLAY_DATA_SECTION\n1 0 0\n2 1 0\n3 0 1\nEOF\n"
    with pytest.raises(InvalidArgument, match="it is an ATSP"):
        files.read_tsplib(file("c.tsp", f"TYPE: TSP\n{shown}{MATRIX}{rows.removesuffix('EOF' + chr(10))}{places}"))


def test_cvrp(file):
    pytest.importorskip("vrplib")
    path = file("c.vrp", f"TYPE: CVRP\n{CUSTOMERS}")
    problem, instance = files.read_cvrplib(path)
    routes = files.read_routes(file("c.sol", "Route #1: 1 2\nRoute #2: 3\nCost 202\n"))
    arrays = arrays_of("cvrp", instance)
    actions = actions_from("cvrp", routes, arrays, 3)
    assert cost_of(problem, instance, actions) == 30 + 41 + 51 + 40 + 40
    _, exactly = files.read_cvrplib(path, rounded=False)
    np.testing.assert_allclose(cost_of(problem, exactly, actions), 151 + np.hypot(30, 41), rtol=1e-6)
    with pytest.raises(InvalidArgument, match=r"demand=6\.0: must be at most the capacity of 5"):
        files.read_cvrplib(file("d.vrp", f"TYPE: CVRP\n{CUSTOMERS}".replace("CAPACITY: 10", "CAPACITY: 5")))
    with pytest.raises(InvalidArgument, match="its first node"):
        files.read_cvrplib(file("e.vrp", f"TYPE: CVRP\n{CUSTOMERS}".replace("SECTION\n1\n-1", "SECTION\n2\n-1")))


def test_files_that_are_none(tmp_path, monkeypatch):
    pytest.importorskip("vrplib")
    with pytest.raises(UserError, match="cannot be read"):
        files.read_cvrplib(tmp_path / "missing.vrp")
    monkeypatch.setitem(__import__("sys").modules, "vrplib", None)
    with pytest.raises(UserError, match="vrplib is not installed"):
        files.read_cvrplib(tmp_path / "missing.vrp")

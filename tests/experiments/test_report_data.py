"""The numbers behind a report, on tables small enough to know the answer."""

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

from experiments.reports.data import curves, final_rows, spread
from experiments.reports.sweeps import NOISE, between, importance, levels, number, two_way


def test_groups_that_round_to_other_steps_are_final_and_given_up_configs_are_not():
    rows = [  # 1,000 steps asked for: 2 updates of 512, 1 of 2,048, and one given up after 1 update of 512
        {"member": 0, "config": 0, "updates": 1, "environment_steps": 512},
        {"member": 0, "config": 0, "updates": 2, "environment_steps": 1024},
        {"member": 1, "config": 1, "updates": 1, "environment_steps": 1024},
        {"member": 2, "config": 2, "updates": 1, "environment_steps": 512},
    ]
    table = pd.DataFrame(rows).assign(frozen_at=-1, value=[1.0, 2.0, 3.0, 4.0])
    assert final_rows(table, "value")["value"].tolist() == [2.0, 3.0]
    table.loc[1, "frozen_at"] = 2
    table.loc[2, "value"] = np.nan
    assert final_rows(table, "value").empty


def test_curves_are_the_rows(tmp_path):
    """Every value in its place, whatever the order of the rows and whoever is missing."""
    rows = write_run(tmp_path / "x", seeds=3, evaluations=6, grid={"clip": [0.1, 0.2]}, frozen={1: 30}, given_up={1: 4})
    found = curves(rows.sample(frac=1, random_state=0), ["loss", "entropy"], [1, 0])
    assert found.values.shape == (3, 2, 6, 2)
    for seat in range(3):
        for place, config in enumerate([1, 0]):
            member = found.member[seat, place]
            mine = rows[(rows["member"] == member) & (rows["frozen_at"] == -1)].set_index("evaluation")
            assert set(rows.loc[rows["member"] == member, "config"]) == {config}
            for m, name in enumerate(["loss", "entropy"]):
                expected = mine[name].reindex(range(6)).to_numpy()
                np.testing.assert_array_equal(found.values[seat, place, :, m], expected)
    np.testing.assert_array_equal(found.axes["updates"][1], [10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(found.axes["environment_steps"][0], [5120, 10240, 15360, 20480, np.nan, np.nan])


def test_long_runs_are_thinned(tmp_path):
    rows = write_run(tmp_path / "x", seeds=2, evaluations=30)
    found = curves(rows, ["loss"], [0], most_evaluations=7)
    assert found.values.shape == (2, 1, 7, 1)
    assert found.axes["updates"][0][[0, -1]].tolist() == [10, 300]


def test_spread_takes_quantiles():
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert values[spread(values, 3)].tolist() == [1, 3, 5]
    assert values[spread(values, 9)].tolist() == [1, 2, 3, 4, 5]


@pytest.fixture
def sweep():
    """200 configs of 4 members: ``strong`` decides, ``weak`` helps a little, ``idle`` does nothing."""
    rng = np.random.default_rng(0)
    configs = {"strong": rng.random(200), "weak": rng.random(200), "idle": rng.random(200)}
    table = pd.DataFrame(configs | {"kind": rng.choice(["a", "b"], 200), "config": np.arange(200)})
    table = table.loc[np.repeat(table.index, 4)].reset_index(drop=True)
    return table.assign(value=10 * table["strong"] + 2 * table["weak"] + rng.normal(0, 0.5, len(table)))


def test_importance_orders_hyperparameters(sweep):
    matter = importance(sweep, "value", ["idle", "weak", "strong", "kind"])
    assert list(matter.index[:2]) == ["strong", "weak"]
    assert matter["strong"] > 10 * matter["weak"] > 20 * abs(matter["idle"])
    assert set(matter.index[2:]) == {"idle", "kind", NOISE}
    pd.testing.assert_series_equal(matter, importance(sweep, "value", ["idle", "weak", "strong", "kind"]))


def test_two_way_of_bins_and_names(sweep):
    table = two_way(sweep, "value", "kind", "strong")
    assert table.shape == (8, 2)
    assert (table.diff().dropna() > 0).all(axis=None)
    edge = sweep["strong"].quantile(1 / 8)
    assert table.index[0] == f"{sweep['strong'].min():.3g} .. {edge:.3g}"
    low = sweep[(sweep["kind"] == "a") & (sweep["strong"] <= edge)]["value"].sort_values()
    cut = len(low) // 4
    assert table.loc[table.index[0], "a"] == pytest.approx(low[cut : len(low) - cut].mean())
    assert list(levels(pd.Series([(64, 64), (8,), (64, 64)])).categories) == ["(64, 64)", "(8,)"]
    assert between(np.array([1000.1, 1000.2, 1000.3])) == ["1000.1 .. 1000.2", "1000.2 .. 1000.3"]
    assert [number(value) for value in (np.float32(3e-4), 4, "relu", 1.0)] == ["0.0003", "4", "relu", "1"]

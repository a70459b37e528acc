"""Members that are given up on the way: the others never notice, an interruption leaves no trace, the better stay."""

import jax
import numpy as np
import pandas as pd
import pytest

from jaxrl.engine.halving import SuccessiveHalving
from jaxrl.engine.run_directory import read_metrics
from jaxrl.engine.sinks import Sink
from jaxrl.errors import InvalidArgument

pytestmark = pytest.mark.optimised

HALVING = SuccessiveHalving(2, configs=4, evaluations=4)
RATES = np.array([1e-2, 3e-3, 1e-3, 3e-4])
SETTINGS = {"seeds": 3, "tile": 3, "updates": 8, "evaluate_every": 2 * 16}


@pytest.fixture(scope="module")
def rates(tiny):
    """Four configs."""
    return tiny.replace(learning_rate=RATES)


@pytest.fixture(scope="module")
def halved(run, rates):
    return run(rates, **SETTINGS, keep=HALVING)


@pytest.fixture(scope="module")
def whole(run, rates):
    return run(rates, **SETTINGS)


def rows_of(evaluation, returns):
    """Rows of one evaluation with two seeds of each config."""
    returns = np.asarray(returns, float)
    return pd.DataFrame(
        {
            "member": np.arange(returns.size),
            "config": np.repeat(np.arange(len(returns)), returns.shape[1]),
            "evaluation": evaluation,
            "evaluation_return": returns.ravel(),
        }
    )


def test_how_many_are_left_is_the_schedule_of_the_paper():
    # 9 configs by 3: a cut to 3 after a ninth of the run, and to 1 after a third
    halving = SuccessiveHalving(3, configs=9, evaluations=18)
    assert [halving.left_after(e) for e in range(18)] == [9, 3, 3, 3, 3] + 13 * [1]
    # 2 of 18 parts with 9, then 4 with 3, then 12 with 1
    assert halving.saving == pytest.approx(1 - (2 * 9 + 4 * 3 + 12 * 1) / (18 * 9))
    # not a power of the factor: 10 configs leave ceil(10 / 3) = 4, then ceil(10 / 9) = 2
    assert {SuccessiveHalving(3, 10, 18).left_after(e) for e in range(18)} == {10, 4, 2}


def test_the_better_configs_stay_with_all_their_seeds():
    halving = SuccessiveHalving(2, configs=4, evaluations=4)
    assert list(halving(rows_of(0, [[1, 1], [5, 3], [2, 2], [0, 9]]))) == [2, 3, 6, 7]


def test_a_seed_without_a_return_is_the_worst_there_is():
    halving = SuccessiveHalving(2, configs=2, evaluations=2)
    assert list(halving(rows_of(0, [[9, np.nan], [1, 1]]))) == [2, 3]
    assert list(halving(rows_of(0, [[np.nan, np.nan], [np.nan, np.nan]]))) == [0, 1], "someone must go on"


def test_who_goes_on_is_bitwise_who_was_never_in_a_race(trees, halved, whole):
    place = halved.kept
    assert len(place) == 3, "one config of four, with its three seeds"
    trees.equal(jax.tree.leaves(halved.states)[0], trees.rows(jax.tree.leaves(whole.states)[0], place))
    trees.equal(
        [leaf for leaf in trees.leaves(halved.states) if leaf.ndim],
        [leaf[place] for leaf in trees.leaves(whole.states) if leaf.ndim],
    )
    for name, values in halved.metrics.items():
        np.testing.assert_array_equal(values[place], whole.metrics[name][place])


def test_the_given_up_have_rows_until_then(halved):
    counts = halved.frame.groupby("evaluation")["member"].nunique()
    left = [4, *(HALVING.left_after(e) for e in range(3))]
    assert list(counts) == [3 * configs for configs in left]
    given_up = np.setdiff1d(np.arange(12), halved.kept)
    assert np.isnan(halved.metrics["evaluation_return"][given_up, -1]).all()
    assert (halved.metrics["frozen_at"] == -1).all()


def test_an_interruption_leaves_no_trace(run, trees, rates, halved, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxrl.engine.train.CHUNK_SECONDS", 0.0)

    class Stop(Sink):
        def __init__(self, updates):
            self.updates = updates

        def progress(self, done, *_):
            if done == self.updates:
                raise KeyboardInterrupt

    directory = tmp_path / "run"
    for updates in (2, 4, 6, 7):  # just before a cut, and after it
        with pytest.raises(KeyboardInterrupt):
            run(rates, **SETTINGS, keep=HALVING, directory=directory, checkpoint_seconds=0, sinks=[Stop(updates)])
    resumed = run(rates, **SETTINGS, keep=HALVING, directory=directory, checkpoint_seconds=0)
    trees.equal(resumed.states, halved.states)
    trees.equal(resumed.metrics, halved.metrics)
    np.testing.assert_array_equal(resumed.kept, halved.kept)
    pd.testing.assert_frame_equal(
        read_metrics(directory).drop(columns="wall_seconds"),
        halved.frame.drop(columns="wall_seconds"),
        check_exact=True,
    )


@pytest.mark.parametrize(
    ("argument", "settings"),
    [
        ("halving", {"factor": 1, "configs": 4, "evaluations": 4}),
        ("halving", {"factor": 5, "configs": 4, "evaluations": 4}),
        ("evaluate_every", {"factor": 2, "configs": 4, "evaluations": 1}),
    ],
)
def test_bad_arguments_are_named(argument, settings):
    with pytest.raises(InvalidArgument) as error:
        SuccessiveHalving(**settings)
    assert error.value.argument == argument


@pytest.mark.parametrize("answer", [[], [99]])
def test_an_answer_that_is_none_of_the_members_is_refused(run, rates, answer):
    with pytest.raises(InvalidArgument, match="keep"):
        run(rates, **SETTINGS, keep=lambda rows: answer, sinks=[Sink()])

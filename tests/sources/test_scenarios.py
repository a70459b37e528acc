"""Laws of ``scenarios``: epochs over a fixed set, or new ones for ever."""

import jax
import numpy as np
import pytest

from jaxrl import InvalidArgument
from jaxrl.sources.scenarios import scenarios

KEY = jax.random.key(0)


def batches_of(source, count, seed=0):
    """The data of the keys of some batches, ``[count, B, words]``."""
    step = jax.jit(lambda state, key: source.next(state, None, key))
    state, batches = source.init(jax.random.key(seed)), []
    for index in range(count):
        state, batch, metrics = step(state, jax.random.fold_in(KEY, index))
        assert metrics == {}
        assert jax.dtypes.issubdtype(batch.dtype, jax.dtypes.prng_key)
        batches.append(np.asarray(jax.random.key_data(batch)))
    return np.stack(batches)


def as_set(keys):
    return {tuple(map(int, key)) for key in keys.reshape(-1, keys.shape[-1])}


@pytest.mark.parametrize(("batch_size", "number"), [(4, 12), (3, 3), (1, 5), (256, 5120)])
def test_an_epoch_sees_every_scenario_once_and_epochs_see_the_same_ones(batch_size, number):
    parts = number // batch_size
    batches = batches_of(scenarios(batch_size, 7, number), 3 * parts)
    assert batches.shape[:2] == (3 * parts, batch_size)
    epochs = batches.reshape(3, number, -1)
    sets = [as_set(epoch) for epoch in epochs]
    assert len(sets[0]) == number
    assert sets[0] == sets[1] == sets[2]
    if number > 3:
        assert len({epoch.tobytes() for epoch in epochs}) == 3, "in different orders"


def test_orders_differ_between_epochs_in_what_is_batched_together():
    batches = batches_of(scenarios(4, 7, 12), 12).reshape(4, 3, 4, -1)
    assert len({frozenset(frozenset(as_set(batch)) for batch in epoch) for epoch in batches}) == 4


def test_the_set_and_its_orders_are_the_members_own_and_not_the_steps():
    """The keys of the steps do not matter: what is seen depends on the initial key alone."""
    source = scenarios(2, 7, 6)
    first, other = (as_set(batches_of(source, 3, seed)) for seed in (0, 1))
    assert not first & other
    state = source.init(KEY)
    batches = [jax.random.key_data(source.next(state, None, jax.random.key(seed))[1]) for seed in (1, 2)]
    np.testing.assert_array_equal(*batches)


def test_the_traces_of_a_scenario_are_the_same_in_every_epoch():
    source, state = scenarios(3, 7, 6), scenarios(3, 7, 6).init(KEY)
    traces = []
    for index in range(4):
        state, keys, _ = source.next(state, None, jax.random.fold_in(KEY, index))
        traces.append(jax.vmap(lambda key: jax.random.normal(key, (7,)))(keys))
    first, second = (np.sort(np.concatenate(traces[at : at + 2]), axis=0) for at in (0, 2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == 42


def test_without_a_number_all_scenarios_are_new():
    batches = batches_of(scenarios(8, 7), 20)
    assert len(as_set(batches)) == 160


def test_each_period_of_a_scenario_is_a_step_of_the_environment():
    assert scenarios(8, 7).steps == 56
    assert scenarios(8, 7, 16).steps == 56


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [("batch_size", (0, 5)), ("horizon", (4, 0)), ("number", (4, 5, 6)), ("number", (4, 5, 0)), ("number", (4, 5, 2))],
)
def test_sizes_that_do_not_fit_are_refused(argument, arguments):
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        scenarios(*arguments)

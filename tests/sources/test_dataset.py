"""Data sets: what is read is what was written, cards refuse what is not theirs, halves of batches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl import InvalidArgument, make
from jaxrl.core.combine import iterate
from jaxrl.core.types import Learner, Source, Transition
from jaxrl.engine.program import Program, WithTables
from jaxrl.sources.dataset import CARD, Card, DataSet, backend_of, load, sampled, save, with_prior

ENV = make("Pendulum-v1")
ROWS = 12
RANDOM = np.random.default_rng(0)
STEPS = Transition(
    obs=RANDOM.normal(size=(ROWS, 2, 3)).astype(np.float32),
    action=RANDOM.normal(size=(ROWS, 1)).astype(np.float32),
    reward=np.arange(ROWS, dtype=np.float32),
    discount=np.ones(ROWS, np.float32),
    cut=np.zeros(ROWS, np.float32),
    next_obs=RANDOM.normal(size=(ROWS, 2, 3)).astype(np.float32),
    extras={},
)
STEPS.discount[4], STEPS.cut[[4, 9]] = 0, 1  # a termination and a time limit
DATA = DataSet(Card(ENV.name, "uniform", -1200.0, -150.0), STEPS, np.repeat([0, 1, 2], [5, 5, 2]))


class Physical:
    """An environment on a backend, inside another one."""

    name = "hopper"

    def __init__(self, backend):
        self.env: Any = type("Inner", (), {"backend": backend})()


def test_what_is_read_is_what_was_written(tmp_path, trees):
    save(DATA, tmp_path / "data")
    found = load(tmp_path / "data", ENV)
    assert found.card == DATA.card
    trees.equal(found.transitions, STEPS)
    np.testing.assert_array_equal(found.episode, DATA.episode)
    assert [child.name for child in tmp_path.iterdir()] == ["data"]


def test_what_has_changed_is_read_anew(tmp_path):
    for rewards in (STEPS.reward, 2 * STEPS.reward):
        save(DATA._replace(transitions=STEPS._replace(reward=rewards)), tmp_path / "data")
        np.testing.assert_array_equal(load(tmp_path / "data").transitions.reward, rewards)
        (tmp_path / "data").rename(tmp_path / f"old-{rewards[1]}")


@pytest.mark.parametrize("devices", [1, 2])
def test_large_tables_are_arguments_of_programs(mesh_of, monkeypatch, devices):
    """The same numbers as with the table inside the program, whose text it is no more in."""
    table, small = np.random.default_rng(0).normal(size=(4096, 4)).astype(np.float32), np.ones(3, np.float32)

    def make(config):
        def update(state, batch, key):
            return state + config * batch.sum() * jnp.asarray(small).sum(), {"state": state.sum()}

        inner: Any = None
        return iterate(sampled(table, 8), Learner(lambda key: jnp.zeros(2), update, lambda state: inner, inner))

    program = Program(make, None, None, mesh_of(devices), 1, 1, None)  # type: ignore[arg-type]
    config, keys = jnp.arange(1.0, 3.0), jax.random.split(jax.random.key(0), 2)
    found = []
    for least, kind in ((table.nbytes, WithTables), (table.nbytes + 1, jax.stages.Compiled)):
        monkeypatch.setattr("jaxrl.engine.program.LARGE_CONSTANT", least)
        state = program.compiled_start(config, keys)(config, keys)
        advance = program.compiled_advance(config, state)
        assert isinstance(advance, kind)
        state = advance(config, state, np.int32(0), np.int32(5), np.bool_(True))
        state = advance(config, state, np.int32(5), np.int32(5), np.bool_(False))
        found.append(np.asarray(state.algorithm.learner))
        assert ("f32[4096,4]{1,0} constant(" in advance.as_text()) == (kind is not WithTables)
    np.testing.assert_array_equal(*found)
    assert np.all(found[0] != 0)


def test_scores():
    np.testing.assert_allclose(DATA.card.score([-1200.0, -150.0, -675.0]), [0, 100, 50])


def test_cards_refuse_another_environment_and_another_backend(tmp_path):
    save(DATA, tmp_path / "data")
    with pytest.raises(InvalidArgument, match="env='MountainCar"):
        load(tmp_path / "data", make("MountainCarContinuous-v0"))
    card = Card("hopper", "uniform", 0.0, 1.0, backend="spring")
    card.check(Physical("spring"))  # type: ignore[arg-type]
    assert backend_of(ENV) is None
    with pytest.raises(InvalidArgument, match="backend='generalized'"):
        card.check(Physical("generalized"))  # type: ignore[arg-type]


def test_what_cannot_be(tmp_path):
    with pytest.raises(InvalidArgument, match="path"):
        load(tmp_path)
    save(DATA, tmp_path / "data")
    with pytest.raises(InvalidArgument, match="path"):
        save(DATA, tmp_path / "data")
    short = DATA._replace(transitions=STEPS._replace(reward=STEPS.reward[:-1]))
    for bad, argument in ((short, "reward"), (STEPS._replace(obs=STEPS.obs * np.nan), "obs")):
        bad = bad if isinstance(bad, DataSet) else DATA._replace(transitions=bad)
        with pytest.raises(InvalidArgument, match=argument):
            save(bad, tmp_path / "other")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["data"]
    (tmp_path / "data" / CARD).unlink()
    with pytest.raises(InvalidArgument, match="path"):
        load(tmp_path / "data")
    with pytest.raises(InvalidArgument, match="random_return"):
        Card("hopper", "uniform", 1.0, 1.0)
    for sizes in ({"batch_size": 0}, {"batch_size": 1, "batches": 0}):
        with pytest.raises(InvalidArgument, match="batch"):
            sampled(STEPS, **sizes)


def test_batches_are_of_rows_of_the_data():
    source = sampled(STEPS, 50, 3)
    batch = jax.jit(lambda key: source.next((), None, key)[1])(jax.random.key(0))
    assert batch.reward.shape == (3, 50)
    assert source.steps == 150
    rows = np.asarray(batch.reward, int)
    np.testing.assert_array_equal(batch.obs, STEPS.obs[rows])
    assert len(np.unique(rows)) == ROWS
    one = jax.eval_shape(lambda key: sampled(STEPS, 5).next((), None, key)[1], jax.random.key(0))
    assert one.obs.shape == (5, 2, 3)


def test_half_of_every_batch_is_prior_data(trees):
    own = jax.tree.map(lambda leaf: np.full((2, 4, *leaf.shape[1:]), -7, leaf.dtype), STEPS)
    source = with_prior(Source(lambda key: (), lambda state, behaviour, key: (state, own, {"x": 1}), 8), STEPS)
    batch, metrics = jax.jit(lambda key: source.next((), None, key)[1:])(jax.random.key(0))
    trees.equal(jax.tree.map(lambda leaf: leaf[:, :4], batch), own)
    rows = np.asarray(batch.reward[:, 4:], int)
    assert rows.min() >= 0
    np.testing.assert_array_equal(batch.next_obs[:, 4:], STEPS.next_obs[rows])
    assert metrics == {"x": 1}

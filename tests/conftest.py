"""Set-up of all tests: eight virtual CPU devices, one thread each, and compiled programs kept between runs.

Both have to happen before gymnax is imported, since that fixes jax's devices; pytest imports this file first.
"""

import inspect
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# In the environment rather than in jax's config, so that the processes that tests start share the programs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxrl" / "tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
QUICKLY = []  # how `make test` compiles most tests; see docs/decisions.md
if os.environ.get("JAXRL_TESTS") == "quick":
    QUICKLY = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    QUICKLY += ["--xla_cpu_use_fusion_emitters=false"]
    os.environ.pop("XLA_FLAGS", None)
os.environ.setdefault("XLA_FLAGS", " ".join([*QUICKLY, "--xla_cpu_multi_thread_eigen=false"]))

import jaxrl  # noqa: E402

jaxrl.use_all_cores(8)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

import jaxrl.engine.train as engine  # noqa: E402
from jaxrl.engine.program import Program  # noqa: E402

# The first call of a property compiles, so a deadline would measure that. Derandomised, what fails today does tomorrow.
settings.register_profile("jaxrl", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("jaxrl")


def as_numpy(leaf):
    """A leaf as numpy has it; of a typed key its data."""
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


class Trees:
    """Comparisons of trees of arrays."""

    @staticmethod
    def rows(tree, index):
        """Rows of every leaf, as numpy arrays."""
        return jax.tree.map(lambda leaf: as_numpy(leaf)[index], tree)

    @staticmethod
    def leaves(tree):
        """All leaves, as numpy arrays."""
        return [as_numpy(leaf) for leaf in jax.tree.leaves(tree)]

    @staticmethod
    def equal(a, b):
        """Asserts that two trees are the same bit by bit, NaN in the same places included."""
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(as_numpy(x), as_numpy(y), strict=True), a, b)

    @staticmethod
    def close(a, b, **tolerance):
        """Asserts that two trees are the same within a tolerance."""
        jax.tree.map(lambda x, y: np.testing.assert_allclose(as_numpy(x), as_numpy(y), **tolerance), a, b)

    @staticmethod
    def same(a, b) -> bool:
        """Whether two trees are the same bit by bit."""
        flags = jax.tree.map(lambda x, y: np.array_equal(as_numpy(x), as_numpy(y), equal_nan=False), a, b)
        return all(jax.tree.leaves(flags))


@pytest.fixture(scope="session")
def trees():
    """Comparisons of trees of arrays."""
    return Trees


@pytest.fixture(scope="session")
def mesh_of():
    """Makes a mesh of the first ``n`` virtual devices, as the engine wants it."""
    return lambda n: jax.sharding.Mesh(np.array(jax.devices()[:n]), ("member",))


@pytest.fixture(scope="session")
def user_environment():
    """Environment variables of a process that has all of its devices to set up, as a user's has."""
    return os.environ | {"XLA_FLAGS": " ".join(QUICKLY)}


@pytest.fixture(scope="session")
def made_once():
    """Environments and programs of the runs of this process."""
    return {}, {}


@pytest.fixture(scope="module")
def programs_once(made_once):
    """Lets runs of ``train`` that differ in values alone share their programs, as jit would.

    Two are the same if all that the program and its ``make`` hold, the structure and the types of the arguments are.
    """
    environments, programs = made_once
    make_env = engine.make_env

    def make_once(env_id, **settings):
        name = repr((env_id, sorted(settings.items())))
        if name not in environments:
            environments[name] = make_env(env_id, **settings)
        return environments[name]

    def identity(value):
        leaves, structure = jax.tree.flatten(value)
        if jax.tree_util.treedef_is_leaf(structure):
            return value
        return structure, *((np.shape(leaf), np.asarray(leaf).dtype, np.asarray(leaf).tobytes()) for leaf in leaves)

    def once(compiled):
        def compiled_once(program, *arguments):
            held = inspect.getclosurevars(program.make).nonlocals | vars(program)
            del held["make"]
            types = [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in jax.tree.leaves(arguments)]
            values = [(name, identity(value)) for name, value in sorted(held.items())]
            key = compiled.__name__, *values, jax.tree.structure(arguments), *types
            if key not in programs:
                programs[key] = compiled(program, *arguments)
            return programs[key]

        return compiled_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "make_env", make_once)
        for name in ("compiled_start", "compiled_advance", "compiled_judge"):
            patch.setattr(Program, name, once(getattr(Program, name)))
        yield

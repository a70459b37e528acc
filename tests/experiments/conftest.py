"""What tests of the command line share: runs of seconds, and the guard that bad input is refused before compiling."""

import pytest

from experiments.train import main
from jaxrl.engine.program import Program

TINY_MEMBERS = """
    --preset none --num-envs 2 --num-steps 8 --num-minibatches 2 --num-epochs 1 --hidden-sizes 8 --learning-rate 1e-3
    --seeds 2
"""
TINY = f"{TINY_MEMBERS} --steps 64 --evaluate-every 32 --evaluation-episodes 2 --checkpoint-seconds 0"


@pytest.fixture(scope="module", autouse=True)
def _programs_once(programs_once):
    """Most runs here differ in what is asked for around the training."""


@pytest.fixture
def tiny(tmp_path):
    """Arguments of a run of two evaluations, into ``tmp_path/run``."""
    return ["ppo", "--env", "CartPole-v1", *TINY.split(), "--directory", str(tmp_path / "run")]


@pytest.fixture(scope="session")
def tiny_members():
    """Arguments that say what is trained, but neither for how long nor where it is kept."""
    return ["ppo", "--env", "CartPole-v1", *TINY_MEMBERS.split()]


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """The directory of a run of three seeds on CartPole, two evaluations; to be read, or copied."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    assert main(["ppo", "--env", "CartPole-v1", *TINY.split(), "--seeds", "3", "--directory", str(directory)]) == 0
    return directory


@pytest.fixture
def one_error(capsys):
    """Runs a command's ``main`` that must end with exit code 2 and one line on stderr; returns the line."""

    def one_error(main, arguments):
        code = main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.splitlines()
        assert code == 2
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return one_error


@pytest.fixture
def refused_by(monkeypatch, capsys, one_error):
    """The same of a function that runs a command line, and that must end so before compiling."""

    def compiled(*_):
        raise AssertionError("compiled")

    def refused_by(command):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(Program, "compiled_start", compiled)
            return one_error(lambda _: command(), [])

    return refused_by


@pytest.fixture
def refused(refused_by):
    """The same of ``experiments.train`` with these arguments."""
    return lambda arguments: refused_by(lambda: main(arguments))

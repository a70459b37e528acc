"""The notebooks run, and what is committed is their scripts with the outputs of a whole run."""

import re
import subprocess
import sys
import types
from pathlib import Path

import jupytext
import nbformat
import pytest

from experiments.notebooks import NOTEBOOKS, execute, main

ROOT = NOTEBOOKS.parent
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))
LOCAL = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|usr|opt|var|mnt|content)/|site-packages|\.venv")

scripts = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def committed(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """Everything a cell put out that can be read."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield from output.get("traceback", [])
        yield from (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def test_eight():
    assert [script.stem[:2] for script in SCRIPTS] == [f"0{number}" for number in range(1, 9)]
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {script.stem for script in SCRIPTS}


# Two by default: each has a process of its own, that compiles for a minute on a new machine.
@pytest.mark.parametrize(
    "script",
    [pytest.param(script, marks=[pytest.mark.slow] * (script.stem[:2] not in ("01", "02"))) for script in SCRIPTS],
    ids=lambda script: script.stem,
)
def test_runs(script, tmp_path, monkeypatch):
    """With tiny sizes, in another process with jax's devices of its own. `execute` raises if a cell does."""
    monkeypatch.setenv("JAXRL_QUICK", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = execute(script, tmp_path)
    pictures = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert pictures
    if script.stem.startswith("01"):
        assert any("the same bit for bit: True" in text for cell in code_cells(notebook) for text in texts(cell))


@scripts
def test_script_and_notebook_are_in_step(script):
    from_script, notebook = jupytext.read(script), committed(script)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in from_script.cells]


@scripts
def test_every_cell_was_run_in_order(script):
    cells = code_cells(committed(script))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@scripts
def test_outputs_hold_pictures_and_neither_errors_nor_paths(script):
    notebook = committed(script)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    for cell in code_cells(notebook):
        for text in texts(cell):
            assert not LOCAL.search(text), text
            assert str(ROOT) not in text
            assert str(Path.home()) not in text
    assert script.with_suffix(".ipynb").stat().st_size < 1e6


def first_cell(script):
    return code_cells(jupytext.read(script))[0].source


class TestFirstCell:
    """Installs on Colab, and does nothing elsewhere."""

    @pytest.fixture
    def installed(self, monkeypatch):
        calls = []
        monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
        return calls

    @pytest.fixture
    def colab(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))

    def test_is_the_same_everywhere(self):
        assert len({first_cell(script) for script in SCRIPTS}) == 1

    def test_does_nothing_here(self, installed):
        exec(first_cell(SCRIPTS[0]), {})
        assert installed == []

    def test_installs_on_colab(self, installed, colab):
        address = "https://example.org/jaxrl.git"
        exec(first_cell(SCRIPTS[0]).replace('REPOSITORY = ""', f'REPOSITORY = "{address}"'), {})
        assert [command[-1] for command in installed] == [f"git+{address}"]

    @pytest.mark.usefixtures("colab")
    def test_asks_for_the_address(self, installed):
        with pytest.raises(ValueError, match="REPOSITORY=''"):
            exec(first_cell(SCRIPTS[0]), {})
        assert installed == []


def test_unknown_notebook_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none.ipynb")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: notebook=")
    assert "must be a script" in error
    assert error.count("\n") == 1


def test_failing_notebook_is_not_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    script = tmp_path / "failing.py"
    script.write_text('# %%\nraise KeyError("missing")\n')
    assert main([str(script)]) == 2
    assert "KeyError: 'missing'" in capsys.readouterr().err.splitlines()[-1]
    assert not script.with_suffix(".ipynb").exists()

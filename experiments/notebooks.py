"""Runs the notebooks and keeps what they put out: ``python -m experiments.notebooks [PATH ...]``.

Each ``notebooks/*.ipynb`` is made anew from the script of the same name, in a kernel of the Python that runs this.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from experiments.command_line import exit_code
from jaxrl.errors import InvalidArgument, UserError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the notebooks named, all by default, and returns the exit code: 2 for one that is not there or fails."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    scripts = [Path(name).with_suffix(".py") for name in argv]
    for script in scripts:
        if not script.is_file():
            raise InvalidArgument("notebook", str(script), "must be a script such as those in notebooks/")
    for script in scripts or sorted(NOTEBOOKS.glob("*.py")):
        with tempfile.TemporaryDirectory() as directory:
            notebook = execute(script, Path(directory))
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        print(f"wrote {script.with_suffix('.ipynb')}")
    return 0


def execute(script: Path, directory: Path) -> nbformat.NotebookNode:
    """The notebook of a percent script, with its outputs.

    Args:
        directory: where it runs, and leaves what it writes.

    Raises:
        UserError: if a cell fails, with its error.
    """
    notebook = jupytext.read(script)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random by default: every run would differ
    # jupyter gives the kernel named python3 to the running Python, whatever else is installed
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise UserError(f"notebook={str(script)!r}: {error.ename}: {error.evalue}") from error
    return notebook


if __name__ == "__main__":
    sys.exit(main())

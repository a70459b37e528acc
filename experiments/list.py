"""What there is to train: ``python -m experiments.list [algorithms|envs|presets]``.

A table on a terminal; in a pipe lines of kind, name and description with tabs between them.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tyro

from experiments.command_line import (
    ALGORITHMS,
    PRESETS,
    algorithm_class,
    exit_code,
    load_preset,
    parse_all,
    preset_names,
)
from jaxrl.errors import unknown


def algorithms() -> list[tuple[str, str]]:
    """Names and descriptions of the algorithms, from their docstrings."""
    return [(name, first_sentence(algorithm_class(name).__doc__)) for name in sorted(ALGORITHMS)]


def envs() -> list[tuple[str, str]]:
    """Ids and descriptions of the environments, from their docstrings; transforms of any of them stand
    with their prefix, and suites that are not installed are marked."""
    from jaxrl.envs import absent, documentation, prefixes, registered

    rows = [(env_id, first_sentence(documentation(env_id))) for env_id in registered()]
    rows += [(f"{prefix}ENV", first_sentence(said)) for prefix, said in prefixes().items()]
    return sorted([*rows, *((f"{prefix}*", f"not installed: {command}") for prefix, command in absent().items())])


def presets() -> list[tuple[str, str]]:
    """Names of the presets, their steps, and the first sentence of the comments that their files begin with."""
    rows = []
    for name in preset_names():
        steps, comment = load_preset(name).steps, opening_comment((PRESETS / f"{name}.toml").read_text())
        rows.append((name, ": ".join(filter(None, [steps and f"{steps:,} steps", first_sentence(comment)]))))
    return rows


KINDS: dict[str, Callable[[], list[tuple[str, str]]]] = {"algorithms": algorithms, "envs": envs, "presets": presets}


@dataclass(frozen=True)
class Listing:
    """Lists algorithms, environments and presets with one line each."""

    kind: tyro.conf.Positional[str] = "all"
    """Which of them: algorithms, envs, presets or all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    kind = parse_all(Listing, argv, "experiments.list").kind
    if kind not in (*KINDS, "all"):
        raise unknown("kind", kind, [*KINDS, "all"])
    for name in KINDS if kind == "all" else (kind,):
        show(name, KINDS[name]())
    return 0


def show(kind: str, rows: list[tuple[str, str]]) -> None:
    """Prints the rows of one kind."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in rows:
            print(kind, *row, sep="\t")
        return
    names = max(len(name) for name, _ in rows)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(kind, width=names, no_wrap=True)
    table.add_column(width=max(20, console.width - names - 4), no_wrap=True, overflow="ellipsis")
    for name, description in rows:
        table.add_row(escaped(name), escaped(description))
    console.print(table, highlight=False)
    console.print()


def escaped(text: str) -> str:
    """Text in which square brackets are no markup: ``pip install 'jaxrl[playground]'``."""
    from rich.markup import escape

    return escape(text)


def opening_comment(toml: str) -> str:
    """The comment that a TOML file begins with, empty if it does not begin with one."""
    lines = re.match(r"(?:#.*\n)*", toml + "\n")
    assert lines is not None, "the pattern matches the empty text too"
    return re.sub(r"^# ?", "", lines[0], flags=re.MULTILINE)


def first_sentence(text: str | None) -> str:
    """The first sentence below any headings, as one line of plain text."""
    paragraphs = [p for p in re.split(r"\n\s*\n", (text or "").strip()) if not p.startswith("#")]
    line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraphs[0].split())) if paragraphs else ""
    return re.split(r"(?<=[^A-Z][.!?]) (?=[A-Z])", line)[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())

"""``python -m experiments.report runs/x [runs/y ...]``: one self-contained HTML file about one run or several."""

import datetime
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments import viewers
from experiments.command_line import exit_code, or_none, parse_all
from jaxrl.errors import InvalidArgument, UserError


@dataclass(frozen=True)
class Report:
    """Makes an HTML report of runs that opens from disk, and PNG figures beside it."""

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="")
    ] = ()
    """Directories of runs or sweeps; of several the report compares them."""
    output: Annotated[Path | None, or_none("FILE.html")] = None
    """The file to write, by default report.html in the directory of a single run, or here for several."""
    metric: Annotated[str | None, or_none("NAME")] = None
    """What runs are compared by: evaluation_return by default, episode_return if there is none."""
    pictures: bool = True
    """Show the best member of each run at work."""
    figures: bool = True
    """Write PNG figures into FILE_figures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    options = parse_all(Report, argv, "experiments.report")
    if not options.runs:
        raise InvalidArgument("runs", "", "must be given: the directories of one run or several")
    output = options.output or (options.runs[0] / "report.html" if len(options.runs) == 1 else Path("report.html"))
    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidArgument("output", str(output), "must end in .html")
    for name in ("jinja2", "plotly", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{name}: is not installed: pip install 'jaxrl[report]'")
    write(options.runs, output, options.metric, viewers.view if options.pictures else None, options.figures)
    return 0


def write(
    directories: Sequence[Path], output: Path, metric: str | None, view: Callable[[Path, int], Any] | None, draw: bool
) -> None:
    """Writes the report on the runs in these directories, and its figures if ``draw``.

    Raises:
        UserError: if a directory holds no run, or the disk refuses.
    """
    from experiments.reports import data, figures, page

    runs = [data.load(directory, name) for directory, name in zip(directories, names(directories))]
    metric = data.chosen_metric(runs, metric)
    report = page.numbers(runs, metric)
    html = page.render(runs, report, page.pictures(runs, report, view), made())
    folder, drawn = output.with_name(f"{output.stem}_figures"), []
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(html, encoding="utf-8")
        if draw and metric is not None:
            drawn = figures.draw(runs, report, folder)
    except OSError as error:
        raise UserError(f"output={str(output)!r}: cannot be written ({error.strerror or error})") from error
    print(f"report   {output} ({output.stat().st_size / 1e6:.1f} MB)")
    for file in drawn:
        print(f"figure   {file}")


def names(directories: Sequence[Path]) -> list[str]:
    """What to call the runs: their folders' names, or the paths as given where these are not distinct.

    Raises:
        InvalidArgument: for the same directory twice.
    """
    whole = [directory.resolve() for directory in directories]
    for place, directory in enumerate(whole):
        if directory in whole[:place]:
            raise InvalidArgument("runs", str(directories[place]), "is named twice")
    short = [directory.name for directory in whole]
    return short if len(set(short)) == len(short) else [str(directory) for directory in directories]


def made() -> str:
    """When and by which version the report is made."""
    from jaxrl.engine.run_directory import commit

    now = datetime.datetime.now(datetime.UTC)
    return f"Made {now:%Y-%m-%d %H:%M} UTC by jaxrl, commit {(commit() or 'unknown')[:10]}."


if __name__ == "__main__":
    sys.exit(main())

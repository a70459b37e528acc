"""Where the time of a training goes: ``python -m experiments.profile ppo --env CartPole-v1 --seeds 8 --updates 20``.

The training itself is that of ``experiments.train``, traced by JAX's profiler after a first update. A trace says how
long each operation of the compiled program ran; the program's text says from which line of the source it comes.
"""

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from experiments.command_line import Run, exit_code, or_none, understand
from jaxrl.errors import InvalidArgument, UserError

SHOWN = 10
"""operations in the table"""
UNUSED = ("steps", "evaluate_every", "directory", "overwrite", "coordinator", "tensorboard", "wandb")
"""options of a training that make no sense in a profile"""
CONTROL_FLOW = ("while", "call", "conditional")
"""operations that last as long as those inside them"""
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Profile(Run):
    """What is traced, beside what ``experiments.train`` takes."""

    updates: int = 20
    """Updates that are traced, after one that is not."""
    output: Annotated[Path | None, or_none("PATH")] = None
    """Folder of the trace, runs/ALGORITHM-ENVIRONMENT-profile by default."""

    def check(self) -> None:
        super().check()
        if self.updates < 1:
            raise InvalidArgument("updates", self.updates, "must be at least 1")
        for field in dataclasses.fields(Run):
            value = getattr(self, field.name)
            if field.name in UNUSED and value != field.default:
                value = str(value) if isinstance(value, Path) else value
                raise InvalidArgument(field.name, value, "is of no use in a profile, which keeps nothing but its trace")


class Operation(NamedTuple):
    """An instruction of a compiled program."""

    opcode: str
    name_stack: str
    """the functions it was traced in, ``jit(run)/while/body/.../dot_general``"""
    source: str
    """``file:line``; empty where XLA made it up"""


class Cost(NamedTuple):
    """What an operation cost in a trace, on all devices together."""

    name: str
    milliseconds: float
    calls: int


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    request = understand("profile", Profile, argv)
    if request is None:
        return 0

    from jaxrl.engine.train import train

    profile, output = request.run, request.run.output or request.directory
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={str(output)!r}: cannot be written to ({error.strerror})") from error
    tracer = tracing_sink(output)
    with true_sources():
        result = train(
            request.config,
            profile.env,
            env_settings=request.env_settings,
            seeds=request.seeds,
            updates=1 + profile.updates,
            evaluate_every=0,
            tile=profile.tile,
            sinks=[tracer],
        )
    text = tracer.program.as_text()
    program = operations(text)
    costs = operation_costs(trace_events(newest(output, "*.xplane.pb"), module_name(text)), program)
    layout = result.layout
    print(
        f"{profile.updates} updates of {layout.members} members in {tracer.seconds:.2f} s under the profiler,"
        f" {layout.groups} group(s) of {layout.devices} device(s) x {layout.tile} members\n"
    )
    print("\n".join(table(costs, program)), end="\n\n")
    print("\n".join(estimates(tracer.program, layout)), end="\n\n")
    print(f"trace      {newest(output, '*.trace.json.gz')}")
    print("           open it in https://ui.perfetto.dev, or with xprof installed:")
    print(f"           tensorboard --logdir {output}")
    return 0


@contextlib.contextmanager
def true_sources() -> Iterator[None]:
    """Keeps jax from taking a program from its cache that was compiled from other lines of source."""
    import jax

    config: Any = jax.config
    before = config.jax_compilation_cache_include_metadata_in_key
    config.update("jax_compilation_cache_include_metadata_in_key", True)
    try:
        yield
    finally:
        config.update("jax_compilation_cache_include_metadata_in_key", before)


def tracing_sink(output: Path) -> Any:
    """A sink that traces a run from its first update to its end, and keeps the compiled program.

    Its attributes are ``program`` and, after the run, ``seconds`` of wall-clock time.
    """
    import jax

    from jaxrl.engine.sinks import Sink

    class Tracer(Sink):
        program: Any = None
        started: float | None = None
        seconds = 0.0

        def compiled(self, advance):
            self.program = advance

        def progress(self, done, steps_per_second, seconds_left, latest):
            if self.started is None:
                options = jax.profiler.ProfileOptions()
                options.python_tracer_level = 0  # the host's Python between two chunks only fills the trace
                jax.profiler.start_trace(str(output), profiler_options=options)
                self.started = time.perf_counter()

        def close(self):
            if self.started is not None:
                self.seconds = time.perf_counter() - self.started
                jax.profiler.stop_trace()

    return Tracer()


def newest(output: Path, pattern: str) -> Path:
    """The newest file of the profiler below a folder that holds a trace."""
    return max(output.rglob(pattern), key=lambda file: file.stat().st_mtime_ns)


# --- the trace --------------------------------------------------------------------------------------------------


def trace_events(file: Path, module: str) -> Iterator[tuple[str, float]]:
    """Name and nanoseconds of each time an operation of a module ran, from a trace's ``.xplane.pb``."""
    from jax.profiler import ProfileData

    for plane in ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith("end: "):  # where an operation that ran elsewhere came back
                    continue
                statistics = dict(event.stats)
                if "hlo_op" in statistics and statistics.get("hlo_module", module) == module:
                    yield statistics["hlo_op"], event.duration_ns


def operation_costs(events: Iterator[tuple[str, float]], program: dict[str, Operation]) -> list[Cost]:
    """What each operation cost, the most expensive first, without the loops that others run in."""
    totals: dict[str, tuple[float, int]] = {}
    for name, nanoseconds in events:
        if name in program and program[name].opcode in CONTROL_FLOW:
            continue
        total, calls = totals.get(name, (0.0, 0))
        totals[name] = total + nanoseconds, calls + 1
    costs = [Cost(name, total / 1e6, calls) for name, (total, calls) in totals.items()]
    return sorted(costs, key=lambda cost: cost.milliseconds, reverse=True)


def table(costs: list[Cost], program: dict[str, Operation]) -> list[str]:
    """The lines of the table of the most expensive operations."""
    total = sum(cost.milliseconds for cost in costs)
    nothing = Operation("", "", "")
    rows = [("operation", "ms", "share", "calls", "source", "traced in")]
    for cost in costs[:SHOWN]:
        operation = program.get(cost.name, nothing)
        share = f"{cost.milliseconds / total:.1%}"
        where = operation.source or "-", readable_stack(operation.name_stack) or "-"
        rows.append((cost.name, f"{cost.milliseconds:.2f}", share, str(cost.calls), *where))
    rest = costs[SHOWN:]
    if rest:
        spent, calls = sum(cost.milliseconds for cost in rest), sum(cost.calls for cost in rest)
        rows.append((f"{len(rest)} others", f"{spent:.2f}", f"{spent / total:.1%}", str(calls), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    pad = (str.ljust, str.rjust, str.rjust, str.rjust, str.ljust, str.ljust)
    return ["  ".join(p(cell, width) for p, cell, width in zip(pad, row, widths)).rstrip() for row in rows]


def estimates(program: Any, layout: Any) -> list[str]:
    """What XLA says of the cost of a program, as far as the backend does."""
    try:
        cost = program.cost_analysis() or {}
    except Exception:  # each backend refuses in its own way, and the trace is what counts
        cost = {}
    names = {"flops": "FLOPs", "transcendentals": "transcendental functions", "bytes accessed": "bytes accessed"}
    known = [f"{cost[name]:,.0f} {words}" for name, words in names.items() if cost.get(name, -1) >= 0]
    if not known:
        return ["XLA has no estimate of the program's cost on this backend"]
    return [f"XLA's estimate for {layout.tile} members on a device, each loop's body counted once: {', '.join(known)}"]


# --- the program ------------------------------------------------------------------------------------------------


def module_name(text: str) -> str:
    """The name of a compiled program, from its text."""
    found = re.match(r"HloModule (\S+?),", text)
    assert found is not None, "every text of a module begins with its name"
    return found[1]


def operations(text: str) -> dict[str, Operation]:
    """The operations of a compiled program by name, from its text."""
    sources = stack_sources(text)
    found = {}
    for line in text.splitlines():
        instruction = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = (?:\(.*?\)|\S+) ([\w-]+)\(", line)
        if instruction is None:
            continue
        metadata = re.search(r"metadata=\{(.*?)\}", line)
        said = metadata[1] if metadata else ""
        stack = re.search(r'op_name="([^"]*)"', said)
        frame = re.search(r"stack_frame_id=(\d+)", said)
        inline = re.search(
            r'source_file="([^"]*)" source_line=(\d+)', said
        )  # as texts without a table of frames have it
        source = sources.get(int(frame[1]), "") if frame else shortened_path(*inline.groups()) if inline else ""
        found[instruction[1]] = Operation(instruction[2], stack[1] if stack else "", source)
    return found


def stack_sources(text: str) -> dict[int, str]:
    """Stack frame to ``file:line`` of the innermost call in it that is not in an installed package."""
    head = text.split("\n%", 1)[0]
    names = {int(i): name for i, name in re.findall(r'^(\d+) "(.*)"$', section(head, "FileNames"), re.MULTILINE)}
    location = r"^(\d+) \{file_name_id=(\d+) function_name_id=\d+ line=(\d+)"
    locations = {
        int(i): (names[int(file)], line)
        for i, file, line in re.findall(location, section(head, "FileLocations"), re.MULTILINE)
    }
    frame = r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?\}"
    frames = {
        int(i): (int(place), int(parent or 0))
        for i, place, parent in re.findall(frame, section(head, "StackFrames"), re.MULTILINE)
    }
    # The first frame is an outermost one. XLA writes parents one higher than they are counted: then it is its own.
    offset = 1 if frames and frames[1][1] == 1 else 0

    def source(frame: int) -> str:
        innermost, seen = frame, 0
        while frame in frames and seen <= len(frames):
            file, line = locations[frames[frame][0]]
            if "site-packages" not in file:
                return shortened_path(file, line)
            frame, seen = frames[frame][1] - offset, seen + 1
        return shortened_path(*locations[frames[innermost][0]])

    return {frame: source(frame) for frame in frames}


def section(text: str, name: str) -> str:
    """The lines below a heading, up to the next empty one."""
    found = re.search(rf"^{name}\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def shortened_path(file: str, line: str) -> str:
    """``jaxrl/losses/value.py:12``: relative to the repository or the installed packages."""
    path = Path(file)
    if path.is_relative_to(REPOSITORY):
        path = path.relative_to(REPOSITORY)
    elif "site-packages" in path.parts:
        path = Path(*path.parts[path.parts.index("site-packages") + 1 :])
    return f"{path}:{line}"


def readable_stack(name_stack: str) -> str:
    """A name stack without the engine's own frame and without what only says that there is a loop."""
    noise = r"(?:jit\(run\)|shard_map|vmap\(\)|while|body|closed_call|cond|branch_\d+_fun)"
    return re.sub(rf"(?:^|(?<=/)){noise}(?:/|$)", "", name_stack)


if __name__ == "__main__":
    sys.exit(main())

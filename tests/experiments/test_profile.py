"""The table of a profile counts what ran, and names the lines that it came from."""

import contextlib
import gzip
import io
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from experiments import profile
from experiments.profile import Cost, Operation, main, newest, operation_costs, operations, readable_stack, trace_events

TEXT = """HloModule jit_run, is_scheduled=true

FileNames
1 "/venv/lib/python3.11/site-packages/flax/linen/linear.py"
2 "REPOSITORY/jaxrl/networks/torsos.py"

FunctionNames
1 "__call__"

FileLocations
1 {file_name_id=2 function_name_id=1 line=35 end_line=35 column=1 end_column=2}
2 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=2 parent_frame_id=1}

%body (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  %dot.1 = f32[2]{0} dot(%p, %p), metadata={op_name="jit(run)/while/body/Dense_1/dot_general" stack_frame_id=2}
  %copy.2 = (f32[2]{0}, /*index=1*/s32[]) copy(%dot.1)
  %add.5 = f32[2]{0} add(%p, %p), metadata={op_name="add" stack_frame_id=3}
  ROOT %tanh.3 = f32[2]{0} tanh(%p), metadata={op_name="tanh" source_file="REPOSITORY/experiments/x.py" source_line=3}
}

ENTRY %main {
  %while.4 = f32[2]{0} while(%p), condition=%c, body=%body, metadata={op_name="jit(run)/while" stack_frame_id=1}
}
""".replace("REPOSITORY", str(profile.REPOSITORY))


@pytest.fixture(scope="module")
def printed(tmp_path_factory, tiny_members):
    """What a profile of three updates of two members on two devices prints, its program's text, and its folder."""
    output, shown, texts = tmp_path_factory.mktemp("profile"), io.StringIO(), []
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        parsed = profile.operations
        patch.setattr(profile, "operations", lambda text: texts.append(text) or parsed(text))
        arguments = [*tiny_members, "--updates", "3", "--output", str(output)]
        assert main(arguments) == 0
    return shown.getvalue().splitlines(), texts[0], output


def test_table_of_a_training(printed):
    """Ten operations, the most expensive first, with lines of the repository that exist."""
    lines, _, _ = printed
    assert lines[0].startswith("3 updates of 2 members in ")
    assert lines[2].split() == ["operation", "ms", "share", "calls", "source", "traced", "in"]
    rows = [line.split() for line in lines[3:14]]
    spent = [float(row[1]) for row in rows[:10]]
    assert spent == sorted(spent, reverse=True)
    assert rows[10][1] == "others"
    shares = [float(row[3 if row[1] == "others" else 2].rstrip("%")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=1)
    sources = [row[4] for row in rows[:10] if row[4] != "-"]
    ours = [source for source in sources if source.startswith(("jaxrl/", "envs/"))]
    assert ours
    for source in ours:
        file, line = source.split(":")
        assert int(line) <= len((profile.REPOSITORY / file).read_text().splitlines())
    assert any("XLA's estimate" in line and "FLOPs" in line for line in lines)


def test_trace_is_of_the_updates_asked_for(printed):
    """The loop over a rollout's steps runs once an update and device; the first update is not in the trace."""
    _, text, output = printed
    calls = Counter(name for name, _ in trace_events(newest(output, "*.xplane.pb"), profile.module_name(text)))
    loops = [
        calls[name]
        for name, operation in operations(text).items()
        if operation.opcode == "while" and readable_stack(operation.name_stack) == "" and calls[name]
        if operation.name_stack.count("while/body") == 1
    ]
    assert loops
    assert set(loops) == {3 * 2}


def test_trace_opens_in_perfetto(printed):
    """It is gzipped JSON with the events of the operations in the table."""
    lines, _, _ = printed
    (file,) = [line.split()[1] for line in lines if line.startswith("trace ")]
    with gzip.open(file) as stream:
        names = {event.get("name") for event in json.load(stream)["traceEvents"]}
    assert lines[3].split()[0] in names


def test_sources_are_the_innermost_calls_outside_of_packages():
    """Frame 2, in flax, was called by frame 1; XLA counts parents from one."""
    found = operations(TEXT)
    assert found["dot.1"] == Operation("dot", "jit(run)/while/body/Dense_1/dot_general", "jaxrl/networks/torsos.py:35")
    assert found["tanh.3"].source == "experiments/x.py:3"
    assert found["copy.2"] == Operation("copy", "", "")
    assert found["add.5"].source == "flax/linen/linear.py:7"  # called by nobody that is known
    assert found["while.4"].opcode == "while"
    counted_from_zero = TEXT.replace("parent_frame_id=1}", "parent_frame_id=0}").replace(
        "parent_frame_id=2}", "parent_frame_id=1}"
    )
    assert operations(counted_from_zero)["dot.1"].source == "jaxrl/networks/torsos.py:35"


def test_costs_are_sums_without_loops():
    program = operations(TEXT)
    events = [("dot.1", 1e6), ("while.4", 9e6), ("tanh.3", 5e6), ("dot.1", 2e6), ("unknown", 1e6)]
    assert operation_costs(iter(events), program) == [Cost("tanh.3", 5, 1), Cost("dot.1", 3, 2), Cost("unknown", 1, 1)]


def test_long_tables_end_with_the_rest():
    costs = [Cost(f"op.{i}", 100 - i, 2) for i in range(12)]
    lines = profile.table(costs, {})
    assert len(lines) == 12
    assert lines[-1].split() == ["2", "others", "179.00", "15.8%", "4"]
    assert len(profile.table(costs[:10], {})) == 11


def test_backends_without_an_estimate():
    def refuses():
        raise NotImplementedError

    for analysis in (refuses, lambda: None, lambda: {"flops": -1.0}):
        lines = profile.estimates(SimpleNamespace(cost_analysis=analysis), SimpleNamespace(tile=2))
        assert lines == ["XLA has no estimate of the program's cost on this backend"]
    lines = profile.estimates(SimpleNamespace(cost_analysis=lambda: {"flops": 1234.0}), SimpleNamespace(tile=2))
    assert lines[0].endswith(": 1,234 FLOPs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ppq", "algorithm='ppq': unknown algorithm; did you mean 'pqn' or 'ppo' or 'dppo'?"),
        ("ppo", "env='': must be given"),
        ("ppo --env CartPole-v1 --updates 0", "updates=0: must be at least 1"),
        ("ppo --env CartPole-v1 --updates x", "--updates: "),
        ("ppo --env CartPole-v1 --directory d", "directory='d': is of no use in a profile"),
        ("ppo --env CartPole-v1 --steps 1", "steps=1: is of no use in a profile"),
        ("ppo --env CartPole-v1 --output /dev/null/x", "output='/dev/null/x': cannot be written to"),
        ("ppo --env CartPole-v1 --updats 3", "option='--updats': unknown option"),
    ],
)
def test_bad_input(one_error, arguments, said):
    assert said in one_error(main, arguments.split())

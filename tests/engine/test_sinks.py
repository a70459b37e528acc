"""What a person is told while a run goes on."""

import pytest

from jaxrl.engine import sinks


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 2), (3600.0, 0)])
def test_without_a_terminal_progress_is_a_line_from_time_to_time(monkeypatch, capsys, seconds, lines):
    monkeypatch.setattr(sinks, "LOG_SECONDS", seconds)
    progress = sinks.Progress()
    progress.begin("the plan", 10)
    for done in (4, 8):
        progress.progress(done, 1000.0, 61.0, {"evaluation_return": 12.3456})
    progress.close()
    said = [line for line in capsys.readouterr().err.splitlines() if " of 10 updates" in line]
    assert said == [f"{done} of 10 updates, 1,000 steps/s, 1:01 left, return 12.35" for done in (4, 8)][:lines]

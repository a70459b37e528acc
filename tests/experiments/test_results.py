"""Tables of results that several runs write."""

import pytest

from experiments.reproduce.table import exact, write
from experiments.results import with_earlier, write_rows

ABOUT = {
    "date": "2026-01-01", "command": "first", "processor": "one", "cores": 1, "devices": ["cpu"], "python": "3",
    "versions": {"jax": "1", "flax": "2", "gymnax": "3"}, "commit": None,
}  # fmt: skip


def test_rows_that_are_not_measured_again_stay(tmp_path):
    path = tmp_path / "table.json"
    old, same, new = ({"name": name, "value": value} for name, value in (("a", 1), ("b", 2), ("b", 3)))
    assert with_earlier(path, [old, same], lambda row: row["name"]) == [old, same]
    write_rows(path, [old, same])
    assert with_earlier(path, [new], lambda row: row["name"]) == [old, new]


@pytest.mark.parametrize(("command", "shown"), [("first", 1), ("second", 2)])
def test_a_table_says_how_each_row_was_made(tmp_path, command, shown):
    path = tmp_path / "table"
    write(path, "T", "I", [exact("kept", 1.0, 1.0, 0.1), exact("replaced", 5.0, 1.0, 0.1)], ABOUT)
    write(path, "T", "I", [exact("replaced", 1.0, 1.0, 0.1)], ABOUT | {"command": command})
    text = path.with_suffix(".md").read_text()
    assert text.count("Command: `") == shown
    assert text.count("| kept |") == text.count("| replaced |") == 1
    assert "falls short" not in text

"""What is listed is what is registered, described by what stands in the sources."""

import importlib.util
import io

import pytest
import rich.console
from jaxrl.envs import registered

from experiments import list as listing
from experiments.command_line import ALGORITHMS, preset_names
from experiments.list import first_sentence, main, opening_comment
from jaxrl.algorithms.ppo import PPO


def listed(capsys, *arguments):
    """Kind, name and description of each line that is printed into a pipe."""
    assert main(arguments) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_everything_is_listed_once(capsys):
    rows = listed(capsys)
    names = {kind: [row[1] for row in rows if row[0] == kind] for kind in ("algorithms", "envs", "presets")}
    assert names["algorithms"] == sorted(ALGORITHMS)
    assert {*registered()} <= {*names["envs"]}
    assert len(names["envs"]) == len({*names["envs"]})
    assert names["presets"] == preset_names()
    assert all(len(row) == 3 for row in rows)


def test_descriptions_come_from_the_sources(capsys):
    (algorithm,) = (row for row in listed(capsys, "algorithms") if row[1] == "ppo")
    assert PPO.__doc__.startswith(algorithm[2])
    envs = {name: description for _, name, description in listed(capsys, "envs")}
    assert envs["probe/constant-v0"] == "One observation, 1; reward r whatever the action"
    assert envs["brax/reacher"] == '"Reacher" is a two-jointed robot arm'
    assert envs["stock/ENV"] == "Puts what has been earned into the state, for objectives of the whole return"
    assert envs["jumanji/Snake-v1"] == "A JAX implementation of the 'Snake' game"
    presets = {name: description for _, name, description in listed(capsys, "presets")}
    assert presets["ppo/brax/ant"] == "5,000,000 steps: Sizes and coefficients as Rejax tuned them for this environment"


def test_absent_suites_are_marked_with_the_command_that_installs_them(capsys, monkeypatch):
    find = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "jumanji" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    envs = {name: description for _, name, description in listed(capsys, "envs")}
    assert envs["jumanji/*"] == "not installed: pip install 'jaxrl[jumanji]'"
    assert not any(name.startswith("jumanji/") for name in envs if name != "jumanji/*")


def test_terminals_get_a_table(monkeypatch):
    shown = io.StringIO()
    console = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda: console(file=shown, force_terminal=True, width=60))
    listing.show("envs", [("short", "pip install 'jaxrl[short]'"), ("a-much-longer-name", "words " * 30)])
    lines = shown.getvalue().splitlines()
    assert "short               pip install 'jaxrl[short]'" in lines[1]
    assert "a-much-longer-name  words" in lines[2]
    assert "…" in lines[2]
    assert len([line for line in lines if line.strip()]) == 3


def test_bad_input(one_error):
    assert "kind='env': unknown kind; did you mean 'envs'?" in one_error(main, ["env"])
    assert "option='--kin': unknown option" in one_error(main, ["--kin"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, ""),
        ("One thing.\nAnother.", "One thing"),
        ("### Title\n\nThe [name](https://x.org) of it.\n\nMore.", "The name of it"),
        ("By P. Some and others. More", "By P. Some and others"),
        ("Version 1.0 of it: two\nlines", "Version 1.0 of it: two lines"),
    ],
)
def test_first_sentence(text, sentence):
    assert first_sentence(text) == sentence


def test_opening_comment():
    assert opening_comment("# One\n# two.\nsteps = 1 # no\n# nor this") == "One\ntwo.\n"
    assert opening_comment("steps = 1\n# no") == ""
    assert opening_comment("# only") == "only\n"

"""The README's snippets do what it says: Python blocks run in order, command lines are accepted."""

import re
import shlex
from pathlib import Path

import pytest

import jaxrl
from experiments.train import main
from jaxrl.engine.train import train

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_python_blocks(tmp_path, monkeypatch, capsys, mesh_of):
    """As they stand, but for the sizes, and the devices, which the tests have fixed already."""
    sizes = {"seeds": 2, "steps": 1024, "evaluation_episodes": 1, "mesh": mesh_of(1), "tile": 1}

    def small(config, env, **settings):
        assert settings["seeds"] > 2
        assert settings["steps"] > 1024
        return train(config, env, **settings | sizes)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxrl, "use_all_cores", lambda: None)
    monkeypatch.setattr(jaxrl, "train", small, raising=False)
    namespace = {}
    for block in blocks("python"):
        exec(block, namespace)
    out = capsys.readouterr().out
    assert "evaluation_return" in out
    assert (tmp_path / "runs" / "sweep" / "config.json").exists()
    assert len(namespace["result"].members) == 2


def test_command_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if "experiments.train" in line]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("#")[0])
        assert words[1:3] == ["-m", "experiments.train"]
        assert main([*words[3:], "--seeds", "2", "--steps", "512", "--evaluation-episodes", "1"]) == 0


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README.read_text()))))
def test_links(link):
    assert (README.parent / link).exists()

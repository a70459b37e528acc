"""What the README and the documentation's pages show does what they say: Python blocks run in order, command lines are
accepted."""

import re
import shlex
from pathlib import Path

import pytest

import jaxrl
from experiments.label import main as label
from experiments.train import main
from jaxrl.engine.train import train

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

PRINTS = {
    "README.md": "evaluation_return",
    "docs/index.md": "evaluation_return",
    "docs/tutorial.md": "learning rate 3e-03",
    "docs/how-to/accelerators.md": "Layout(members=2, devices=1, tile=1)",
    "docs/how-to/offline-data.md": "loss  evaluation_return",
    "docs/how-to/own-algorithm.md": "Name: evaluation_return",
    "docs/how-to/own-environment.md": "evaluation_return",
    "docs/how-to/own-transform.md": "[[0. 0.]\n [0. 0.]\n [0. 0.]]",
    "docs/explanation/bellman.md": "1",
    "docs/explanation/five-slots.md": "Source ('init', 'next', 'steps')",
}
"""every page with code, and something that its code prints"""


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_all_pages_are_run():
    pages = [ROOT / name for name in ("README.md", "docs/index.md", "docs/tutorial.md")]
    pages += [*ROOT.glob("docs/how-to/*.md"), *ROOT.glob("docs/explanation/*.md")]
    assert {str(page.relative_to(ROOT)) for page in pages} == PRINTS.keys()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("page", PRINTS)
def test_python_blocks(page, tmp_path, monkeypatch, capsys, mesh_of):
    """As they stand, but for the sizes, and the devices, which the tests have fixed already."""
    sizes = {"seeds": 2, "steps": 1024, "evaluation_episodes": 1, "mesh": mesh_of(1), "tile": 1}

    def small(config, env, **settings):
        assert settings["seeds"] > 2
        assert settings["steps"] > 1024
        return train(config, env, **settings | sizes)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxrl, "use_all_cores", lambda: None)
    monkeypatch.setattr(jaxrl, "train", small, raising=False)
    namespace = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(block, namespace)
    assert PRINTS[page] in capsys.readouterr().out


def test_directory_of_the_readme(tmp_path, monkeypatch):
    """What the README says that a run leaves is there."""
    monkeypatch.chdir(tmp_path)
    config = jaxrl.PPO(num_envs=2, num_steps=8, hidden_sizes=(8,))
    train(config, "CartPole-v1", seeds=2, steps=32, evaluation_episodes=1, directory="run")
    named = re.findall(r"^\| `([^`]+)` \|", README.read_text(), flags=re.MULTILINE)
    assert {"config.json", "metrics/*.parquet", "summary.json"} <= set(named)
    for pattern in named:
        assert list(Path("run").glob(pattern.rstrip("/"))), pattern


COMMANDS = {
    "experiments.train": (main, ["--seeds", "2", "--steps", "512", "--evaluation-episodes", "1"]),
    "experiments.label": (label, ["--instances", "8", "--workers", "0"]),
}
"""what is run of the command lines on pages, and how it is made short"""


@pytest.mark.parametrize("page", [page for page in PRINTS if any("experiments.train" in b for b in blocks(page, "sh"))])
def test_command_lines(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line.partition("#")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if any(command in line for command in COMMANDS)]
    assert any("experiments.train" in words for words in commands)
    for words in commands:
        assert words[1] == "-m"
        run, short = COMMANDS[words[2]]
        assert run([*words[3:], *short]) == 0


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https:)([^)#]+)\)", README.read_text()))))
def test_links(link):
    assert (README.parent / link).exists()

"""The film that is written is the episode that is reported."""

import importlib.util
import re

import imageio.v3 as imageio
import pytest

from experiments import viewers
from experiments.play import main


def played(capsys, *arguments):
    """The lines that a successful play prints."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def lengths(lines):
    return [int(length) for line in lines for length in re.findall(r"^episode .* length (\d+)", line)]


def test_gif_has_a_picture_of_every_state(trained_run, tmp_path, capsys):
    output = tmp_path / "new" / "a.gif"
    lines = played(capsys, trained_run, "--member", 1, "--episodes", 2, "--output", output)
    assert lines[0] == "member 1, seed 1, after 4 updates"
    assert lines[-1] == f"file       {output}"
    first, second = lengths(lines)
    assert lines[1] == f"episode 0  return {first}  length {first}  terminated"  # CartPole: 1 a step
    pictures = imageio.imread(output)
    assert len(pictures) == first + second + 2


def test_mp4(trained_run, tmp_path, capsys):
    lines = played(capsys, trained_run, "--output", tmp_path / "a.mp4")
    assert re.match(r"member \d, the best, ", lines[0])
    assert imageio.imread(tmp_path / "a.mp4").shape == (lengths(lines)[0] + 1, 208, 480, 3)


def test_steps_seed_and_sampling(trained_run, tmp_path, capsys):
    """Two films of one seed are the same, of another they are not; sampled actions are not the greedy ones."""
    films = []
    for name, more in enumerate([[], [], ["--seed", 1], ["--sample"]]):
        output = tmp_path / f"{name}.gif"
        lines = played(capsys, trained_run, "--member", 0, "--steps", 7, "--output", output, *more)
        assert lines[1] == "episode 0  return 7  length 7  stopped"
        films.append(output.read_bytes())
    assert films[0] == films[1]
    assert len(set(films)) == 3


def test_default_file_is_in_the_run(trained_run, capsys, monkeypatch):
    written = []
    monkeypatch.setattr(viewers, "write", lambda viewer, run, member, episodes, output: written.append(output))
    played(capsys, trained_run, "--member", 2, "--steps", 2)
    assert written == [trained_run / "play" / "member-2.gif"]


def test_environment_that_no_viewer_draws(trained_run, tmp_path, capsys, monkeypatch, one_error):
    """The return is reported all the same; a file that cannot be made is refused."""
    monkeypatch.setattr(viewers, "VIEWERS", [])
    lines = played(capsys, trained_run, "--steps", 2)
    assert lengths(lines) == [2]
    assert lines[-1].startswith("no viewer draws CartPole-v1; ")
    assert "no viewer draws CartPole-v1" in one_error(main, [trained_run, "--output", tmp_path / "a.gif"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--member", "3"], "member=3: must be within 0 .. 2"),
        (["--member", "best"], "--member: "),
        (["--episodes", "0"], "episodes=0: must be at least 1"),
        (["--steps", "0"], "steps=0: must be at least 1"),
        (["--seed", "-1"], "seed=-1: must be within [0, 2**32)"),
        (["--output", "a.txt"], "output='a.txt': must end in .gif or .mp4"),
        (["--output", "/dev/null/a.gif", "--steps", "1"], "output='/dev/null/a.gif': cannot be written"),
        (["--membr", "1"], "option='--membr': unknown option; did you mean '--member'"),
        (["more"], "more: not an option"),
    ],
)
def test_bad_input(trained_run, one_error, arguments, said):
    assert said in one_error(main, [trained_run, *arguments])


def test_directories_that_are_no_run(tmp_path, one_error):
    assert "holds no run" in one_error(main, [tmp_path])
    assert "PATH" in one_error(main, [])


def test_mp4_without_ffmpeg(trained_run, one_error, monkeypatch):
    find = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "imageio_ffmpeg" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert "pip install 'jaxrl[play]'" in one_error(main, [trained_run, "--output", "a.mp4"])

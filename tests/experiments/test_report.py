"""The report: its numbers are those of the Parquet files, its page is drawn by a browser, bad input is one line."""

import base64
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import GRID, write_run

from experiments import report as command
from experiments.reports import page
from experiments.reports.data import Run, reference_of
from experiments.train import main as train
from jaxrl.stats import interquartile_mean

DOCS = Path(__file__).parents[2] / "docs" / "report.md"
SMALL = {"learning_rate": [1e-4, 1e-3, 1e-2], "gae_lambda": [0.9, 0.99]}


def numbers_of(file):
    """What the page has embedded."""
    return json.loads(re.search(r'id="numbers">(.*?)</script>', file.read_text(), flags=re.DOTALL)[1])


def visible(file):
    """The page without its scripts, tags and spaces."""
    text = re.sub(r"<(script|style).*?</\1>", "", file.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.fixture
def make(tmp_path, capsys):
    """Makes a report of run directories and returns its file."""

    def make(*runs, arguments=("--no-figures",)):
        file = tmp_path / "report.html"
        code = command.main([*map(str, runs), "--output", str(file), *arguments])
        assert code == 0, capsys.readouterr().err
        return file

    return make


@pytest.fixture
def refused(capsys):
    """Runs a command line that must end with exit code 2 and one line; returns the line."""

    def refused(*arguments):
        assert command.main([str(argument) for argument in arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return refused


def test_numbers_are_those_of_the_snippets_in_the_docs(tmp_path, make, monkeypatch):
    """On a sweep with a member that turned non-finite and a config given up, beside a single run."""
    runs = tmp_path / "runs"
    write_run(runs / "x", seeds=8, grid=SMALL, frozen={0: 20, 17: 30}, given_up={5: 2})
    write_run(runs / "y", seeds=10, skill=0.95)
    report = numbers_of(make(runs / "x", runs / "y"))
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        assert len(block.strip().splitlines()) <= 10
        exec(block, names)

    sweep, single = report["runs"]
    shown = {c["config"]: (c["value"], c["low"], c["high"]) for c in sweep["configs"]}
    assert sorted(shown) == sorted(names["configs"]) == [0, 1, 2, 3, 4]
    for config, interval in names["configs"].items():
        np.testing.assert_allclose(shown[config], interval, rtol=1e-12)
    whole, best, other = report["summary"]
    assert (whole["members"], other["members"]) == (len(names["final"]), 10) == (8 * 5 - 2, 10)
    np.testing.assert_allclose([whole[k] for k in ("value", "low", "high")], names["whole"])
    np.testing.assert_allclose([best[k] for k in ("value", "low", "high")], names["configs"][names["best"]])
    np.testing.assert_allclose(list(whole["optimality_gap"].values()), names["gap"])
    (pair,) = report["improvement"]
    np.testing.assert_allclose([pair[k] for k in ("value", "low", "high")], names["better"])
    assert {row["member"]: row["frozen_at"] for row in sweep["frozen"]} == names["frozen"].to_dict() == {0: 20, 17: 30}
    assert single["frozen"] == []

    curves = sweep["curves"]
    assert curves["configs"][0] == names["best"]
    metric = curves["metrics"].index("evaluation_return")
    for part, expected in names["curve"]._asdict().items():
        values = np.frombuffer(base64.b64decode(curves["band"][part]), "<f4").reshape(5, 5, len(curves["metrics"]))
        np.testing.assert_allclose(values[0, :, metric], expected, rtol=1e-6)
    (table,) = sweep["two_way"]
    heat = np.array(table["values"])
    if table["x"] == "gae_lambda":
        heat = heat.T
    np.testing.assert_allclose(heat.astype(float), names["heat"].to_numpy(), rtol=1e-12)
    assert sweep["importance"] == {"names": list(names["matter"].index), "values": names["matter"].tolist()}
    assert sweep["members"] == names["table"].member.nunique()
    assert sweep["timing"]["steps"] == names["table"].environment_steps.max()
    assert sweep["timing"]["seconds"]["train"] == 12.5


def test_page_says_what_there_is(tmp_path, make):
    write_run(tmp_path / "x", seeds=6, frozen={2: 30})
    write_run(tmp_path / "y", seeds=5, env="Breakout-MinAtar", ended=False)
    text = visible(make(tmp_path / "x", tmp_path / "y"))
    assert "x all members 5" in text
    assert "1 of 6 members turned non-finite" in text
    assert "2 0 2 30" in text
    assert "other environments: CartPole-v1, Breakout-MinAtar" in text
    assert "env: CartPole-v1 -&gt; Breakout-MinAtar" in text
    assert "y (not ended)" in text
    assert "3.25 12.5 1.75 0.5 123,456" in text
    assert "500, the highest return there is" in text


def test_of_a_real_run(tiny, tmp_path, capsys):
    assert train(tiny) == 0
    capsys.readouterr()
    assert command.main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    report = numbers_of(tmp_path / "run" / "report.html")
    assert str(tmp_path / "run" / "report_figures" / "learning_curves.png") in out
    assert report["metric"] == "evaluation_return"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert report["summary"][0]["value"] == pytest.approx(summary["final"]["evaluation_return"]["value"])
    assert report["runs"][0]["timing"]["seconds"] == summary["seconds"]


def test_a_run_without_rows(tmp_path, make):
    """It reports what there is: the configuration."""
    write_run(tmp_path / "x", evaluations=0, ended=False)
    file = make(tmp_path / "x", arguments=())
    text = visible(file)
    assert "x : no evaluation is finished yet" in text
    assert "0 of 5" in text
    assert "&#34;algorithm&#34;: &#34;PPO&#34;" in text
    assert numbers_of(file)["summary"] == []
    assert not file.with_name("report_figures").exists()


def test_all_members_non_finite(tmp_path, make):
    write_run(tmp_path / "x", seeds=3, frozen={0: 20, 1: 20, 2: 20})
    write_run(tmp_path / "y", seeds=3)
    file = make(tmp_path / "x", tmp_path / "y", arguments=())
    assert "3 of 3 members turned non-finite" in visible(file)
    assert [row["run"] for row in numbers_of(file)["summary"]] == ["y"]
    assert numbers_of(file)["improvement"] == [{"x": "x", "y": "y", "reason": "no final values"}]


def test_another_metric(tmp_path, make):
    rows = write_run(tmp_path / "x", seeds=4)
    report = numbers_of(make(tmp_path / "x", arguments=["--metric", "loss", "--no-figures"]))
    last = rows.loc[rows["evaluation"] == 4, "loss"].sort_values()
    assert report["summary"][0]["value"] == pytest.approx(last[1:3].mean())
    assert report["summary"][0]["optimality_gap"] is None  # the reference is about returns


@pytest.mark.parametrize(
    ("env", "settings", "cost"),
    [
        ("one-store-lost", {"lead_time": 1, "underage": 4.0}, 4.0407),
        ("one-store-lost", {"lead_time": 6}, None),
        ("one-store-backlogged", {}, 6.2769),
        ("serial", {}, 10.7339),
        ("serial", {"holding": [1.0, 0.5, 0.2, 0.1]}, None),
        ("transshipment", {"stores": 3, "lead_time": 2, "underage": 4.0, "demand_correlation": 0.0}, 5.1514),
        ("one-warehouse", {}, None),
    ],
)
def test_scores_of_inventories_are_measured_by_their_optimum(tmp_path, env, settings, cost):
    request = {"algorithm": "HDPO", "env": f"inventory/{env}-v0", "env_settings": settings, "env_variants": {}}
    run = Run("x", tmp_path, request)
    for metric in ("score", "best_score"):
        reference = reference_of(run, metric)
        assert reference is None if cost is None else reference.value == pytest.approx(-cost, abs=2e-4)
    assert reference_of(run, "evaluation_return") is None
    assert reference_of(Run("x", tmp_path, request | {"env_variants": {"underage": [[4.0]]}}), "score") is None


def test_references_are_levels_of_the_learning_curves(tmp_path, make):
    write_run(tmp_path / "x")
    write_run(tmp_path / "y", env="Breakout-MinAtar")
    assert [run["levels"] for run in numbers_of(make(tmp_path / "x", tmp_path / "y"))["runs"]] == [
        {"evaluation_return": 500.0, "episode_return": 500.0}, {},
    ]  # fmt: skip


def test_nothing_comes_from_a_network(tmp_path, make):
    write_run(tmp_path / "x")
    text = make(tmp_path / "x").read_text()
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link[^>]*href=\"http|@import", text)


def test_text_of_a_run_is_no_markup(tmp_path, make):
    hostile = "</script><b id=hostile>"
    write_run(tmp_path / "x", env=hostile)
    file = make(tmp_path / "x")
    assert numbers_of(file)["runs"][0]["env"] == hostile
    assert hostile not in file.read_text()


def test_pictures(tmp_path, make, monkeypatch):
    """The best member's, from the viewer; where that fails, why."""
    rows = write_run(tmp_path / "x", seeds=6)
    last = rows[rows["evaluation"] == 4]
    asked = []

    def view(directory, member):
        asked.append((directory, member))
        return f"<i>member {member} at work</i>"

    monkeypatch.setattr("experiments.viewers.view", view)
    assert "at work</i>" in make(tmp_path / "x").read_text()
    assert asked == [(tmp_path / "x", last.loc[last["evaluation_return"].idxmax(), "member"])]

    def broken(directory, member):
        raise OSError("no checkpoint")

    for viewer, reason in [(broken, "OSError: no checkpoint"), (lambda *_: None, "no viewer for CartPole-v1")]:
        monkeypatch.setattr("experiments.viewers.view", viewer)
        assert reason in visible(make(tmp_path / "x"))
    without = visible(make(tmp_path / "x", arguments=["--no-pictures", "--no-figures"]))
    assert "Pictures" in without
    assert "not asked for" in without


def test_figures(tmp_path, make):
    write_run(tmp_path / "x", seeds=4, grid=SMALL)
    file = make(tmp_path / "x", arguments=())
    figures = sorted(file.with_name("report_figures").iterdir())
    assert [f.name for f in figures] == ["learning_curves.png", "x_importance.png", "x_two_way.png"]
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG")


def test_runs_of_one_name(tmp_path, make):
    for parent in ("a", "b"):
        write_run(tmp_path / parent / "x")
    names = [run["name"] for run in numbers_of(make(tmp_path / "a" / "x", tmp_path / "b" / "x"))["runs"]]
    assert names == [str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x")]


# --- bad input


def test_bad_arguments(tmp_path, refused, monkeypatch):
    run = tmp_path / "x"
    write_run(run)
    assert "runs='': must be given" in refused()
    assert f"runs='{tmp_path / 'absent'}': must be the directory of a run" in refused(tmp_path / "absent")
    assert "holds no config.json" in refused(tmp_path)
    assert "did you mean '--output'" in refused(run, "--outptu", "a.html")
    assert "output='a.pdf': must end in .html" in refused(run, "--output", "a.pdf")
    assert "did you mean 'loss'" in refused(run, "--metric", "los")
    assert "is named twice" in refused(run, run)
    assert "cannot be written" in refused(run, "--output", run / "config.json" / "a.html")
    find = command.importlib.util.find_spec
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "plotly" else find(name))
    assert refused(run) == "error: plotly: is not installed: pip install 'jaxrl[report]'"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "its config.json cannot be read"),
        ("config.json", "[]", "its config.json holds no request of a run"),
        ("summary.json", "", "its summary.json cannot be read"),
        ("metrics/000001.parquet", "damaged", "its metrics cannot be read"),
    ],
)
def test_damaged_directories(tmp_path, refused, file, content, message):
    write_run(tmp_path / "x")
    (tmp_path / "x" / file).write_text(content)
    assert message in refused(tmp_path / "x")


def test_help(capsys):
    assert command.main(["--help"]) == 0
    assert "--metric NAME" in capsys.readouterr().out


# --- in a browser


def browse(file, size="1400,3600"):
    """The page's elements once its scripts have run, and what the browser logged."""
    options = ["--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--enable-logging=stderr"]
    options += [f"--window-size={size}", "--virtual-time-budget=30000", "--dump-dom"]
    options += [f"--user-data-dir={file.parent / 'browser'}"]
    done = subprocess.run(
        ["chromium", *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line and "WebGL" not in line]
    return done.stdout


def plots(dom):
    """The elements that hold a drawn plot."""
    return re.findall(r'id="([a-z-]+)" class="plot[a-z ]*js-plotly-plot"', dom)


browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")


USE = """<script>
const choose = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("change")); };
const tick = (id, value) => { at(id).checked = value; at(id).dispatchEvent(new Event("change")); };
const shown = () => at("curve-plot").data.length;
const waiting = setInterval(() => {
  if (document.body.dataset.state !== "drawn") return;
  clearInterval(waiting);
  const seen = { first: shown(), curve: Array.from(at("curve-plot").data.at(-1).y) };
  tick("members", false); seen.withoutMembers = shown();
  tick("bands", false); seen.withoutBands = shown();
  choose("scope", 0); choose("many", 10); seen.configs = shown();
  choose("metric", "loss"); choose("axis", "wall_seconds");
  seen.axis = at("curve-plot").layout.xaxis.title.text;
  seen.metric = at("curve-plot").layout.yaxis.title.text;
  choose("across", "gae_lambda"); choose("up", "activation"); seen.heat = at("two-way").data[0].z;
  choose("up", "learning_rate"); seen.turned = at("two-way").data[0].z;
  choose("sweep-many", 10); seen.lines = at("parallel").data[0].dimensions[0].values.length;
  const result = document.createElement("output");
  result.id = "seen"; result.textContent = JSON.stringify(seen); document.body.append(result);
}, 50);
</script>"""


@browser
def test_drawn_and_used_in_a_browser(tmp_path, make):
    """Two runs, one a sweep of 12 configs: every plot is drawn, and every menu shows what it says."""
    write_run(tmp_path / "x", seeds=5, grid=SMALL | {"activation": ["relu", "tanh"]}, frozen={3: 20})
    rows = write_run(tmp_path / "y", seeds=10)
    file = make(tmp_path / "x", tmp_path / "y")
    text = file.read_text()
    file.write_text(text.replace("</body>", USE + "</body>"))
    dom = browse(file)
    assert 'data-state="drawn"' in dom
    assert plots(dom) == ["intervals", "curve-plot", "parallel", "two-way", "importance"]
    assert 'id="errors" hidden' in dom
    assert len(re.findall(r"<tr>", dom.split('id="best"')[1].split("</table>")[0])) == 1 + 10
    seen = json.loads(re.search(r'id="seen">(.*?)</output>', dom)[1])
    assert (seen["first"], seen["withoutMembers"], seen["withoutBands"], seen["configs"]) == (6, 4, 2, 10)
    returns = rows.pivot(index="updates", columns="member", values="evaluation_return")
    np.testing.assert_allclose(seen["curve"], interquartile_mean(returns.to_numpy()), rtol=1e-6)
    assert (seen["axis"], seen["metric"]) == ("seconds since the start", "loss")
    assert np.shape(seen["heat"]) == (2, 2)
    assert np.shape(seen["turned"]) == (3, 2)
    assert seen["lines"] == 10


@browser
def test_a_failing_script_is_said(tmp_path, make, monkeypatch):
    """Else the test above could not fail."""
    write_run(tmp_path / "x")
    monkeypatch.setattr(page, "embedded", lambda report: "{")
    file = make(tmp_path / "x")
    with pytest.raises(AssertionError, match="CONSOLE"):
        browse(file)


@browser
@pytest.mark.slow
@pytest.mark.parametrize("grid", [{}, {name: GRID[name] for name in GRID}], ids=["one config", "250 configs"])
def test_five_thousand_members(tmp_path, make, grid):
    """Under 20 s, 15 MB, and 3 s until it can be used, on 2 cores."""
    write_run(tmp_path / "x", seeds=20 if grid else 5000, evaluations=100, grid=grid)
    start = time.perf_counter()
    file = make(tmp_path / "x", arguments=())
    assert time.perf_counter() - start < 20
    assert file.stat().st_size < 15e6
    dom = browse(file, "1400,900")
    assert int(re.search(r'data-interactive="(\d+)"', dom)[1]) < 3000

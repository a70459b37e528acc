"""The documentation's site builds without a warning, with the pages that are made when it is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "JAXRL_REPOSITORY_URL": "https://example.org/jaxrl"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return target


def test_reference_has_every_public_module(site):
    """By the anchors of one function of each room, of `envs/` under the name that it is imported by too."""
    for page, name in (
        ("jaxrl", "jaxrl.stats.interquartile_interval"),
        ("jaxrl.core", "jaxrl.core.combine.iterate"),
        ("jaxrl.advantages", "jaxrl.advantages.returns.generalised_advantage"),
        ("jaxrl.engine", "jaxrl.engine.train.train"),
        ("jaxrl.envs", "jaxrl.envs.registry.register"),
    ):
        assert f'id="{name}"' in (site / "reference" / f"{page}.html").read_text()
    rooms = {path.name for path in (ROOT / "jaxrl").iterdir() if (path / "__init__.py").exists()}
    assert {f"jaxrl.{room}" for room in rooms} <= {page.stem for page in (site / "reference").iterdir()}


def test_notebooks_are_pages(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
        assert f'src="{notebook.stem}-output_' in page
        assert list((site / "notebooks").glob(f"{notebook.stem}-output_*.png"))


def test_links_out_of_the_docs_lead_to_the_source(site):
    page = (site / "methods.html").read_text()
    assert 'href="https://example.org/jaxrl/blob/main/jaxrl/algorithms/ppo.py"' in page

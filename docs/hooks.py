"""What mkdocs does beside rendering ``docs/``: pages of the notebooks and of every public module, links to the source."""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCE = ROOT / "build" / "reference" / "jaxrl"
"""the package as it is installed: setup.py maps ``envs/`` to ``jaxrl.envs``"""


def on_config(config):
    SOURCE.mkdir(parents=True, exist_ok=True)
    for old in SOURCE.iterdir():
        old.unlink()
    for part in [*(ROOT / "jaxrl").glob("[!_.]*"), ROOT / "jaxrl" / "__init__.py", ROOT / "envs"]:
        (SOURCE / part.name).symlink_to(os.path.relpath(part, SOURCE))
    for section in config.nav:
        if "Notebooks" in section:
            section["Notebooks"] = [f"notebooks/{notebook.stem}.md" for notebook in NOTEBOOKS]
        if "Reference" in section:
            section["Reference"] = [{room: f"reference/{room}.md"} for room in rooms()]
    return config


def on_files(files, config):
    for notebook in NOTEBOOKS:
        body, resources = MarkdownExporter().from_filename(str(notebook))
        for name, image in resources["outputs"].items():
            body = body.replace(f"({name})", f"({notebook.stem}-{name})")
            files.append(File.generated(config, f"notebooks/{notebook.stem}-{name}", content=image))
        # pandas puts a style sheet into every table; the theme has one of its own
        body = re.sub(r"<style scoped>.*?</style>", "", body, flags=re.DOTALL).replace(".ipynb)", ".md)")
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=body))
    for room, modules in rooms().items():
        content = "\n\n".join([f"# {room}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    return files


def rooms() -> dict[str, list[str]]:
    """The package's rooms, and the public modules of each; ``jaxrl`` for those that are in none."""
    found: dict[str, list[str]] = {}
    for file in sorted(SOURCE.glob("*.py")) + sorted(p for d in SOURCE.iterdir() if d.is_dir() for p in d.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] != "__init__":
            found.setdefault("jaxrl" if len(parts) == 1 else f"jaxrl.{parts[0]}", []).append(".".join(("jaxrl", *parts)))
    return found


def on_page_markdown(markdown, page, config, files):
    """Turns links to files outside ``docs/`` into links to the source, or into their text where that has no address."""
    here = (Path(config.docs_dir) / page.file.src_uri).parent

    def link(match):
        text, target = match["text"], match["target"]
        path = (here / target).resolve()
        if not path.exists() or path.is_relative_to(config.docs_dir):
            return match[0]  # mkdocs knows it, or complains
        return f"[{text}]({config.repo_url}/blob/main/{path.relative_to(ROOT)})" if config.repo_url else text

    return re.sub(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#]*)\)", link, markdown)

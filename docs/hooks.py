"""What mkdocs does beside rendering ``docs/``: pages of notebooks and of public modules, links to the source."""

import re
import shutil
from pathlib import Path

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCE = ROOT / "build" / "reference" / "jaxrl"
"""a copy of the package as it is installed, where setup.py maps ``envs/`` to ``jaxrl.envs``"""


def on_startup(command, dirty):
    """Copies the sources before mkdocstrings looks which of its paths exist."""
    del command, dirty
    shutil.rmtree(SOURCE, ignore_errors=True)
    for part, target in ((ROOT / "jaxrl", SOURCE), (ROOT / "envs", SOURCE / "envs")):
        shutil.copytree(part, target, ignore=shutil.ignore_patterns("__pycache__"))


def on_config(config):
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
        body = re.sub(r"<style scoped>.*?</style>", "", body, flags=re.DOTALL)
        body = body.replace(".ipynb)", ".md)").replace("](../docs/", "](../")
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=body))
    for room, modules in rooms().items():
        package = SOURCE.joinpath(*room.split(".")[1:], "__init__.py")
        about = [f"::: {room}\n    options: {{members: false, show_root_heading: false}}"] * bool(package.read_text())
        content = "\n\n".join([f"# {room}", *about, *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    return files


def rooms() -> dict[str, list[str]]:
    """The package's rooms, and the public modules of each; ``jaxrl`` for those that are in none."""
    found: dict[str, list[str]] = {}
    for file in sorted(SOURCE.rglob("*.py"), key=lambda file: (len(file.relative_to(SOURCE).parts) > 1, file)):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] != "__init__":
            found.setdefault("jaxrl" if len(parts) == 1 else f"jaxrl.{parts[0]}", []).append(
                ".".join(("jaxrl", *parts))
            )
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

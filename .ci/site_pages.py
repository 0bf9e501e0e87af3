"""Hooks of mkdocs.yml: pages whose sources lie outside docs/, and the notebooks as pages."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
#: docs/benchmarks.md has that name on the site already.
SPEED = "benchmarks/", "speed/"
SPEED_FILES = ("README.md", "results/*/report.md", "results/*/*.png", "results/*.json")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies elsewhere, links turned to where they lead on the site."""
    for name in PAGES:
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(
            File.generated(config, name, content=text.replace("](" + SPEED[0], "](speed/"))
        )
    for path in sorted(found for pattern in SPEED_FILES for found in _benchmarks(pattern)):
        uri = SPEED[1] + path.relative_to(ROOT / SPEED[0]).as_posix()
        if path.suffix == ".md":
            text = path.read_text().replace("](../docs/", "](../")
            text = text.replace("[serving/](serving/)", "`benchmarks/serving/`")
            files.append(File.generated(config, uri, content=text))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for file in _notebook(config, path):
            files.append(file)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from docs/ to benchmarks/."""
    return markdown.replace("](../" + SPEED[0], "](" + SPEED[1])


def _benchmarks(pattern: str) -> list[Path]:
    return list((ROOT / SPEED[0]).glob(pattern))


def _notebook(config: Any, path: Path) -> list[File]:
    """A page and its pictures; the notebook itself is beside them, to be downloaded."""
    text, more = MarkdownExporter().from_filename(str(path))
    title, _, rest = text.partition("\n")
    text = f"{title}\n\n[This page as a notebook]({path.name}){{ download }}\n{rest}"
    folder = PurePosixPath("notebooks")
    pictures = more["outputs"]
    for name in pictures:
        text = text.replace(f"]({name})", f"]({path.stem}/{name})")
    return [
        File.generated(config, str(folder / f"{path.stem}.md"), content=text),
        *(
            File.generated(config, str(folder / path.stem / name), content=content)
            for name, content in pictures.items()
        ),
    ]

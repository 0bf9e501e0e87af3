"""Hold the built site to what it promises: `check_site.py site`.

Every link inside it resolves, anchors too; no page loads anything from another host; every public
name has a page that describes it. Needs the standard library only.
"""

from __future__ import annotations

import ast
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
#: Attributes whose value a browser fetches by itself; `a href` it does not.
FETCHED = {"src", "srcset", "poster", "data"}
FETCHING_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}


class Page(HTMLParser):
    """Ids of a page, links on it, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.loads += [value for name, value in given.items() if name in FETCHED]
        if tag == "link" and FETCHING_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])


def faults(site: Path) -> list[str]:
    """What is wrong with the site in this folder, in words."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site} holds no page"]
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in page.loads:
            if urlsplit(link).scheme not in ("", "data") or urlsplit(link).netloc:
                found.append(f"{name} loads {link[:80]}")
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = _target(site, path, unquote(parts.path))
            if not target.is_file():
                found.append(f"{name}: {link} leads nowhere")
            elif parts.fragment and target in pages and name.name != "404.html":
                fragment = unquote(parts.fragment)
                if fragment not in pages[target].ids and fragment != "__comments":
                    found.append(f"{name}: {link} has no such place")
    for path in sorted(site.rglob("*.css")):
        for url in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", path.read_text()):
            found.append(f"{path.relative_to(site)} loads {url}")
    for name in public_names():
        page_path = (site / "reference" / name / "index.html").resolve()
        if page_path not in pages or not any(
            anchor.startswith("stsprune.") and anchor.endswith(f".{name}")
            for anchor in pages[page_path].ids
        ):
            found.append(f"stsprune.{name} has no page of its own")
    return found


def public_names() -> list[str]:
    """`stsprune.__all__` without the version, read from the source."""
    tree = ast.parse((ROOT / "src" / "stsprune" / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name != "__version__"]
    raise LookupError("stsprune.__all__ was not found")


def _target(site: Path, page: Path, path: str) -> Path:
    """The file that a link's path means on this page."""
    start = site.resolve() if path.startswith("/") else page.parent
    target = (start / path.lstrip("/")).resolve() if path else page
    return target / "index.html" if target.is_dir() else target


if __name__ == "__main__":
    wrong = faults(Path(sys.argv[1]))
    for fault in wrong[:50]:
        print(f"check-site: {fault}", file=sys.stderr)
    sys.exit(f"check-site: {len(wrong)} faults" if wrong else 0)

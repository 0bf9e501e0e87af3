"""Hold what was built to pyproject.toml: `package.py dist`, or `package.py --installed`.

TAG in the environment: the version must be that tag's, and a final one.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def need(fine: bool, fault: str) -> None:
    if not fine:
        sys.exit(f"release-check: {fault}")


def check_tag(tag: str) -> None:
    need(tag == f"v{VERSION}", f"tag must be v{VERSION}, as pyproject.toml says, got {tag!r}")
    need(
        re.fullmatch(r"\d+\.\d+\.\d+", VERSION) is not None,
        f"version must be final to be released, got {VERSION!r}",
    )


def check_metadata(metadata: Message) -> None:
    """Core metadata against pyproject.toml; the long description renders as an index would."""
    from readme_renderer import markdown

    expected = {
        "Name": PROJECT["name"],
        "Version": VERSION,
        "Summary": PROJECT["description"],
        "Requires-Python": PROJECT["requires-python"],
        "License-Expression": PROJECT["license"],
        "Description-Content-Type": "text/markdown",
    }
    for name, value in expected.items():
        need(metadata[name] == value, f"{name} must be {value!r}, got {metadata[name]!r}")
    extras = set(metadata.get_all("Provides-Extra") or [])
    need(extras == set(PROJECT["optional-dependencies"]), f"extras differ, got {sorted(extras)}")
    page = markdown.render(metadata.get_payload())
    need(page is not None, "the long description does not render")
    for element in ("<h1", "<table", "<pre", "<img"):
        need(element in page, f"the long description is rendered without {element}>")
    local = re.findall(r'(?:src|href)="(?![a-z]+:|#)([^"]+)"', page)
    print(
        f"long description: {len(page)} characters of HTML; {len(local)} pictures and links are "
        "relative to the repository and do not resolve on an index"
    )


def check_dist(folder: Path) -> None:
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    need(len(wheels) == len(sdists) == 1, f"{folder} must hold one wheel and one sdist")
    name = f"{PROJECT['name']}-{VERSION}"
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = wheel.namelist()
        check_metadata(message_from_string(wheel.read(f"{name}.dist-info/METADATA").decode()))
        points = wheel.read(f"{name}.dist-info/entry_points.txt").decode()
    need("stsprune = stsprune.cli:main" in points, "the wheel has no command `stsprune`")
    for wanted in (r"stsprune/py\.typed", r".*\.safetensors", r".*/licenses/LICENSE"):
        need(any(re.fullmatch(wanted, path) for path in inside), f"the wheel lacks {wanted}")
    strays = [path for path in inside if not path.startswith(("stsprune/", f"{name}.dist-info/"))]
    need(not strays, f"the wheel holds {strays[:3]}")
    with tarfile.open(sdists[0]) as sdist:
        paths = set(sdist.getnames())
    for path in ("PKG-INFO", "tests/conftest.py", "Makefile", "constraints.txt", "LICENSE"):
        need(f"{name}/{path}" in paths, f"the sdist lacks {path}")
    for path in (wheels[0], sdists[0]):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def check_installed() -> None:
    import stsprune

    need("site-packages" in stsprune.__file__, f"stsprune was found in {stsprune.__file__}")
    need(
        stsprune.__version__ == VERSION,
        f"stsprune.__version__ must be {VERSION}, got {stsprune.__version__}",
    )
    for name in stsprune.__all__:
        getattr(stsprune, name)


if __name__ == "__main__":
    if os.environ.get("TAG"):
        check_tag(os.environ["TAG"])
    if sys.argv[1] == "--installed":
        check_installed()
    else:
        check_dist(Path(sys.argv[1]))

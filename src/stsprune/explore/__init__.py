"""The explorer: one page in the browser that shows what a method keeps and what that costs.

`stsprune explore` opens it; it needs the extra `stsprune[explore]` (Gradio). docs/explore.md has a
tour. Everything below `page.py` and `serve.py` works without Gradio.
"""

from __future__ import annotations

from importlib.util import find_spec

from stsprune.errors import MissingExtraError


def check_extra() -> None:
    """Raises MissingExtraError where Gradio is not installed."""
    if find_spec("gradio") is None:
        raise MissingExtraError("gradio is not installed: pip install 'stsprune[explore]'")

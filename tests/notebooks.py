"""Run the notebooks' cells in this process and write their outputs: `python tests/notebooks.py`.

No kernel and no browser are needed. What a cell prints and the value of its last expression are its
outputs; pictures (PIL) become PNG.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """A copy with the outputs of this run. The working folder is a new one."""
    done, names, count = json.loads(json.dumps(notebook)), {"__name__": "__main__"}, 0
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        for cell in done["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"] = count
                cell["outputs"] = _outputs("".join(cell["source"]), names, count)
    return done


def texts(notebook: dict[str, Any]) -> list[list[str]]:
    """Per code cell: its outputs as text, a picture as its size."""
    out = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            shown = [output.get("text") or output["data"] for output in cell["outputs"]]
            out.append(
                ["".join(item["text/plain"] if isinstance(item, dict) else item) for item in shown]
            )
    return out


def _outputs(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    tree, value = ast.parse(source), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, out = io.StringIO(), []
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        out.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None:
        kind = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        out.append(kind | {"data": _data(value)})
    return out


def _data(value: Any) -> dict[str, Any]:
    if not isinstance(value, Image.Image):
        return {"text/plain": [repr(value)]}
    png = io.BytesIO()
    # Few colours, rare ones among them: the outputs are committed.
    value.quantize(128, Image.Quantize.MAXCOVERAGE).save(png, "PNG", optimize=True)
    return {
        "image/png": base64.b64encode(png.getvalue()).decode(),
        "text/plain": [f"a picture of {value.width} x {value.height}"],
    }


@contextlib.contextmanager
def _inside(folder: str) -> Any:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        text = json.dumps(run(read(path)), indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text) / 1e3:.0f} kB")

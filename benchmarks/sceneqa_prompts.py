"""Write SceneQA questions as a data file for `stsprune calibrate`.

python benchmarks/sceneqa_prompts.py FOLDER --prompts 400
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from stsprune.evaluation import load_items


def main() -> None:
    """FOLDER/prompts.jsonl and a PNG per picture."""
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("folder", type=Path)
    reading.add_argument("--prompts", type=int, default=400)
    reading.add_argument("--split", default="validation")
    reading.add_argument("--start", type=int, default=0, help="first scene")
    reading.add_argument("--labels", action="store_true", help="with the right answers")
    given = reading.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    scene = given.start
    while len(lines) < given.prompts:
        for item in load_items(given.split, 1, start=scene)[: given.prompts - len(lines)]:
            name = f"scene-{scene:04}.png"
            Image.fromarray(item.scene.image).save(given.folder / name)
            line = {"images": [name], "question": item.question.text, "kind": item.question.family}
            if given.labels:
                line["answer"] = item.question.answer
            lines.append(json.dumps(line))
        scene += 1
    (given.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""What a stage inside the vision tower costs in answers: embedded model, validation split.

    python benchmarks/encoder_stage.py --out benchmarks/results/encoder-stage.json

Every setting of the stage in front of STS at budgets 48, 32 and 16 of 144: the layer, the share,
repulsion against a random choice, its space and exponent, and merging: each kept patch
goes on as the mean of those nearest to it. Merging is done here alone; it is not in the package.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stsprune import STS, EncoderStage, load_embedded, prune
from stsprune.engine.encoding import take_images
from stsprune.engine.towers import stage as towers
from stsprune.evaluation.sceneqa import encode, load_items
from stsprune.evaluation.shard import _text
from stsprune.selection.maxmin import cosines
from stsprune.selection.merging import group_means, nearest_target

BUDGETS = (48, 32, 16)
SHARES = {48: (2 / 3, 0.8), 32: (0.4, 0.5, 2 / 3), 16: (0.2, 0.25, 1 / 3, 0.5, 2 / 3)}


def trials() -> list[tuple[int, dict[str, Any]]]:
    """(budget, the stage's settings) of everything that is measured; no settings = no stage."""
    out: list[tuple[int, dict[str, Any]]] = []
    for budget in BUDGETS:
        out.append((budget, {}))
        for layer in range(5):
            for share in SHARES[budget]:
                out.append((budget, {"layer": layer, "share": share}))
        middle = SHARES[budget][len(SHARES[budget]) // 2]
        for layer in (2, 3):
            out.append((budget, {"layer": layer, "share": middle, "choice": "random"}))
        for layer in (1, 2, 3):
            out.append((budget, {"layer": layer, "share": middle, "merge": True}))
        for more in ({"space": 0.0}, {"space": 0.15}, {"space": 0.5}, {"space": 1.0}):
            out.append((budget, {"layer": 2, "share": middle, **more}))
        for more in ({"exponent": 1.0}, {"exponent": 2.0}, {"exponent": 8.0}):
            out.append((budget, {"layer": 2, "share": middle, **more}))
    return out


@contextmanager
def merging(on: bool) -> Iterator[None]:
    """Kept patches as means of those nearest to them, in a tower of one patch per token."""
    original = towers._Running._taken

    def taken(running: Any, states: torch.Tensor) -> torch.Tensor:
        rows, index = original(running, states), running.index
        prefix = running.order.prefix
        if index is None:
            return rows
        kept = index[:, prefix:] - prefix
        patches = states[:, prefix:]
        group = nearest_target(cosines(patches), kept)
        means = group_means(patches, group, kept.shape[1]).to(states.dtype)
        return torch.cat([states[:, :prefix], means], 1)

    if on:
        towers._Running._taken = taken
    try:
        yield
    finally:
        towers._Running._taken = original


@torch.inference_mode()
def measure(scenes: int, wanted: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Right answers of every trial, in the order of `wanted`."""
    model, processor = load_embedded()
    right, questions, start = [0] * len(wanted), 0, time.time()
    for first in range(0, scenes, 8):
        items = load_items("validation", min(8, scenes - first), start=first)
        scene_ids = list(dict.fromkeys(id(item.scene) for item in items))
        shown = [scene_ids.index(id(item.scene)) for item in items]
        pictures = [next(i for i in items if id(i.scene) == scene) for scene in scene_ids]
        pixels = encode(processor, pictures)["pixel_values"]
        inputs, answers = _text(model, processor, items), [i.question.answer for i in items]
        questions += len(items)
        for number, (budget, settings) in enumerate(wanted):
            own = {name: value for name, value in settings.items() if name != "merge"}
            stage = EncoderStage(**own) if settings else None
            with merging("merge" in settings), prune(model, STS(budget, encoder=stage)):
                encoded = model.model.get_image_features(pixel_values=pixels)
                logits = model(
                    **inputs,
                    mm_encoder_outputs={"image": take_images(encoded, shown)},
                    logits_to_keep=1,
                ).logits[:, -1]
            words = processor.tokenizer.convert_ids_to_tokens(logits.argmax(-1).tolist())
            right[number] += sum(a == b for a, b in zip(words, answers, strict=True))
    return {
        "split": "validation",
        "scenes": scenes,
        "questions": questions,
        "seconds": round(time.time() - start),
        "trials": [
            {
                "budget": budget,
                **settings,
                "right": count,
                "accuracy": round(100 * count / questions, 2),
            }
            for (budget, settings), count in zip(wanted, right, strict=True)
        ],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=104)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    document = measure(asked.scenes, trials())
    asked.out.write_text(json.dumps(document, indent=1) + "\n")
    for trial in document["trials"]:
        print(*(f"{value:.3g}" if isinstance(value, float) else value for value in trial.values()))

"""What the page is told, as plain numbers and texts: the same that a download holds."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from typing import Any

import torch

from stsprune.engine.trace import ImageTrace, Stage
from stsprune.engine.visual import Visual
from stsprune.method.base import Method

from .changes import changes
from .picture import Picture
from .pruned import Pruned
from .unpruned import Unpruned

#: Longest side of the picture that the page is sent.
SIDE = 768


def prompt_facts(picture: Picture, question: str, run: Unpruned, processor: Any) -> dict[str, Any]:
    """The prompt and what the model does with all of its tokens."""
    return {
        "picture": {
            "name": picture.name,
            "scene": picture.scene,
            "grid": list(finest(run.visual)),
            "planes": [list(plane.grid) for plane in run.visual.planes],
            "source": data_uri(run.pixels),
        },
        "question": question,
        "truth": picture.truth(question),
        "tokens": run.visual.tokens,
        "answer": text_of(processor, run.tokens),
        "kv_bytes": run.kv_bytes,
    }


def column_facts(
    name: str, method: Method, unpruned: Unpruned, run: Pruned, processor: Any
) -> dict[str, Any]:
    """One method at one budget on that prompt."""
    total = run.image.tokens * len(run.per_layer)
    return {
        "method": name,
        "budget": method.budget,
        "answer": text_of(processor, run.tokens),
        "same": run.tokens == unpruned.tokens,
        "stages": stages(run.image),
        "per_layer": run.per_layer,
        "average": sum(run.per_layer) / len(run.per_layer),
        "token_ratio": sum(run.per_layer) / total,
        "prefill_ms": run.prefill_ms,
        "unpruned_ms": run.unpruned_ms,
        "prefill_ratio": run.prefill_ms / run.unpruned_ms,
        "kv_bytes": run.kv_bytes,
        "kv_ratio": run.kv_bytes / unpruned.kv_bytes,
        "changes": changes(unpruned.tokens, unpruned.logits, run.logits, processor.tokenizer),
        "answer_tokens": len(unpruned.tokens),
        "merges": method.merges,
        "ranks": method.ranks,
    }


def stages(image: ImageTrace) -> list[dict[str, Any]]:
    """Every stage: name, layer, counts, kept and scored cells of the finest grid, their scores.

    `scores` runs along `scored`; both are None where the stage does not score.
    """
    out, held = [], torch.arange(image.tokens)
    for stage in image.stages:
        entry = {
            "name": stage.name,
            "layer": stage.layer,
            "from": len(held),
            "kept": len(stage.kept),
            "cells": image.visual.in_finest(stage.kept.cpu()).tolist(),
        }
        out.append(entry | _scores(stage, held, image.visual))
        held = stage.kept.cpu()
    return out


def _scores(stage: Stage, held: torch.Tensor, visual: Visual) -> dict[str, Any]:
    if stage.scores is None:
        return {"scored": None, "scores": None}
    scores = stage.scores.float().cpu()
    cells = [visual.in_finest(token[None]) for token in held]
    inside = [place for place, cell in enumerate(cells) if len(cell)]
    values = [float(scores[place]) for place in inside]
    return {
        "scored": [int(cells[place]) for place in inside],
        # JSON has no infinity: a method may score so what it must not keep.
        "scores": [value if math.isfinite(value) else None for value in values],
    }


def finest(visual: Visual) -> tuple[int, int]:
    """(rows, columns) of the grid that the picture is drawn with."""
    return max((plane.grid for plane in visual.planes), key=math.prod)


def data_uri(pixels: Any) -> str:
    """uint8 [H, W, 3] as an image inside the page."""
    from PIL import Image

    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    small = image.width * image.height <= 256 * 256
    image.save(out, "PNG" if small else "JPEG", **({} if small else {"quality": 88}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{b64encode(out.getvalue()).decode()}"


def text_of(processor: Any, tokens: list[int]) -> str:
    """An answer as people read it."""
    text: str = processor.tokenizer.decode(tokens, skip_special_tokens=True)
    return text.strip()

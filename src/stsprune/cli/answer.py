"""One question answered once: the inputs, what it cost, and the picture of what was kept."""

from __future__ import annotations

import math
import os
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from stsprune.question import build_inputs, seen_pixels


@dataclass(frozen=True)
class StageKept:
    """What a stage left: `kept`, ascending, counts through all visual tokens of the image.

    shown: cells (row-major) of the grid that a picture is drawn on; fewer than `kept` where the
    model also sees the picture at another scale.
    """

    name: str
    layer: int
    kept: list[int]
    shown: list[int]


@dataclass(frozen=True)
class Answered:
    """An answer and its cost.

    visual_tokens: average per decoder layer; of: the unpruned number; prefill_ms: median time of
    the whole forward pass over the prompt, image encoder and selection included; kv_bytes: the KV
    cache after it, text tokens included.
    """

    answer: str
    visual_tokens: float
    of: int
    prefill_ms: float
    kv_bytes: int
    grid: tuple[int, int] | None
    stages: list[StageKept]


def run(
    model: Any,
    processor: Any,
    image: Any,
    question: str,
    method: Any = None,
    *,
    max_new_tokens: int = 64,
    repeats: int = 1,
    positions: str = "original",
    family: str | None = None,
) -> Answered:
    """Answer greedily, pruned by `method` (None: unpruned); prefill is timed `repeats` times.

    family: as for `stsprune.prune`.

    Raises what `stsprune.prune` raises, also for an unpruned run of a model it does not know.
    """
    import torch

    import stsprune
    from stsprune.engine import cache_bytes
    from stsprune.engine.compat import CACHE
    from stsprune.engine.families import family_of
    from stsprune.method.base import layer_average

    adapter = family_of(model, family)
    inputs = build_inputs(model, processor, image, question)
    marks = [inputs["input_ids"] == token for token in adapter.token_ids(model).values()]
    total = int(sum(mark.sum() for mark in marks))
    layers: int = model.config.get_text_config().num_hidden_layers
    context: AbstractContextManager[Any] = (
        nullcontext()
        if method is None
        else stsprune.prune(model, method, positions=positions, family=family)
    )
    with torch.inference_mode(), context as trace:
        times, cache = [], None
        if family is not None:
            model(**inputs)  # an adapter's trial is not part of a prefill's time
        for _ in range(repeats):
            start = _now(model)
            cache = getattr(model(**inputs, use_cache=True, logits_to_keep=1), CACHE)
            times.append(_now(model) - start)
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    new = tokens[0, inputs["input_ids"].shape[1] :]
    seen = trace.images[0] if trace is not None and trace.images else None
    stages = []
    if seen is not None:
        total = seen.tokens  # newlines and the like are no visual tokens
        shown = seen.visual.in_finest
        stages = [
            StageKept(s.name, s.layer, s.kept.tolist(), shown(s.kept).tolist()) for s in seen.stages
        ]
    return Answered(
        answer=processor.tokenizer.decode(new, skip_special_tokens=True).strip(),
        visual_tokens=layer_average([(s.layer, len(s.kept)) for s in stages], total, layers),
        of=total,
        prefill_ms=1000 * statistics.median(times),
        kv_bytes=cache_bytes(cache),
        grid=max(seen.planes, key=math.prod) if seen is not None else None,
        stages=stages,
    )


def _now(model: Any) -> float:
    if model.device.type == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def save_run(
    path: str | os.PathLike[str],
    model: Any,
    processor: Any,
    image: Any,
    question: str,
    run: Answered,
    note: str = "",
) -> None:
    """Write the panels of a run; an unpruned run shows the picture alone."""
    from stsprune.viz import save_stages

    pixels = seen_pixels(build_inputs(model, processor, image, question), processor, image)
    stages = [(f"stage {i}: {s.name}", s.shown) for i, s in enumerate(run.stages, 1)]
    cost = f"{run.visual_tokens:.0f} of {run.of} visual tokens per layer"
    save_stages(
        path,
        pixels,
        stages,
        run.grid or (1, 1),  # an unpruned run: nothing is drawn on it
        title=question,
        subtitle=f"answer: {run.answer}  ·  {cost}{note}",
    )

"""The picture of one run: what the model saw, and what each stage kept of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .question import build_inputs

if TYPE_CHECKING:
    import numpy as np

    from .runs import Run


def save_run(
    path: str | os.PathLike[str],
    model: Any,
    processor: Any,
    image: Any,
    question: str,
    run: Run,
    note: str = "",
) -> None:
    """Write the panels of a run; an unpruned run shows the picture alone."""
    from stsprune.viz import save_stages

    pixels = _seen(build_inputs(model, processor, image, question), processor, image)
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


def _seen(inputs: Any, processor: Any, image: Any) -> np.ndarray:
    """The picture as the model saw it (resized and cropped): uint8 [H, W, 3].

    The picture itself where the model is given tiles or patches, which cover all of it.
    """
    import numpy as np
    import torch

    settings, pixels = processor.image_processor, inputs["pixel_values"]
    if pixels.ndim != 4 or pixels.shape[0] != 1 or pixels.shape[1] != 3:
        return np.asarray(image.convert("RGB"))
    pixels = pixels[0].float().cpu()
    mean, std = (torch.tensor(v)[:, None, None] for v in (settings.image_mean, settings.image_std))
    levels = ((pixels * std + mean) * 255).round().clamp(0, 255).byte()
    return levels.permute(1, 2, 0).numpy()

"""A picture and a question: checked, as a model's inputs, and the picture as the model saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chat import image_question, lacks_first_token, write_prompt
from .errors import InvalidArgumentError
from .words import unknown_words

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def check_text(question: str) -> None:
    """Raises InvalidArgumentError for an empty question."""
    if not question.strip():
        raise InvalidArgumentError("question must not be empty")


def check_words(processor: Any, question: str) -> None:
    """Raises InvalidArgumentError for words that the model's tokenizer has no token for."""
    marker = getattr(processor, "image_token", None)
    if marker and marker in question:
        raise InvalidArgumentError(f"question must not contain the image marker {marker!r}")
    unknown = unknown_words(processor.tokenizer, question)
    if unknown:
        words = ", ".join(repr(word) for word in unknown)
        raise InvalidArgumentError(f"question holds words that the model does not know: {words}")


def build_inputs(model: Any, processor: Any, image: Image.Image, question: str) -> Any:
    """One image and one question in the model's chat format, on its device."""
    prompt = write_prompt(processor, image_question(question))
    inputs = processor(
        images=[image],
        text=[prompt],
        return_tensors="pt",
        add_special_tokens=lacks_first_token(processor, prompt),
    )
    return inputs.to(model.device, dtype=model.dtype)


def seen_pixels(inputs: Any, processor: Any, image: Any) -> np.ndarray:
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

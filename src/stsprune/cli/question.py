"""Turning a picture and a question into a model's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stsprune.chat import image_question, lacks_first_token, write_prompt
from stsprune.errors import InvalidArgumentError
from stsprune.words import unknown_words

if TYPE_CHECKING:
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

"""lmms-eval's messages as model inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from stsprune.chat import lacks_first_token, write_prompt
from stsprune.errors import UnsupportedModeError
from stsprune.images import load_image

Messages = Sequence[Mapping[str, Any]]


def read_messages(messages: Messages) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """One prompt in transformers' chat format, and its images as RGB, in order.

    Raises UnsupportedModeError for anything but text and images.
    """
    chat, images = [], []
    for message in messages:
        parts = message["content"]
        if isinstance(parts, str):
            parts = [{"type": "text", "text": parts}]
        content = []
        for part in parts:
            if part["type"] == "text":
                content.append({"type": "text", "text": part["text"]})
            elif part["type"] == "image":
                content.append({"type": "image"})
                images.append(_rgb(part["url"]))
            else:
                raise UnsupportedModeError(
                    f"tasks must show text and images only, this one shows {part['type']}"
                )
        chat.append({"role": message["role"], "content": content})
    return chat, images


def build_inputs(processor: Any, prompts: Sequence[Messages]) -> Any:
    """A batch's inputs, padded on the left; rows may hold any number of images."""
    read = [read_messages(messages) for messages in prompts]
    texts = [write_prompt(processor, chat) for chat, _ in read]
    images = [images for _, images in read]
    return processor(
        images=images if any(images) else None,
        text=texts,
        padding=True,
        return_tensors="pt",
        add_special_tokens=lacks_first_token(processor, texts[0]),
    )


def _rgb(image: Any) -> Image.Image:
    return image.convert("RGB") if isinstance(image, Image.Image) else load_image(image)

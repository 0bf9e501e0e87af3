"""Prompts in a model's own chat format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def image_question(question: str) -> list[dict[str, Any]]:
    """A chat of one message: a picture and a question about it."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def write_prompt(processor: Any, chat: Sequence[Mapping[str, Any]]) -> str:
    """The chat as text, up to where the model answers."""
    prompt: str = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return prompt


def lacks_first_token(processor: Any, prompt: str) -> bool:
    """Whether the tokenizer must add the first token: many templates write it themselves."""
    bos = getattr(getattr(processor, "tokenizer", None), "bos_token", None)
    return not (bos and prompt.startswith(bos))

"""Words that a tokenizer has no token for."""

from __future__ import annotations

from typing import Any


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """What of a text the tokenizer reads as unknown, each once; none where it cannot tell."""
    if tokenizer.unk_token_id is None or not tokenizer.is_fast:
        return []
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(coded["input_ids"], coded["offset_mapping"], strict=True)
    found = [text[a:b] for token, (a, b) in spans if token == tokenizer.unk_token_id]
    return list(dict.fromkeys(found))

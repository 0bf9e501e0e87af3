"""The embedded model's words: a word-level fast tokenizer, its chat template, the processor."""

from __future__ import annotations

from typing import Any

from .questions import ANSWERS, DIRECTIONS, PLURALS
from .scenes import COLOURS, SHAPES

PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
USER, ASSISTANT = "USER:", "ASSISTANT:"
#: Every embedded model's first tokens, in id order.
SPECIAL = (PAD, BOS, EOS, UNK, IMAGE, USER, ASSISTANT)

PROMPT_WORDS = [
    "what",
    "character",
    "is",
    "on",
    "the",
    "colour",
    "color",
    "shape",
    "object",
    "objects",
    "with",
    "how",
    "many",
    "are",
    "there",
    "a",
    "an",
    "where",
    "relative",
    "to",
    "background",
    "of",
    "in",
    "picture",
    "image",
    "which",
    "letter",
    "digit",
    "read",
    "describe",
    "?",
    ".",
    ",",
    "and",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER:{% else %} ASSISTANT:{% endif %}"
    "{% if message['content'] is string %} {{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %} <image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %} {{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def vocabulary() -> list[str]:
    """All tokens in id order: special ones, prompt words, answers. Deterministic."""
    words = [*SPECIAL, *PROMPT_WORDS]
    words += [*COLOURS, *SHAPES, *PLURALS.values(), *DIRECTIONS]
    for answers in ANSWERS.values():
        words += answers
    return list(dict.fromkeys(words))


def build_tokenizer(words: list[str] | None = None) -> Any:
    """A PreTrainedTokenizerFast: lower-cased words, `?`, `.` and `,` apart, `<s>` in front.

    words: all tokens in id order, by default `vocabulary()`. Where pieces (`##x`) are among them,
    an unknown word is spelt in characters.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(words or vocabulary())}
    if any(word.startswith("##") for word in ids):
        core = Tokenizer(models.WordPiece(ids, unk_token=UNK))
        core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    else:
        core = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[?.,!]"), "isolated")]
    )
    core.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        extra_special_tokens={"image_token": IMAGE},
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
    )

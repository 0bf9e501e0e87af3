"""Real processors over local parts, for the families whose processor runs without torchvision.

Those that take a video processor (LLaVA-OneVision, Qwen, InternVL, SmolVLM) and Pixtral's need
torchvision even for images; their families are shown the zoo's hand-made tensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import transformers
from kit import END, FAKE, IMAGE, NEWLINE, PAD, START, TAG, VOCABULARY
from PIL import Image
from releases import need_pil_idefics
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from zoo import PINPOINTS

SPECIAL = {
    PAD: "<pad>",
    1: "<s>",
    2: "</s>",
    FAKE: "<fake_token_around_image>",
    TAG: "<global-img>",
    NEWLINE: "\n",
    START: "<start_of_image>",
    END: "<end_of_image>",
    IMAGE: "<image>",
}
NAMED = {"image_token": IMAGE, "boi_token": START, "eoi_token": END}
#: A chat: the picture first, then the words.
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}MARKER{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def tokenizer() -> Any:
    """Word-level over w3, w4, ...; the ids are those of the zoo."""
    words = {SPECIAL.get(i, f"w{i}"): i for i in range(VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="w3"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL.values()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="w3",
        padding_side="left",
        extra_special_tokens={name: SPECIAL[i] for name, i in NAMED.items()},
        model_max_length=2048,
    )


@dataclass(frozen=True)
class Shown:
    """A processor, the mark that it replaces by an image, and whether images come row by row."""

    make: Callable[[], Any]
    marker: str = "<image>"
    nested: bool = False

    def build(self) -> Any:
        processor = self.make()
        processor.chat_template = TEMPLATE.replace("MARKER", self.marker)
        return processor

    def inputs(self, rows: list[tuple[list[Image.Image], str]]) -> Any:
        """rows: (images, text with MARKER where each of them stands)."""
        texts = [text.replace("MARKER", self.marker) for _, text in rows]
        images: list[Any] = [images for images, _ in rows]
        if not self.nested:
            images = [image for row in images for image in row]
        return self.build()(images=images, text=texts, padding=True, return_tensors="pt")


def llava() -> Any:
    size = {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}
    return transformers.LlavaProcessor(
        transformers.CLIPImageProcessorPil(**size),
        tokenizer(),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def llava_next() -> Any:
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    return transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessorPil(**size, image_grid_pinpoints=PINPOINTS),
        tokenizer(),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def idefics() -> Any:
    need_pil_idefics()
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 48}, max_image_size={"longest_edge": 24}
    )
    return transformers.Idefics3Processor(images, tokenizer(), image_seq_len=9)


def gemma() -> Any:
    images = transformers.Gemma3ImageProcessorPil(size={"height": 24, "width": 24})
    return transformers.Gemma3Processor(images, tokenizer(), image_seq_length=9)


PROCESSORS = {
    "LLaVA-1.5": Shown(llava),
    "LLaVA-NeXT": Shown(llava_next),
    "Idefics3": Shown(idefics, nested=True),
    "Gemma 3": Shown(gemma, marker="<start_of_image>", nested=True),
}

"""What makes a tiny random model of a family and prompts for it: `Kit`; the kits are in zoo*.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor

from stsprune.engine.families import family_of

PAD, FAKE, TAG, BREAK, NEWLINE, START, END, IMAGE, VIDEO = 0, 52, 53, 54, 55, 56, 57, 60, 61
WORDS, VOCABULARY, DEPTH = range(3, 50), 64, 6

TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.25,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 4,
}
#: Layer types of a decoder with windows, for all `DEPTH` layers.
SLIDING_LAYERS = ["sliding_attention", "sliding_attention", "full_attention"] * 2
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO}


@dataclass
class Picture:
    """One image or video of a prompt: its token ids (placeholders included) and its tensors."""

    ids: list[int]
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Kit:
    """How to make a model of a family and what it is shown.

    config: builds the config; image and video: (number, generator) -> Picture; collate: pictures
    of every row -> model inputs; kinds: the input that marks placeholders per token, if any; lean:
    whether a part of the product of prompts, methods and backends is enough, and fewer random
    prompts; eager_encoder and only_eager: where the encoder or the whole has no
    sdpa; turns: whether images may come in a later turn; beams: whether this
    class's own beam search repeats pictures rightly, unpruned.
    """

    config: Callable[[], Any]
    model: str
    image: Callable[[Any, int, torch.Generator], Picture]
    collate: Callable[[list[list[Picture]]], dict[str, Any]]
    video: Callable[[Any, int, torch.Generator], Picture] | None = None
    kinds: str | None = None
    lean: bool = False
    eager_encoder: bool = False
    only_eager: bool = False
    turns: bool = True
    beams: bool = True

    def build(self, attention: str = "sdpa", seed: int = 0) -> Any:
        """A model in eval mode that has been called once: transformers hooks itself then."""
        torch.manual_seed(seed)
        config = self.config()
        attention = "eager" if self.only_eager else attention
        config._attn_implementation = (
            {"text_config": attention, "vision_config": "eager"}
            if self.eager_encoder
            else attention
        )
        model = getattr(transformers, self.model)(config).eval()
        model.generation_config.pad_token_id = PAD
        model.generation_config.eos_token_id = None
        head = head_of(model)
        with torch.no_grad():
            for token in (IMAGE, VIDEO, FAKE, TAG, START, END):
                head.weight.data[token] = 0  # never generated
            model(**self.inputs(model, [["image", 2]]))
        inner = family_of(model).inner(model)
        if hasattr(inner, "rope_deltas"):
            inner.rope_deltas = None
        return model

    def inputs(
        self, model: Any, rows: list[list[Any]], seed: int = 0, skip: int = 0
    ) -> dict[str, Any]:
        """rows: lists of parts, "image", "video" or a number of words; padded on the left.

        skip: pictures at the start of each row whose tensors are left out: they came before.
        """
        random = torch.Generator().manual_seed(seed)
        prompts, pictures, number = [], [], 0
        for row in rows:
            ids: list[int] = [1]
            shown = []
            for part in row:
                if isinstance(part, int):
                    at = torch.randint(len(WORDS), (part,), generator=random)
                    ids += [WORDS[i] for i in at.tolist()]
                    continue
                make = self.image if part == "image" else self.video
                assert make is not None
                shown.append(make(model, number, random))
                ids += shown[-1].ids
                number += 1
            prompts.append(ids)
            pictures.append(shown)
        width = max(map(len, prompts))
        ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self.kinds == "token_type_ids":
            inputs[self.kinds] = (ids == IMAGE).long()
        elif self.kinds == "prefix":
            inputs["token_type_ids"] = torch.zeros_like(ids)
        elif self.kinds:
            inputs["mm_token_type_ids"] = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
            if self.kinds == "moe_mm_token_type_ids":
                inputs[self.kinds] = ((ids >= START) & (ids <= VIDEO)).int()
        return inputs | (self.collate([row[skip:] for row in pictures]) if number else {})


def head_of(model: Any) -> Any:
    """What makes logits of hidden states."""
    return model.get_output_embeddings() or model.language_model.get_output_embeddings()


def pixels(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random)


def padded(stacks: list[Tensor]) -> Tensor:
    """[n_i, ...] of different n_i -> [images, max n, ...]."""
    most = max(len(stack) for stack in stacks)
    return torch.stack([torch.cat([s, s.new_zeros(most - len(s), *s.shape[1:])]) for s in stacks])


def joined(pictures: list[list[Picture]], how: Callable[..., Tensor] = torch.cat) -> dict[str, Any]:
    """All tensors of one name in the order of the batch."""
    flat = [picture for row in pictures for picture in row]
    names = dict.fromkeys(name for picture in flat for name in picture.tensors)
    return {n: how([p.tensors[n] for p in flat if n in p.tensors]) for n in names}


def tiled_image(first: tuple[int, int]) -> Callable[[Any, int, torch.Generator], Picture]:
    """As Idefics3's processor writes it: rows of tiles, then the thumbnail.

    first: (rows, columns) of tiles of the first picture.
    """

    def image(model: Any, number: int, random: torch.Generator) -> Picture:
        rows, columns = (first, (0, 0), (1, 2))[number % 3]
        ids: list[int] = []
        for _ in range(rows):
            for _ in range(columns):
                ids += [FAKE, TAG] + [IMAGE] * 9
            ids.append(NEWLINE)
        ids += ([NEWLINE] if rows else []) + [FAKE, TAG] + [IMAGE] * 9 + [FAKE]
        return Picture(ids, {"pixel_values": pixels(random, rows * columns + 1, 3, 24, 24)})

    return image


def stacked_tiles(pictures: list[list[Picture]]) -> list[Tensor]:
    """All tiles of each row of a batch: [tiles, 3, 24, 24]."""
    nothing = torch.zeros(0, 3, 24, 24)
    return [torch.cat([nothing, *(p.tensors["pixel_values"] for p in row)]) for row in pictures]


def tile_stacks(pictures: list[list[Picture]]) -> dict[str, Any]:
    """The rows' tiles, padded to the most."""
    return {"pixel_values": padded(stacked_tiles(pictures))}

"""A mixin for vLLM's model classes: encoder outputs with the kept tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from vllm.model_executor.layers.rotary_embedding import RotaryEmbedding
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase
from vllm.model_executor.layers.rotary_embedding.llama3_rope import Llama3RotaryEmbedding

from stsprune.errors import UnsupportedModeError

from .channels import AXES, attach, detach
from .choose import choose
from .families import ServedFamily
from .positions import Gap, delta, marked, resolve, stretch
from .processing import TEXT
from .settings import BUDGET, POSITIONS, ServingSettings
from .start import position_limit


class PrunedModel:
    """In front of a vLLM model class that supports images."""

    family: ClassVar[ServedFamily]
    settings: ClassVar[ServingSettings]
    supports_mrope: ClassVar[Literal[True]] = True
    supports_multimodal_pruning: ClassVar[Literal[True]] = True
    config: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        # Of Qwen: whether vLLM's own pruning of videos is on, and adds columns of its own.
        self.is_multimodal_pruning_enabled = False
        if self.family.axes == 1 and not self.settings.compact:
            model_config = vllm_config.model_config
            rows = position_limit(model_config, 1) + model_config.max_model_len
            lengthen(self.language_model, rows)  # type: ignore[attr-defined]

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """See vLLM: per image [K, Dim], followed by the columns of `channels`."""
        text = kwargs.pop(TEXT, None)
        rows = super().embed_multimodal(**kwargs)  # type: ignore[misc]
        if "pixel_values" not in kwargs:
            return rows  # a video
        visuals = [
            self.family.visual(self.config, self._item(kwargs, number), len(one))
            for number, one in enumerate(rows)
        ]
        width = self.config.get_text_config().hidden_size
        features = [one[:, :width] for one in rows]
        texts = None
        if self.settings.semantics:
            embed = self.language_model.embed_input_ids  # type: ignore[attr-defined]
            texts = [embed(one.to(features[0].device)) for one in text]
        kept = choose(
            features,
            visuals,
            self.settings.budget,
            texts,
            space=self.settings.space,
            exponent=self.settings.exponent,
            eps=self.settings.eps,
        )
        if self.settings.compact:
            return [one[places] for one, places in zip(rows, kept, strict=True)]
        return [
            attach(one[places], self.family.offsets(visual, places))
            for one, places, visual in zip(rows, kept, visuals, strict=True)
        ]

    def _item(self, kwargs: dict[str, Any], number: int) -> dict[str, Any]:
        name = self.family.describes
        return {} if name is None else {name: kwargs[name][number]}

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[Tensor, int]:
        """See vLLM; images hold the marks of `positions`."""
        features = sorted(mm_features, key=lambda feature: feature.mm_position.offset)
        gaps, moved = [], []
        added = 0
        for feature in features:
            place = feature.mm_position
            position = replace(place, offset=place.offset + added)
            if feature.modality == "image":
                gap = self._gap(feature)
                gaps.append(gap)
                added += gap.length - gap.kept
                position = replace(position, length=place.length + gap.length - gap.kept)
            moved.append(replace(feature, mm_position=position))
        whole, index = stretch(input_tokens, gaps)
        return marked(self._unpruned_positions(whole, moved), index, gaps)

    def _gap(self, feature: Any) -> Gap:
        place = feature.mm_position
        kept = place.get_num_embeds()
        first = 0 if place.is_embed is None else int(place.is_embed.int().argmax())
        item = {name: field.data for name, field in (feature.data or {}).items()}
        visual = self.family.pruned_visual(self.config, item, kept, self.settings.budget)
        return Gap(place.offset + first, kept, visual.length)

    def _unpruned_positions(self, tokens: list[int], features: list[Any]) -> Tensor:
        if self.family.axes == 1:
            return torch.arange(len(tokens)).expand(AXES, -1)
        return super().get_mrope_input_positions(tokens, features)[0]  # type: ignore[misc]

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | Tensor,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[list[Tensor], Tensor, int]:
        """See vLLM: takes the columns off, and resolves the marks by them."""
        width = self._width()
        rows, offsets = [], []
        for one in multimodal_embeddings:
            if one.shape[1] == width:
                rows.append(one)  # of a video
                continue
            plain, own = detach(one)
            rows.append(plain)
            offsets.append(own)
        if offsets:
            ids = torch.as_tensor(input_ids, device=mrope_positions.device)
            image = self.family.image_token(self.config)
            places = (ids[num_computed_tokens:] == image).nonzero()[:, 0] + num_computed_tokens
            found = torch.cat(offsets).to(mrope_positions.device)
            mrope_positions = resolve(mrope_positions, places[: len(found)], found)
        return rows, mrope_positions, delta(mrope_positions)

    def _width(self) -> int:
        return int(self.config.get_text_config().hidden_size) + getattr(self, "multiscale_dim", 0)

    def forward(self, input_ids: Any, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """See vLLM; a model with one rotary axis is given one."""
        if self.family.axes == 1 and positions.ndim == 2:
            positions = positions[0]
        return super().forward(input_ids, positions, *args, **kwargs)  # type: ignore[misc]


def lengthen(text_model: Any, rows: int) -> None:
    """Give the tables of rotary angles at least `rows` rows.

    A pruned prompt is shorter than its positions say, so an answer may pass the model's range.
    Raises UnsupportedModeError for tables whose length changes the angles.
    """
    for module in text_model.modules():
        if not isinstance(module, RotaryEmbeddingBase) or len(module.cos_sin_cache) >= rows:
            continue
        if type(module) not in (RotaryEmbedding, Llama3RotaryEmbedding):
            raise UnsupportedModeError(
                f"{POSITIONS} must be compact for a model with {type(module).__name__} (or unset "
                f"{BUDGET} to serve it unpruned)"
            )
        old = module.cos_sin_cache
        module.max_position_embeddings = rows
        module.cos_sin_cache = module._compute_cos_sin_cache().to(old)

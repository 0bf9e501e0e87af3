"""A mixin for vLLM's model classes: encoder outputs with the kept tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from vllm.distributed import get_tp_group
from vllm.model_executor.layers.rotary_embedding import RotaryEmbedding
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase
from vllm.model_executor.layers.rotary_embedding.llama3_rope import Llama3RotaryEmbedding

from stsprune.errors import UnsupportedModeError

from .agree import agreed
from .batches import part, spans
from .channels import AXES, attach, detach
from .choose import choose, kept_length
from .families import ServedFamily
from .positions import Gap, delta, marked, resolve, stretch
from .requests import ENTRY, budgets_of
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
        #: Unpruned tokens that one call of the encoder may make, as without pruning.
        self.encoder_tokens: int = vllm_config.scheduler_config.max_num_encoder_input_tokens
        if self.family.axes == 1 and not self.settings.compact:
            model_config = vllm_config.model_config
            rows = position_limit(model_config, 1) + model_config.max_model_len
            lengthen(self.language_model, rows)  # type: ignore[attr-defined]

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """See vLLM: per image [K, Dim], followed by the columns of `channels`.

        Nothing in here raises on what an image holds: an error ends the worker, and with it every
        request of the server.
        """
        told = kwargs.pop(ENTRY, None)
        if "pixel_values" not in kwargs:
            return super().embed_multimodal(**kwargs)  # type: ignore[misc]  # a video
        items = self._items(kwargs)
        budgets = budgets_of(told, len(items), self.settings.budget)
        lengths = [self.family.longest(self.config, item) for item in items]
        sizes = {"pixel_values": [self.family.entries(item) for item in items]}
        out: list[Tensor] = []
        for start, stop in spans(lengths, self.encoder_tokens):
            batch = part(kwargs, (start, stop), sizes) if stop - start < len(items) else kwargs
            rows = super().embed_multimodal(**batch)  # type: ignore[misc]
            out += self._pruned(list(rows), items[start:stop], budgets[start:stop])
        return out

    def _pruned(
        self, rows: list[Tensor], items: list[dict[str, Any]], budgets: list[int | float]
    ) -> list[Tensor]:
        visuals = []
        for number, item in enumerate(items):
            visual = self.family.served_visual(self.config, item, len(rows[number]))
            rows[number] = fitted(rows[number], visual.length)
            visuals.append(visual)
        width = self.config.get_text_config().hidden_size
        kept = agreed(
            lambda: choose(
                [one[:, :width] for one in rows],
                visuals,
                budgets,
                space=self.settings.space,
                exponent=self.settings.exponent,
                eps=self.settings.eps,
            ),
            [kept_length(*one) for one in zip(visuals, budgets, strict=True)],
            get_tp_group(),
            rows[0].device,
        )
        short = [one.index_select(0, places) for one, places in zip(rows, kept, strict=True)]
        if self.settings.compact:
            return short
        return [
            attach(one, self.family.offsets(visual, places))
            for one, places, visual in zip(short, kept, visuals, strict=True)
        ]

    def _items(self, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
        """What the processor says of every image; it stays on the host."""
        name = self.family.describes
        if name is None:
            return [{}] * len(kwargs["pixel_values"])
        return [{name: one} for one in kwargs[name]]

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
        budget = budgets_of(item.get(ENTRY), 1, self.settings.budget)[0]
        visual = self.family.pruned_visual(self.config, item, kept, budget)
        return Gap(place.offset + first, kept, kept if visual is None else visual.length)

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
        """See vLLM: takes the columns off, and resolves the marks by them.

        V1 asks for every running request at every step, V2 for those with rows only. The rows are
        those of the windows behind the computed tokens, in the prompt's order, whatever their
        modality: each takes the next placeholder.
        """
        if not len(multimodal_embeddings):
            return [], mrope_positions, delta(mrope_positions)
        width = self._width()
        rows, offsets = [], []
        for one in multimodal_embeddings:
            if one.shape[1] == width:  # of a video, whose positions are final
                rows.append(one)
                offsets.append(one.new_full((len(one), AXES), -1, dtype=torch.long))
                continue
            plain, found = detach(one)
            rows.append(plain)
            offsets.append(found)
        device = mrope_positions.device
        ids = torch.as_tensor(input_ids, device=device)
        rowed = torch.zeros_like(ids, dtype=torch.bool)
        for token in self.family.placeholders(self.config):
            rowed |= ids == token
        rowed[:num_computed_tokens] = False
        positions = resolve(mrope_positions, rowed, torch.cat(offsets).to(device))
        return rows, positions, delta(positions)

    def _width(self) -> int:
        return int(self.config.get_text_config().hidden_size) + getattr(self, "multiscale_dim", 0)

    def forward(self, input_ids: Any, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """See vLLM; a model with one rotary axis is given one."""
        if self.family.axes == 1 and positions.ndim == 2:
            positions = positions[0]
        return super().forward(input_ids, positions, *args, **kwargs)  # type: ignore[misc]


def fitted(rows: Tensor, length: int) -> Tensor:
    """`rows` [N, Dim] cut or filled with zeros to [length, Dim]."""
    if len(rows) >= length:
        return rows[:length]
    return torch.cat([rows, rows.new_zeros(length - len(rows), rows.shape[1])])


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

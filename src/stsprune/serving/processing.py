"""Prompts with placeholders for the kept tokens only: a mixin for vLLM's processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vllm.multimodal.hasher import MultiModalHasher
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import PromptUpdateDetails

from stsprune.errors import InvalidArgumentError

from .choose import kept_length
from .families import ServedFamily
from .metrics import count, made_up
from .prompt import without
from .requests import ENTRY, entry, others, requested
from .settings import BUDGET, POSITIONS, ServingSettings
from .start import position_limit


@dataclass
class PrunedDetails(PromptUpdateDetails):
    """An image's placeholders, how many were left out, and of how many visual tokens."""

    dropped: int = 0
    tokens: int = 0


class PrunedProcessor:
    """In front of a vLLM `BaseMultiModalProcessor`."""

    family: ClassVar[ServedFamily]
    settings: ClassVar[ServingSettings]
    info: Any

    def get_dummy_mm_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """See vLLM."""
        token = made_up.set(True)
        try:
            return super().get_dummy_mm_inputs(*args, **kwargs)  # type: ignore[misc]
        finally:
            made_up.reset(token)

    def _image(self) -> int:
        return self.family.image_token(self.info.get_hf_config())

    def _get_mm_hashes(self, inputs: Any) -> Any:
        hashes = dict(super()._get_mm_hashes(inputs))  # type: ignore[misc]
        budget = requested(inputs.hf_processor_mm_kwargs, self.settings.budget)
        more = {"stsprune": self.settings.tag(budget)}
        algorithm = self.info.ctx.get_mm_config().mm_hasher_algorithm
        if "image" in hashes:
            hashes["image"] = [
                MultiModalHasher.hash_kwargs(algorithm, mm_hash=digest, **more)
                for digest in hashes["image"]
            ]
        return hashes

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Any) -> Any:
        budget = requested(hf_kwargs, self.settings.budget)
        data = super()._apply_hf_processor_main(mm_items, others(hf_kwargs))  # type: ignore[misc]
        images = mm_items.get_all_counts().get("image", 0)
        if images:
            data[ENTRY] = entry(budget, images)
        return data

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Any:
        fields = super()._get_mm_fields_config(  # type: ignore[misc]
            hf_inputs, others(hf_processor_mm_kwargs)
        )
        return {**fields, ENTRY: MultiModalFieldConfig.batched("image", keep_on_cpu=True)}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(  # type: ignore[misc]
            mm_items, others(hf_processor_mm_kwargs), out_mm_kwargs
        )
        budget = requested(hf_processor_mm_kwargs, self.settings.budget)
        return [
            self._shrunk(update, out_mm_kwargs, budget) if update.modality == "image" else update
            for update in updates
        ]

    def _shrunk(self, update: Any, out_mm_kwargs: Any, budget: int | float) -> Any:
        config, image = self.info.get_hf_config(), self._image()

        def replacement(number: int) -> PromptUpdateDetails:
            content = update.replacement
            content = content(number) if callable(content) else content
            if not isinstance(content, PromptUpdateDetails):
                content = PromptUpdateDetails.from_seq(content)
            length = content.full.count(image)
            item = {name: field.data for name, field in out_mm_kwargs["image"][number].items()}
            visual = self.family.visual(config, item, length)
            dropped = length - kept_length(visual, budget)
            return PrunedDetails(
                without(content.full, image, dropped), content.is_embed, dropped, visual.tokens
            )

        return replace(update, replacement=replacement)

    def _maybe_apply_prompt_updates(self, mm_items: Any, mm_res: Any) -> Any:
        ids, placeholders = super()._maybe_apply_prompt_updates(  # type: ignore[misc]
            mm_items, mm_res
        )
        updates: Mapping[str, Any] = mm_res.prompt_updates
        images = [item[0].content for item in updates.get("image", ())]
        dropped = sum(image.dropped for image in images)
        if not self.settings.compact:
            limit = position_limit(self.info.ctx.model_config, self.family.axes)
            if len(ids) + dropped > limit:
                raise InvalidArgumentError(
                    f"the prompt must have at most {limit} tokens before pruning, whose positions "
                    f"the kept ones hold, got {len(ids) + dropped}: send fewer or smaller images, "
                    f"or serve with {POSITIONS}=compact (with {BUDGET} as it is)"
                )
        tokens = sum(image.tokens for image in images)
        count(tokens, tokens - dropped)
        return ids, placeholders

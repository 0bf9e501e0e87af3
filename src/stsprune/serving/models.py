"""vLLM's model classes with pruned images. Registered by `plugin`."""

from __future__ import annotations

import os
from typing import Any

from vllm.model_executor.models.interns1 import (
    InternS1ForConditionalGeneration,
    InternS1MultiModalProcessor,
)
from vllm.model_executor.models.llava import (
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
)
from vllm.model_executor.models.llava_next import (
    LlavaNextForConditionalGeneration,
    LlavaNextMultiModalProcessor,
)
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
)
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
)
from vllm.model_executor.models.qwen2_vl import (
    Qwen2VLForConditionalGeneration,
    Qwen2VLMultiModalProcessor,
)
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from .families import SERVED
from .model import PrunedModel
from .processing import PrunedProcessor
from .settings import read_settings


def _served(processor: type) -> Any:
    """Class decorator: family, settings and the pruning processor of a model class."""

    def complete(model: Any) -> Any:
        model.family = SERVED[model.__name__.removeprefix("Pruned")]
        model.settings = read_settings(os.environ)
        subclass = type(
            f"Pruned{processor.__name__}",
            (PrunedProcessor, processor),
            {"family": model.family, "settings": model.settings},
        )
        # The parent's own, found as an attribute: how it reads images and makes dummy ones.
        parts = model._processor_factory
        return MULTIMODAL_REGISTRY.register_processor(
            subclass, info=parts.info, dummy_inputs=parts.dummy_inputs
        )(model)

    return complete


@_served(LlavaMultiModalProcessor)
class PrunedLlavaForConditionalGeneration(PrunedModel, LlavaForConditionalGeneration):
    """LLaVA-1.5."""


@_served(LlavaNextMultiModalProcessor)
class PrunedLlavaNextForConditionalGeneration(PrunedModel, LlavaNextForConditionalGeneration):
    """LLaVA-NeXT."""


@_served(LlavaOnevisionMultiModalProcessor)
class PrunedLlavaOnevisionForConditionalGeneration(
    PrunedModel, LlavaOnevisionForConditionalGeneration
):
    """LLaVA-OneVision."""


@_served(Qwen2VLMultiModalProcessor)
class PrunedQwen2VLForConditionalGeneration(PrunedModel, Qwen2VLForConditionalGeneration):
    """Qwen2-VL."""


@_served(Qwen2_5_VLMultiModalProcessor)
class PrunedQwen2_5_VLForConditionalGeneration(PrunedModel, Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL."""


@_served(Qwen3VLMultiModalProcessor)
class PrunedQwen3VLForConditionalGeneration(PrunedModel, Qwen3VLForConditionalGeneration):
    """Qwen3-VL."""


@_served(InternS1MultiModalProcessor)
class PrunedInternVLForConditionalGeneration(PrunedModel, InternS1ForConditionalGeneration):
    """InternVL, in the form of transformers (`-hf` checkpoints)."""

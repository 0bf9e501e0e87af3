"""Why an image-text class of transformers is not pruned, and which family is nearest.

What has an adapter is not here. A test holds this list against the mapping of the release that
the project is pinned to; a class of another release that is in neither is "not read yet".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What a class gets that nobody has read.
UNREAD = "not read yet"


@dataclass(frozen=True)
class Verdict:
    """Why not, in one line, and the family that is nearest ("" = none)."""

    why: str
    nearest: str = ""

    @property
    def outside(self) -> bool:
        """Whether its visual tokens are not in the decoder's sequence at all."""
        return self.why in (_CROSS, _ENCODER)


_CROSS = "cross-attention: its visual tokens are not in the sequence"
_ENCODER = "encoder-decoder: its visual tokens are read by cross-attention"
_QUERIES = "its image is 32 query tokens already: nothing to gain"
_TIMM = "its encoder comes from timm, without which no proof runs"

#: transformers class name -> verdict
VERDICTS: dict[str, Verdict] = {
    "BlipForConditionalGeneration": Verdict(_CROSS),
    "IdeficsForVisionText2Text": Verdict(_CROSS, "Idefics2"),
    "MllamaForConditionalGeneration": Verdict(_CROSS, "Llama 4"),
    "Florence2ForConditionalGeneration": Verdict(_ENCODER),
    "Pix2StructForConditionalGeneration": Verdict(_ENCODER),
    "PPFormulaNetForConditionalGeneration": Verdict(_ENCODER, "PaddleOCR-VL"),
    "T5Gemma2ForConditionalGeneration": Verdict(_ENCODER, "Gemma 3"),
    "UdopForConditionalGeneration": Verdict(_ENCODER),
    "VisionEncoderDecoderModel": Verdict(_ENCODER),
    "Blip2ForConditionalGeneration": Verdict(_QUERIES, "LLaVA-1.5"),
    "InstructBlipForConditionalGeneration": Verdict(_QUERIES, "LLaVA-1.5"),
    "InstructBlipVideoForConditionalGeneration": Verdict(_QUERIES, "Video-LLaVA"),
    "EvollaForProteinText2Text": Verdict("it reads proteins, not images"),
    "Mistral4ForCausalLM": Verdict("text only: it is pruned as Mistral 3's decoder", "Mistral 3"),
    "PI0ForConditionalGeneration": Verdict(
        "it makes actions by flow matching, not text", "PaliGemma"
    ),
    "DiffusionGemmaForBlockDiffusion": Verdict(
        "block diffusion: its answer is not written token by token", "Gemma 3"
    ),
    "ChameleonForConditionalGeneration": Verdict(
        "images are merged inside its decoder, behind the place where pruning acts", "Janus"
    ),
    "Kosmos2ForConditionalGeneration": Verdict(
        "images are merged inside its decoder, by a mask instead of placeholder ids"
    ),
    "Kosmos2_5ForConditionalGeneration": Verdict(
        "images are merged inside its decoder, by a mask instead of placeholder ids"
    ),
    "GitForCausalLM": Verdict("its images have no placeholder ids in the prompt"),
    "FastVlmForConditionalGeneration": Verdict(_TIMM, "LLaVA-1.5"),
    "PerceptionLMForConditionalGeneration": Verdict(_TIMM, "InternVL 3"),
    "Gemma3nForConditionalGeneration": Verdict(
        "its hidden states hold four streams per token (AltUp)", "Gemma 3"
    ),
    "UnlimitedOcrForConditionalGeneration": Verdict(
        "its window slides over the answer only, which no mask here expresses", "DeepSeek-OCR 2"
    ),
    "Dots3NoteForConditionalGeneration": Verdict(
        "sparse attention chooses keys by an index that pruning would change", "Qwen2-VL"
    ),
    "MistralLarge4ForConditionalGeneration": Verdict(
        "sparse attention chooses keys by an index that pruning would change", "Mistral 3"
    ),
    "Glm5NextForConditionalGeneration": Verdict(
        "linear and sparse attention with several streams per token", "GLM-4.6V"
    ),
    "Qwen4ExpForConditionalGeneration": Verdict(
        "linear and sparse attention whose index reads the whole past", "Qwen3-VL"
    ),
    "InklingForConditionalGeneration": Verdict("every layer convolves over neighbouring tokens"),
    "Inkling2ForConditionalGeneration": Verdict("every layer convolves over neighbouring tokens"),
}


def listed() -> dict[str, str]:
    """Class -> first model type, of all image-text models of the installed transformers."""
    from transformers.models.auto import modeling_auto

    names: Any = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    found: dict[str, str] = {}
    for kind, classes in dict(names).items():
        for name in (classes,) if isinstance(classes, str) else classes:
            found.setdefault(name, kind)
    return found

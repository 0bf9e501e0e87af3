"""Load and export the model that ships inside the package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from stsprune.errors import InvalidArgumentError, MissingWeightsError

from .model import IMAGE_MEAN, IMAGE_STD
from .tasks import TASKS
from .text import BOS, CHAT_TEMPLATE, build_tokenizer

WEIGHTS = Path(__file__).parent / "weights"
LARGE_WEIGHTS = Path(__file__).parent / "weights24"


def embedded_folder(size: str = "small") -> Path:
    """Where the package keeps an embedded model.

    Raises InvalidArgumentError for a size that is not "small" or "large".
    """
    folders = {"small": WEIGHTS, "large": LARGE_WEIGHTS}
    if size not in folders:
        raise InvalidArgumentError(f"size must be one of {', '.join(folders)}, got {size!r}")
    return folders[size]


def load_embedded(
    size: str = "small", *, device: str = "cpu", dtype: Any = None
) -> tuple[Any, Any]:
    """An embedded VLM and its processor, from the package's own files: no network.

    Args:
        size: "small" sees 144 visual tokens and knows SceneQA; "large" sees 576 and knows
            SceneQA 2.
        device: Any torch device.
        dtype: A torch dtype, by default float32 (stored in float16).

    Returns:
        A stock `LlavaForConditionalGeneration` in eval mode and a stock `LlavaProcessor`.

    Raises:
        InvalidArgumentError: Another size.
        MissingWeightsError: The package was built without its weights.
    """
    import torch
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    folder = embedded_folder(size)
    check_weights(folder)
    model = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=dtype or torch.float32, local_files_only=True, use_safetensors=True
    )
    processor = LlavaProcessor.from_pretrained(folder, local_files_only=True)
    return model.eval().to(device), processor


def check_weights(folder: Path | None = None) -> None:
    """Raises MissingWeightsError where the package was built without its weights."""
    folder = folder or WEIGHTS
    if not (folder / "model.safetensors").exists():
        raise MissingWeightsError(
            f"the embedded weights are missing from {folder.name}/: reinstall stsprune, or train "
            "them with `python -m stsprune.embedded.train`"
        )


def build_processor(model: Any) -> Any:
    """The processor that fits a freshly built embedded model (no torchvision needed)."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vision = model.config.vision_config
    side = vision.image_size
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=build_tokenizer(_words(model)),
        patch_size=vision.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _words(model: Any) -> list[str]:
    """The words of the task whose vocabulary the model has."""
    size = model.config.text_config.vocab_size
    return next(task.words() for task in TASKS.values() if len(task.words()) == size)


def export(model: Any, folder: Path) -> None:
    """Write model (float16 safetensors, the hub's key names) and processor, atomically."""
    import torch

    fresh = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.float16).save_pretrained(fresh)
    build_processor(model).save_pretrained(fresh)
    (fresh / "model.safetensors").chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def use_hub_names(file: Path) -> None:
    """Rename a LLaVA's encoder keys in a safetensors file to those of the hub's checkpoints."""
    from safetensors.torch import load_file, save_file

    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})


def export_hub(folder: Path) -> None:
    """Write the embedded model as checkpoints on the hub are: float16, the encoder's old key names.

    transformers reads both forms, serving engines only this one. The chat template begins with
    `<s>`, which serving engines do not add to a chat. Written atomically. Raises
    InvalidArgumentError where `folder` exists and MissingWeightsError as `load_embedded` does.
    """
    if folder.exists():
        raise InvalidArgumentError(f"folder must not exist yet, got {str(folder)!r}")
    check_weights()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(WEIGHTS, fresh)
    use_hub_names(fresh / "model.safetensors")
    (fresh / "chat_template.jinja").write_text(BOS + CHAT_TEMPLATE)
    fresh.rename(folder)

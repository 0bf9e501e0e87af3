"""Models of real geometry with random weights: right for time and memory, useless for answers.

They are built on the meta device, which allocates nothing, and filled on the target device, so
that a benchmark needs no download.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stsprune.errors import InvalidArgumentError

PREFIX = "geometry:"
IMAGE = 7  # the placeholder's token id
ROOM = 1.15  # weights, and this much more for activations and cache


@dataclass(frozen=True)
class Geometry:
    """One model's sizes.

    config: builds the config; model: class in transformers; budgets: visual tokens to compare at;
    patches: per side of the picture that it is shown, where it takes any size.
    """

    config: Callable[[], Any]
    model: str
    budgets: tuple[int, ...]
    patches: int | None = None


def llava(hidden: int, inner: int, layers: int, heads: int, vision: dict[str, int]) -> Any:
    """LLaVA-1.5: CLIP at 336 pixels in front of a Llama."""
    import transformers

    return transformers.LlavaConfig(
        vision_config=clip(vision),
        text_config=llama(hidden, inner, layers, heads),
        image_token_index=IMAGE,
    )


def llava_next(hidden: int, inner: int, layers: int, heads: int, vision: dict[str, int]) -> Any:
    """LLaVA-NeXT: a thumbnail and up to four tiles."""
    import transformers

    return transformers.LlavaNextConfig(
        vision_config=clip(vision),
        text_config=llama(hidden, inner, layers, heads),
        image_token_index=IMAGE,
        image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    )


def clip(sizes: dict[str, int]) -> Any:
    """CLIP in patches of 14 pixels."""
    import transformers

    return transformers.CLIPVisionConfig(**{"patch_size": 14, "image_size": 336} | sizes)


def llama(hidden: int, inner: int, layers: int, heads: int) -> Any:
    """A Llama with as many key heads as query heads."""
    import transformers

    return transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=32064,
        max_position_embeddings=8192,
    )


LARGE_CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "projection_dim": 768,
}
SMALL_CLIP = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "projection_dim": 256,
}
#: With llava-mini's decoder, the share of the FLOPs that LLaVA-1.5-7B's tower has.
FAIR_CLIP = SMALL_CLIP | {
    "hidden_size": 384,
    "intermediate_size": 1344,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
}
TINY_CLIP = SMALL_CLIP | {"hidden_size": 64, "intermediate_size": 128, "image_size": 84}


QWEN25_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
QWEN25_7B_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
#: The encoder's share of the 7B's FLOPs at 72 x 72 patches, and its patches over their width, at
#: 40 x 40 patches: a quarter of the tower's layers, one of eight sees the whole picture.
QWEN_MINI = {
    "hidden_size": 768,
    "intermediate_size": 3840,
    "num_hidden_layers": 14,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 32064,
}
QWEN_MINI_VISION = {
    "depth": 8,
    "hidden_size": 384,
    "intermediate_size": 1026,
    "num_heads": 6,
    "out_hidden_size": 768,
    "fullatt_block_indexes": [7],
}


def qwen25(text: dict[str, int], vision: dict[str, Any]) -> Any:
    """Qwen2.5-VL."""
    import transformers

    return transformers.Qwen2_5_VLConfig(
        text_config={
            **text,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
        },
        vision_config={
            **vision,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
        },
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
        vision_start_token_id=IMAGE + 2,
        vision_end_token_id=IMAGE + 3,
    )


def qwen3() -> Any:
    """Qwen3-VL-8B."""
    import transformers

    return transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
        vision_start_token_id=IMAGE + 2,
        vision_end_token_id=IMAGE + 3,
    )


_LLAVA = "LlavaForConditionalGeneration"
_USUAL = (192, 128, 64)
GEOMETRIES = {
    "llava-1.5-7b": Geometry(lambda: llava(4096, 11008, 32, 32, LARGE_CLIP), _LLAVA, _USUAL),
    "llava-1.5-13b": Geometry(lambda: llava(5120, 13824, 40, 40, LARGE_CLIP), _LLAVA, _USUAL),
    "llava-next-7b": Geometry(
        lambda: llava_next(4096, 11008, 32, 32, LARGE_CLIP),
        "LlavaNextForConditionalGeneration",
        (640, 320, 160),
    ),
    # 33, 22 and 11 % of 36 x 36
    "qwen2.5-vl-7b": Geometry(
        lambda: qwen25(QWEN25_7B, QWEN25_7B_VISION),
        "Qwen2_5_VLForConditionalGeneration",
        (432, 288, 144),
    ),
    "qwen3-vl-8b": Geometry(qwen3, "Qwen3VLForConditionalGeneration", (432, 288, 144)),
    "llava-mini": Geometry(lambda: llava(1024, 2816, 24, 16, SMALL_CLIP), _LLAVA, _USUAL),
    # 33, 22 and 11 % of 20 x 20
    "qwen-mini": Geometry(
        lambda: qwen25(QWEN_MINI, QWEN_MINI_VISION),
        "Qwen2_5_VLForConditionalGeneration",
        (132, 88, 44),
        patches=40,
    ),
    "llava-mini-tower": Geometry(lambda: llava(1024, 2816, 24, 16, FAIR_CLIP), _LLAVA, _USUAL),
    "tiny": Geometry(lambda: llava(64, 128, 6, 4, TINY_CLIP), _LLAVA, (18, 12, 8)),
}


def find(name: str) -> Geometry:
    """The geometry of that name, with or without "geometry:". Raises InvalidArgumentError."""
    found = GEOMETRIES.get(name.removeprefix(PREFIX))
    if found is None:
        allowed = ", ".join(PREFIX + known for known in GEOMETRIES)
        raise InvalidArgumentError(f"model must be one of {allowed}, got {name!r}")
    return found


def shrunk(config: Any, layers: int | None) -> Any:
    """The config with `layers` decoder layers, or as it is."""
    if layers is not None:
        config.get_text_config().num_hidden_layers = layers
        kinds = getattr(config.get_text_config(), "layer_types", None)
        if kinds is not None:
            config.get_text_config().layer_types = kinds[:layers]
    return config


def skeleton(geometry: Geometry, layers: int | None = None) -> Any:
    """The model on the meta device: shapes only."""
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, geometry.model)(shrunk(geometry.config(), layers))
    if geometry.patches is not None:
        model.config.bench_patches = geometry.patches
    return model


def build(
    geometry: Geometry,
    device: str,
    dtype: torch.dtype,
    attention: str = "sdpa",
    layers: int | None = None,
) -> Any:
    """The model in eval mode on `device`, weights normal(0, 0.02), norms 1.

    Raises InvalidArgumentError where the weights do not fit the device's free memory.
    """
    model = skeleton(geometry, layers).to(dtype)
    need = weight_bytes(model) * ROOM
    free = free_memory(device)
    if free is not None and need > free:
        raise InvalidArgumentError(
            f"model must fit the device: {need / 1e9:.1f} GB needed on {device} in {dtype}, "
            f"{free / 1e9:.1f} GB free (a smaller geometry, --dtype or --layers)"
        )
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02, generator=generator)
            else:
                parameter.fill_(1.0)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    _copy_buffers(model, geometry, device)
    model.set_attn_implementation(attention)
    return model.eval()


def weight_bytes(model: Any) -> int:
    """Bytes of all parameters."""
    return sum(parameter.nbytes for parameter in model.parameters())


def free_memory(device: str) -> int | None:
    """Free bytes of a device; None where it does not tell."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def _copy_buffers(model: Any, geometry: Geometry, device: str) -> None:
    """Rotary frequencies and the like are no weights: from a one-layer model made for real."""
    import transformers

    config = shrunk(copy.deepcopy(geometry.config()), 1)
    text, vision = config.get_text_config(), config.vision_config
    text.vocab_size, text.intermediate_size = 64, 8
    for name in ("depth", "num_hidden_layers"):
        if hasattr(vision, name):
            setattr(vision, name, 1)
    vision.intermediate_size = 8
    real = getattr(transformers, geometry.model)(config)
    buffers = dict(real.named_buffers())
    for name, buffer in model.named_buffers():
        path = [*name.split(".")]
        first = ".".join("0" if part.isdigit() else part for part in path)
        source = buffers.get(name, buffers.get(first))
        if source is None:
            raise AssertionError(f"no value known for the buffer {name}")
        buffer.copy_(source.to(device))

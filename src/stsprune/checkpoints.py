"""Opening a VLM by name, with one clear error for each way that can fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stsprune.errors import InvalidArgumentError

EMBEDDED = "embedded"
#: Names of the models in the package -> their `load_embedded` size.
EMBEDDED_SIZES = {EMBEDDED: "small", "embedded-large": "large"}
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_checkpoint(
    name: str = EMBEDDED,
    *,
    device: str | None = None,
    dtype: str = "auto",
    attn_implementation: str | None = None,
    layers: int | None = None,
) -> tuple[Any, Any]:
    """Load a vision-language model and its processor, in eval mode.

    name: "embedded" or "embedded-large" (in the package, no network), a folder, or a hub id.
    Weights are read from safetensors only: a pickle file can run code. device: by default the GPU
    if there is one; dtype: a torch dtype's name, "auto" = as stored (float32 for the embedded
    models); attn_implementation: as in transformers, by default its choice; layers: load no more
    than the first ones of the decoder, for models too large to run whole.

    Raises InvalidArgumentError or MissingWeightsError.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name in EMBEDDED_SIZES and layers is None:
        from stsprune import load_embedded

        model, processor = load_embedded(
            EMBEDDED_SIZES[name],
            device=device,
            dtype=None if dtype == "auto" else getattr(torch, dtype),
        )
        if attn_implementation is not None:
            _set_attention(model, attn_implementation)
        return model, processor

    from transformers import AutoModelForImageTextToText

    config = read_config(name)
    if layers is not None:
        _cut(config, layers, name)
    place = name
    if name in EMBEDDED_SIZES:
        from stsprune.embedded.load import embedded_folder

        place = str(embedded_folder(EMBEDDED_SIZES[name]))
        dtype = "float32" if dtype == "auto" else dtype
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            place,
            config=config,
            dtype=dtype,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # hub, file and shape errors share no base class
        raise InvalidArgumentError(f"model {name!r} cannot be loaded: {_reason(error)}") from error
    processor = read_processor(place)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InvalidArgumentError(
            f"model {name!r} lacks {len(missing)} of its weights, for example {missing[0]}"
        )
    return model.eval().to(device), processor


def read_config(name: str = EMBEDDED) -> Any:
    """A vision-language model's config, without its weights; names as in `load_checkpoint`.

    Raises InvalidArgumentError or MissingWeightsError.
    """
    if name in EMBEDDED_SIZES:
        from stsprune.embedded.load import check_weights, embedded_folder

        folder = embedded_folder(EMBEDDED_SIZES[name])
        check_weights(folder)
        return _config(str(folder))
    _check_folder(name)
    config = _config(name)
    if getattr(config, "vision_config", None) is None:
        raise InvalidArgumentError(
            f"model {name!r} is no vision-language model (its type is {config.model_type!r})"
        )
    return config


def read_processor(name: str) -> Any:
    """The processor of a folder or hub id. Raises InvalidArgumentError."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # hub, file and missing-package errors share no base class
        raise InvalidArgumentError(f"model {name!r} has no processor: {_reason(error)}") from error


def _cut(config: Any, layers: int, name: str) -> None:
    """Let the decoder end after its first layers. Raises InvalidArgumentError."""
    text = config.get_text_config()
    depth = text.num_hidden_layers
    if not 2 <= layers <= depth:
        raise InvalidArgumentError(
            f"layers must be in 2..{depth} for model {name!r} of {depth} decoder layers, "
            f"got {layers}"
        )
    # What the config says layer by layer ends there, too (layer_types and the like).
    lists = [key for key, value in vars(text).items() if _per_layer(value, depth)]
    text.num_hidden_layers = layers
    for key in lists:
        setattr(text, key, getattr(text, key)[:layers])


def _per_layer(value: Any, depth: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == depth


def _set_attention(model: Any, name: str) -> None:
    try:
        model.set_attn_implementation(name)
    except Exception as error:  # each missing package has an error of its own
        raise InvalidArgumentError(
            f"attention must be one that works here such as sdpa or eager, got {name!r}: "
            f"{_reason(error)}"
        ) from error


def _check_folder(name: str) -> None:
    folder = Path(name)
    if not folder.exists():
        if not _HUB_ID.fullmatch(name):
            raise InvalidArgumentError(f"model folder {name!r} does not exist")
        return
    if not folder.is_dir():
        raise InvalidArgumentError(f"model {name!r} is a file: give its folder or a hub id")
    if not (folder / "config.json").exists():
        raise InvalidArgumentError(f"model folder {name!r} holds no config.json")
    if any(folder.glob("*.safetensors")):
        return
    pickles = [p.name for ending in ("bin", "pt", "pth") for p in folder.glob(f"*.{ending}")]
    if pickles:
        raise InvalidArgumentError(
            f"model {name!r} has pickle weights only ({pickles[0]}), which can run code when "
            "loaded: convert them to safetensors"
        )
    raise InvalidArgumentError(f"model folder {name!r} holds no *.safetensors weights")


def _config(name: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # hub, JSON and unknown-type errors share no base class
        raise InvalidArgumentError(f"model {name!r} cannot be opened: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first sentence of a library's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!?])\s", text)[0][:240]

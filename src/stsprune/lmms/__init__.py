"""The plugin for lmms-eval: every method of the package on its benchmarks.

    lmms-eval --model stsprune --model_args pretrained=llava-hf/llava-1.5-7b-hf,method=sts,budget=64

lmms-eval finds `manifest` by the entry-point group `lmms_eval.models`; docs/benchmarks.md has the
arguments and the field's protocol. Needs the extra `stsprune[lmms]`.
"""

from __future__ import annotations

from typing import Any

from stsprune.errors import MissingExtraError


def manifest() -> Any:
    """What lmms-eval registers: the model's name and its class. Raises MissingExtraError."""
    try:
        from lmms_eval.models.registry_v2 import ModelManifest
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    return ModelManifest("stsprune", chat_class_path=f"{__name__}.model.StsPrune")


def missing_extra(error: ModuleNotFoundError) -> ImportError:
    """The error for a missing lmms-eval; any other missing package is reported as it is."""
    if (error.name or "").partition(".")[0] != "lmms_eval":
        return error
    return MissingExtraError(
        "lmms-eval is not installed, or older than 0.7: pip install 'stsprune[lmms]'"
    )

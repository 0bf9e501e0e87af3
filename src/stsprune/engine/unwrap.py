"""From a wrapper to the model that generates: PEFT and DistributedDataParallel pass through."""

from __future__ import annotations

from typing import Any

from torch.nn import DataParallel
from torch.nn.parallel import DistributedDataParallel

from stsprune.errors import UnsupportedModelError

#: PEFT's wrapper of several kinds of adapters, which has no get_base_model()
_MIXED = "PeftMixedModel"


def unwrap(model: Any) -> Any:
    """The model itself; calls of its wrappers, generate() included, run through it.

    Raises UnsupportedModelError for wrappers that do not run the module they hold as it is, with
    the attribute to pass instead.
    """
    path = "model"
    while True:
        if "_orig_mod" in getattr(model, "_modules", ()):
            raise UnsupportedModelError(
                f"model must not be compiled, a compiled graph sees no hooks: pass {path}._orig_mod"
            )
        if isinstance(model, DataParallel):
            raise UnsupportedModelError(
                "model must not be a DataParallel, whose copies on other devices have no hooks: "
                f"pass {path}.module"
            )
        # Looked up on the class: PEFT's wrappers answer for everything that they hold.
        if isinstance(model, DistributedDataParallel):
            model, path = model.module, f"{path}.module"
        elif callable(getattr(type(model), "get_base_model", None)):
            _check_adapter(model.active_peft_config, path)
            model, path = model.get_base_model(), f"{path}.get_base_model()"
        elif type(model).__name__ == _MIXED:
            model, path = model.base_model.model, f"{path}.base_model.model"
        else:
            return model


def _check_adapter(config: Any, path: str) -> None:
    """Adapters of the weights only. Raises UnsupportedModelError."""
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning:
        reason = "injects virtual tokens, so that the prompt is not what the model was given"
    elif config.is_adaption_prompt:
        reason = "puts its own attention in the place of the decoder's"
    elif kind == "XLORA":
        reason = "mixes its adapters by an unpruned pass of its own over the prompt"
    elif getattr(config, "alora_invocation_tokens", None):
        kind, reason = "aLoRA", "counts the unpruned prompt's tokens to know where it begins"
    else:
        return
    raise UnsupportedModelError(
        f"{path} must have an adapter of the weights alone such as LoRA, got {kind}: it {reason}"
    )

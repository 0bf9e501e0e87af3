"""Reading `--model_args`: everything that can be wrong without the model is found here."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from stsprune.engine.families import check_name
from stsprune.engine.prune import POSITIONS
from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.method import Method, find_method
from stsprune.recipes import Recipe, read_recipe

NO_METHOD = "none"
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Arguments:
    """What a run is told.

    pretrained: "embedded", a folder or a hub id; method: None = unpruned; positions and family: see
    `stsprune.prune`; batch_size: prompts at once; device: None = the GPU if there is one;
    attn_implementation: None = transformers' choice; min_pixels, max_pixels: of an image, for
    processors that know them (Qwen-VL); recipe: a file of `stsprune calibrate` in the place of
    method, budget and settings; any_model: take it for another model, too.
    """

    pretrained: str
    method: Method | None
    positions: str = "original"
    family: str | None = None
    batch_size: int = 1
    dtype: str = "auto"
    device: str | None = None
    attn_implementation: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    recipe: Recipe | None = None
    any_model: bool = False


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """`given` as lmms-eval parses it: numbers and booleans are no longer text.

    Raises InvalidArgumentError or InvalidTypeError, which name the argument.
    """
    values = dict(given)
    if "pretrained" not in values:
        raise InvalidArgumentError(
            'pretrained must be given: "embedded", a folder or a hub id such as '
            "llava-hf/llava-1.5-7b-hf"
        )
    own = {f.name: values.pop(f.name) for f in fields(Arguments) if f.name in values}
    if own.get("recipe") is not None:
        own |= _from_recipe(own, values)
    elif "any_model" in own:
        raise InvalidArgumentError("any_model must not be given without recipe")
    else:
        own["method"] = read_method(str(own.get("method", "sts")), values)
    own["pretrained"] = str(own["pretrained"])
    for name in ("batch_size", "min_pixels", "max_pixels"):
        if name in own:
            own[name] = _count(name, own[name])
    for name, allowed in (("positions", POSITIONS), ("dtype", DTYPES)):
        if name in own and own[name] not in allowed:
            raise InvalidArgumentError(
                f"{name} must be one of {', '.join(allowed)}, got {own[name]!r}"
            )
    if own.get("family") is not None:
        check_name(own["family"])
    arguments = Arguments(**own)
    _check_device(arguments.device)
    _check_attention(arguments.attn_implementation)
    low, high = arguments.min_pixels, arguments.max_pixels
    if low is not None and high is not None and low > high:
        raise InvalidArgumentError(f"min_pixels must be at most max_pixels={high}, got {low}")
    return arguments


def _from_recipe(given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says. Raises InvalidArgumentError where it is said again beside it."""
    beside = [*(["method"] if "method" in given else []), *settings]
    if beside:
        raise InvalidArgumentError(f"{beside[0]} must not be given with recipe, which has its own")
    if not isinstance(given.get("any_model", False), bool):
        raise InvalidArgumentError(f"any_model must be True or False, got {given['any_model']!r}")
    recipe = read_recipe(str(given["recipe"]))
    recipe.warn_versions()
    return {
        "recipe": recipe,
        "method": recipe.method,
        "positions": given.get("positions", recipe.positions),
    }


def read_method(name: str, settings: Mapping[str, Any]) -> Method | None:
    """The method of that name with its budget and settings, None for "none"."""
    if name == NO_METHOD:
        if settings:
            raise InvalidArgumentError(
                f"{next(iter(settings))} must not be given with method={NO_METHOD} (or is unknown)"
            )
        return None
    kind = find_method(name, NO_METHOD)
    if "budget" not in settings:
        raise InvalidArgumentError(
            "budget must be given: visual tokens per decoder layer on average, or a fraction of "
            f"the image's in (0, 1]; method={NO_METHOD} keeps every token"
        )
    hints = get_type_hints(kind)
    hints = {f.name: hints[f.name] for f in fields(kind)}
    plugin = [f.name for f in fields(Arguments)]
    made: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in hints:
            raise InvalidArgumentError(
                f"{key} is no argument: allowed are {', '.join([*plugin, *hints])} with "
                f"method={name}"
            )
        # The budget's own check has the better message.
        made[key] = value if key == "budget" else _typed(key, value, hints[key])
    return kind(**made)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as a setting annotated with `hint` takes it; text says None."""
    kinds = get_args(hint) or (hint,)
    if types.NoneType in kinds and value in ("None", "none"):
        return None
    if type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value)
    allowed = " or ".join("None" if k is types.NoneType else k.__name__ for k in kinds)
    raise InvalidTypeError(f"{name} must be {allowed}, got {value!r}")


def _count(name: str, value: Any) -> int:
    """lmms-eval hands its own `--batch_size` over as text."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise InvalidArgumentError(f"{name} must be an int >= 1, got {value!r}")
    return int(text)


def _check_device(device: Any) -> None:
    import torch

    if device is None:
        return
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise InvalidArgumentError(
            f"device must be a torch device such as cuda, cuda:1 or cpu, got {device!r}"
        ) from None
    there = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= there:
        raise InvalidArgumentError(f"device must exist, got {device!r}: {there} GPUs were found")


def _check_attention(backend: Any) -> None:
    if backend is None or backend in ("sdpa", "eager") or "flash" in str(backend):
        return
    raise InvalidArgumentError(
        f"attn_implementation must be sdpa, eager or a FlashAttention one, got {backend!r}"
    )

"""`register_family`: an adapter of a model that the package does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from stsprune.errors import InvalidArgumentError, InvalidTypeError

from .families import FAMILIES, REGISTERED, families
from .families.generic import Generic
from .layout import Ids
from .visual import Plane, Visual

#: What may be stated as it is, and the type that it must have.
_FACTS: dict[str, tuple[Any, str]] = {
    "modalities": (tuple, "('image',), ('video',) or ('image', 'video')"),
    "rotary_axes": (int, "an int >= 0"),
    "text_inputs": (Mapping, "a mapping of an input's name to its value for text"),
    "per_token": (tuple, "a tuple of names"),
    "block_kinds": (frozenset, "a frozenset of layer types"),
    "rope_inputs": (Mapping, "a mapping of names"),
}
#: What is stated as a function whose first argument is the model.
_FUNCTIONS = ("inner", "decoder", "token_ids", "tokens", "blocks", "encoder")
#: (model, modality, arguments, ids) -> shapes
Reader = Callable[[Any, str, dict[str, Any], Ids], Iterable[Any]]


def register_family(
    name: str,
    classes: str | type | Sequence[str | type],
    visuals: Reader | None = None,
    **facts: Any,
) -> None:
    """Let every function of the package take models of these classes, in this process.

        def grids(model, modality, arguments, ids):
            return [(24, 24)] * arguments["pixel_values"][0]

        stsprune.register_family("My VLM", MyVLM, grids)

    The first prompt of each model is compared with an oracle before it is pruned, and
    UnsupportedModelError raised where they disagree.

    Args:
        name: For people and for `family=`.
        classes: Model classes or their names; base classes count.
        visuals: (model, modality, arguments, ids) -> the shape of every image (or video) of a call,
            in the order of the batch: (H, W), or (T, H, W) of a video, or `stsprune.engine.Visual`
            where there are tiles, newline tokens or several scales. arguments: what the model is
            called with, pixels as their shapes; ids: `ids.ids` int64 [B, T] on the host. None:
            shapes are guessed, as by family="generic".
        facts: What else differs from the usual. As they are: modalities, rotary_axes (3 for mRoPE),
            text_inputs, per_token, block_kinds, rope_inputs; as functions of the model: inner,
            decoder, token_ids, tokens, blocks (model, arguments), encoder; docs/add_a_family.md
            explains them. What is not given is found on the model.

    Raises:
        InvalidArgumentError: A name or class that is taken, or an unknown fact.
        InvalidTypeError: What is no name, no model class or no function.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidTypeError(f"name must be a string that is not empty, got {name!r}")
    if name in families():
        raise InvalidArgumentError(
            f"name must be new, {name!r} is one of the families already: {', '.join(families())}"
        )
    names = _class_names(classes)
    if visuals is not None and not callable(visuals):
        raise InvalidTypeError(f"visuals must be a function or None, got {type(visuals).__name__}")
    attributes = {key: _checked(key, value) for key, value in facts.items()}
    attributes |= {"name": name, "classes": names, "stated": frozenset(facts)}
    if visuals is not None:
        attributes |= {"visuals": staticmethod(_reader(name, visuals)), "guesses": False}
    family = type(name, (Generic,), attributes)()
    REGISTERED.update(dict.fromkeys(names, family))


def _class_names(classes: Any) -> tuple[str, ...]:
    """Raises InvalidTypeError, InvalidArgumentError."""
    listed = classes if isinstance(classes, (list, tuple)) else (classes,)
    if not listed:
        raise InvalidArgumentError("classes must hold at least one class, got none")
    names = []
    for entry in listed:
        if isinstance(entry, type) and issubclass(entry, nn.Module):
            entry = entry.__name__
        if not isinstance(entry, str) or not entry.isidentifier():
            raise InvalidTypeError(
                "classes must be model classes (subclasses of torch.nn.Module) or their names, "
                f"got {entry!r}"
            )
        taken = FAMILIES.get(entry) or REGISTERED.get(entry)
        if taken is not None:
            raise InvalidArgumentError(
                f"classes must have no adapter yet, {entry} has that of {taken.name!r}"
            )
        names.append(entry)
    return tuple(names)


def _checked(key: str, value: Any) -> Any:
    """A fact as the attribute of a class. Raises InvalidTypeError, InvalidArgumentError."""
    if key in _FUNCTIONS:
        if not callable(value):
            raise InvalidTypeError(
                f"{key} must be a function of the model, got {type(value).__name__}"
            )
        return staticmethod(value)
    if key not in _FACTS:
        raise InvalidArgumentError(
            f"facts must be among {', '.join((*_FACTS, *_FUNCTIONS))}, got {key!r}"
        )
    kind, allowed = _FACTS[key]
    wrong = not isinstance(value, kind) or isinstance(value, bool)
    if key == "rotary_axes" and not wrong:
        wrong = value < 0
    if key == "modalities" and not wrong:
        wrong = not value or not set(value) <= {"image", "video"}
    if wrong:
        raise InvalidTypeError(f"{key} must be {allowed}, got {value!r}")
    return value


def _reader(name: str, visuals: Reader) -> Any:
    """The user's function with plain grids made `Visual`s."""

    def read(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
        return [_visual(name, entry) for entry in visuals(model, modality, arguments, ids)]

    return read


def _visual(name: str, entry: Any) -> Visual:
    if isinstance(entry, Visual):
        return entry
    sides = tuple(entry) if isinstance(entry, (list, tuple)) else ()
    if len(sides) not in (2, 3) or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InvalidTypeError(
            f"visuals of family {name!r} must give (H, W), (T, H, W) or a Visual per image, "
            f"got {entry!r}"
        )
    frames = sides[0] if len(sides) == 3 else 1
    plane = Plane((sides[-2], sides[-1]))
    return Visual((plane,) * frames, stacked=len(sides) == 3, video=len(sides) == 3)

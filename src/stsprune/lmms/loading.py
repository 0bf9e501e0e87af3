"""From arguments to a model: what can be decided from its config is decided before its weights."""

from __future__ import annotations

from typing import Any

from stsprune.checkpoints import EMBEDDED_SIZES, load_checkpoint, read_config, read_processor
from stsprune.engine import prune
from stsprune.engine.families import family_of
from stsprune.errors import InvalidArgumentError
from stsprune.method import Method

from .arguments import Arguments

#: (height, width) of pictures that image processors cut into the most tiles or patches.
LARGE = tuple((4096 * a, 4096 * b) for a, b in ((1, 1), (3, 4), (4, 3), (1, 2), (2, 1), (1, 3)))


def load(arguments: Arguments) -> tuple[Any, Any, Method | None]:
    """Model, processor, and the method once it is certain that no image will end the run.

    Raises InvalidArgumentError, UnsupportedModelError, UnsupportedModeError or
    MissingWeightsError, all but faults of the weights themselves before these are read.
    """
    name = arguments.pretrained
    model = skeleton(name, arguments.attn_implementation)
    processor = None if name in EMBEDDED_SIZES else _processor(arguments)
    if name in EMBEDDED_SIZES and (arguments.min_pixels or arguments.max_pixels):
        raise _no_pixels(name)
    method = arguments.method
    if method is not None:
        check_fit(method, model, processor, arguments.positions, arguments.family)
    device = arguments.device or _own_device()
    model, loaded = load_checkpoint(
        name,
        device=device,
        dtype=arguments.dtype,
        attn_implementation=arguments.attn_implementation,
    )
    if arguments.recipe is not None and not arguments.any_model:
        arguments.recipe.check_model(model)
    processor = processor or loaded
    processor.tokenizer.padding_side = "left"  # generation goes on at the right
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return model, processor, method


def skeleton(name: str, attention: str | None = None) -> Any:
    """The model without weights, on the meta device. Raises InvalidArgumentError."""
    import torch
    from transformers import AutoModelForImageTextToText

    config = read_config(name)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, attn_implementation=attention)
    except Exception as error:  # missing packages and unknown types share no base class
        reason = " ".join(str(error).split())
        raise InvalidArgumentError(
            f"pretrained={name} cannot be built with attn_implementation={attention}: {reason}"
        ) from error
    return model.eval()


def check_fit(
    method: Method, model: Any, processor: Any, positions: str, family: str | None = None
) -> None:
    """Refuses what `prune` would, and a budget that an image of the run might put out of reach.

    A method must reach its budget on the largest image that the processor makes: it then does on
    every smaller one. Raises what `prune` raises.
    """
    if family_of(model, family).tokens(model) is None:
        depth = model.config.get_text_config().num_hidden_layers
        most = largest(processor)
        try:
            method.plan(most, depth)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"{error}. An image can have {most} tokens here: raise the budget, lower "
                "max_pixels where the processor has it, or take a method with a structure stage"
            ) from error
    # Its checks: family, positions, plan, masks.
    with prune(model, method, positions=positions, family=family):
        pass


def largest(processor: Any) -> int:
    """Visual tokens of the largest image that the processor makes (newline tokens included)."""
    counts: list[int] = processor._get_num_multimodal_tokens(image_sizes=list(LARGE))[
        "num_image_tokens"
    ]
    return max(counts)


def _processor(arguments: Arguments) -> Any:
    name = arguments.pretrained
    processor = read_processor(name)
    bounds = {"shortest_edge": arguments.min_pixels, "longest_edge": arguments.max_pixels}
    bounds = {edge: pixels for edge, pixels in bounds.items() if pixels is not None}
    if bounds:
        size = processor.image_processor.size
        known = {edge: value for edge, value in dict(size or {}).items() if value is not None}
        if set(known) != {"shortest_edge", "longest_edge"}:  # Qwen's way to say pixels
            raise _no_pixels(name)
        processor.image_processor.size = type(size)(**(known | bounds))
    if getattr(processor, "chat_template", None) is None:
        raise InvalidArgumentError(
            f"pretrained={name} has no chat template: its prompts cannot be written"
        )
    return processor


def _no_pixels(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"min_pixels and max_pixels must not be given: the image processor of {name} has none"
    )


def _own_device() -> str | None:
    """Under `accelerate launch` every process takes its own GPU."""
    import torch
    from accelerate import PartialState

    if not torch.cuda.is_available():
        return None
    return f"cuda:{PartialState().local_process_index}"

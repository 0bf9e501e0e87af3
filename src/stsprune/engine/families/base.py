"""What the engine must know of a model family; one adapter per family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from stsprune.errors import UnsupportedModeError

from ..compat import FLOOR
from ..layout import Ids
from ..mixers import ATTENTION
from ..visual import Visual


class Family(ABC):
    """Where a family keeps its parts; the defaults fit most of transformers.

    name: for people; classes: transformers class names; modalities: what it can be shown;
    rotary_axes: numbers per rotary position (3 for mRoPE, 0 where no layer reads positions);
    text_inputs: per-token inputs that are not 0 for text behind the prompt, and what they are
    there; per_token: arguments of the decoder or its layers with one entry per token, [B, T, ...],
    besides the ones that all models have; block_kinds: the kinds of layers in which `blocks` hold;
    since: the oldest transformers that it is proven on; rope_inputs: what get_rope_index calls an
    input that the model has another name for; proven: whether the package's own tests prove it,
    else the first prompt of each model does (trial.py); guesses: whether shapes are guessed.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    modalities: ClassVar[tuple[str, ...]] = ("image",)
    rotary_axes: ClassVar[int] = 1
    text_inputs: ClassVar[Mapping[str, int]] = {"attention_mask": 1}
    per_token: ClassVar[tuple[str, ...]] = ()
    block_kinds: ClassVar[frozenset[str]] = ATTENTION
    since: ClassVar[str] = FLOOR
    rope_inputs: ClassVar[Mapping[str, str]] = {}
    proven: ClassVar[bool] = True
    guesses: ClassVar[bool] = False

    def fitted(self, model: Any) -> Family:
        """The adapter for this very model; another one where the model decides what it is."""
        return self

    def inner(self, model: Any) -> Any:
        """The module that receives input_ids and pixel_values, and encodes images."""
        return model.model

    def decoder(self, model: Any) -> Any:
        """The text model: receives inputs_embeds and owns `layers` and `rotary_emb`."""
        return model.get_decoder()

    def token_ids(self, model: Any) -> dict[str, int]:
        """Modality -> the id that stands for one visual token in input_ids."""
        return {kind: getattr(model.config, f"{kind}_token_id") for kind in self.modalities}

    def tokens(self, model: Any) -> int | None:
        """Visual tokens per image where all images give the same number, else None."""
        return None

    @abstractmethod
    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """The shape of every image (or video) of a call, in the order of the batch.

        arguments: what get_image_features (get_video_features) is given, pixels as their shapes;
        "features": what it returned, where images are already encoded.
        """

    def blocks(self, model: Any, arguments: dict[str, Any]) -> Tensor | None:
        """int64 [B, >= T]: tokens of equal number >= 0 attend to each other in both directions."""
        return None


def given(arguments: dict[str, Any], name: str) -> Any:
    """An argument that tells the images' shapes. Raises UnsupportedModeError where it is missing.

    It is unknown only for images that were encoded outside of `prune`.
    """
    value = arguments.get(name)
    if value is None:
        raise UnsupportedModeError(
            f"{name} must be given with the pixels: mm_encoder_outputs that were made outside of "
            "`prune` do not tell the images' shapes"
        )
    return value


def square_side(tokens: int) -> int:
    """Side of a square grid. Raises UnsupportedModeError."""
    side = int(tokens**0.5 + 0.5)
    if side * side != tokens:
        raise UnsupportedModeError(
            f"an image must give a square number of visual tokens, got {tokens}"
        )
    return side


def encoder_side(model: Any) -> int:
    """Patches per side of the vision encoder, once its CLS token is left out.

    Raises UnsupportedModeError where the model keeps CLS or cuts off a patch.
    """
    vision = model.config.vision_config
    strategy = model.config.vision_feature_select_strategy
    wanted = "default" if "clip" in vision.model_type else "full"
    if strategy != wanted:
        raise UnsupportedModeError(
            f"vision_feature_select_strategy must be {wanted!r} for a {vision.model_type} encoder "
            f"(its patches and nothing else), got {strategy!r}"
        )
    return vision.image_size // vision.patch_size

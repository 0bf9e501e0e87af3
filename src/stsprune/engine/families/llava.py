"""LLaVA-1.5: every image is one square grid of the vision encoder's patches."""

from __future__ import annotations

from typing import Any

from stsprune.errors import UnsupportedModeError


class Llava:
    """`LlavaForConditionalGeneration` over a decoder with rotary positions (Llama, Mistral...)."""

    name = "LLaVA-1.5"

    def inner(self, model: Any) -> Any:
        """See `Family.inner`."""
        return model.model

    def decoder(self, model: Any) -> Any:
        """See `Family.decoder`."""
        return model.get_decoder()

    def image_token_id(self, model: Any) -> int:
        """See `Family.image_token_id`."""
        return model.config.image_token_id

    def tokens(self, model: Any) -> int | None:
        """See `Family.tokens`."""
        height, width = self._grid(model)
        return height * width

    def grids(self, model: Any, arguments: dict[str, Any]) -> list[tuple[int, int]] | None:
        """See `Family.grids`; generate() encodes first and passes `mm_encoder_outputs`."""
        encoded = (arguments.get("mm_encoder_outputs") or {}).get("image")
        if encoded is not None:
            return [_square(len(features)) for features in encoded.pooler_output]
        pixels = arguments.get("pixel_values")
        if pixels is None:
            return None
        return [self._grid(model)] * len(pixels)

    @staticmethod
    def _grid(model: Any) -> tuple[int, int]:
        vision = model.config.vision_config
        if model.config.vision_feature_select_strategy != "default":
            raise UnsupportedModeError(
                "vision_feature_select_strategy must be 'default' (no CLS token among the visual "
                f"tokens), got {model.config.vision_feature_select_strategy!r}"
            )
        side = vision.image_size // vision.patch_size
        return side, side


def _square(tokens: int) -> tuple[int, int]:
    side = int(tokens**0.5 + 0.5)
    if side * side != tokens:
        raise UnsupportedModeError(
            f"an image must give a square number of visual tokens, got {tokens}"
        )
    return side, side

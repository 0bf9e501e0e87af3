"""What the engine must know of a model family; one adapter per family."""

from __future__ import annotations

from typing import Any, Protocol


class Family(Protocol):
    """Where a family keeps its parts. Everything else is common to all."""

    name: str

    def inner(self, model: Any) -> Any:
        """The module that receives input_ids and pixel_values."""

    def decoder(self, model: Any) -> Any:
        """The text model: receives inputs_embeds and owns `layers` and `rotary_emb`."""

    def image_token_id(self, model: Any) -> int:
        """The id that stands for one visual token in input_ids."""

    def tokens(self, model: Any) -> int | None:
        """Visual tokens per image where all images give the same number, else None."""

    def grids(self, model: Any, arguments: dict[str, Any]) -> list[tuple[int, int]] | None:
        """(H, W) per image of the batch, in order, from the inner module's arguments.

        None where the call brings no image.
        """

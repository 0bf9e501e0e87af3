"""Pictures that a client must not send: the client's fault, so a 400."""

from __future__ import annotations

import functools
from typing import Any


def refuse_bombs() -> None:
    """Answer a picture over Pillow's limit of pixels with 400, as vLLM does for other bad ones.

    vLLM 0.32 lets Pillow's DecompressionBombError through, which its server takes for a fault of
    its own: 500.
    """
    from PIL import Image
    from vllm.multimodal.media.image import ImageMediaIO

    original = ImageMediaIO.load_bytes
    if getattr(original, "stsprune", False):
        return

    @functools.wraps(original)
    def load_bytes(self: Any, data: bytes) -> Any:
        try:
            return original(self, data)
        except Image.DecompressionBombError as error:
            raise ValueError(f"Failed to load image: {error}") from error

    load_bytes.stsprune = True  # type: ignore[attr-defined]
    ImageMediaIO.load_bytes = load_bytes

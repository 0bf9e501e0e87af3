"""The picture that a prompt is about: a drawn scene or a file that a visitor uploaded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

if TYPE_CHECKING:
    from PIL import Image

SPLIT = "test"
#: Scenes that a number may name; the split is endless.
SCENES = 100_000
#: Patches per side of a scene drawn for a model whose encoder has no one grid.
OTHER_GRID = 12


@dataclass(frozen=True)
class Picture:
    """pixels: 8-bit RGB; name: for people; scene: its number, None for an upload; key: of caches.

    asked: (question, true answer) pairs about a scene, none about an upload.
    """

    pixels: Image.Image
    name: str
    scene: int | None
    key: str
    asked: tuple[tuple[str, str], ...] = ()

    def truth(self, question: str) -> str | None:
        """The true answer, where the question is one of the scene's own."""
        return dict(self.asked).get(question.strip())


def drawn(number: int, grid: int) -> Picture:
    """Test scene `number`, drawn for `grid` patches per side. Raises InvalidArgumentError."""
    from PIL import Image

    from stsprune.embedded.questions import questions
    from stsprune.embedded.scenes import scene

    if not 0 <= number < SCENES:
        raise InvalidArgumentError(f"scene must be in 0..{SCENES - 1}, got {number}")
    world = scene(SPLIT, number, grid)
    asked = tuple((question.text, question.answer) for question in questions(world))
    name = f"scene {number}"
    return Picture(Image.fromarray(world.image), name, number, f"{name} {grid}", asked)


def uploaded(path: str) -> Picture:
    """A visitor's file. Raises InvalidArgumentError as `load_image` does, without the path."""
    from stsprune.images import load_image

    name = os.path.basename(path)
    try:
        pixels = load_image(path)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace(repr(path), repr(name))) from error
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Picture(pixels, name, None, f"{pixels.size} {digest}")


def scene_grid(model: Any) -> int:
    """Patches per side that scenes are drawn for: the encoder's, where it has one grid."""
    from stsprune.engine.families.base import encoder_side

    try:
        return encoder_side(model)
    except (AttributeError, TypeError, UnsupportedModeError):
        return OTHER_GRID

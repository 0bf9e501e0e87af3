"""Three pictures and questions from the package, for models of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stsprune.embedded.questions import questions
from stsprune.embedded.scenes import scene

if TYPE_CHECKING:
    from PIL import Image

#: Width and height of the three for models that read any size: square, wide, tall.
SIZES = ((672, 672), (672, 448), (448, 672))


@dataclass(frozen=True)
class Asked:
    """A picture (RGB), what it is called and what is asked about it."""

    name: str
    image: Image.Image
    question: str


def scenes(as_drawn: bool = False) -> list[Asked]:
    """Test scenes of SceneQA, each with its first question.

    as_drawn: 96 x 96 pixels, as the embedded model takes them; else enlarged to `SIZES`, so that
    models whose tokens follow the picture's size get some hundred of several grids.
    """
    from PIL import Image

    found = []
    for number, size in enumerate(SIZES):
        drawn = scene("test", number)
        image = Image.fromarray(drawn.image)
        if not as_drawn:
            image = image.resize(size, Image.Resampling.BICUBIC)
        found.append(Asked(f"scene {number}", image, questions(drawn)[0].text))
    return found

"""The characters of signs: bitmaps of several fonts, kept in one picture.

`python -m stsprune.embedded.sceneqa2.atlas` draws `atlas.png` again from the fonts that come with
matplotlib (DejaVu and STIX, whose licences allow it). The picture ships, so that a scene does not
change with the version of a font library.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "abcdefghijklmnoprstuvxyz"  # drawn as capitals; q and w do not fit a narrow cell
DIGITS = "0123456789"
CHARACTERS = LETTERS + DIGITS
FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-Bold",
    "STIXGeneralBol",
)
CELL = (32, 24)  # pixels: height, width
ATLAS = Path(__file__).with_name("atlas.png")


@cache
def atlas() -> np.ndarray:
    """Ink, uint8 [fonts, characters, 32, 24]."""
    height, width = CELL
    flat = np.asarray(Image.open(ATLAS))
    shape = (len(FONTS), height, len(CHARACTERS), width)
    return flat.reshape(shape).transpose(0, 2, 1, 3)


def ink(text: str, font: int, height: int, width: int) -> np.ndarray:
    """`text` in capitals, every character `height` x `width` pixels: float32 in [0, 1]."""
    cells = [atlas()[font, CHARACTERS.index(character)] for character in text]
    line = Image.fromarray(np.concatenate(cells, 1))
    small = line.resize((width * len(text), height), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32) / 255


def _cell(face: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    left, top, right, bottom = face.getbbox(character.upper())
    drawn = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(drawn).text((1 - left, 1 - top), character.upper(), font=face, fill=255)
    height, width = CELL
    size = (min(width - 2, round(drawn.width * (height - 2) / drawn.height)), height - 2)
    cell = Image.new("L", (width, height))
    cell.paste(drawn.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, 1))
    return cell


def draw() -> Image.Image:
    """The atlas: a row per font, a cell per character."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    height, width = CELL
    picture = Image.new("L", (width * len(CHARACTERS), height * len(FONTS)))
    for row, name in enumerate(FONTS):
        face = ImageFont.truetype(folder / f"{name}.ttf", 64)
        for column, character in enumerate(CHARACTERS):
            picture.paste(_cell(face, character), (column * width, row * height))
    return picture


if __name__ == "__main__":
    draw().save(ATLAS, optimize=True)

"""Reading a picture file safely into plain RGB."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from stsprune.errors import InvalidArgumentError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
#: Checked on the header, before any pixel is decoded; 64 million are 192 MB as RGB.
MAX_PIXELS = 64_000_000
#: Image processors scale the short side up: one pixel by many would become gigapixels.
MAX_ASPECT = 100


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as 8-bit RGB, upright.

    - CMYK, grey and palette pictures are converted; 16 bits a channel are cut to 8.
    - Transparent pixels are laid on white.
    - Of an animation or a file with several pages, the first one is taken.
    - The EXIF orientation is applied. Small pictures are fine, down to 1 x 1.

    Raises InvalidArgumentError when the file is missing, broken, none of `FORMATS`, larger than
    `MAX_PIXELS` or longer than `MAX_ASPECT` times its width.
    """
    from PIL import Image

    name = os.fspath(path)
    try:
        with warnings.catch_warnings():
            # Our own limit is lower than the one Pillow warns at.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(name, formats=FORMATS) as image:
                _check_size(name, *image.size)
                return _upright_rgb(name, image)
    except InvalidArgumentError:
        raise
    except FileNotFoundError:
        raise InvalidArgumentError(f"image file {name!r} does not exist") from None
    except IsADirectoryError:
        raise InvalidArgumentError(f"image {name!r} is a folder, not a file") from None
    except PermissionError:
        raise InvalidArgumentError(f"image file {name!r} may not be read") from None
    except Image.DecompressionBombError:
        raise InvalidArgumentError(
            f"image {name!r} has too many pixels, allowed are {MAX_PIXELS:,}"
        ) from None
    except Image.UnidentifiedImageError:
        raise InvalidArgumentError(
            f"image file {name!r} is broken or none of {', '.join(FORMATS)}"
        ) from None
    except Exception as error:  # decoders raise many types on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidArgumentError(f"image file {name!r} cannot be read: {reason}") from error


def _check_size(name: str, width: int, height: int) -> None:
    size = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise InvalidArgumentError(
            f"image {name!r} has {size} pixels, allowed are {MAX_PIXELS:,} in all"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidArgumentError(
            f"image {name!r} has {size} pixels, allowed is a ratio of {MAX_ASPECT} : 1"
        )


def _upright_rgb(name: str, image: Image.Image) -> Image.Image:
    from PIL import Image, ImageOps

    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise InvalidArgumentError(
            f"image {name!r} holds floating-point values: save it with 8 bits a channel"
        )
    if upright.mode.startswith("I"):
        upright = _sixteen_to_eight(name, upright)
    if upright.has_transparency_data:
        paper = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(paper, upright.convert("RGBA")).convert("RGB")
    return upright.convert("RGB")


def _sixteen_to_eight(name: str, image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image, dtype=np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise InvalidArgumentError(
            f"image {name!r} holds 32-bit values: save it with 8 bits a channel"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))

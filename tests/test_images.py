"""Every kind of picture file: read as documented, or one typed error."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stsprune.errors import InvalidArgumentError
from stsprune.images import MAX_PIXELS, load_image

RED = (200, 30, 30)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_formats(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    Image.new("RGB", (20, 10), RED).save(path)
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert np.abs(np.asarray(image).astype(int) - RED).max() < 12


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), RED).save(tmp_path / "dot.png")
    assert load_image(tmp_path / "dot.png").getpixel((0, 0)) == RED


def test_cmyk(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    red, green, blue = load_image(tmp_path / "print.jpg").getpixel((1, 1))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_are_cut_to_eight(tmp_path, ending):
    values = np.array([[0, 256 * 100, 65535]], dtype=np.uint16)
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(values).save(path)
    assert np.asarray(load_image(path))[0, :, 0].tolist() == [0, 100, 255]


def test_animation_gives_its_first_frame(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert load_image(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_laid_on_white(tmp_path, mode):
    path = tmp_path / "clear.png"
    if mode == "P":
        Image.new("P", (4, 4), 0).save(path, transparency=0)
    else:
        Image.new(mode, (4, 4), 0).save(path)
    assert load_image(path).getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_is_blended(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert load_image(tmp_path / "half.png").getpixel((0, 0)) == (127, 127, 127)


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10), RED).save(tmp_path / "phone.jpg", exif=exif)
    assert load_image(tmp_path / "phone.jpg").size == (10, 20)


def broken(tmp_path, name: str):
    path = tmp_path / name
    if name == "huge.png":
        path.write_bytes(png_header(20_000, 20_000))
    elif name == "large.png":
        path.write_bytes(png_header(9_000, 9_000))
    elif name == "line.png":
        path.write_bytes(png_header(1, 10_000))
    elif name == "hollow.png":
        path.write_bytes(png_header(10, 10))
    elif name == "cut.jpg":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:900])
    elif name == "words.png":
        path.write_text("not a picture")
    elif name == "empty.png":
        path.write_bytes(b"")
    elif name == "page.eps":
        Image.new("RGB", (4, 4)).save(path)
    elif name == "float.tiff":
        Image.new("F", (4, 4), 0.5).save(path)
    elif name == "wide.tiff":
        Image.new("I", (4, 4), 70_000).save(path)
    elif name == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "does not exist"),
        ("folder", "is a folder"),
        ("words.png", "broken or none of PNG, JPEG"),
        ("empty.png", "broken or none of"),
        ("page.eps", "broken or none of"),
        ("cut.jpg", "cannot be read"),
        ("hollow.png", "cannot be read|broken"),
        ("huge.png", "too many pixels"),
        ("large.png", "9000 x 9000 pixels, allowed are 64,000,000"),
        ("line.png", "allowed is a ratio of 100 : 1"),
        ("float.tiff", "floating-point"),
        ("wide.tiff", "32-bit"),
    ],
)
def test_errors_name_the_file_and_the_fault(tmp_path, name, message):
    path = broken(tmp_path, name)
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        load_image(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limit_is_stated():
    assert MAX_PIXELS < 20_000 * 20_000

"""Pictures that a client must not send."""

from __future__ import annotations

import base64
import io
import struct
import zlib


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def bomb() -> bytes:
    """A PNG that says it is 60,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def cut_off() -> bytes:
    """The first bytes of a good PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (96, 96)).save(buffer, "PNG")
    return buffer.getvalue()[:60]


BROKEN = (b"no picture at all", b"", cut_off())


def png_url(content: bytes) -> str:
    """Bytes in a URL that says they are a PNG."""
    return "data:image/png;base64," + base64.b64encode(content).decode()

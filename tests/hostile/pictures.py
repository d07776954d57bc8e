"""Pictures that are out to hurt a decoder, and odd ones that honest devices write, made in code. Nothing is stored."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

from PIL import Image


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Encode with Pillow."""
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    """One PNG chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2, chunks: bytes = b"") -> bytes:
    """A PNG file of unfiltered `rows`, each with its filter byte; `chunks` go before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + pixels + png_chunk(b"IEND", b"")


def gif(width: int, height: int, frame: tuple[int, int] = (1, 1), disposal: int = 0) -> bytes:
    """A GIF file of a canvas and one frame, which may be larger than the canvas; pixels are missing."""
    control = b"!\xf9\x04" + bytes((disposal << 2, 0, 0, 0, 0))
    image = b"," + struct.pack("<4HB", 0, 0, *frame, 0) + b"\x08\x02\x4c\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + control + image


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP file that is all header."""
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    content = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def bmp(width: int, height: int) -> bytes:
    """A BMP file that is all header."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def tiff(width: int, height: int) -> bytes:
    """A TIFF file of one strip that starts behind the end of the file."""
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 4096), (277, 1), (278, height), (279, 64))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def tiff_of_one_tile(side: int) -> bytes:
    """A TIFF file of 16 x 16 pixels in one compressed tile of `side` x `side`, which is all zeros."""
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    tags = (
        (256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8 + 2 + 120 + 4),
        (325, len(pixels)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


def jpeg_of_many_scans(picture: Image.Image, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a decoder a pass over the whole picture."""
    data = encoded(picture, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def bombs() -> dict[str, bytes]:
    """Small files whose headers promise more pixels than any limit."""
    return {
        "png": png(60_000, 60_000, b""),
        "png, wide": png(2**31 - 1, 1, b""),
        "gif": gif(65_535, 65_535),
        "gif, frame": gif(1, 1, frame=(65_535, 65_535)),
        "gif, frame to restore": gif(16, 16, frame=(10_000, 8_000), disposal=2),
        "webp": webp_canvas(16_384, 16_384),
        "bmp": bmp(60_000, 60_000),
        "bmp, upside down": bmp(60_000, -60_000),
        "tiff": tiff(60_000, 60_000),
        "tiff, tile": tiff_of_one_tile(16_000),
        "jpeg": encoded(Image.new("L", (8, 8)), "JPEG").replace(b"\0\x08\0\x08\x01", b"\xff\xff\xff\xff\x01"),
    }


def no_pictures() -> dict[str, bytes]:
    """Files of types that are not read, by what the message is to call them."""
    return {
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "SVG or XML": b'\xef\xbb\xbf\n <svg width="9"/>',
        "web page": b"<!doctype html><title>404</title>",
        "PDF": b"%PDF-1.7\n%\xe2\xe3",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "ICO": b"\0\0\1\0\1\0" + bytes(64),
        "PSD": b"8BPS\0\1" + bytes(64),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "JPEG XL": b"\xff\x0a" + bytes(64),
        "something else": b"hello, world",
    }


def truncated(data: bytes, count: int) -> Iterator[bytes]:
    """The file cut at `count` places, from one byte to all but a few."""
    for step in range(count):
        yield data[: 1 + step * (len(data) - 8) // count]


def damaged(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The file with a few bytes changed, `count` times; half of the changes hit the first 512 bytes."""
    source = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(source.randint(1, 8)):
            end = min(512, len(copy)) if source.random() < 0.5 else len(copy)
            copy[source.randrange(end)] = source.choice((0, 1, 127, 128, 255, source.randrange(256)))
        if source.random() < 0.2:
            at = source.randrange(len(copy))
            copy[at : at + source.randint(1, 64)] = b""
        yield bytes(copy)

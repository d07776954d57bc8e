"""ICC profiles built byte by byte: the ones that cameras embed, and ones that don't fit. ICC.1:2010."""

from __future__ import annotations

import struct
from itertools import product

Triple = tuple[float, float, float]

_D50: Triple = (0.9642, 1.0, 0.8249)
_P3_COLUMNS: tuple[Triple, ...] = (
    (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407),
)
_ADOBE_COLUMNS: tuple[Triple, ...] = (
    (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457),
)
_INK_LAB: dict[tuple[int, int, int], Triple] = {
    (0, 0, 0): (95, 0, 0), (1, 0, 0): (55, -37, -50), (0, 1, 0): (48, 74, -3), (0, 0, 1): (89, -5, 93),
    (1, 1, 0): (24, 17, -46), (1, 0, 1): (50, -65, 27), (0, 1, 1): (47, 68, 48), (1, 1, 1): (23, 0, 0),
}


def display_p3() -> bytes:
    """A phone's wide-gamut profile, with a plain gamma of 2.2 instead of the sRGB curve."""
    return _matrix_profile(_P3_COLUMNS, 2.2)


def adobe_rgb() -> bytes:
    """A camera's wide-gamut profile."""
    return _matrix_profile(_ADOBE_COLUMNS, 2.19921875)


def grey(gamma: float) -> bytes:
    """A profile for one channel."""
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _curve(gamma)})


def cmyk() -> bytes:
    """A press-like profile: a table with two points an ink."""
    table = bytearray()
    for c, m, y, k in product((0, 1), repeat=4):
        lightness, a, b = _INK_LAB[c, m, y]
        scale = 0.15 if k else 1.0
        table += bytes((round(lightness * scale * 2.55), round(a * scale) + 128, round(b * scale) + 128))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + bytes(table) + ramp * 3
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": lut})


def _matrix_profile(columns: tuple[Triple, ...], gamma: float) -> bytes:
    tags = {b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {name + b"XYZ": _xyz(column), name + b"TRC": _curve(gamma)}
    return _profile(b"RGB ", b"XYZ ", tags)


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    offset = 128 + 4 + 12 * len(tags)
    index, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        index += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    start = (offset + len(body), b"lcms", 0x02100000, kind, space, connection, bytes(12), b"acsp")
    header = struct.pack(">I4sI4s4s4s12s4s", *start) + bytes(28)
    header += struct.pack(">3i", *(round(value * 65536) for value in _D50))
    return header.ljust(128, b"\0") + index + body


def _xyz(value: Triple) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(part * 65536) for part in value))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))

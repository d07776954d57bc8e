"""Tells a TFLite file from other bytes before a library that trusts it is given it.

A FlatBuffer begins with the place of its root and, for TFLite, the identifier `TFL3`. The library verifies the buffer
on opening, but not all that its kernels rely on: of 3,000 files with a few random bytes, one ended the process. So
damage is found here, by the manifest's digest. What a stranger wrote, digest and all, is not made safe by that; see the
threat model in docs/artifact-format.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Final

from edge_runtime.errors import EngineError

IDENTIFIER: Final = b"TFL3"
_HEAD_BYTES: Final = 8
_CHUNK_BYTES: Final = 1 << 20
_MAX_BYTES: Final = 2**31 - 1
"""FlatBuffers address with 32 bits, signed."""


def check_flatbuffer(path: Path, sha256: str = "") -> None:
    """Raise EngineError unless the file looks like a TFLite file and has the digest, where one is given."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            digest = _digest(file) if sha256 else ""
    except OSError as error:
        raise EngineError("the file can't be read", got=error, hint="copy the artifact again") from error
    root = int.from_bytes(head[:4], "little")
    if head[4:] != IDENTIFIER or not _HEAD_BYTES <= root < size <= _MAX_BYTES:
        raise EngineError(
            "this is not a TFLite file", got=f"{path.name}: {size} bytes that begin with {ascii(head)}",
            allowed="a FlatBuffer with the identifier TFL3", hint="convert the model again",
        )
    if digest != sha256:
        raise EngineError(
            f"the file {path.name} has the wrong SHA-256", got=digest, allowed=sha256, hint="copy the artifact again"
        )


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()

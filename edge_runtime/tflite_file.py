"""Tells a TFLite file from other bytes before a library that trusts it is given it.

A FlatBuffer begins with the place of its root and, for TFLite, the identifier `TFL3`. Deeper checks are the library's:
it verifies the whole buffer on opening. Its faults are outside of what is defended here, as docs/artifact-format.md
says; a file that differs from the manifest's digest never gets this far.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_runtime.errors import EngineError

IDENTIFIER: Final = b"TFL3"
_HEAD_BYTES: Final = 8
_MAX_BYTES: Final = 2**31 - 1
"""FlatBuffers address with 32 bits, signed."""


def check_flatbuffer(path: Path) -> None:
    """Raise EngineError unless the file looks like a TFLite file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise EngineError("the file can't be read", got=error, hint="copy the artifact again") from error
    root = int.from_bytes(head[:4], "little")
    if head[4:] != IDENTIFIER or not _HEAD_BYTES <= root < size <= _MAX_BYTES:
        raise EngineError(
            "this is not a TFLite file", got=f"{path.name}: {size} bytes that begin with {ascii(head)}",
            allowed="a FlatBuffer with the identifier TFL3", hint="convert the model again",
        )

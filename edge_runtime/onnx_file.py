"""Tells whether an ONNX file stands alone, without a library: a graph may name other files for its weights.

ONNX Runtime 1.23, the newest for Python 3.10, reads such files from anywhere on the disk, and no digest of a manifest
covers them. So they are refused before an engine sees the graph. Field numbers are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, wire types of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_runtime.errors import EngineError

# The messages on the way from a model to its tensors: field number -> message.
_MESSAGES: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(path: Path) -> None:
    """Raise EngineError unless the file is an ONNX model that keeps all its tensors inside.

    Tensor contents are skipped, so the time depends on the number of nodes and not on the size of the weights.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(data, path)
    except (OSError, ValueError) as error:  # ValueError: the file is empty, or not protobuf
        raise EngineError("this is not an ONNX file", got=f"{path}: {error}", hint="convert the model again") from error


def _check(data: mmap.mmap, path: Path) -> None:
    pending = [("model", 0, len(data))]  # not recursive: graphs may be nested as deep as their author likes
    while pending:
        message, start, end = pending.pop()
        for field, value, size in _fields(data, start, end):
            # Any location but 0: parsers cut the number to 32 bits, so that 1 has many spellings.
            if message == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
                raise EngineError(
                    "the graph keeps weights in another file",
                    got=path,
                    allowed="one file with everything in it",
                    hint="save the graph without external data",
                )
            if size is not None and field in _MESSAGES[message]:
                pending.append((_MESSAGES[message][field], value, value + size))


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield (field, number, None) or, for bytes and messages, (field, their position, their size)."""
    while position < end:
        tag, position = _varint(data, position, end)
        field, wire_type = tag >> 3, tag & 7
        if tag >= 2**32 or field == 0:
            raise ValueError(f"a field that protobuf doesn't have, at byte {position}")
        if wire_type == _VARINT:
            value, position = _varint(data, position, end)
            yield field, value, None
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position, end)
            yield field, position, size
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:  # groups, which ONNX never used
            raise ValueError(f"wire type {wire_type} at byte {position}")
        position += size
        if position > end:
            raise ValueError(f"a field that is longer than its message, at byte {position}")


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError(f"the file is cut short at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number that is too long, at byte {position}")

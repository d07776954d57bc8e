"""Tells which other files an ONNX file takes its weights from, without a library: ONNX calls them external data.

ONNX Runtime 1.23, the newest for Python 3.10, reads such files from anywhere on the disk. So all but those that the
manifest names, and whose digests it has, are refused before an engine sees the graph. Field numbers are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, wire types of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
import re
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
_EXTERNAL: Final = b"\x70\x01"  # field 14 with the value 1, as every writer spells it
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2  # fields of an entry of external data, which is a StringStringEntryProto

MAX_ENTRY_BYTES: Final = 1024
"""Of one entry of external data: longer than any file name that a manifest allows."""

_REQUIRED_KEYS: Final = frozenset({b"location", b"offset", b"length"})
_KEYS: Final = _REQUIRED_KEYS | {b"checksum"}  # of which no engine takes notice
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,15}")


def check_external_data(path: Path, allowed: Mapping[str, int]) -> None:
    """Raise EngineError unless the file is an ONNX model whose tensors lie inside it or in the files `allowed`.

    `allowed` maps plain file names to sizes in bytes. A tensor outside must name such a file, and a range of bytes
    inside it. Tensor contents are skipped, so the time depends on the number of nodes and tensors and not on the size
    of the weights.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for start, end in _tensors(data):
                if problem := _problem(data, start, end, allowed):
                    raise _refusal(path, problem, allowed)
    except (OSError, ValueError) as error:  # ValueError: the file is empty, or not protobuf
        raise EngineError("this is not an ONNX file", got=f"{path}: {error}", hint="convert the model again") from error


def _refusal(path: Path, problem: str, allowed: Mapping[str, int]) -> EngineError:
    known = "where its data files have none" if allowed else "in another file, which its manifest doesn't name"
    return EngineError(
        f"the graph keeps weights {known}",
        got=f"{problem}, in {path.name}",
        allowed=f"bytes inside {', '.join(sorted(allowed))}" if allowed else "one file with everything in it",
        hint="convert the model again",
    )


def _tensors(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield where each tensor starts and ends."""
    pending = [("model", 0, len(data))]  # not recursive: graphs may be nested as deep as their author likes
    while pending:
        message, start, end = pending.pop()
        if message == "tensor":
            yield start, end
            continue
        for field, value, size, _ in _fields(data, start, end):
            if size is not None and field in _MESSAGES[message]:
                pending.append((_MESSAGES[message][field], value, value + size))


def _problem(data: mmap.mmap, start: int, end: int, allowed: Mapping[str, int]) -> str:
    """Return what is wrong with where a tensor's bytes are, or an empty string.

    Each tensor must be right by itself. Parsers merge a message that occurs twice, entry by entry; as every tensor
    outside has all three keys, they end up with a range of one of the two.
    """
    entries: dict[bytes, bytes] = {}
    locations = []
    for field, value, size, tag in _fields(data, start, end):
        if field == _DATA_LOCATION:
            locations.append(b"" if size is None and value == 0 else data[tag : tag + len(_EXTERNAL)])
        elif field == _EXTERNAL_DATA:
            key, text = _entry(data, value, size)
            if key not in _KEYS or key in entries:
                return f"external data with the key {ascii(key)}, unknown or for the second time"
            entries[key] = text
    if not entries and not any(locations):
        return ""
    if locations != [_EXTERNAL]:  # parsers cut the number to 32 bits, so that 1 has many spellings
        return "a data_location that is not plainly 1"
    return _range_problem(entries, allowed)


def _range_problem(entries: Mapping[bytes, bytes], allowed: Mapping[str, int]) -> str:
    if missing := _REQUIRED_KEYS - entries.keys():
        return f"external data without {ascii(min(missing))}"
    location, offset, length = (entries[key] for key in (b"location", b"offset", b"length"))
    size_bytes = allowed.get(location.decode("utf-8", "replace"))
    if size_bytes is None:
        return f"location {ascii(location)}"
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(length):
        return f"offset {ascii(offset)}, length {ascii(length)}"
    if int(offset) + int(length) > size_bytes:
        return f"offset {int(offset)}, length {int(length)} in {size_bytes} bytes"
    return ""


def _entry(data: mmap.mmap, start: int, size: int | None) -> tuple[bytes, bytes]:
    """Return key and value; empty ones when they are not there exactly once, or too long."""
    if size is None or size > MAX_ENTRY_BYTES:
        return b"", b""
    found = list(_fields(data, start, start + size))
    texts = {field: data[value : value + length] for field, value, length, _ in found if length is not None}
    if len(found) != 2 or texts.keys() != {_KEY, _VALUE}:
        return b"", b""
    return texts[_KEY], texts[_VALUE]


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int | None, int]]:
    """Yield (field, number, None, start) or, for bytes and messages, (field, their position, their size, start)."""
    while position < end:
        start = position
        tag, position = _varint(data, position, end)
        field, wire_type = tag >> 3, tag & 7
        if tag >= 2**32 or field == 0:
            raise ValueError(f"a field that protobuf doesn't have, at byte {position}")
        if wire_type == _VARINT:
            value, position = _varint(data, position, end)
            yield field, value, None, start
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position, end)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:  # groups, which ONNX never used
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + size > end:
            raise ValueError(f"a field that is longer than its message, at byte {position}")
        if wire_type == _BYTES:
            yield field, position, size, start
        position += size


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

"""Messages between a process and its children: a header as JSON and byte parts, each with its length before it.

Nothing here can make an object of another type than JSON's: what a child that was taken over sends is data.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, TypeAlias

from edge_runtime.errors import NanoedgeError

ASIDE: Final = "aside"
"""Kind of a question that is answered beside what the child does, and of its answer: fields are `number`, and kind and
fields of what is asked or said."""

Part: TypeAlias = bytes | bytearray | memoryview

MAX_HEADER_BYTES: Final = 16 << 20
MAX_PART_BYTES: Final = 1 << 30
MAX_PARTS: Final = 16
_LENGTHS: Final = struct.Struct(">II")  # of the header, and how many parts follow
_PART: Final = struct.Struct(">Q")


class MessageError(NanoedgeError):
    """The other side ended in the middle of a message, or sent what is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """`kind` says what it is about, `fields` is JSON, `parts` are bytes without a meaning here."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = field(default=(), repr=False)


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message and flush it; raises OSError (BrokenPipeError) when nobody reads."""
    header = json.dumps([message.kind, message.fields], separators=(",", ":"), allow_nan=False).encode()
    stream.write(_LENGTHS.pack(len(header), len(message.parts)) + header)
    for part in message.parts:
        view = memoryview(part).cast("B")
        stream.write(_PART.pack(view.nbytes))
        stream.write(view)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """Read a message, its parts as writable bytearrays; None when the other side has closed. Raises MessageError."""
    first = stream.read(_LENGTHS.size)
    if not first:
        return None
    if len(first) < _LENGTHS.size:
        raise MessageError("a message was cut off")
    length, count = _LENGTHS.unpack(first)
    if length > MAX_HEADER_BYTES or count > MAX_PARTS:
        raise MessageError("this is not a message", got=f"a header of {length} bytes and {count} parts")
    try:
        kind, fields = json.loads(_exactly(stream, length))
    except ValueError as error:
        raise MessageError("a message's header is not JSON") from error
    if not isinstance(kind, str) or not isinstance(fields, dict):
        raise MessageError("a message's header has another form")
    parts = []
    for _ in range(count):
        (size,) = _PART.unpack(_exactly(stream, _PART.size))
        if size > min(MAX_PART_BYTES, sys.maxsize):
            raise MessageError("a part of a message is too large", got=size, allowed=MAX_PART_BYTES)
        parts.append(_exactly(stream, size))
    return Message(kind, fields, tuple(parts))


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    """Read so many bytes without a copy besides; raises MessageError when there are fewer."""
    found = bytearray(size)
    view, position = memoryview(found), 0
    while position < size:
        count = stream.readinto(view[position:])  # type: ignore[attr-defined]
        if not count:
            raise MessageError("a message was cut off", got=f"{position} of {size} bytes")
        position += count
    return found

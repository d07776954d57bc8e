"""Framing of what processes tell each other, and errors on that way."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest

from edge_runtime import errors
from edge_runtime.messages import Message, MessageError, receive, send


def sent(*messages: Message) -> bytes:
    stream = BytesIO()
    for message in messages:
        send(stream, message)
    return stream.getvalue()


def test_messages_come_as_they_were_sent() -> None:
    fields = {"words": "wärmer", "seed": None, "order": {"b": 1, "a": 2}}
    first = Message("edit", fields, (b"abc", bytearray(70_000), b""))
    stream = BytesIO(sent(first, Message("end")))
    came = receive(stream)
    assert came is not None and came.kind == "edit" and came.fields == first.fields
    assert list(came.fields["order"]) == ["b", "a"]
    assert [bytes(part) for part in came.parts] == [bytes(part) for part in first.parts]
    assert isinstance(came.parts[0], bytearray), "may be written to without a copy"
    assert receive(stream) == Message("end") and receive(stream) is None


@pytest.mark.parametrize("kept", [1, 7, 9, 20, -1])
def test_a_message_that_was_cut_off(kept: int) -> None:
    with pytest.raises(MessageError):
        receive(BytesIO(sent(Message("edit", {"a": 1}, (b"picture",)))[:kept]))


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">II", 1 << 31, 0), struct.pack(">II", 4, 1000), struct.pack(">II", 4, 0) + b"hey!",
        struct.pack(">II", 2, 0) + b"{}", struct.pack(">II", 8, 0) + b'["a",[]]',
        struct.pack(">II", 8, 1) + b'["a",{}]' + struct.pack(">Q", 1 << 62),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_before_memory_is_taken(raw: bytes) -> None:
    with pytest.raises(MessageError):
        receive(BytesIO(raw))


@pytest.mark.parametrize(
    "error",
    [
        errors.ImageSizeError("too many pixels", got="9 x 9", allowed="4", hint="send less", param="image"),
        errors.InstructionError("it is empty", code="special"), errors.BusyError("busy."),
        errors.WorkerError("lost"), errors.NanoedgeError("plain"),
    ],
)  # fmt: skip
def test_errors_survive_the_way(error: errors.NanoedgeError) -> None:
    came = errors.from_fields(errors.to_fields(error))
    assert type(came) is type(error) and str(came) == str(error)
    assert (came.code, came.param, came.retry_after_seconds) == (error.code, error.param, error.retry_after_seconds)


def test_an_error_of_a_class_that_is_none_of_ours() -> None:
    fields = {"class": "ClassVar", "message": "What", "code": "x"}
    assert type(errors.from_fields(fields)) is errors.EngineError

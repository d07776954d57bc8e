"""The hidden verb `worker`: a child of ours that runs a model, or decodes pictures, and ends with its parent.

It reads messages (`messages`) from its standard input and answers on its standard output; whatever a library prints
goes to standard error. The parent's side is in `worker_editor` and `decoder`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

from edge_runtime.errors import NanoedgeError, WorkerError, from_fields, to_fields
from edge_runtime.heap import limit_heap
from edge_runtime.messages import ASIDE, Message, MessageError, receive, send

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY: Final = 70
"""The status of a process that ended itself because memory ran out: what it holds is given back that way only."""


class Line:
    """The child's end of the pipes. One thread reads, so that a parent that is gone ends this process at any time."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._cancelled = -1
        self._sending = threading.Lock()
        self.aside: Callable[[Message], Message] | None = None
        """Answers what is asked aside, on the reading thread: it must be quick."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def receive(self) -> Message:
        """Wait for the next message, cancellations aside."""
        return self._inbox.get()

    def send(self, message: Message) -> None:
        """Send a message; a parent that doesn't read any more ends this process."""
        try:
            with self._sending:
                send(self._outgoing, message)
        except OSError:
            os._exit(0)

    def cancelled(self, number: int) -> bool:
        """Say whether the parent gave the edit of this number up."""
        return self._cancelled == number

    def _answer_aside(self, fields: Mapping[str, Any]) -> None:
        asked = Message(fields["kind"], fields["fields"])
        answer = Message("busy") if self.aside is None else self.aside(asked)
        self.send(Message(ASIDE, {"number": fields["number"], "kind": answer.kind, "fields": answer.fields}))

    def _read(self) -> None:
        try:
            while (message := receive(self._incoming)) is not None:
                if message.kind == "cancel":
                    self._cancelled = int(message.fields["number"])
                elif message.kind == ASIDE:
                    self._answer_aside(message.fields)
                else:
                    self._inbox.put(message)
        except (MessageError, OSError) as error:
            logger.warning("%s", error)
        os._exit(0)


def main(role: str) -> None:
    """Serve one role until the parent closes the line."""
    line = _line()
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a service manager: the parent drains, then closes
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent()
    limit_heap()
    {"editor": _edit, "decoder": _decode}[role](line)


def _line() -> Line:
    """Take the standard streams for messages, and leave others in their place."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Line(incoming, outgoing)


def _end_with_parent() -> None:
    """Ask Linux to kill this process with its parent, even when it is stopped or deep in a computation."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL), 0, 0, 0)


def _decode(line: Line) -> None:
    from edge_runtime import decoder

    while True:
        line.send(decoder.answer(line.receive()))


def _edit(line: Line) -> None:
    from edge_runtime.editor import Editor
    from edge_runtime.serial import kind_fields

    opening = line.receive().fields
    editor: list[Editor] = []

    def opened() -> Message:
        editor.append(Editor.open(decode=Pictures(line), **opening))
        return Message("opened", kind_fields(editor[0].vocabulary, editor[0].abilities))

    line.send(_told(opened))
    line.aside = lambda message: _told(lambda: _planned(editor[0], message))
    while True:
        message = line.receive()
        line.send(_told(lambda message=message: _answer(editor[0], message, line)))  # type: ignore[misc]


def _planned(editor: Any, asked: Message) -> Message:
    from edge_runtime.serial import plan_fields

    return Message("plan", plan_fields(editor.plan(asked.fields["instruction"])))


def _answer(editor: Any, asked: Message, line: Line) -> Message:
    from edge_runtime import serial

    if asked.kind == "plan":
        return _planned(editor, asked)
    number = asked.fields["number"]
    steps = editor.steps(serial.request_from(asked.fields))
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return serial.result_message(end.value)
        line.send(serial.step_message(step))
        if line.cancelled(number):
            steps.close()
            return Message("cancelled")


def _told(work: Callable[[], Message]) -> Message:
    """Do what was asked, and turn what goes wrong into an answer."""
    try:
        return work()
    except NanoedgeError as error:
        return Message("error", to_fields(error))
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001 - the boundary of this process: the parent is told
        logger.exception("an edit failed unexpectedly")
        kind, hint = type(error).__name__, "the server's log says more"
        return Message("error", to_fields(WorkerError("the model failed unexpectedly", got=kind, hint=hint)))


class Pictures:
    """`images.decode` in a child that runs a model: the parent has the pictures, and has them decoded elsewhere."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __call__(self, number: bytes, limits: Any, fit: Any = None) -> Any:
        """Ask for the pixels of the picture with this number; raises ImageError."""
        from edge_runtime import serial

        fields: Mapping[str, Any] = {
            "picture": int(number), "max_bytes": limits.max_bytes, "max_pixels": limits.max_pixels,
            "fit": serial.size_fields(fit),
        }  # fmt: skip
        self._line.send(Message("decode", fields))
        answer = self._line.receive()
        if answer.kind == "photo":
            return serial.photo_from(answer)
        raise from_fields(answer.fields)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    main(sys.argv[1])

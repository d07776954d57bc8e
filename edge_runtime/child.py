"""A child process of ours at the other end of two pipes: started, spoken to, watched, ended.

A child is this program itself with the hidden verb `worker`. It ends with its parent however that ends: its standard
input is a pipe that closes then, and Linux is asked to kill it besides (see `worker`).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, Final, cast

from edge_runtime.errors import NanoedgeError
from edge_runtime.messages import ASIDE, Message, MessageError, receive, send

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
_FAREWELL_SECONDS: Final = 2.0
_TAKING_SECONDS: Final = 10.0
_PIPE_BYTES: Final = 32_768
"""A message up to this size fits into the pipe; sending more needs a child that reads."""


class ChildError(NanoedgeError):
    """The child ended or hung; it is gone. `reason` is a word for metrics, `number` the signal that ended it, or 0."""

    def __init__(self, what: str, reason: str, number: int = 0) -> None:
        super().__init__(what)
        self.reason, self.number = reason, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a child that owes an answer hangs: it used no processor time for so long, or said nothing for longer."""

    idle_seconds: float = 10.0
    silent_seconds: float = 900.0


class Spawner:
    """Starts children on one thread that lives as long as they do: Linux ends a child with the thread that made it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spawner")

    def spawn(self, role: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start a child; raises ChildError when the system lets none start."""
        try:
            return self._thread.submit(Child, role, environment or {}).result()
        except OSError as error:
            raise ChildError(f"no child process can be started ({error.strerror})", "start") from error

    def close(self) -> None:
        """Let the thread go. Children that are left end."""
        self._thread.shutdown()


class Child:
    """One running child. Used by one thread at a time, but for `aside` and `end`. Made by `Spawner`."""

    def __init__(self, role: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command(role), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        self._inbox: SimpleQueue[Message | None] = SimpleQueue()
        self._sending, self._numbers, self._is_over = threading.Lock(), count(), False
        self._asides: dict[int, SimpleQueue[Message | None]] = {}
        self._reader = threading.Thread(target=self._read, name=f"{role}-{self.pid}", daemon=True)
        self._hung = False
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Say whether it runs."""
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send a message; raises ChildError when it has ended, or when it doesn't take it."""
        size = sum(memoryview(part).nbytes for part in message.parts)
        guard = threading.Timer(_TAKING_SECONDS, self._give_up) if size > _PIPE_BYTES else None
        try:
            if guard is not None:
                guard.start()
            with self._sending:
                send(cast(BinaryIO, self._process.stdin), message)
        except (OSError, ValueError) as error:
            raise self._ended() from error
        finally:
            if guard is not None:
                guard.cancel()

    def receive(self, patience: Patience) -> Message:
        """Return the next message; raises ChildError when it ends or hangs, and it is gone then."""
        return self._awaited(self._inbox, patience)

    def aside(self, message: Message, patience: Patience) -> Message:
        """Ask for what it can answer beside whatever it does, and return that; raises ChildError like `receive`."""
        number = next(self._numbers)
        answers = self._asides[number] = SimpleQueue()
        try:
            self.send(Message(ASIDE, {"number": number, "kind": message.kind, "fields": message.fields}))
            if self._is_over:  # perhaps before it could know of this question
                raise self._ended()
            return self._awaited(answers, patience)
        finally:
            del self._asides[number]

    def _awaited(self, inbox: SimpleQueue[Message | None], patience: Patience) -> Message:
        """Time is counted in looks, not by the clock: a machine that was asleep has lost no patience."""
        idle = silent = 0.0
        used = self._processor_ticks()
        while True:
            try:
                message = inbox.get(timeout=_LOOK_SECONDS)
            except Empty:
                before, used = used, self._processor_ticks()
                idle = idle + _LOOK_SECONDS if used == before and used is not None else 0.0
                silent += _LOOK_SECONDS
                if idle >= patience.idle_seconds or silent >= patience.silent_seconds:
                    self._give_up()
                    raise self._ended() from None
                continue
            if message is None:
                raise self._ended()
            return message

    def end(self, at_once: bool = False) -> None:
        """End it: politely, so that it may close what it has, or at once. A second call does nothing."""
        if at_once:
            self._process.kill()
        with suppress(OSError):  # what was not yet written can't be any more
            cast(BinaryIO, self._process.stdin).close()
        self._wait()
        self._reader.join()
        cast(BinaryIO, self._process.stdout).close()

    def _give_up(self) -> None:
        self._hung = True
        self._process.kill()

    def _wait(self) -> None:
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> ChildError:
        self.end()
        if self._hung:
            return ChildError("it hung", "hung")
        code = self._process.returncode
        if code >= 0:
            return ChildError(f"it ended with status {code}", "exit")
        name = signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else f"signal {-code}"
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return ChildError(f"{name} ended it{hint}", name.lower(), -code)

    def _read(self) -> None:
        stream = cast(BinaryIO, self._process.stdout)
        try:
            while (message := receive(stream)) is not None:
                self._deliver(message)
        except (MessageError, OSError, ValueError, LookupError, TypeError) as error:  # the last two: no aside of ours
            logger.info("the child %d stopped speaking: %s", self.pid, error)
            self._process.kill()
        self._is_over = True
        for inbox in (self._inbox, *self._asides.copy().values()):
            inbox.put(None)
        with suppress(subprocess.TimeoutExpired):  # so that none that ended by itself stays a zombie
            self._process.wait(_FAREWELL_SECONDS)

    def _deliver(self, message: Message) -> None:
        if message.kind != ASIDE:
            self._inbox.put(message)
        elif (asked := self._asides.get(message.fields["number"])) is not None:  # else nobody waits any more
            asked.put(Message(message.fields["kind"], message.fields["fields"]))

    def _processor_ticks(self) -> int | None:
        """Return the processor time that it used so far, in the system's ticks; None where that can't be read."""
        try:
            words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return int(words[11]) + int(words[12])


def command(role: str) -> list[str]:
    """Return the command line of a child: a frozen program starts itself, Python the module."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "worker", role]
    return [sys.executable, "-m", "edge_runtime.worker", role]

"""A model in a child process, with `Editor`'s members: crashes and hangs are survived, and its memory really returns.

The child is started when the editor is made, and again when one is needed after it ended or was idle for too long. An
edit that loses its child is tried once more. Encoded pictures never reach the child: it asks for pixels.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from edge_runtime import images, serial
from edge_runtime.artifact import Artifact
from edge_runtime.breaker import Breaker, Pass
from edge_runtime.child import Child, ChildError, Patience, Spawner
from edge_runtime.editor import needed_bytes
from edge_runtime.errors import (
    AbandonedError,
    NanoedgeError,
    RestingError,
    RouteDeadlineError,
    WorkerError,
    from_fields,
    to_fields,
)
from edge_runtime.family import Abilities
from edge_runtime.generators import finished
from edge_runtime.messages import Message
from edge_runtime.plan import Plan, Vocabulary
from edge_runtime.request import EditRequest, EditResult, Step, check_instruction

logger = logging.getLogger(__name__)

_Done = TypeVar("_Done")
ROLE: Final = "editor"
_OPENING: Final = Patience(idle_seconds=60.0)  # reading a large artifact from a slow disk uses little time


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a model is opened, as `Editor.open` takes it, and for how long it stays so unused; None: for ever.

    `name` is what the metrics call it.
    """

    path: Path
    threads: int | None = None
    device: str = "cpu"
    idle_seconds: float | None = None
    patience: Patience = field(default_factory=Patience)
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a model's children so far. `restarts` and `unloads` count by reason."""

    opening_seconds: float
    restarts: Mapping[str, int]
    unloads: Mapping[str, int]


class WorkerEditor:
    """One model in a child. Edits one at a time; safe to share between threads."""

    def __init__(self, opening: Opening, spawner: Spawner, decode: images.Decode) -> None:
        """Start the child without waiting for it; raises ArtifactError for a folder that is none."""
        self.artifact = Artifact.open(opening.path.absolute(), verify=False)  # the child looks at the digests
        self.limits = images.Limits()
        self.openings = 1
        """How often its memory began anew."""
        self._opening, self._spawner, self._decode = opening, spawner, decode
        self._breaker, self._lock = Breaker(time.monotonic), threading.RLock()
        self._child: Child | None = None
        self._waiting = True  # for the child's word that the model is open
        self._kind: tuple[Vocabulary, Abilities | None] | None = None
        self._began = self._used = time.monotonic()
        self._opening_seconds, self._number = 0.0, 0
        self._restarts: Counter[str] = Counter()
        self._unloads: Counter[str] = Counter()
        self._begin()

    @property
    def vocabulary(self) -> Vocabulary:
        """See `Editor.vocabulary`. Waits until the model is open; raises what opening raises."""
        return self._opened_kind()[0]

    @property
    def abilities(self) -> Abilities | None:
        """See `Editor.abilities`. Waits until the model is open; raises what opening raises."""
        return self._opened_kind()[1]

    @property
    def rest_seconds(self) -> float:
        """Return how long it is left alone after crashes."""
        return self._breaker.wait_seconds

    @property
    def pid(self) -> int | None:
        """Return the child's process id, None while the model isn't loaded."""
        child = self._child
        return None if child is None else child.pid

    @property
    def name(self) -> str:
        """Return what the metrics call it."""
        return self._opening.name or self.artifact.folder.name

    @property
    def fate(self) -> Fate:
        """Return what became of the children so far."""
        return Fate(
            opening_seconds=self._opening_seconds, restarts=dict(self._restarts), unloads=dict(self._unloads)
        )

    def memory_bytes(self, pixels: int) -> int:
        """See `Editor.memory_bytes`."""
        return needed_bytes(self.artifact.manifest, pixels, paints=self.abilities is not None)

    def plan(self, instruction: str) -> Plan:
        """See `Editor.plan`."""
        check_instruction(instruction)
        return finished(self._survived(lambda child: self._planned(child, instruction), None))

    def plan_aside(self, instruction: str) -> Plan | None:
        """See `Editor.plan_aside`: None while no child has the model open."""
        check_instruction(instruction)
        child = self._child
        if child is None or self._waiting:
            return None
        try:
            answer = child.aside(Message("plan", {"instruction": instruction}), self._opening.patience)
        except ChildError:
            return None  # whoever has the editor next finds out, and starts another
        if answer.kind == "error":
            raise from_fields(answer.fields)
        self._used = time.monotonic()
        return serial.plan_from(answer.fields) if answer.kind == "plan" else None

    def steps(self, request: EditRequest) -> Generator[Step, None, EditResult]:
        """See `Editor.steps`. After a crash the steps begin again; raises WorkerError or RestingError too."""
        return (yield from self._survived(lambda child: self._edited(child, request), request.deadline_seconds))

    def unload_if_idle(self) -> bool:
        """End the child if nobody used it for `idle_seconds`, which gives all of its memory back. Never waits."""
        idle_seconds = self._opening.idle_seconds
        if idle_seconds is None or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._child is None or time.monotonic() - self._used < idle_seconds:
                return False
            self._end()
            self._unloads["idle"] += 1
            return True
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _opened_kind(self) -> tuple[Vocabulary, Abilities | None]:
        if self._kind is None:
            with self._lock:
                if self._kind is None:
                    with self._counted():
                        self._open()
        assert self._kind is not None
        return self._kind

    def _survived(
        self, work: Callable[[Child], Generator[Step, None, _Done]], deadline_seconds: float | None
    ) -> Generator[Step, None, _Done]:
        """Do the work with a child, and once more with a new one if that is lost, while there is time."""
        began = time.monotonic()
        with self._lock:
            for last in (False, True):
                try:
                    with self._counted():
                        return (yield from work(self._open()))
                except ChildError as error:
                    if last:
                        raise WorkerError(
                            "the process of this model was lost twice on this edit", got=str(error),
                            hint="try a smaller size, or another photo", code=f"worker_{_word(error)}",
                        ) from error
                    if deadline_seconds is not None and time.monotonic() - began > deadline_seconds:
                        raise RouteDeadlineError(
                            "the process of this model was lost, and there is no time to try again",
                            param="deadline_ms",
                        ) from error
        raise AssertionError("two attempts return or raise")

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        """Pass the breaker, and tell it whether the child survived."""
        given = self._admitted()
        try:
            yield
        except ChildError as error:
            self._lost(error, given)
            raise
        except GeneratorExit:
            self._breaker.dismissed(given)
            raise
        except NanoedgeError:
            self._breaker.succeeded(given)
            raise
        except BaseException:  # a message of another form than ours: nobody knows what the child would say next
            self._breaker.failed(given)
            self._end()
            raise
        else:
            self._breaker.succeeded(given)
        finally:
            self._used = time.monotonic()

    def _admitted(self) -> Pass:
        given = self._breaker.admit()
        if given is None:
            error = RestingError(f"{self.artifact.manifest.name} crashed repeatedly and is left alone for a while")
            error.retry_after_seconds = max(1, round(self.rest_seconds))
            raise error
        return given

    def _lost(self, error: ChildError, given: Pass) -> None:
        self._breaker.failed(given)
        self._restarts[error.reason] += 1
        self._end()
        logger.warning("the process of %s was lost: %s", self.artifact.manifest.name, error)

    def _begin(self) -> None:
        """Start a child and let it open the model."""
        self._began = time.monotonic()
        self._waiting = True
        self._child = self._spawner.spawn(ROLE)
        # Digests were compared when the model was opened first; of a large one that alone takes seconds.
        self._child.send(Message("open", {
            "path": str(self.artifact.folder), "threads": self._opening.threads, "device": self._opening.device,
            "verify": self._kind is None,
        }))  # fmt: skip

    def _open(self) -> Child:
        """Return the child, with the model open; raises what opening raises, or ChildError."""
        if self._child is not None and not self._child.alive:
            self._end()
            self._restarts["exit"] += 1
        if self._child is None:
            self._begin()
        child = self._child
        assert child is not None
        if self._waiting:
            answer = child.receive(_OPENING)
            if answer.kind != "opened":
                self._end()
                raise from_fields(answer.fields)
            self._kind, self._waiting = serial.kind_from(answer.fields), False
            self._opening_seconds = time.monotonic() - self._began
        return child

    def _end(self) -> None:
        if self._child is not None:
            self._child.end(at_once=True)  # it holds nothing but memory
            self._child = None
            self.openings += 1

    def _planned(self, child: Child, instruction: str) -> Generator[Step, None, Plan]:
        yield from ()  # reading words has no steps
        child.send(Message("plan", {"instruction": instruction}))
        return serial.plan_from(self._answer(child, "plan").fields)

    def _edited(self, child: Child, request: EditRequest) -> Generator[Step, None, EditResult]:
        self._number += 1
        asked = serial.request_message(request)
        child.send(Message(asked.kind, {**asked.fields, "number": self._number}))
        pictures = serial.pictures_of(request)
        while True:
            message = self._answer(child, "step", "decode", "result")
            if message.kind == "result":
                return serial.result_from(message)
            if message.kind == "decode":
                child.send(self._photo(message.fields, pictures))
                continue
            try:
                yield serial.step_from(message)
            except GeneratorExit:
                self._cancel(child)
                raise

    def _photo(self, fields: Mapping[str, Any], pictures: tuple[bytes, ...]) -> Message:
        limits = images.Limits(max_bytes=fields["max_bytes"], max_pixels=fields["max_pixels"])
        try:
            fit = serial.size_from(fields["fit"])
            return serial.photo_message(self._decode(pictures[fields["picture"]], limits, fit))
        except NanoedgeError as error:
            return Message("error", to_fields(error))

    def _cancel(self, child: Child) -> None:
        """Stop the running edit, and wait until it has: the next one would share the processor with it."""
        with suppress(NanoedgeError):
            child.send(Message("cancel", {"number": self._number}))
            while (message := child.receive(self._opening.patience)).kind in ("step", "decode"):
                if message.kind == "decode":
                    child.send(Message("error", to_fields(AbandonedError("the edit was given up"))))

    def _answer(self, child: Child, *kinds: str) -> Message:
        """Return the child's next message; raises the error that it tells, or ChildError."""
        message = child.receive(self._opening.patience)
        if message.kind == "error":
            raise from_fields(message.fields)
        if message.kind not in kinds:
            self._refuse(child, message)
        return message

    def _refuse(self, child: Child, message: Message) -> NoReturn:
        child.end(at_once=True)
        raise ChildError(f"it said {message.kind!r} when nobody asked", "speech")


def _word(error: ChildError) -> str:
    return "hung" if error.reason == "hung" else "crashed"


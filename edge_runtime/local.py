"""An opened model at work: one edit at a time, its times learned, what it would offer for a request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Final, Protocol

from edge_runtime import images
from edge_runtime.artifact import Artifact
from edge_runtime.editor import BEYOND_THRESHOLD
from edge_runtime.errors import AbandonedError, RouteDeadlineError, UnknownModelError
from edge_runtime.family import Abilities
from edge_runtime.pace import Pace
from edge_runtime.plan import Plan, Vocabulary, within_mask
from edge_runtime.request import EditRequest, EditResult, Step
from edge_runtime.route import LocalOffer

Closed = Callable[[], object]

KEPT_PLANS: Final = 256
"""Of the last instructions: people press the same buttons."""

PAINTED_PIXELS: Final = 1024 * 1024
"""What a model that paints makes unless a size is asked for, about."""


class LocalEditor(Protocol):
    """The seam between the service and what edits here: `Editor` in this process, `WorkerEditor` in a child."""

    @property
    def artifact(self) -> Artifact:
        """The artifact that is open, or would be."""

    @property
    def limits(self) -> images.Limits:
        """What pictures are accepted."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The adjustments that plans may use."""

    @property
    def abilities(self) -> Abilities | None:
        """What a model that paints can be asked for; None for one that works by plans."""

    @property
    def openings(self) -> int:
        """How often its memory began anew."""

    @property
    def rest_seconds(self) -> float:
        """How long it is left alone after crashes."""

    def memory_bytes(self, pixels: int) -> int:
        """Return about how much memory an edit takes at most whose result has so many pixels."""

    def plan(self, instruction: str) -> Plan:
        """Say what an instruction means."""

    def plan_aside(self, instruction: str) -> Plan | None:
        """Say it while an edit runs in another thread; None where that can't be done now."""

    def steps(self, request: EditRequest) -> Generator[Step, None, EditResult]:
        """Carry out a request stage by stage; closing the generator stops the edit."""

    def close(self) -> None:
        """Release all memory."""


class Local:
    """One model of this node under its name. Safe to share between threads."""

    def __init__(self, name: str, editor: LocalEditor, closed: Closed = lambda: None) -> None:
        """Take over the editor; `closed` is called when it has been closed for a successor."""
        self.name, self.editor = name, editor
        self._closed, self._next = closed, deque[tuple[LocalEditor | None, Closed]]()
        self._pace, self._lock = Pace(), threading.Lock()
        self._largest_pixels, self._openings, self._is_dismissed = 0, 0, False
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._planning = threading.Lock()

    @contextmanager
    def turn(self) -> Generator[LocalEditor, None, None]:
        """Have the editor alone; raises UnknownModelError when it was dismissed meanwhile."""
        with self._lock:
            self._change_over()
            if self._is_dismissed:
                raise UnknownModelError("this model was taken out of service", got=self.name, param="model")
            try:
                yield self.editor
            finally:
                self._change_over()

    def follow(self, editor: LocalEditor | None, closed: Closed = lambda: None) -> None:
        """Have edits done by another editor from now on, or by none. One that runs ends with the old editor.

        The old one is closed when nobody has it any more. Never waits; `settle` does what was not possible at once.
        """
        self._next.append((editor, closed))
        self.settle()

    def settle(self) -> bool:
        """Change over if that is due and no edit runs; say whether nothing is left to do."""
        if self._next and self._lock.acquire(blocking=False):
            try:
                self._change_over()
            finally:
                self._lock.release()
        return not self._next

    def _change_over(self) -> None:
        """Let the next editor take the place of the old one, which is closed. For who holds the lock."""
        while self._next:
            old, closed = self.editor, self._closed
            following, self._closed = self._next.popleft()
            if following is None:
                self._is_dismissed = True
            else:
                self.editor, self._is_dismissed = following, False
            self._pace, self._largest_pixels, self._openings = Pace(), 0, 0
            with self._planning:
                self._plans.clear()
            old.close()
            closed()

    def plan(self, instruction: str) -> Plan:
        """Say what an instruction means; raises PlanError for a model that doesn't work by plans.

        Waits for a running edit only where the editor has nothing else that can read meanwhile.
        """
        with self._planning:
            if known := self._plans.get(instruction):
                self._plans.move_to_end(instruction)
                return known
        editor = self.editor
        plan = None if self._is_dismissed else editor.plan_aside(instruction)
        if plan is None:
            with self.turn() as editor:
                plan = editor.plan(instruction)
        with self._planning:
            if editor is self.editor:  # a change of the editor forgets the plans, after it
                self._plans[instruction] = plan
                while len(self._plans) > KEPT_PLANS:
                    self._plans.popitem(last=False)
        return plan

    def beyond(self, request: EditRequest) -> float:
        """Return the score of how sure it is that a request wants more than this model can do, 0..1."""
        plan = self.plan(request.instruction or "")
        return plan.beyond if request.mask is None else within_mask(plan, self.editor.vocabulary).beyond

    def edit(self, request: EditRequest, abandoned: Callable[[], bool] = lambda: False) -> EditResult:
        """Carry out a request, and learn from how long it took.

        Between its stages the edit is given up when nobody waits for it (AbandonedError), or when its deadline has
        passed (RouteDeadlineError).
        """
        with self.turn() as editor:
            began, first = time.monotonic(), not self._is_warm
            result = _while_wanted(editor.steps(request), request.deadline_seconds, abandoned)
            pixels = self.pixels(request)
            name = _first(self.name) if first else self.name
            self._pace.learn(name, pixels, self._steps(request), time.monotonic() - began)
            self._largest_pixels = max(0 if first else self._largest_pixels, pixels)
            self._openings = editor.openings
            return result

    def offer(self, request: EditRequest, failure: str = "") -> LocalOffer:
        """Return what the router sees of it; `failure` is why it failed in this request already, if it did."""
        pixels, abilities = self.pixels(request), self.editor.abilities
        return LocalOffer(
            name=self.name, family=self.editor.artifact.manifest.family, version=self.editor.artifact.version,
            pictures=1 if abilities is None else abilities.pictures, masks=abilities is None or abilities.mask,
            beyond_limit=BEYOND_THRESHOLD if abilities is None else None, failure=failure,
            seconds=self._seconds(pixels, self._steps(request)), margin=self._pace.margin(self.name),
            memory_bytes=self._more_bytes(pixels), retry_seconds=self.editor.rest_seconds,
        )

    def pixels(self, request: EditRequest) -> int:
        """Return how many pixels the result of a request will have, about; raises ImageError."""
        if self.editor.abilities is not None:
            return request.size.width * request.size.height if request.size else PAINTED_PIXELS
        return result_pixels(request, self.editor.limits)

    def _more_bytes(self, pixels: int) -> int:
        """Return the memory that an edit takes besides what earlier ones left open here."""
        held = self.editor.memory_bytes(self._largest_pixels) if self._is_warm and self._largest_pixels else 0
        return max(0, self.editor.memory_bytes(pixels) - held)

    @property
    def _is_warm(self) -> bool:
        """Say whether an edit was done since its memory began anew; the first one opens what the others find open."""
        return 0 < self._openings == self.editor.openings

    def _seconds(self, pixels: int, steps: int) -> float | None:
        names = (self.name, _first(self.name)) if self._is_warm else (_first(self.name), self.name)
        known = (self._pace.predict(name, pixels, steps) for name in names)
        return next((seconds for seconds in known if seconds is not None), None)

    def _steps(self, request: EditRequest) -> int:
        abilities = self.editor.abilities
        return 1 if abilities is None else request.steps or abilities.steps


def _while_wanted(
    steps: Generator[Step, None, EditResult], deadline_seconds: float | None, abandoned: Callable[[], bool]
) -> EditResult:
    began = time.monotonic()
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: EditResult = end.value
                return result
            if abandoned():
                raise AbandonedError("the client closed the connection while its edit ran")
            if deadline_seconds is not None and time.monotonic() - began > deadline_seconds:
                raise RouteDeadlineError(
                    "the deadline passed while the edit ran", hint="give it more time, or ask for a smaller size",
                    param="deadline_ms",
                )


def _first(name: str) -> str:
    return f"{name}, just opened"


def result_pixels(request: EditRequest, limits: images.Limits) -> int:
    """Return the pixels of the photo, shrunk into the box that is asked for. Reads the header; raises ImageError."""
    width, height = images.size_of(request.image, limits)
    box = request.size
    scale = min(1.0, box.width / width, box.height / height) if box else 1.0
    return max(1, round(width * scale) * round(height * scale))

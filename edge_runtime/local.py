"""An opened model at work: one edit at a time, its times learned, what it would offer for a request."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from edge_runtime import images
from edge_runtime.editor import BEYOND_THRESHOLD, Editor
from edge_runtime.pace import Pace
from edge_runtime.plan import Plan, within_mask
from edge_runtime.request import EditRequest, EditResult
from edge_runtime.route import LocalOffer

PAINTED_PIXELS: Final = 1024 * 1024
"""What a model that paints makes unless a size is asked for, about."""


class Local:
    """One model of this node under its name. Safe to share between threads."""

    def __init__(self, name: str, editor: Editor) -> None:
        self.name, self.editor = name, editor
        self._pace, self._lock = Pace(), threading.Lock()
        self._largest_pixels = 0

    @contextmanager
    def turn(self) -> Generator[Editor, None, None]:
        """Have the editor alone."""
        with self._lock:
            yield self.editor

    def plan(self, instruction: str) -> Plan:
        """Say what an instruction means; raises PlanError for a model that doesn't work by plans."""
        with self.turn() as editor:
            return editor.plan(instruction)

    def beyond(self, request: EditRequest) -> float:
        """Return the score of how sure it is that a request wants more than this model can do, 0..1."""
        plan = self.plan(request.instruction or "")
        return plan.beyond if request.mask is None else within_mask(plan, self.editor.vocabulary).beyond

    def edit(self, request: EditRequest) -> EditResult:
        """Carry out a request, and learn from how long it took."""
        with self.turn() as editor:
            result = editor.edit(request)
            pixels = self.pixels(request)
            self._pace.learn(self.name, pixels, self._steps(request), sum(result.seconds.values()))
            self._largest_pixels = max(self._largest_pixels, pixels)
            return result

    def offer(self, request: EditRequest, failure: str = "") -> LocalOffer:
        """Return what the router sees of it; `failure` is why it failed in this request already, if it did."""
        pixels, abilities = self.pixels(request), self.editor.abilities
        return LocalOffer(
            name=self.name, family=self.editor.artifact.manifest.family, version=self.editor.artifact.version,
            pictures=1 if abilities is None else abilities.pictures, masks=abilities is None or abilities.mask,
            beyond_limit=BEYOND_THRESHOLD if abilities is None else None, failure=failure,
            seconds=self._pace.predict(self.name, pixels, self._steps(request)), memory_bytes=self._more_bytes(pixels),
        )

    def pixels(self, request: EditRequest) -> int:
        """Return how many pixels the result of a request will have, about; raises ImageError."""
        if self.editor.abilities is not None:
            return request.size.width * request.size.height if request.size else PAINTED_PIXELS
        return result_pixels(request, self.editor.limits)

    def _more_bytes(self, pixels: int) -> int:
        """Return the memory that an edit takes besides what earlier ones left open here."""
        held = self.editor.memory_bytes(self._largest_pixels) if self._largest_pixels else 0
        return max(0, self.editor.memory_bytes(pixels) - held)

    def _steps(self, request: EditRequest) -> int:
        abilities = self.editor.abilities
        return 1 if abilities is None else request.steps or abilities.steps


def result_pixels(request: EditRequest, limits: images.Limits) -> int:
    """Return the pixels of the photo, shrunk into the box that is asked for. Reads the header; raises ImageError."""
    width, height = images.size_of(request.image, limits)
    box = request.size
    scale = min(1.0, box.width / width, box.height / height) if box else 1.0
    return max(1, round(width * scale) * round(height * scale))

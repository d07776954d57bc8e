"""Shows how far a painting or a transfer is, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

from edge_runtime.request import Step

_WIDTH: Final = 24
_LIVE_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 5.0
_STAGES: Final = {
    "text": "reading the instruction", "photo": "looking at the pictures", "denoise": "painting",
    "paint": "finishing the picture", "encode": "writing",
}


class EditProgress:
    """Takes the steps of an edit by a model that paints."""

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = to or sys.stderr
        self._live = self._to.isatty()
        self._first_pass: tuple[float, int] | None = None
        self._shown = ""

    def __call__(self, step: Step) -> None:
        """Show a step."""
        if step.stage not in _STAGES:
            return
        line = _STAGES[step.stage]
        if step.steps:
            if self._first_pass is None:
                self._first_pass = (time.monotonic(), step.done)
            line = f"step {step.done} of {step.steps}{self._left(step)}"
        if self._live:
            filled = round(_WIDTH * step.fraction)
            self._to.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {line:<50}")
            self._to.flush()
        elif line != self._shown:
            self._to.write(f"{line}\n")
        self._shown = line

    def clear(self) -> None:
        """Take the bar away."""
        if self._live and self._shown:
            self._to.write(f"\r{'':<{_WIDTH + 53}}\r")
            self._to.flush()

    def _left(self, step: Step) -> str:
        """Return the time that the remaining passes will take, from those that are done."""
        assert self._first_pass is not None
        began, before = self._first_pass
        if step.done <= before:
            return ""
        seconds = (time.monotonic() - began) / (step.done - before) * (step.steps - step.done)
        return f", {duration(seconds)} left"


class TransferProgress:
    """Takes how many bytes of how many are there, as often as anybody likes to tell."""

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = to or sys.stderr
        self._live = self._to.isatty()
        self._between = _LIVE_SECONDS if self._live else _LINE_SECONDS
        self._began: tuple[float, int] | None = None
        self._shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show a state, unless the last one was shown a moment ago."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._shown = (now, done), now
            return
        if now - self._shown < self._between and (done < total or not self._live):
            return
        self._shown = now
        line = f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB{self._left(now, done, total)}"
        filled = round(_WIDTH * done / max(1, total))
        self._to.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {line:<50}" if self._live else f"{line}\n")
        self._to.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._live and self._began is not None:
            self._to.write(f"\r{'':<{_WIDTH + 53}}\r")
            self._to.flush()

    def _left(self, now: float, done: int, total: int) -> str:
        assert self._began is not None
        began, before = self._began
        if done <= before or now <= began or done >= total:
            return ""
        speed = (done - before) / (now - began)
        return f", {speed / 1e6:,.1f} MB/s, {duration((total - done) / speed)} left"


def duration(seconds: float) -> str:
    """Return seconds for people: `45 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

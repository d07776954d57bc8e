"""Progress of long work on stderr: a bar that redraws itself on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Any, Final, TextIO

from edge_runtime.progress import duration

SECONDS_BETWEEN_LINES: Final = 10.0
SECONDS_BETWEEN_DRAWINGS: Final = 0.2
_CELLS: Final = 24


class ProgressBar:
    """Shows steps, and parameters done, a second, and left."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._started = self._drawn = 0.0
        self._title = ""
        self._first = 0
        self._open = False

    def __call__(self, title: str, line: dict[str, Any]) -> None:
        """Take a line of `converters.pipeline`: {"step": text} or {"done": parameters, "total": parameters}."""
        if "step" in line:
            self._end_line()
            self._stream.write(f"{title}: {line['step']}\n")
            self._stream.flush()
            self._title = ""
            return
        self._advance(title, line["done"], line["total"])

    def _advance(self, title: str, done: int, total: int) -> None:
        now = time.monotonic()
        if title != self._title:
            self._title, self._started, self._drawn, self._first = title, now, 0.0, done
        pause = SECONDS_BETWEEN_DRAWINGS if self._terminal else SECONDS_BETWEEN_LINES
        if done < total and now - self._drawn < pause:
            return
        self._drawn = now
        text = described(title, done, total, (done - self._first) / max(now - self._started, 1e-3))
        self._stream.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        self._stream.flush()
        self._open = self._terminal
        if done >= total:
            self._end_line()

    def _end_line(self) -> None:
        if self._open:
            self._stream.write("\n")
        self._open = False


def described(title: str, done: int, total: int, rate: float) -> str:
    """Return one line; rate is in parameters a second, 0 when it isn't known yet."""
    filled = round(_CELLS * done / max(total, 1))
    bar = "█" * filled + "░" * (_CELLS - filled)
    left = f", {duration((total - done) / rate)} left" if 0 < done < total and rate > 0 else ""
    return f"{title} {bar} {_count(done)} of {_count(total)} parameters, {_count(rate)}/s{left}"


def _count(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {letter}"
    return f"{value:.0f}"


class Countdown:
    """Says how far something is, of which it is known how many there are, and how long the rest will take."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._title, self._started, self._said, self._first = "", 0.0, 0.0, 0

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        now = time.monotonic()
        if title != self._title:
            self._title, self._started, self._said, self._first = title, now, now, done
        pause = SECONDS_BETWEEN_DRAWINGS if self._terminal else SECONDS_BETWEEN_LINES
        if now - self._said < pause and done < total:
            return
        self._said = now
        left = ""
        if self._first < done < total:
            left = f", {duration((now - self._started) / (done - self._first) * (total - done))} left"
        text = f"{title}: {done} of {total}{left}"
        self._stream.write(f"\r{text}\x1b[K" + "\n" * (done >= total) if self._terminal else f"{text}\n")
        self._stream.flush()

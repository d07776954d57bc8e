"""How long a model's edits take, learned from those it did. Numbers only; nothing is timed here."""

from __future__ import annotations

from typing import Final

_NEWEST: Final = 0.3
"""Weight of the newest measurement: three edits after a change of load the old times count for a third."""

_SURE: Final = 3.0
"""How many usual errors of a prediction a deadline must leave room for."""

_LEAST_MEGAPIXELS: Final = 0.25
"""Smaller pictures don't take less time in proportion: reading the words and opening graphs is most of it."""


class Pace:
    """Seconds per megapixel and step by model, newest measurements weighing most."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._errors: dict[str, float] = {}

    def predict(self, model: str, pixels: int, steps: int = 1) -> float | None:
        """Return the seconds that an edit will take; None before one was measured."""
        rate = self._rates.get(model)
        return None if rate is None else rate * _work(pixels, steps)

    def learn(self, model: str, pixels: int, steps: int, seconds: float) -> None:
        """Take note of an edit."""
        rate = seconds / _work(pixels, steps)
        before = self._rates.get(model, rate)
        self._rates[model] = before + _NEWEST * (rate - before)
        error = abs(rate / before - 1) if before else 0.0
        known = self._errors.get(model, error)
        self._errors[model] = known + _NEWEST * (error - known)

    def margin(self, model: str) -> float:
        """Return the factor, 1 or more, by which a prediction is rarely passed: larger where times vary."""
        return 1 + _SURE * self._errors.get(model, 0.0)


def _work(pixels: int, steps: int) -> float:
    return max(pixels / 1e6, _LEAST_MEGAPIXELS) * max(steps, 1)

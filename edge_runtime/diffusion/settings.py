"""A family's members of the manifest, checked where they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_runtime.errors import ArtifactError


class Settings:
    """Typed access to a JSON object; raises ArtifactError that says which member is missing or of the wrong kind."""

    def __init__(self, data: object, where: str = "settings") -> None:
        if not isinstance(data, Mapping):
            raise self._unfit(where, data, "an object")
        self._data, self._where = data, where

    def __contains__(self, name: str) -> bool:
        """Return whether the member is there and not null."""
        return self._data.get(name) is not None

    def part(self, name: str) -> Settings:
        """Return a member that is an object."""
        return Settings(self._member(name), f"{self._where}.{name}")

    def text(self, name: str, default: str | None = None) -> str:
        """Return a member that is text."""
        value = self._member(name) if default is None else self._data.get(name, default)
        if not isinstance(value, str):
            raise self._unfit(f"{self._where}.{name}", value, "text")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a member that is true or false."""
        value = self._data.get(name, default)
        if not isinstance(value, bool):
            raise self._unfit(f"{self._where}.{name}", value, "true or false")
        return value

    def whole(self, name: str, least: int = 1, default: int | None = None) -> int:
        """Return a member that is a whole number of at least `least`."""
        value = self._member(name) if default is None else self._data.get(name, default)
        if type(value) is not int or value < least:
            raise self._unfit(f"{self._where}.{name}", value, f"a whole number from {least}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a member that is a finite number."""
        value = self._member(name) if default is None else self._data.get(name, default)
        return self._number(value, name)

    def numbers(self, name: str, length: int | None = None) -> tuple[float, ...]:
        """Return a member that is a list of numbers, `length` of them."""
        value = self._member(name)
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise self._unfit(f"{self._where}.{name}", value, f"a list of {length or 'some'} numbers")
        return tuple(self._number(item, name) for item in value)

    def wholes(self, name: str, length: int | None = None) -> tuple[int, ...]:
        """Return a member that is a list of whole numbers above 0, `length` of them."""
        values = self.numbers(name, length)
        if not all(value == int(value) and value > 0 for value in values):
            raise self._unfit(f"{self._where}.{name}", values, "whole numbers above 0")
        return tuple(int(value) for value in values)

    def pairs(self, name: str) -> list[tuple[int, int]]:
        """Return a member that is a list of pairs of whole numbers above 0, one at least."""
        value = self._member(name)
        pairs = value if isinstance(value, list) else []
        whole = all(isinstance(pair, list) and [type(number) for number in pair] == [int, int] for pair in pairs)
        if not pairs or not whole or min(map(min, pairs)) < 1:
            raise self._unfit(f"{self._where}.{name}", value, "pairs of whole numbers above 0")
        return [(first, second) for first, second in pairs]

    def rows(self, name: str, length: int) -> list[tuple[int, ...]]:
        """Return a member that is a list of rows of `length` whole numbers above 0, one row at least."""
        value = self._member(name)
        rows = value if isinstance(value, list) else []
        whole = all(isinstance(row, list) and [type(number) for number in row] == [int] * length for row in rows)
        if not rows or not whole or min(map(min, rows)) < 1:
            raise self._unfit(f"{self._where}.{name}", value, f"rows of {length} whole numbers above 0")
        return [tuple(row) for row in rows]

    def guidance(self) -> dict[str, float]:
        """Return the member `guidance`: name -> strength; that of the words, which a plain number means, comes first.

        A manifest has its members in alphabetical order, so the order says nothing.
        """
        part = self.part("guidance")
        return {name: part.number(name) for name in sorted(part._data, key=lambda name: (name == "image", name))}

    def _member(self, name: str) -> Any:
        if name not in self._data:
            raise ArtifactError(f"{self._where}.{name} is missing in the manifest", hint="convert the model again")
        return self._data[name]

    def _number(self, value: object, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._unfit(f"{self._where}.{name}", value, "a number")
        return float(value)

    @staticmethod
    def _unfit(where: str, value: object, allowed: str) -> ArtifactError:
        return ArtifactError(
            f"{where} in the manifest can't be used", got=ascii(value), allowed=allowed, hint="convert the model again"
        )

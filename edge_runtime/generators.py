"""Long work is a generator: it yields what there is to tell and returns the result. Two ways to go through one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

Told = TypeVar("Told")
Other = TypeVar("Other")
Result = TypeVar("Result")


def _nothing(told: Any) -> None:
    """Listen to nothing."""


def finished(work: Generator[Told, None, Result], listen: Callable[[Told], object] = _nothing) -> Result:
    """Do all of the work and return its result; `listen` gets all that it tells."""
    while True:
        try:
            told = next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        listen(told)


def retold(work: Generator[Told, None, Result], tell: Callable[[Told], Other]) -> Generator[Other, None, Result]:
    """Do the work step by step, telling `tell(told)` in place of what it tells; closing this closes the work."""
    with closing(work):
        while True:
            try:
                told = next(work)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield tell(told)

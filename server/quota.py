"""How much may be kept, in all and for one caller, and what must go for something new: the oldest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

MEGABYTE: Final = 1_000_000
DEFAULT_BYTES: Final = 2000 * MEGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Limits in bytes: of all callers together, and of one, None for the same."""

    total: int = DEFAULT_BYTES
    per_caller: int | None = None

    @property
    def of_one(self) -> int:
        """Return the most that one caller may keep."""
        return self.total if self.per_caller is None else min(self.total, self.per_caller)


DEFAULT_QUOTA: Final = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Something that is kept: whose it is, since when, its size."""

    name: str
    caller: str
    since: float
    bytes: int


def outdated(kept: Iterable[Kept], caller: str, coming_bytes: int, quota: Quota) -> Iterator[Kept]:
    """Yield what must go so that `caller` may keep something more: its own oldest first.

    When all callers together keep too much, whoever keeps most loses its oldest, so that nobody can push others out.
    """
    by_caller: dict[str, list[Kept]] = {}
    for one in sorted(kept, key=lambda one: one.since, reverse=True):
        by_caller.setdefault(one.caller, []).append(one)
    used = Counter({name: sum(one.bytes for one in own) for name, own in by_caller.items()})
    used[caller] += coming_bytes
    while by_caller.get(caller) and used[caller] > quota.of_one:
        yield _take(by_caller, used, caller)
    while used.total() > quota.total:
        most = max((name for name, own in by_caller.items() if own), key=lambda name: used[name], default=None)
        if most is None:
            return
        yield _take(by_caller, used, most)


def _take(by_caller: dict[str, list[Kept]], used: Counter[str], caller: str) -> Kept:
    oldest = by_caller[caller].pop()
    used[caller] -= oldest.bytes
    return oldest

"""What an examination comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """`warn` works, but not as well or not for long; `fail` doesn't."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row: what was examined, what was found, and, unless all is well, what to do."""

    subject: str
    status: Status
    found: str
    fix: str = ""


def ok(subject: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(subject=subject, status=Status.OK, found=found)


def warn(subject: str, found: str, fix: str) -> Finding:
    """Return that it works, but not as well or not for long."""
    return Finding(subject=subject, status=Status.WARN, found=found, fix=fix)


def fail(subject: str, found: str, fix: str) -> Finding:
    """Return that it doesn't work."""
    return Finding(subject=subject, status=Status.FAIL, found=found, fix=fix)

"""What must be remembered of an edit at a provider so that it is never paid for twice: the seam to whoever keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Receipt = Mapping[str, str]
"""What leads back to an edit that a provider took: addresses, by the names that the provider's file gives them."""


class Record(Protocol):
    """One edit's record. What it is told must be kept before it returns; it raises to stop what was announced."""

    @property
    def key(self) -> str:
        """Return the Idempotency-Key of all submissions, the same after a restart; "" for any."""

    @property
    def held(self) -> bool:
        """Say whether a provider has the edit and may still deliver: asking anybody else could cost twice."""

    def asking(self, provider: str) -> None:
        """Keep that a provider is about to be asked."""

    def taken(self, receipt: Receipt) -> None:
        """Keep that it took the edit."""

    def released(self) -> None:
        """Keep that nothing is to be expected from it any more."""


class NoRecord:
    """For edits that end with the process: nobody would fetch their results."""

    key = ""
    held = False

    def asking(self, provider: str) -> None:
        """Forget it."""

    def taken(self, receipt: Receipt) -> None:
        """Forget it."""

    def released(self) -> None:
        """Forget it."""

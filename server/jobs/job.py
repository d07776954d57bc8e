"""What a job is, as values: its states, what is asked for, how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from edge_runtime.errors import OptionError
from edge_runtime.request import EditRequest

MIN_SECRET_CHARACTERS: Final = 16
MAX_SECRET_CHARACTERS: Final = 256
_SECRET: Final = re.compile(rf"[\x21-\x7e]{{{MIN_SECRET_CHARACTERS},{MAX_SECRET_CHARACTERS}}}")


class State(str, Enum):
    """Where a job stands. Pending and Processing may change; of the others each ends it, and Expired what was kept."""

    PENDING = "Pending"
    PROCESSING = "Processing"
    READY = "Ready"
    ERROR = "Error"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where the end of a job is told, and the secret that signs it."""

    url: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _SECRET.fullmatch(self.secret):
            raise OptionError(
                "the webhook needs a secret that signs what it is told",
                allowed=f"{MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} printable characters without spaces",
                param="webhook_secret",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a job shall do: the edit, whether its result gets an address, and what of the request was not read."""

    request: EditRequest
    stored: bool = False
    warnings: tuple[str, ...] = ()
    webhook: Webhook | None = None

    @property
    def bytes(self) -> int:
        """Return the size of its pictures."""
        request = self.request
        return sum(map(len, (request.image, request.mask or b"", *request.references)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """By whom and under what a job is asked for.

    `fingerprint` is the SHA-256 of the request's body. `may_repeat`: without a key it counts as an earlier request with
    the same body.
    """

    caller: str
    fingerprint: bytes
    idempotency_key: str | None = None
    may_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row. Times are seconds since 1970; `position` counts the jobs before it, for a pending one.

    `key` is its wrapped key, None once nothing of it can be read any more. `provider` was asked for it.
    """

    id: str
    caller: str
    state: State
    created: float
    expires: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    provider: str | None = None
    key: bytes | None = field(default=None, repr=False)
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended: `told` is what its state says about it, the result's members or the error's; the picture."""

    state: State
    told: Mapping[str, Any]
    picture: bytes | None = field(default=None, repr=False)


def state_of(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's state as the API and webhooks tell it, without links; `told` is what is kept of its end."""
    failed = job.state is State.ERROR
    return {
        "id": job.id, "status": job.state.value, "created": job.created, "ended": job.ended,
        "result": dict(told) if told and not failed else None, "error": dict(told) if failed else None,
    }

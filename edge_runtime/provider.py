"""What a remote provider must offer: the seam between a node and one protocol per file.

One file in `providers/` per protocol, which exposes `PROVIDER`. It turns an `EditRequest` into requests of its protocol
and the answer into a picture. Retries, deadlines, cancelling and counting are the exchange's; whether and when a
provider is asked at all is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edge_runtime.exchange import Exchange
from edge_runtime.receipts import Receipt
from edge_runtime.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider as the operator configured it. `key` is the secret itself and never printed.

    `name` is what requests and answers call it; `model` what the provider calls the model; `family` what the advice
    does. `seconds` is how long an edit takes until there are measurements; `timeout_seconds` bounds one without a
    deadline. `result_hosts` are the only hosts that results are fetched from, if given; `options` belong to the kind.
    """

    name: str
    kind: str
    base_url: str
    model: str
    family: str = ""
    key: str = field(default="", repr=False)
    price_usd: float = 0.0
    seconds: float | None = None
    timeout_seconds: float = 300.0
    good_for: tuple[str, ...] = ()
    result_hosts: tuple[str, ...] | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """Return the address of a path of the API."""
        return f"{self.base_url.rstrip('/')}/{path.lstrip('/')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePicture:
    """What came back: an encoded picture that nobody has looked at yet, and what made it, as the provider calls it."""

    data: bytes = field(repr=False)
    model: str
    version: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepts:
    """What a provider takes besides a photo and words.

    `pictures` is how many at most, the photo included. `fields` are those of `EditRequest` that reach it: of seed,
    steps, guidance and negative. `repeats`: a submission that is sent again under the same Idempotency-Key runs once.
    """

    pictures: int = 1
    masks: bool = False
    fields: frozenset[str] = frozenset()
    repeats: bool = False


class Provider(Protocol):
    """One protocol.

    `options` are those of its configuration with the values they may have, the default first; a default alone means any
    text. `key_hosts` are hosts besides the configured one that the key may be sent to, because the protocol has answers
    lie there; ".example.com" means all below it.
    """

    options: Mapping[str, tuple[str, ...]]
    key_hosts: tuple[str, ...]

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the headers that carry the key; none for an empty key."""

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes, configured so."""

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Have the edit done; raises ProviderError, or AbandonedError when nobody waits any more."""


@runtime_checkable
class ResumableProvider(Protocol):
    """A protocol that takes an edit, tells the exchange a receipt, and delivers later: also to a process begun anew."""

    def resume(self, receipt: Receipt, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Wait for an edit that was taken before; raises as `Provider.edit` does. Nothing is submitted."""

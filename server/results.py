"""Results under their content addresses, `sha256:<64 hex digits>`: how a later edit goes on from an earlier one.

Each caller has a space of its own: an address leads nowhere for anybody else. Where the pictures lie is a storage's
matter (`storages/`, one file each), chosen by the scheme of the place.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from pathlib import Path
from typing import Final, Protocol

from edge_runtime import headers, plugins
from edge_runtime.errors import GoneError, NothingKeptError, OptionError, UnknownError
from server.quota import DEFAULT_QUOTA, Quota
from server.room import check_disk
from server.sealing import MASTER_KEY, sealer_in

LINK_SECONDS: Final = 3600.0
_SWEEP_SECONDS: Final = 600.0
_ADDRESS: Final = re.compile(r"sha256:([0-9a-f]{64})")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://")
_SPACE_DIGITS: Final = 32


class Storage(Protocol):
    """A place for pictures. Names are `<space>/<digest>`, made of hexadecimal digits; to put one again is no error."""

    def put(self, name: str, data: bytes, media_type: str) -> None:
        """Keep a picture, whole or not at all; raises StateError."""

    def get(self, name: str) -> bytes:
        """Return a picture; raises UnknownError or StateError."""

    def link(self, name: str, seconds: float) -> str | None:
        """Return an address that anybody can fetch it from for a time; None where only this server has it."""

    def kept_bytes(self) -> int | None:
        """Return how much is kept; None where that isn't known."""

    def sweep(self, keep_seconds: float) -> None:
        """Remove what is older."""


class Results:
    """The results of a node. Opened when first used: most nodes keep none."""

    def __init__(
        self, place: str | None, state: Path | None, keep_seconds: float, quota: Quota = DEFAULT_QUOTA
    ) -> None:
        """`place` is a folder or an address such as s3://bucket/prefix; None: a folder in `state`."""
        self._place, self._state, self._keep_seconds, self._quota = place, state, keep_seconds, quota
        self._storage: Storage | None = None
        self._lock = threading.Lock()
        self._swept = time.monotonic()

    def open(self) -> None:
        """Open the place now; raises OptionError for one that can't be used."""
        self._opened()

    def check(self) -> None:
        """Raise NothingKeptError on a node that keeps no results, FullError where there is no room for any."""
        self._refuse_stateless()
        place = self._where
        if not _SCHEME.match(place):
            check_disk(Path(place))

    def put(self, caller: str, picture: bytes, media_type: str) -> str:
        """Keep a picture and return its address."""
        digest = hashlib.sha256(picture).hexdigest()
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self.sweep()
        self._opened().put(_name(caller, digest), picture, media_type)
        return f"sha256:{digest}"

    def get(self, caller: str, address: str) -> bytes:
        """Return the picture of an address; raises OptionError, UnknownError."""
        return self._opened().get(_name(caller, digest_of(address)))

    def link(self, caller: str, address: str, base: str) -> str:
        """Return an address for browsers that works for LINK_SECONDS; `base` is where this server was asked."""
        name = _name(caller, digest_of(address))
        outside = self._opened().link(name, LINK_SECONDS)
        if outside is not None:
            return outside
        until = int(time.time() + LINK_SECONDS)
        return f"{base.rstrip('/')}/v1/results/{name}?expires={until}&signature={self._signature(name, until)}"

    def linked(self, name: str, until: int, signature: str) -> tuple[bytes, str]:
        """Return the picture of a link of ours and its media type; raises UnknownError or GoneError."""
        if not hmac.compare_digest(self._signature(name, until).encode(), signature.encode()):
            raise UnknownError("this is no link to a result", hint="use the link as it was given")
        if time.time() > until:
            raise GoneError("the link has expired", hint="ask for the result again")
        picture = self._opened().get(name)
        return picture, f"image/{headers.recognised(picture) or 'png'}"

    def kept_bytes(self) -> int | None:
        """Return how much is kept, None where that isn't known."""
        return self._opened().kept_bytes() if self._used else 0

    def sweep(self) -> None:
        """Remove what has been kept long enough."""
        self._swept = time.monotonic()
        if self._used:
            self._opened().sweep(self._keep_seconds)

    @property
    def _used(self) -> bool:
        """Say whether anything was ever kept."""
        return self._storage is not None or (self._state is not None and (self._state / MASTER_KEY).exists())

    def _opened(self) -> Storage:
        with self._lock:
            if self._storage is None:
                self._storage = self._open()
            return self._storage

    @property
    def _where(self) -> str:
        return self._place or str((self._state or Path()) / "results")

    def _open(self) -> Storage:
        self._refuse_stateless()
        place = self._where
        scheme = _SCHEME.match(place)
        storage: Storage = plugins.load("server.storages", scheme[1] if scheme else "folder")(
            place, self._state, self._quota
        )
        return storage

    def _refuse_stateless(self) -> None:
        if self._state is None:
            raise NothingKeptError("this node keeps no results", hint="start it with --state")

    def _signature(self, name: str, until: int) -> str:
        self._refuse_stateless()
        return sealer_in(self._state or Path()).signature(f"{name}?{until}")


def digest_of(address: str) -> str:
    """Return the digest of an address; raises OptionError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise OptionError(
            "this is not the address of a result", got=address, allowed="sha256: and 64 hexadecimal digits",
            param="parent",
        )
    return found[1]


def _name(caller: str, digest: str) -> str:
    return f"{hashlib.sha256(caller.encode()).hexdigest()[:_SPACE_DIGITS]}/{digest}"

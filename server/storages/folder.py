"""Results in a folder, each file sealed under a key of its own that stands at its head, wrapped by the master key.

Nodes that share the folder need the same `master.key` in their state folders. How much lies there is counted when the
folder is opened and swept, and when it seems full: what other nodes put there is known by then.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_runtime.errors import FullError, NothingKeptError, StateError, UnknownError
from server.quota import MEGABYTE, Kept, Quota, outdated
from server.room import kept_error
from server.sealing import WRAPPED_BYTES, sealer_in

_ROLE: Final = "result"
_UNFINISHED: Final = ".part"
_UNFINISHED_SECONDS: Final = 600.0
_SLACK: Final = 0.02
"""Of what one may keep: so much is made free at once, because it takes reading the whole folder."""


class Folder:
    """`place` is the folder, `state` where the master key lies."""

    def __init__(self, place: str, state: Path | None, quota: Quota) -> None:
        if state is None:
            raise NothingKeptError("results in a folder are sealed by a key in the state folder", hint="add --state")
        self._folder, self._sealer = Path(place), sealer_in(state)
        self._quota, self._lock = quota, threading.Lock()
        self._used: Counter[str] | None = None

    def put(self, name: str, data: bytes, media_type: str) -> None:
        """Write a file beside its place and rename it, so that it is there whole or not at all."""
        path = self._folder / name
        if path.exists():
            os.utime(path)  # kept from now on
            return
        key = self._sealer.new_key(name)
        sealed = key + self._sealer.seal(key, name, _ROLE, data)
        self._make_room(path.parent.name, len(sealed))
        own = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            own.replace(path)
        except OSError as error:
            with suppress(OSError):  # perhaps it was never made
                own.unlink()
            raise kept_error("the result can't be stored", self._folder, error) from error

    def get(self, name: str) -> bytes:
        """Read and open a file."""
        try:
            kept = (self._folder / name).read_bytes()
        except FileNotFoundError as error:
            raise UnknownError(
                "there is no result of this address", hint="it may have expired; send the picture itself",
                param="parent",
            ) from error
        except OSError as error:
            raise StateError("the result can't be read", got=error.strerror) from error
        return self._sealer.open(kept[:WRAPPED_BYTES], name, _ROLE, kept[WRAPPED_BYTES:])

    def link(self, name: str, seconds: float) -> str | None:
        """Return None: this server gives it out."""
        return None

    def kept_bytes(self) -> int:
        """Return how much lies there."""
        with self._lock:
            if self._used is None:
                self._used = _used(self._files())
            return self._used.total()

    def sweep(self, keep_seconds: float) -> None:
        """Remove old files, and those that a process left unfinished when it was killed."""
        now = time.time()
        for path in self._folder.glob("*/*"):
            try:
                age = now - path.stat().st_mtime
                if age > (_UNFINISHED_SECONDS if path.name.endswith(_UNFINISHED) else keep_seconds):
                    path.unlink()
            except FileNotFoundError:  # another node was quicker
                continue
        with self._lock:
            self._used = _used(self._files())

    def _make_room(self, caller: str, size: int) -> None:
        """Count something new, for which the oldest goes; raises FullError when that is not enough."""
        quota = self._quota
        if size > quota.of_one:
            raise FullError(
                "the result is larger than all that may be kept", got=f"{size / MEGABYTE:.1f} MB",
                allowed=f"{quota.of_one / MEGABYTE:.1f} MB", hint="ask for a smaller one, or don't store it",
            )
        with self._lock:
            used = self._used = _used(self._files()) if self._used is None else self._used
            if used[caller] + size > quota.of_one or used.total() + size > quota.total:
                files = list(self._files())
                self._used = _used(files)
                for old in outdated(files, caller, max(size, round(_SLACK * quota.of_one)), quota):
                    (self._folder / old.name).unlink(missing_ok=True)
                    self._used[old.caller] -= old.bytes
            self._used[caller] += size

    def _files(self) -> Iterator[Kept]:
        for path in self._folder.glob("*/*"):
            with suppress(FileNotFoundError):  # another node was quicker
                found = path.stat()
                if not path.name.endswith(_UNFINISHED):
                    name, caller = f"{path.parent.name}/{path.name}", path.parent.name
                    yield Kept(name=name, caller=caller, since=found.st_mtime, bytes=found.st_size)


def _used(files: Iterable[Kept]) -> Counter[str]:
    used: Counter[str] = Counter()
    for file in files:
        used[file.caller] += file.bytes
    return used


STORAGE = Folder

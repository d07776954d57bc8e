"""Results in a folder, each file sealed under a key of its own that stands at its head, wrapped by the master key.

Nodes that share the folder need the same `master.key` in their state folders.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_runtime.errors import NothingKeptError, StateError, UnknownError
from server.room import kept_error
from server.sealing import WRAPPED_BYTES, sealer_in

_ROLE: Final = "result"
_UNFINISHED: Final = ".part"
_UNFINISHED_SECONDS: Final = 600.0


class Folder:
    """`place` is the folder, `state` where the master key lies."""

    def __init__(self, place: str, state: Path | None) -> None:
        if state is None:
            raise NothingKeptError("results in a folder are sealed by a key in the state folder", hint="add --state")
        self._folder, self._sealer = Path(place), sealer_in(state)

    def put(self, name: str, data: bytes, media_type: str) -> None:
        """Write a file beside its place and rename it, so that it is there whole or not at all."""
        path = self._folder / name
        if path.exists():
            os.utime(path)  # kept from now on
            return
        key = self._sealer.new_key(name)
        own = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key + self._sealer.seal(key, name, _ROLE, data))
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


STORAGE = Folder

"""Remembers which large files were compared with their digests, so that gigabytes aren't read again to no end.

A file counts as the one that was checked while its place on the disk (device and inode), its size and both its times
are what they were. Whoever writes to a file, copies it anew or puts another in its place changes the time of its last
change, which no program can set on Linux and macOS. Windows has no such time: there the time of the last writing
counts, which can be set. What goes bad on the disk without being written changes no time, so that after `KEPT_SECONDS`
a file is read again.

What is remembered is an empty file for each, named after all that; its own time says when the check was. The folder is
the user's alone, or it is not believed. `nanoedge verify` never asks here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_runtime.state import default_cache

logger = logging.getLogger(__name__)

LEAST_BYTES: Final = 16 << 20
"""Smaller files are read every time: that takes a few hundredths of a second."""

KEPT_SECONDS: Final = 7 * 86_400.0

SETTLED_SECONDS: Final = 2.0
"""A file that changed later than this before its check is not remembered: file systems' clocks are coarse, and another
change in the same instant would not show."""

_OTHERS_MAY_WRITE: Final = 0o022


class CheckedFiles:
    """What was checked on this machine. Several processes may use one folder."""

    def __init__(
        self, folder: Path | None = None, *, least_bytes: int = LEAST_BYTES, settled_seconds: float = SETTLED_SECONDS
    ) -> None:
        self._given, self._least_bytes, self._settled_seconds = folder, least_bytes, settled_seconds

    def holds(self, file: os.stat_result, sha256: str) -> bool:
        """Say whether this file, as it is now, was found to have this digest within the last `KEPT_SECONDS`."""
        if file.st_size < self._least_bytes or not file.st_ino:
            return False
        try:
            folder = self._folder()
            checked = (folder / _name(file, sha256)).stat().st_mtime
            return _is_own(folder) and 0 <= time.time() - checked < KEPT_SECONDS
        except (OSError, RuntimeError):  # RuntimeError: nobody's home folder is known
            return False

    def add(self, before: os.stat_result, after: os.stat_result, sha256: str) -> None:
        """Remember a file that was read and has this digest; `before` and `after` are what it was around the reading.

        Does nothing when it changed meanwhile or just before, or when the folder can't be used: it is read again then.
        """
        changed = max(after.st_mtime, after.st_ctime)
        if after.st_size < self._least_bytes or not after.st_ino or _name(before, sha256) != _name(after, sha256):
            return
        if not 0 <= changed <= time.time() - self._settled_seconds:
            return
        try:
            folder = self._folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_own(folder):
                (folder / _name(after, sha256)).touch(mode=0o600)
                _forget_old(folder)
        except (OSError, RuntimeError) as error:
            logger.info("checked files can't be remembered, so they are read at every opening: %s", error)

    def _folder(self) -> Path:
        return self._given or default_cache() / "checked"


def _forget_old(folder: Path) -> None:
    for entry in folder.iterdir():
        with suppress(OSError):
            if time.time() - entry.stat().st_mtime >= KEPT_SECONDS:
                entry.unlink()


def _name(file: os.stat_result, sha256: str) -> str:
    facts = (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns, sha256)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _is_own(folder: Path) -> bool:
    if os.name != "posix":
        return True
    status = folder.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY_WRITE

"""Whether there is room on a disk, and the error that says so where there is none."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from edge_runtime.errors import FullError, StateError

RESERVE_BYTES: Final = 32 * 1024**2
"""What stays free for work that was begun: its result must find room, which may have been paid for."""

_HINT: Final = "the node's operator must free some space; send it again then"
_FULL: Final = frozenset((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)))
_DATABASE_FULL: Final = "database or disk is full"
_NOTHING_LEFT_BYTES: Final = 1024**2


def check_disk(folder: Path, needed_bytes: int = 0) -> None:
    """Raise FullError unless so many bytes and the reserve are free where `folder` is, or will be made."""
    present = next((place for place in (folder, *folder.absolute().parents) if place.is_dir()), None)
    free = shutil.disk_usage(present).free if present else RESERVE_BYTES + needed_bytes
    if free < RESERVE_BYTES + needed_bytes:
        raise FullError(
            "there is no room left on the node's disk to keep this", got=f"{free / 1e6:.0f} MB free",
            allowed=f"{(RESERVE_BYTES + needed_bytes) / 1e6:.0f} MB or more", hint=_HINT,
        )


def is_full(error: BaseException, folder: Path | None = None) -> bool:
    """Say whether something went wrong because there is no room."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if not isinstance(error, sqlite3.Error):
        return False
    # SQLite says "disk I/O error" where it was its log, or the index of that, that found no room.
    if _DATABASE_FULL in str(error):
        return True
    vague = isinstance(error, sqlite3.OperationalError) and folder is not None and folder.is_dir()
    return vague and shutil.disk_usage(str(folder)).free < _NOTHING_LEFT_BYTES


def kept_error(what: str, place: Path, error: OSError | sqlite3.Error, hint: str = "") -> StateError:
    """Return the error for something in `place` that can't be kept: a FullError where that is why."""
    if is_full(error, place if place.is_dir() else place.parent):
        return no_room(what)
    return StateError(what, got=f"{place}: {getattr(error, 'strerror', None) or error}", hint=hint)


def no_room(what: str) -> FullError:
    """Return the error for something that found no room."""
    return FullError(f"{what}: there is no room left on the node's disk", hint=_HINT)

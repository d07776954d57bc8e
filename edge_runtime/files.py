"""Files that are written whole and flushed to the disk, and locks between processes, which end with their holder."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_runtime.errors import StateError

_LOCK_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file: after a crash at any moment it is the old one or the new one. Raises OSError."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: what was renamed or made in it outlives a loss of power."""
    if os.name != "posix":  # Windows can't open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, what: str, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of this file, which is made if need be; raises StateError when another process keeps it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + seconds
        while not _taken(descriptor, alone=True):
            if time.monotonic() >= end:
                raise StateError(f"another process works on {what}", got=path, hint="wait until it has ended")
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)  # which lets the lock go, as the end of the process does


def hold(path: Path) -> Callable[[], None]:
    """Mark a file as in use, beside others who do so, until what is returned is called. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    _taken(descriptor, alone=False)
    return lambda: os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether a process has marked the file as in use; one that isn't there is in nobody's."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _taken(descriptor, alone=True)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, *, alone: bool) -> bool:
    if sys.platform == "win32":  # an open file can't be removed there
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""The folder into which the one-file program unpacks itself at each start.

PyInstaller's bootloader unpacks, starts us and removes the folder after us. Killed, it leaves the folder behind, and us
running. So every process holds a lock in its folder, a start removes the folders that nobody holds, and we end with the
bootloader.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import stat
import time
from pathlib import Path
from typing import Final

PREFIX: Final = "_MEI"
LOCK: Final = ".nanoedge.lock"
"""A file of the archive, unpacked before all others: its folder is one of ours. Filled once a process runs from it."""

UNPACKING_SECONDS: Final = 600
"""A folder whose lock is still empty after this long belongs to a bootloader that was killed while it unpacked."""

_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)


def hold(folder: Path) -> int:
    """Lock the folder until this process ends; return the lock's file descriptor.

    The first process in the folder is the bootloader's child, and ends with it. Others are workers that it started from
    the same program, which runs them from the same folder: when they end is for the first to see to.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_size == 0:
        os.write(descriptor, str(os.getpid()).encode())
        _end_with_parent()
    return descriptor


def sweep(parent: Path) -> list[Path]:
    """Remove the folders in `parent` that dead processes of this program and user left; return those removed."""
    return [folder for folder in sorted(parent.glob(f"{PREFIX}*")) if _is_left(folder) and _remove(folder)]


def _is_left(folder: Path) -> bool:
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # no lock: another program's folder; or gone meanwhile
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock = os.fstat(descriptor)
        return lock.st_size > 0 or time.time() - lock.st_mtime > UNPACKING_SECONDS
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _end_with_parent() -> None:
    """Get SIGTERM when the parent's thread ends that started us; the bootloader has just one."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)

"""Folders that a server writes to: what outlives it, and what is temporary."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from server.doctor.finding import Finding, fail, ok, warn

STATE_BYTES: Final = 500_000_000
"""Jobs with their pictures."""

TEMPORARY_BYTES: Final = 200_000_000
"""Large requests and answers; the one-file program unpacks itself there too."""

_LEAST_BYTES: Final = 20_000_000
_CAUSES: Final = {
    errno.ENOSPC: "free some space there",
    errno.EROFS: "it is read-only: mount it for writing, or choose another folder",
}


def state_folder(folder: Path) -> Iterator[Finding]:
    """Write where the server would keep its state: in the folder, or in the one that it would make it in."""
    otherwise = "name another folder with --state DIR"
    try:
        present = next(place for place in (folder, *folder.resolve().parents) if place.exists())
        mode = folder.stat().st_mode & 0o077 if present == folder else 0
    except OSError as error:
        yield _unusable("state folder", folder, error, otherwise)
        return
    if not present.is_dir():
        yield fail("state folder", f"{present} is a file", f"remove it, or {otherwise}")
        return
    yield _space("state folder", present, STATE_BYTES, otherwise)
    if present == folder:
        yield _kept(folder)
    if mode:
        words = f"{folder} is open to others (mode {mode:03o})"
        yield warn("state folder", words, f"chmod 700 {folder}, because it holds keys")


def temporary_folder() -> Iterator[Finding]:
    """Write to the folder for temporary files, and look whether programs may run from it."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        yield fail("temporary folder", str(error), "set TMPDIR to a folder that can be written to")
        return
    yield _space("temporary folder", folder, TEMPORARY_BYTES, "set TMPDIR to another folder")
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        fix = "set TMPDIR to another folder, or use the folder build, which unpacks nothing"
        yield warn("temporary folder", f"{folder} is mounted noexec: the one-file program can't start", fix)


def _space(subject: str, folder: Path, wanted_bytes: int, otherwise: str) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".nanoedge-doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _unusable(subject, folder, error, otherwise)
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    words = f"{folder}, {free_bytes / 1e6:,.0f} MB free"
    if found.f_files and not found.f_favail:
        return fail(subject, f"{folder} has no inodes for more files", f"remove small files there, or {otherwise}")
    if free_bytes < _LEAST_BYTES:
        return fail(subject, words, f"free some space there, or {otherwise}")
    if free_bytes < wanted_bytes:
        return warn(subject, words, f"{wanted_bytes / 1e6:,.0f} MB are better: free some, or {otherwise}")
    return ok(subject, words)


def _kept(folder: Path) -> Finding:
    """Say how much lies there. Results that are kept elsewhere aren't seen."""
    jobs, results = (_bytes(folder, pattern) for pattern in ("jobs.sqlite*", "results/*/*"))
    words = f"jobs take {jobs / 1e6:,.1f} MB, results {results / 1e6:,.1f} MB"
    return ok("kept", f"{words}; nanoedge serve --keep-mb bounds each")


def _bytes(folder: Path, pattern: str) -> int:
    size = 0
    for path in folder.glob(pattern):
        with suppress(OSError):  # one that has just gone
            size += path.stat().st_size
    return size


def _unusable(subject: str, folder: Path, error: OSError, otherwise: str) -> Finding:
    cause = _CAUSES.get(error.errno or 0, f"let this user write to it, for instance: chown {_user()} {folder}")
    return fail(subject, f"{folder}: {error.strerror}", f"{cause}; or {otherwise}")


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "USER"

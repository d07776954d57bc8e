"""The folder in which a conversion collects its files: one process at a time, and only what one request made."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from edge_runtime.errors import ConversionError

LONGEST_WAIT_S: Final = 5.0
"""How long a run waits for the process of one that was killed."""

_REQUEST: Final = ".request.json"
_LOCK: Final = ".lock"


@contextmanager
def held(work: Path, fingerprint: str) -> Iterator[int]:
    """Hold the work folder for this process alone and give the lock; what another request left in it is removed."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / _LOCK).open("w") as lock:
        _take(lock, work)
        request = work / _REQUEST
        if not request.exists() or request.read_text(encoding="utf-8") != fingerprint:
            for left in work.iterdir():
                if left.name != _LOCK:
                    remove(left)
            request.write_text(fingerprint, encoding="utf-8")
        yield lock.fileno()


def remove(left: Path) -> None:
    """Remove what an earlier run left: a file, or the folder of a component."""
    if left.is_dir():
        shutil.rmtree(left)
    else:
        left.unlink(missing_ok=True)


def _take(lock: IO[str], work: Path) -> None:
    """Wait a moment for the lock: the process of a run that was killed ends a little later than the run."""
    import fcntl

    until = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > until:
                raise ConversionError(
                    "another process converts to this place right now",
                    got=work,
                    hint="wait for it, or choose another name",
                ) from error
            time.sleep(0.1)

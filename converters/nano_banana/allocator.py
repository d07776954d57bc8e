"""The C library's settings for training: it keeps large buffers instead of giving them back after every batch, which
made batches of augmented pictures several times as fast."""

from __future__ import annotations

import os
import sys
from typing import Final

_ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
    "THP_MEM_ALLOC_ENABLE": "1",
}


def keep_large_buffers(module: str) -> None:
    """Start `python -m module` again with the settings, unless this process has them: they are read at its start."""
    if any(os.environ.get(name) != value for name, value in _ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **_ALLOCATOR})

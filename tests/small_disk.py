"""A really small disk, which a test fills: a tmpfs, so it takes root to mount it."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """`path` is where it is mounted."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte."""
        block = b"\0" * 65536
        try:
            with (self.path / "ballast").open("ab", buffering=0) as file:
                while block:
                    if not file.write(block):
                        block = block[: len(block) // 2]
        except OSError as error:
            assert error.errno == errno.ENOSPC

    def free(self) -> None:
        """Take away what filled it."""
        (self.path / "ballast").unlink()


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[Disk]:
    """Mount one."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "none"]
    mounted = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True)
    assert mounted.returncode == 0, f"this test mounts a small disk, as root: {mounted.stderr}"
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)

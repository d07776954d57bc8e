"""What this process may use of the machine: cores and memory, container limits included. Reads, decides nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this process may use.

    `cores` is at least 1; a quota of 1.5 cores counts as 1, because a second thread would be throttled.
    `memory_bytes` is the machine's memory or the container's limit, `available_bytes` what can still be taken of it.
    """

    cores: int
    memory_bytes: int
    available_bytes: int

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Machine:
        """Look at this machine. `root` is the folder that holds proc/ and sys/, for a look at another tree."""
        total, available = _system_memory(root)
        for group in _groups(root, "memory"):
            limit = _number(group, "memory.max", "memory.limit_in_bytes")
            used = _number(group, "memory.current", "memory.usage_in_bytes")
            if limit is not None:
                total = min(total, limit)
                available = min(available, max(0, limit - (used or 0) + _reclaimable(group)))
        return cls(cores=_cores(root), memory_bytes=total, available_bytes=min(available, total))


def _cores(root: Path) -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    for group in _groups(root, "cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # "max" and "-1" mean: no limit
            cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def _system_memory(root: Path) -> tuple[int, int]:
    """Return total and available bytes. Outside Linux and Windows the two are equal: macOS has no cheap answer."""
    if sys.platform == "win32":
        return _windows_memory()
    fields = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemTotal" not in fields:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total
    total = int(fields["MemTotal"].split()[0]) * 1024
    return total, int(fields.get("MemAvailable", fields["MemTotal"]).split()[0]) * 1024


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, inner to outer, of version 2 and then of version 1.

    Inside a container the path in /proc may be the host's and not exist here; then only the mount's top is left,
    which is the container's own group.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops = [root / "sys/fs/cgroup"]
        elif controller in controllers.split(","):
            tops = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller]
        else:
            continue
        for top in dict.fromkeys(tops):
            inner = top / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top) and folder.is_dir())


def _reclaimable(group: Path) -> int:
    """Return the bytes of file cache that count as used but are given up on demand."""
    statistics = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    return int(statistics.get("total_inactive_file", statistics.get("inactive_file", "0")))


def _number(group: Path, *files: str) -> int | None:
    for file in files:
        if (text := _text(group / file)).isdigit():
            return int(text)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no such controller, or no right to read it: no limit that we can know
        return ""


if sys.platform == "win32":

    def _windows_memory() -> tuple[int, int]:
        import ctypes

        class MemoryStatus(ctypes.Structure):
            """MEMORYSTATUSEX of GlobalMemoryStatusEx, in the Windows API's order."""

            _fields_ = (
                [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)]
                + [(name, ctypes.c_ulonglong) for name in ("total", "available", "total_page", "available_page")]
                + [(name, ctypes.c_ulonglong) for name in ("total_virtual", "available_virtual", "extended")]
            )

        status = MemoryStatus()
        status.length = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total), int(status.available)

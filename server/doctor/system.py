"""The machine under us: processor, cores, memory, system library, clock, limits of this process."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edge_runtime.machine import Machine
from server.doctor.finding import Finding, fail, ok, warn

NEEDED_BYTES: Final = 350_000_000
"""Memory of a server with nano-banana at work on a photo of 12 megapixels."""

NEEDED_ADDRESSES_BYTES: Final = 2_000_000_000
"""Address space, of which a process takes far more than memory: threads' stacks, mapped libraries."""

NEEDED_GLIBC: Final = (2, 28)
"""What the wheels of ONNX Runtime and NumPy ask for."""

NEEDED_FILES: Final = 1024
"""Open files, two for each client: below, some hundred idle clients shut all others out."""

_FEATURES: Final = {
    "x86_64": ("sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),
    "aarch64": ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
}
_FAST: Final = {"x86_64": "avx2", "aarch64": "asimddp"}
_FUTURE_SECONDS: Final = 86_400
SET_CLOCK: Final = "timedatectl set-ntp true, or set it with date -s"


def system(root: Path = Path("/")) -> Iterator[Finding]:
    """Examine the machine. `root` is the folder that holds proc/ and sys/, for a look at another tree."""
    machine = Machine.detect(root)
    yield processor(root, platform.machine())
    yield cores(machine.cores)
    yield memory(machine)
    yield glibc()
    if sys.platform != "win32":
        yield address_space()
        yield open_files()


def processor(root: Path, architecture: str) -> Finding:
    """Look for the instructions that products of small numbers are fast with."""
    lines = (root / "proc" / "cpuinfo").read_text().splitlines() if (root / "proc" / "cpuinfo").is_file() else []
    known = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    has = [feature for feature in _FEATURES.get(architecture, ()) if feature in known]
    found = f"{architecture} with {' '.join(has) or 'no instructions that we know of'}"
    fast = _FAST.get(architecture)
    if known and fast and fast not in has:
        return warn("processor", f"{found}, without {fast}", "8-bit models are slow here: convert with recipe fp32")
    return ok("processor", found)


def cores(count: int) -> Finding:
    """Look for a second core."""
    if count == 1:
        fix = "give the container or the virtual machine a second core: edits take about twice as long with one"
        return warn("cores", "1", fix)
    return ok("cores", str(count))


def memory(machine: Machine) -> Finding:
    """Compare what can still be had with what a server needs."""
    found = f"{_megabytes(machine.available_bytes)} of {_megabytes(machine.memory_bytes)} can be had"
    if machine.memory_bytes < NEEDED_BYTES:
        fix = f"raise the memory limit of the container or service to {_megabytes(NEEDED_BYTES)} or more"
        return fail("memory", found, fix)
    if machine.available_bytes < NEEDED_BYTES:
        return warn("memory", found, f"end other programs: a server needs {_megabytes(NEEDED_BYTES)}")
    return ok("memory", found)


def glibc() -> Finding:
    """Compare the system's library with what the wheels were built for."""
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        return ok("C library", f"{platform.system()}, not glibc")
    version = tuple(int(number) for number in found.split()[-1].split(".")) if found else ()
    if version < NEEDED_GLIBC:
        needed = ".".join(map(str, NEEDED_GLIBC))
        return fail("C library", found, f"use a system with glibc {needed} or newer, such as Debian 10 or Ubuntu 20.04")
    return ok("C library", found)


def address_space() -> Finding:
    """Look at the limit that `ulimit -v` sets."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return ok("address space", "not limited")
    found = f"limited to {_megabytes(limit)}"
    if limit < NEEDED_ADDRESSES_BYTES:
        return fail("address space", found, "ulimit -v unlimited; to bound memory use a container's limit")
    return ok("address space", found)


def open_files() -> Finding:
    """Look at the limit that the server may raise its own to."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit == resource.RLIM_INFINITY:
        return ok("open files", "not limited")
    if limit < NEEDED_FILES:
        return fail("open files", f"at most {limit}", "LimitNOFILE=16384 in the unit, or ulimit -Hn 16384 as root")
    return ok("open files", f"at most {limit}")


def clock(witnesses: Iterable[Path], now: float | None = None) -> Finding:
    """Compare the clock with files that were certainly written before now; a wrong one makes certificates fail."""
    now = time.time() if now is None else now
    newest = max((path.stat().st_mtime for path in witnesses if path.exists()), default=0.0)
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if newest > now + _FUTURE_SECONDS:
        than = time.strftime("%Y-%m-%d", time.gmtime(newest))
        return fail("clock", f"{shown}, but files here are of {than}", SET_CLOCK)
    return ok("clock", shown)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"

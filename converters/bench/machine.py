"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.machine import Machine

LIBRARIES: Final = (
    "numpy", "pillow", "onnxruntime", "ai-edge-litert", "tokenizers", "scikit-image", "scipy", "torch", "torchmetrics",
)  # fmt: skip


def described() -> dict[str, Any]:
    """Return what is known of this machine, as JSON. No name and no address of it: reports are passed on."""
    machine = Machine.detect()
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(), "cores": machine.cores, "memory_bytes": machine.memory_bytes,
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
        "load_at_start": None if load is None else round(load[0], 2),
        "began": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"nanoedge": __version__, **{name: found for name in LIBRARIES if (found := _version(name))}},
    }  # fmt: skip


def _processor() -> str:
    """Return the processor's name; Linux alone tells more than its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    found = [distribution for distribution in metadata.distributions(name=name)]
    return found[0].version if found else None

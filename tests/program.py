"""The `nanoedge` command that tests start: the source tree's, or what NANOEDGE_COMMAND names, such as a binary."""

from __future__ import annotations

import os
import shlex
import sys


def program() -> list[str]:
    """Return the start of a command line; a verb and its options follow."""
    chosen = os.environ.get("NANOEDGE_COMMAND")
    return shlex.split(chosen) if chosen else [sys.executable, "-m", "edge_runtime.cli"]

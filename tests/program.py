"""The `nanoedge` command that tests start: the source tree's, or what NANOEDGE_COMMAND names, such as a binary."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Final

import pytest

SOURCE_ALONE: Final = pytest.mark.skipif(
    "NANOEDGE_COMMAND" in os.environ, reason="needs a library that the binary is built without"
)


def program() -> list[str]:
    """Return the start of a command line; a verb and its options follow."""
    chosen = os.environ.get("NANOEDGE_COMMAND")
    return shlex.split(chosen) if chosen else [sys.executable, "-m", "edge_runtime.cli"]

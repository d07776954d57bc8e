"""A report as `nanoedge bench` writes it, for the tests that read one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.program import program
from tests.server.started import ROOT, started_server


def nanoedge(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*program(), "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def write_report(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compare the embedded model with itself, and measure a node, into `folder`; returns what the command said."""
    with started_server() as server:
        done = nanoedge(
            "--model", "nano-banana", "--model", "twin=edge_runtime/embedded/nano-banana", "--edits", 22, "--rounds", 2,
            "--cold-starts", 1, "--side", 224, "--count", 3, "--url", server.url, "--rate", "2,6", "--seconds", 4,
            "-o", folder,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done

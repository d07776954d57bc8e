"""The peak memory that `nanoedge inspect` predicts for an edit, beside what an edit takes.

    python -m benchmarks.edit_memory ARTIFACT... [--sides 512,1024] [--steps 1]

Every edit is a process of its own, at each size once with all parts kept open and once with one part at a time. Memory
is VmHWM, the highest resident memory, mapped files included; "its own" is the highest RssAnon, looked at every few
milliseconds: what the system can't drop when others need the room. More steps need no more memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.convert_peers import private_bytes
from benchmarks.edit_scale import peak_megabytes
from benchmarks.table import markdown
from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.memory import peak_bytes

WORDS: Final = "make it snowy"
PLENTY_BYTES: Final = 1 << 50
LOOK_SECONDS: Final = 0.01
ONE_BYTE: Final = 1
"""As a bound for parts that are open together: then only one is."""


def main() -> None:
    """Run every edit and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--sides", default="512,1024", help="sides of square results in pixels")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--one", nargs=2, type=int, metavar=("SIDE", "MEMORY_BYTES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(_edit(arguments.artifacts[0], *arguments.one, arguments.steps))
        return
    rows = []
    for folder in arguments.artifacts:
        for side in map(int, arguments.sides.split(",")):
            for together in (True, False):
                rows.append(_row(folder, side, together, arguments.steps))
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ("artifact", "pixels", "parts", "predicted MB", "measured MB", "predicted / measured", "its own MB")
    print(markdown(head, rows))


def _row(folder: Path, side: int, together: bool, steps: int) -> tuple[str, ...]:
    predicted = peak_bytes(Artifact.open(folder, verify=False).manifest, side, side, together=together) / 1e6
    bound = PLENTY_BYTES if together else ONE_BYTE
    command = [sys.executable, "-m", "benchmarks.edit_memory", str(folder), "--steps", str(steps)]
    own = 0
    with subprocess.Popen([*command, "--one", str(side), str(bound)], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            own = max(own, private_bytes(process.pid))
            time.sleep(LOOK_SECONDS)
        said = "" if process.stdout is None else process.stdout.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    measured = float(said.splitlines()[-1])
    parts = "together" if together else "one at a time"
    figures = (f"{predicted:,.0f}", f"{measured:,.0f}", f"{predicted / measured:.2f}")
    return (folder.name, f"{side} x {side}", parts, *figures, f"{own / 1e6:,.0f}")


def _edit(folder: Path, side: int, memory_bytes: int, steps: int) -> float:
    """Edit a picture of noise as the command does, and return the peak in megabytes."""
    from edge_runtime.editor import Editor
    from edge_runtime.heap import limit_heap
    from edge_runtime.request import EditRequest, Size

    limit_heap()
    stream = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    request = EditRequest(
        image=stream.getvalue(), instruction=WORDS, seed=7, steps=steps, size=Size(width=side, height=side)
    )
    with Editor.open(folder, memory_bytes=memory_bytes) as editor:
        editor.edit(request)
    return peak_megabytes()


if __name__ == "__main__":
    main()

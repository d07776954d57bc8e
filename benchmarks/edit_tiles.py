"""Memory and time of an artifact's autoencoder at a large size: in one piece, and in tiles.

    python -m benchmarks.edit_tiles ARTIFACT [--side 2048]

A picture of noise is encoded and decoded again, each way in a process of its own. Memory is VmHWM, the highest resident
memory; the last column is the largest difference of the two pictures, whose values are -1..1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.edit_scale import peak_megabytes
from benchmarks.table import markdown
from edge_runtime.artifact import Artifact
from edge_runtime.diffusion.autoencoder import WHOLE_PIXELS, Autoencoder
from edge_runtime.diffusion.components import Components
from edge_runtime.diffusion.latents import LatentSpace
from edge_runtime.diffusion.settings import Settings
from edge_runtime.engine import engine_for
from edge_runtime.generators import finished
from edge_runtime.heap import limit_heap
from edge_runtime.machine import Machine


def main() -> None:
    """Measure both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--one", nargs=2, metavar=("PIXELS", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*_once(arguments.artifact, arguments.side, int(arguments.one[0]), Path(arguments.one[1])))
        return
    rows, pictures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels in (("in one piece", arguments.side**2), ("in tiles", WHOLE_PIXELS)):
            file = Path(folder) / f"{pixels}.npy"
            command = [sys.executable, "-m", "benchmarks.edit_tiles", str(arguments.artifact)]
            command += ["--side", str(arguments.side), "--one", str(pixels), str(file)]
            seconds, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            pictures.append(np.load(file))
            rows.append((name, seconds, megabytes))
    difference = f"{np.abs(pictures[0] - pictures[1]).max():.1e}"
    head = (f"{arguments.side} x {arguments.side}", "s", "peak MB", "largest difference")
    print(markdown(head, [(*row, difference) for row in rows]))


def _once(folder: Path, side: int, whole_pixels: int, file: Path) -> tuple[str, str]:
    limit_heap()  # as the command does
    artifact = Artifact.open(folder, verify=False)
    space = LatentSpace.read(Settings(artifact.manifest.settings).part("latents"))
    parts = Components(artifact, engine_for("onnx"), threads=Machine.detect().cores, device="cpu")
    autoencoder = Autoencoder(parts, space.compression, whole_pixels)
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    began = time.perf_counter()
    picture = finished(autoencoder.decode(autoencoder.encode(noise)))
    seconds, megabytes = time.perf_counter() - began, peak_megabytes()
    np.save(file, picture)
    return f"{seconds:.1f}", f"{megabytes:.0f}"


if __name__ == "__main__":
    main()

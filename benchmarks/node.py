"""Latency and memory of a really started server, through HTTP, with decoding and encoding.

    python -m benchmarks.node [--model DIR ...] [--photos FOLDER] [--rounds 60] [--edits 500]

Every request draws photograph and model anew (seeded), so that noise of the machine hits all models alike.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.table import jpeg, markdown, photographs

SIZES = (512, 1024)
BACKGROUND_EDIT = "a bit warmer, more contrast, blur the background"
MIXED = (
    "warmer", "black and white", "blur the background", "remove the background", "more contrast and sharper",
    "etwas heller, und den Hintergrund unscharf", "vintage fade with grain", "darken the background",
    "white background",
)
MIXED_SIZES = (256, 512, 768, 1024, 1600, 2048)


class Node:
    """A started server, spoken to over one kept connection as a browser would."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def edit(self, photo: bytes, prompt: str, model: str) -> float:
        """Edit one photo and return the seconds until the whole answer was there."""
        boundary = uuid.uuid4().hex
        fields = {"prompt": prompt, "model": model, "output_format": "jpeg"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'.encode()
        body = b"".join([*parts, head, photo, f"\r\n--{boundary}--\r\n".encode()])
        start = time.perf_counter()
        self.connection.request("POST", "/v1/images/edits", body, {
            "Content-Type": f"multipart/form-data; boundary={boundary}"})
        answer = self.connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - start
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status}: {content[:500]!r}")
        return seconds

    def models(self) -> list[str]:
        """Return the names of the served models."""
        self.connection.request("GET", "/v1/models")
        return [model["id"] for model in json.loads(self.connection.getresponse().read())["data"]]

    def memory_bytes(self) -> int:
        """Return the resident memory of the server and its children."""
        process = psutil.Process(self.process.pid)
        return sum(int(each.memory_info().rss) for each in [process, *process.children(recursive=True)])


@contextmanager
def started(models: Sequence[Path] = (), options: Sequence[str] = ()) -> Iterator[Node]:
    """Start `nanoedge serve` on a free port and stop it by its process id."""
    command = [sys.executable, "-m", "edge_runtime.cli", "serve", "--port", "0", *options]
    for model in models:
        command += ["--model", str(model)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "serves on" in line:
                break
        else:
            raise SystemExit("the server did not start")
        yield Node(process, int(line.strip().rsplit(":", 1)[1]))
    finally:
        process.terminate()
        process.wait(20)
        if process.stderr is not None:
            process.stderr.close()


def latency(models: Sequence[Path], photos: dict[str, Image.Image], rounds: int) -> str:
    """Return the table of milliseconds for a background edit at both sizes."""
    encoded = {side: [jpeg(photo, side) for photo in photos.values()] for side in SIZES}
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    with started(models) as node:
        names = node.models()
        jobs = [(name, side) for name in names for side in SIZES]
        for name, side in jobs * 3:
            node.edit(encoded[side][0], BACKGROUND_EDIT, name)
        order = jobs * rounds
        random.Random(0).shuffle(order)
        for name, side in order:
            seconds[name, side].append(node.edit(random.choice(encoded[side]), BACKGROUND_EDIT, name))
    rows = []
    for (name, side), values in sorted(seconds.items(), key=lambda item: (item[0][1], item[0][0])):
        values_ms = 1000 * np.array(values)
        p50, p95 = np.percentile(values_ms, [50, 95])
        rows.append([side, name, len(values), *(f"{value:.0f}" for value in (values_ms.mean(), p50, p95))])
    return markdown(["long side px", "model", "edits", "mean ms", "p50 ms", "p95 ms"], rows)


def memory(photos: dict[str, Image.Image], edits: int) -> str:
    """Return the table of resident memory: idle, and the largest seen through mixed edits."""
    encoded = [jpeg(photo, side) for photo in photos.values() for side in MIXED_SIZES]
    chooser = random.Random(0)
    with started() as node:
        idle = node.memory_bytes()
        peak, after = idle, idle
        for _ in range(edits):
            node.edit(chooser.choice(encoded), chooser.choice(MIXED), "nano-banana")
            after = node.memory_bytes()
            peak = max(peak, after)
    rows = [[edits, *(f"{value / 1e6:.0f}" for value in (idle, peak, after))]]
    return markdown(["edits", "idle MB", "largest MB", "at the end MB"], rows)


def start_up(photo: bytes) -> str:
    """Return the seconds from starting the process to the first answered edit."""
    start = time.perf_counter()
    with started() as node:
        listening = time.perf_counter() - start
        node.edit(photo, "warmer", "nano-banana")
        first = time.perf_counter() - start
    return markdown(["listening after s", "first edit answered after s"], [[f"{listening:.2f}", f"{first:.2f}"]])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", default=[], help="further artifacts beside the embedded")
    parser.add_argument("--photos", type=Path, help="folder; default: scikit-image's bundled photographs")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--edits", type=int, default=500)
    options = parser.parse_args()
    photos = photographs(options.photos)
    print(start_up(jpeg(next(iter(photos.values())), 512)), end="\n\n")
    print(latency(options.model, photos, options.rounds), end="\n\n")
    print(memory(photos, options.edits))


if __name__ == "__main__":
    main()

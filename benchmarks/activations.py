"""Edits while versions are activated and rolled back under them: none may fail, and what those changes cost the others.

    python -m benchmarks.activations [--requests 200] [--changes 10]

One client edits all the time; the commands that an operator would give run beside it, on the same cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.node import Node, started
from benchmarks.table import jpeg, markdown, photographs
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.source import SourceOptions
from edge_runtime.sources.folder import Folder
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Wish, pull
from edge_runtime.store.version import Version

SIDE = 512
MODEL = "nano-banana"


def filled(store: Store, work: Path) -> list[Version]:
    """Return two versions of nano-banana that differ in their provenance alone."""
    original = Artifact.open(EMBEDDED)
    files = {part.name: original.path(part.name) for part in original.manifest.components}
    found = []
    for word in ("first", "second"):
        provenance = {**original.manifest.provenance, "copy": word}
        folder = write_artifact(work / word, replace(original.manifest, provenance=provenance), files).folder
        found.append(pull(store, Folder(str(folder), SourceOptions()), Wish(address=str(folder))).version)
    return found


def models(store: Store, *arguments: str) -> None:
    """Run the command."""
    command = [sys.executable, "-m", "edge_runtime.cli", "models", *arguments, "--model-store", str(store.folder)]
    subprocess.run(command, check=True, capture_output=True)


def changed(store: Store, versions: list[Version], changes: int, port: int, late: list[float]) -> None:
    """Activate and roll back in turns; note the seconds from the end of each command until it was served."""
    for turn in range(changes):
        wanted = versions[1 - turn % 2]
        models(store, *(("rollback", MODEL) if turn % 2 else ("activate", str(wanted))))
        began = time.monotonic()
        while served(port) != wanted.short:
            time.sleep(0.02)
        late.append(time.monotonic() - began)


def served(port: int) -> str:
    """Return the version that the server names."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/models")
    found = json.loads(connection.getresponse().read())["data"][0]["x_version"]
    connection.close()
    return str(found)


def edits(node: Node, photo: bytes, least: int, going_on: threading.Thread | None) -> list[float]:
    """Edit until there are so many and the other thread has ended; an answer that is none of success ends it all."""
    seconds: list[float] = []
    while len(seconds) < least or (going_on is not None and going_on.is_alive()):
        seconds.append(node.edit(photo, "warmer, blur the background", MODEL))
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--changes", type=int, default=10)
    options = parser.parse_args()
    photo = jpeg(photographs(None)["coffee"], SIDE)
    rows, late = [], list[float]()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "models")
        versions = filled(store, Path(folder))
        store.activate(versions[0])
        with started(options=("--model-store", str(store.folder), "--state", folder)) as node:
            edits(node, photo, 5, None)
            thread = threading.Thread(target=changed, args=(store, versions, options.changes, node.port, late))
            for name, going_on in (("no change", None), (f"{options.changes} changes", thread)):
                if going_on is not None:
                    going_on.start()
                took = 1000 * np.array(edits(node, photo, options.requests, going_on))
                rows.append([name, len(took), *(f"{value:.0f}" for value in np.percentile(took, (50, 95, 100)))])
    print(markdown(["", "edits", "p50 ms", "p95 ms", "slowest ms"], rows))
    print(f"\nnone failed; served {np.median(late):.1f} s (at most {max(late):.1f} s) after the command had ended")


if __name__ == "__main__":
    main()

"""LiteRT beside ONNX Runtime: each component alone, and whole edits, from one run of one process.

    python -m benchmarks.engines ONNX_ARTIFACT TFLITE_ARTIFACT [--threads N]

Medians of interleaved runs, so that what else the machine does hits both alike. Inputs of components are those of a
photograph of 512 px; edits are of a photograph that comes with scikit-image, decoding and encoding included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import skimage
from PIL import Image

from benchmarks.table import jpeg, markdown
from edge_runtime.artifact import Artifact
from edge_runtime.editor import Editor
from edge_runtime.engine import engine_for
from edge_runtime.machine import Machine
from edge_runtime.manifest import Component
from edge_runtime.request import EditRequest
from edge_runtime.tensors import Tensor

RUNS = 9
SIDES = (512, 1024)
INSTRUCTIONS = ("warmer", "blur the background", "sharpen and add grain", "remove the noise")
SIZES = {"tokens": 40, "height": 512, "width": 512, "context_height": 256, "context_width": 256, "regions": 2}


def inputs_of(component: Component) -> dict[str, Tensor]:
    """Return inputs of the sizes that a 512 px photo has."""
    random = np.random.default_rng(0)
    feeds = {}
    for spec in component.inputs:
        shape = [SIZES[size] if isinstance(size, str) else size for size in spec.shape]
        if spec.name == "window":
            feeds[spec.name] = np.array([0, 0, SIZES["height"], SIZES["width"]], np.float32)
        elif spec.dtype == "float32":
            feeds[spec.name] = random.random(shape, np.float32)
        else:
            feeds[spec.name] = random.integers(1, 120, shape).astype(spec.dtype)
    return feeds


def interleaved(actions: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median milliseconds of each action."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(RUNS):
        for action, found in zip(actions, times, strict=True):
            started = time.perf_counter()
            action()
            found.append(1e3 * (time.perf_counter() - started))
    return [median(found) for found in times]


def components(artifacts: Sequence[Artifact], threads: int) -> list[list[str]]:
    """Return a row for each component: name, precisions, milliseconds, ratio."""
    rows = []
    for described in artifacts[0].manifest.components:
        actions, precisions = [], []
        for artifact in artifacts:
            component = artifact.manifest.component(described.name)
            engine = engine_for(artifact.manifest.target)
            session = engine.open(artifact.path(described.name), component, threads=threads)
            actions.append(partial(session.run, inputs_of(component)))
            precisions.append(component.precision)
        rows.append(row(described.name, " / ".join(precisions), interleaved(actions)))
    return rows


def edits(artifacts: Sequence[Artifact], threads: int) -> list[list[str]]:
    """Return a row for each size and instruction."""
    editors = [Editor.open(artifact.folder, threads=threads) for artifact in artifacts]
    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as opened:
        photo = opened.convert("RGB").crop((0, 0, 512, 384))
    rows = []
    for side in SIDES:
        for text in INSTRUCTIONS:
            request = EditRequest(image=jpeg(photo, side), instruction=text)
            actions = [partial(editor.edit, request) for editor in editors]
            rows.append(row(f"{text}, {side} x {side * 3 // 4}", "whole edit", interleaved(actions)))
    return rows


def row(name: str, kind: str, times: Sequence[float]) -> list[str]:
    """Return cells: the ratio is how many times as long the second takes."""
    return [name, kind, f"{times[0]:.1f}", f"{times[1]:.1f}", f"{times[1] / times[0]:.2f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("artifacts", nargs=2, type=Path)
    parser.add_argument("--threads", type=int, default=Machine.detect().cores)
    arguments = parser.parse_args()
    artifacts = [Artifact.open(path) for path in arguments.artifacts]
    heads = [engine_for(artifact.manifest.target).name for artifact in artifacts]
    rows = components(artifacts, arguments.threads) + edits(artifacts, arguments.threads)
    print(f"{arguments.threads} threads\n")
    print(markdown(["", "precision", f"{heads[0]} ms", f"{heads[1]} ms", "ratio"], rows))


if __name__ == "__main__":
    main()

"""How long does each component take alone? Artifacts interleaved, medians, on pictures of 512 and 1024 pixels.

    python -m benchmarks.graphs [--model DIR ...]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.table import jpeg, markdown, photographs
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.engine import Session
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.machine import Machine
from edge_runtime.request import EditRequest

INSTRUCTION: Final = "could you make it a bit warmer and blur the background please"
SIDES: Final = (512, 1024)
PLANS: Final = {
    "render, whole photo": {"edits": [{"adjust": "exposure", "amount": 0.3}, {"adjust": "saturation", "amount": 0.3}]},
    "context and render, subject and background": {
        "edits": [{"adjust": "exposure", "amount": 0.3, "region": "background"}, {"adjust": "warmth", "amount": 0.3}]
    },
    "context and render_full, background blurred": {
        "edits": [{"adjust": "blur", "amount": 0.5, "region": "background"}]
    },
    "restore": {"edits": [{"adjust": "denoise", "amount": 0.5}]},
}
STAGES: Final = ("context", "render", "restore")


def report(models: Mapping[str, Path], photos: Mapping[str, Image.Image], rounds: int) -> str:
    """Return the table: networks alone, then the stages of whole edits as the runtime runs them."""
    photo = next(iter(photos.values()))
    jobs = _networks(models, photo)
    editors = {name: Editor.open(folder) for name, folder in models.items()}
    try:
        for side in SIDES:
            small = jpeg(photo.resize((side, side), Image.Resampling.LANCZOS), side)
            for label, plan in PLANS.items():
                for name, editor in editors.items():
                    request = EditRequest(image=small, plan=plan, output_format="jpeg")
                    jobs[f"{label}, {side} px", name] = _staged(editor, request)
        times = _interleaved(jobs, rounds)
    finally:
        for editor in editors.values():
            editor.close()
    labels = list(dict.fromkeys(label for label, _ in jobs))
    rows = [[label, *(f"{times[label, name]:.1f}" if (label, name) in times else "" for name in models)]
            for label in labels]
    return markdown(["component", *models], rows)


def _networks(models: Mapping[str, Path], photo: Image.Image) -> dict[tuple[str, str], Callable[[], float]]:
    square = np.asarray(photo.resize((256, 256), Image.Resampling.BILINEAR))[None]
    tokens = np.frombuffer(INSTRUCTION.encode(), np.uint8).astype(np.int32)[None]
    feeds = {"text": {"tokens": tokens}, "vision": {"image": square}, "auto": {"image": square}}
    jobs: dict[tuple[str, str], Callable[[], float]] = {}
    for name, folder in models.items():
        artifact = Artifact.open(folder)
        for component, feed in feeds.items():
            described = artifact.manifest.component(component)
            session = ENGINE.open(artifact.path(component), described, threads=Machine.detect().cores)
            jobs[component, name] = _timed(session, feed)
    return jobs


def _timed(session: Session, feed: Mapping[str, np.ndarray]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        session.run(feed)
        return time.perf_counter() - start

    return run


def _staged(editor: Editor, request: EditRequest) -> Callable[[], float]:
    def run() -> float:
        seconds = editor.edit(request).seconds
        return sum(seconds.get(stage, 0.0) for stage in STAGES)

    return run


def _interleaved(jobs: Mapping[tuple[str, str], Callable[[], float]], rounds: int) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of each job; each model is first as often as last, because the first one of a
    component finds the caches full of another's.
    """
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    labels, models = (list(dict.fromkeys(names)) for names in zip(*jobs, strict=True))
    for turn in range(rounds + 2):
        order = itertools.product(labels, models if turn % 2 else reversed(models))
        for key in (key for key in order if key in jobs):
            seconds = jobs[key]()
            if turn >= 2:
                taken[key].append(1000 * seconds)
    return {key: float(np.median(values)) for key, values in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(report({folder.name: folder for folder in options.model or [EMBEDDED]}, photographs(None), options.rounds))


if __name__ == "__main__":
    main()

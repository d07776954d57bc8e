"""How well does the subject mask fit on photographs of people and cats that were held out from training?

    python -m benchmarks.mask_iou --data FOLDER [--artifact DIR ...] [--checkpoint FILE] [--sheet PNG]

IoU at threshold 0.5 and 256 px, against masks drawn by people. --sheet writes photos next to their masks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from benchmarks.table import markdown
from converters.nano_banana.photos import Pixels, held_out_pictures, intersection_over_union
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS, SubjectMask, load
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engines.onnxruntime import ENGINE

Mask = Callable[[Pixels], NDArray[np.float32]]
"""From uint8 (256, 256, 3) to the soft mask float32 (256, 256) in 0..1."""

GROUPS = {"people": "ccp", "cats": "feral_cat"}
OTHERS = ("astronaut", "chelsea", "coffee", "rocket", "camera")
THREADS = 2


def of_checkpoint(checkpoint: Path) -> Mask:
    """Return the float network, in torch."""
    module = SubjectMask(load(checkpoint)).eval()

    def run(photo: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            subject: NDArray[np.float32] = module(torch.from_numpy(photo.copy())[None])[0, 0].numpy()
        return subject

    return run


def of_artifact(folder: Path) -> Mask:
    """Return the artifact's vision component in ONNX Runtime."""
    artifact = Artifact.open(folder)
    component = artifact.manifest.component("vision")
    session = ENGINE.open(artifact.path("vision"), component, threads=THREADS)

    def run(photo: Pixels) -> NDArray[np.float32]:
        return session.run({component.inputs[0].name: photo[None]})["subject"][0, 0]

    return run


def measure(mask: Mask, pictures: Sequence[tuple[str, Pixels]]) -> tuple[float, float, float]:
    """Return mean and lowest-tenth IoU over pictures (name, planes), and the median milliseconds of a mask."""
    scores, seconds = [], []
    for _, planes in pictures:
        photo = np.ascontiguousarray(planes[:3].transpose(1, 2, 0))
        start = time.perf_counter()
        subject = mask(photo)
        seconds.append(time.perf_counter() - start)
        scores.append(intersection_over_union(subject > 0.5, planes[3] > 127))
    return float(np.mean(scores)), float(np.quantile(scores, 0.1)), 1000 * float(np.median(seconds))


def report(models: Mapping[str, Mask], folder: Path) -> str:
    """Return the table of some models on the held-out people and cats in `folder`."""
    rows = []
    for name, group in GROUPS.items():
        pictures = list(held_out_pictures(folder, group, PHOTO_SIDE_PIXELS))
        for model, mask in models.items():
            mean, low, milliseconds = measure(mask, pictures)
            rows.append([model, name, len(pictures), f"{mean:.3f}", f"{low:.3f}", f"{milliseconds:.1f}"])
    return markdown(["model", "photographs", "number", "mean IoU", "10th percentile", "ms"], rows)


def sheet(mask: Mask, photos: Sequence[Pixels], columns: int = 6) -> Image.Image:
    """Return a picture with every photo, its mask, and what the mask keeps on green, side by side."""
    cells = []
    for photo in photos:
        subject = mask(photo)[..., None]
        kept = photo * subject + np.array([0, 200, 0]) * (1 - subject)
        cells.append(np.hstack([photo, np.repeat(subject * 255, 3, 2), kept]).astype(np.uint8))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return Image.fromarray(np.vstack(rows)).reduce(2)


def bundled() -> list[Pixels]:
    """Return photographs of scikit-image, stretched to squares."""
    size = (PHOTO_SIDE_PIXELS, PHOTO_SIDE_PIXELS)
    images = [Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB") for name in OTHERS]
    return [np.asarray(image.resize(size, Image.Resampling.BILINEAR)) for image in images]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with seg/")
    parser.add_argument("--checkpoint", type=Path, help="float weights of a training, runs/vision/vision.safetensors")
    parser.add_argument("--artifact", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--sheet", type=Path, help="write photos and masks of the last model to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    models = {"torch, float": of_checkpoint(options.checkpoint)} if options.checkpoint else {}
    models |= {f"artifact {folder.name}": of_artifact(folder) for folder in options.artifact or [EMBEDDED]}
    print(report(models, options.data))
    if options.sheet:
        shown = [
            planes[:3].transpose(1, 2, 0)
            for group in GROUPS.values()
            for _, planes in list(held_out_pictures(options.data, group, PHOTO_SIDE_PIXELS))[:12]
        ]
        sheet(list(models.values())[-1], [*shown, *bundled()], columns=3).save(options.sheet)


if __name__ == "__main__":
    main()

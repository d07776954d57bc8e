"""How well do the masks fit on photographs that were held out from training?

    python -m benchmarks.mask_iou --data FOLDER [--artifact DIR ...] [--checkpoint FILE] [--sheet PNG]

IoU at threshold 0.5 and 256 px. People, skin and cats are measured against masks drawn by people; other kinds against
the outlines of converters/nano_banana/outlines.py. Skin counts where a photograph shows some. Boundary F is that of
Martin et al. 2004 as DAVIS uses it (Perazzi et al. 2016): edges of the masks match within TOLERANCE_PIXELS.
--sheet writes photos next to their masks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data

from benchmarks.table import markdown
from converters.nano_banana.outlines import HELD_OUT_OF_KIND
from converters.nano_banana.photos import Pixels, held_out_pictures, intersection_over_union
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS, Masks, load
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engines.onnxruntime import ENGINE

SoftMasks = Mapping[str, NDArray[np.float32]]
"""By name, "subject" and possibly "skin": float32 (256, 256) in 0..1."""

Segmenter = Callable[[Pixels], SoftMasks]
"""From uint8 (256, 256, 3) to the soft masks."""

GROUPS = {"people": "ccp", "cats": "feral_cat"}
PLANES = {"subject": 3, "skin": 4}
OTHERS = ("astronaut", "chelsea", "coffee", "rocket", "camera")
THREADS = 2
TOLERANCE_PIXELS = 3
"""0.008 of the diagonal of 256x256 pixels, rounded up, as in DAVIS."""

_PUBLISHED = markdown(
    ["for scale", "parameters", "MB", "input", "published speed", "published mean absolute error", "source"],
    [
        [
            "u2netp (U2-Net†, Apache-2.0)",
            "1.1 M",
            "4.7, float",
            "320x320",
            "40 pictures a second on a GTX 1080 Ti",
            "not found in a source that could be read",
            "Qin et al. 2020, Pattern Recognition 106, abstract; their README",
        ],
        [
            "U2-Net, its large sibling",
            "44 M",
            "176.3, float",
            "320x320",
            "30 pictures a second on the same",
            "0.044 (DUTS-TE), 0.033 (ECSSD), 0.054 (DUT-OMRON)",
            "the same; Papers with Code archive",
        ],
    ],
)


@dataclass(frozen=True)
class Scores:
    """One number a photograph each; milliseconds of a whole call."""

    overlap: list[float]
    boundary: list[float]
    milliseconds: list[float]

    def cells(self) -> list[str]:
        """Return number, mean and lowest-tenth IoU, mean boundary F and median milliseconds."""
        if not self.overlap:
            return ["0", "", "", "", ""]
        low = float(np.quantile(self.overlap, 0.1))
        figures = [f"{np.mean(self.overlap):.3f}", f"{low:.3f}", f"{np.mean(self.boundary):.3f}"]
        return [str(len(self.overlap)), *figures, f"{np.median(self.milliseconds):.1f}"]

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.overlap + other.overlap, self.boundary + other.boundary, self.milliseconds + other.milliseconds
        )


def of_checkpoint(checkpoint: Path) -> Segmenter:
    """Return the float network, in torch."""
    module = Masks(load(checkpoint)).eval()

    def run(photo: Pixels) -> SoftMasks:
        with torch.no_grad():
            subject, skin = module(torch.from_numpy(photo.copy())[None])
        return {"subject": subject[0, 0].numpy(), "skin": skin[0, 0].numpy()}

    return run


def of_artifact(folder: Path) -> Segmenter:
    """Return the artifact's vision component in ONNX Runtime, with the masks that it gives."""
    artifact = Artifact.open(folder)
    component = artifact.manifest.component("vision")
    session = ENGINE.open(artifact.path("vision"), component, threads=THREADS)
    names = [spec.name for spec in component.outputs if spec.name in PLANES]

    def run(photo: Pixels) -> SoftMasks:
        found = session.run({component.inputs[0].name: photo[None]})
        return {name: found[name][0, 0] for name in names}

    return run


def boundary_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: int = TOLERANCE_PIXELS) -> float:
    """Return the harmonic mean of how much of each edge lies within `tolerance` pixels of the other edge.

    The picture's own border is no edge. Two masks without any edge score 1, one without 0.
    """
    edges = [solid & ~ndimage.binary_erosion(solid, border_value=1) for solid in (mask, truth)]
    if not edges[0].any() or not edges[1].any():
        return float(edges[0].any() == edges[1].any())
    near = [ndimage.distance_transform_edt(~edge) <= tolerance for edge in edges]
    precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def measure(segment: Segmenter, pictures: Sequence[tuple[str, Pixels]], mask: str = "subject") -> Scores | None:
    """Return the scores over pictures (name, planes), or None if the model has no such mask.

    For skin, pictures without any are left out.
    """
    scores = Scores([], [], [])
    for _, planes in pictures:
        truth = planes[PLANES[mask]] > 127
        if mask == "skin" and not truth.any():
            continue
        photo = np.ascontiguousarray(planes[:3].transpose(1, 2, 0))
        start = time.perf_counter()
        found = segment(photo)
        seconds = time.perf_counter() - start
        if mask not in found:
            return None
        solid = found[mask] > 0.5
        scores.overlap.append(intersection_over_union(solid, truth))
        scores.boundary.append(boundary_f(solid, truth))
        scores.milliseconds.append(1000 * seconds)
    return scores


def report(models: Mapping[str, Segmenter], folder: Path) -> str:
    """Return the table of some models on the held-out photographs in `folder`, and u2netp's published figures."""
    rows: list[list[object]] = []
    for name, group in GROUPS.items():
        pictures = list(held_out_pictures(folder, group, PHOTO_SIDE_PIXELS))
        rows += _rows(models, pictures, name)
        if name == "people":
            rows += _rows(models, pictures, "their skin", "skin")
    rows += _other_kinds(models, folder)
    header = ["model", "photographs", "number", "mean IoU", "10th percentile", "boundary F", "ms"]
    lead = f"Boundary F: edges within {TOLERANCE_PIXELS} pixels at {PHOTO_SIDE_PIXELS} px."
    return "\n\n".join([lead, markdown(header, rows), _PUBLISHED])


def _rows(
    models: Mapping[str, Segmenter], pictures: Sequence[tuple[str, Pixels]], name: str, mask: str = "subject"
) -> list[list[object]]:
    rows: list[list[object]] = []
    for model, segment in models.items():
        scores = measure(segment, pictures, mask)
        rows.append([model, name, *(scores.cells() if scores else ["", f"gives no {mask} mask", "", "", ""])])
    return rows


def _other_kinds(models: Mapping[str, Segmenter], folder: Path) -> list[list[object]]:
    """Return a row for each kind and model, and one for all kinds together."""
    kinds = {kind: list(held_out_pictures(folder, kind, PHOTO_SIDE_PIXELS)) for kind in HELD_OUT_OF_KIND}
    rows: list[list[object]] = []
    for model, segment in models.items():
        total = Scores([], [], [])
        for kind, pictures in kinds.items():
            scores = measure(segment, pictures) or Scores([], [], [])
            rows.append([model, f"other: {kind}", *scores.cells()])
            total += scores
        rows.append([model, "other kinds, all", *total.cells()])
    return rows


def sheet(segment: Segmenter, photos: Sequence[Pixels], columns: int = 6) -> Image.Image:
    """Return a picture with every photo, its subject mask, and what the mask keeps on green, side by side."""
    cells = []
    for photo in photos:
        subject = segment(photo)["subject"][..., None]
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
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and seg/")
    parser.add_argument("--checkpoint", type=Path, help="float weights of a training, runs/vision/vision.safetensors")
    parser.add_argument("--artifact", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--sheet", type=Path, help="write photos and masks of the last model to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a second thread waits for the first wherever the cores are shared
    models = {"torch, float": of_checkpoint(options.checkpoint)} if options.checkpoint else {}
    models |= {f"artifact {folder.name}": of_artifact(folder) for folder in options.artifact or [EMBEDDED]}
    print(report(models, options.data))
    if options.sheet:
        shown = [
            planes[:3].transpose(1, 2, 0)
            for group in (*GROUPS.values(), *HELD_OUT_OF_KIND)
            for _, planes in list(held_out_pictures(options.data, group, PHOTO_SIDE_PIXELS))[:12]
        ]
        sheet(list(models.values())[-1], [*shown, *bundled()], columns=3).save(options.sheet)


if __name__ == "__main__":
    main()

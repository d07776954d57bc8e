"""How well are subjects cut out of held-out photographs, at the size that a user gets?

    python -m benchmarks.cut_outs --data FOLDER [--artifact DIR ...] [--side 512]

"remove the background" is carried out and the opacity of what comes back compared with masks drawn by people, and for
other kinds with the outlines of converters/nano_banana/outlines.py. Mean error is that of the opacity, 0..1; IoU and
boundary F (see benchmarks.mask_iou) are at opacity 0.5. Those masks are hard, so what is soft and right, like hair,
counts as an error too: compare models, not with zero.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.mask_iou import GROUPS, boundary_f
from benchmarks.table import markdown
from converters.nano_banana.outlines import HELD_OUT_OF_KIND, drawn
from converters.nano_banana.photos import Labelled, held_out, intersection_over_union
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.request import EditRequest

INSTRUCTION = "remove the background"
SIDE_PIXELS = 512
TOLERANCE_SHARE = 0.004
"""Of the diagonal: edges nearer than that match. Half of what masks of 256 px are allowed, and at least 2 pixels."""


@dataclass
class Errors:
    """One number a photograph each."""

    mean: list[float] = field(default_factory=list)
    overlap: list[float] = field(default_factory=list)
    boundary: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Return the number of photographs, mean error, mean IoU and mean boundary F."""
        return [str(len(self.mean)), f"{np.mean(self.mean):.4f}", *(
            f"{np.mean(values):.3f}" for values in (self.overlap, self.boundary)
        )]


def report(artifacts: Mapping[str, Path], data: Path, side: int = SIDE_PIXELS) -> str:
    """Return the table of some artifacts on the held-out photographs in `data`."""
    others = [item for kind in HELD_OUT_OF_KIND for item in held_out(data, kind)]
    groups = {**{name: held_out(data, group) for name, group in GROUPS.items()}, "other kinds": others}
    rows: list[list[object]] = []
    for model, folder in artifacts.items():
        with Editor.open(folder) as editor:
            for name, items in groups.items():
                rows.append([model, name, *(measured(editor, items, side).cells() if items else ["0", "", "", ""])])
    return markdown(["model", "photographs", "number", "mean error", "IoU", "boundary F"], rows)


def measured(editor: Editor, items: Sequence[Labelled], side: int) -> Errors:
    """Return the errors of the opacity that "remove the background" leaves."""
    errors = Errors()
    for item in items:
        with Image.open(item.photo) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
        photo.thumbnail((side, side))
        written = io.BytesIO()
        photo.save(written, "PNG")
        request = EditRequest(image=written.getvalue(), instruction=INSTRUCTION, output_format="png")
        with Image.open(io.BytesIO(editor.edit(request).image)) as result:
            opacity = np.asarray(result.convert("RGBA").getchannel("A"), np.float32) / 255
        truth = subject_of(item, photo.size) > 127
        tolerance = max(2, round(TOLERANCE_SHARE * float(np.hypot(*truth.shape))))
        errors.mean.append(float(np.abs(opacity - truth).mean()))
        errors.overlap.append(intersection_over_union(opacity > 0.5, truth))
        errors.boundary.append(boundary_f(opacity > 0.5, truth, tolerance))
    return errors


def subject_of(item: Labelled, size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return the mask of a photograph, uint8 (height, width) for size (width, height)."""
    if item.outline is not None:
        mask = Image.fromarray(drawn(item.outline.polygons, max(size)))
    else:
        assert item.mask is not None, "held-out photographs have a mask or an outline"
        with Image.open(item.mask) as file:
            mask = file.convert("L")
    return np.asarray(mask.resize(size, Image.Resampling.BILINEAR))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and seg/")
    parser.add_argument("--artifact", type=Path, action="append", help="artifact folder; default: the embedded one")
    parser.add_argument("--side", type=int, default=SIDE_PIXELS, help="pixels of the long side, at most")
    options = parser.parse_args()
    artifacts = {folder.name: folder for folder in options.artifact or [EMBEDDED]}
    print(report(artifacts, options.data, options.side))


if __name__ == "__main__":
    main()

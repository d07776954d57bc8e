"""Makes photo_outlines.json: masks of two teachers, corrected by hand as outline_choices.json says, as polygons.

    pip install ai-edge-litert
    python -m converters.nano_banana.pseudo_labels --data FOLDER --selfie-model selfie_segmentation.tflite \\
        --weights vision.safetensors

The model is in the wheel of mediapipe 0.10.14 (Google, Apache-2.0) under mediapipe/modules/selfie_segmentation; the
weights are those of the network trained without outlines and, for later choices, of the one trained with the outlines
before; another network gives slightly other outlines, so those that the file has already stay. Somebody looked at each
photograph under both teachers' masks and wrote down what to take: a teacher, what to add, to drop, and what to keep
within. Photographs for which nothing looked right are not in the file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.measure import approximate_polygon, find_contours
from skimage.segmentation import random_walker
from torch.nn import functional

from converters.nano_banana.outlines import drawn
from converters.nano_banana.photos import Pixels, read_colour
from converters.nano_banana.vision import SubjectNet, load

Polygons = tuple[tuple[int, ...], ...]
"""x, y, x, y, ... in thousandths of width and height."""

Solid = NDArray[np.bool_]
SIDE_PIXELS: Final = 256
_CHOICES: Final = Path(__file__).with_name("outline_choices.json")
_OUTLINES: Final = Path(__file__).with_name("photo_outlines.json")
_SELF_SIDES: Final = (192, 256, 320)
_ABOUT: Final = "Made by pseudo_labels from outline_choices.json; what it holds is told in outlines."


@dataclass(frozen=True)
class Choice:
    """What was decided for a photograph by eye.

    teacher: "mediapipe", "self", "mean", "union" or "hand" (no teacher, all is in `add`). band_pixels: how far an
    edge drawn by hand may move, at 256 px. later: see outlines.Outlined.
    """

    kind: str
    teacher: str
    inside: Polygons = ()
    add: Polygons = ()
    drop: Polygons = ()
    band_pixels: int = 4
    later: bool = False

    @property
    def source(self) -> str:
        """How outlines.py names where this outline comes from."""
        if self.teacher == "hand":
            return "hand"
        teacher = "mediapipe+self" if self.teacher in ("mean", "union") else self.teacher
        return f"{teacher}+hand" if self.inside or self.add or self.drop else teacher


def choices(path: Path = _CHOICES) -> dict[str, Choice]:
    """Return the decisions by the photographs' names without suffix."""
    entries: dict[str, dict[str, Any]] = json.loads(path.read_text())["pictures"]
    return {name: _choice(entry) for name, entry in entries.items()}


def _choice(entry: dict[str, Any]) -> Choice:
    polygons: dict[str, Polygons] = {key: tuple(map(tuple, entry.get(key, ()))) for key in ("inside", "add", "drop")}
    band_pixels, later = entry.get("band_pixels", Choice.band_pixels), entry.get("later", Choice.later)
    return Choice(entry["kind"], entry["teacher"], **polygons, band_pixels=band_pixels, later=later)


def selfie_masks(model: Path) -> Callable[[Pixels], NDArray[np.float64]]:
    """Return MediaPipe's selfie segmentation as a function from uint8 (256, 256, 3) to a mask (256, 256) in 0..1."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    photo_at, mask_at = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def once(photo: Pixels) -> NDArray[np.float64]:
        interpreter.set_tensor(photo_at, photo[None].astype(np.float32) / 255)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(mask_at)[0, ..., 0], np.float64)

    return lambda photo: (once(photo) + once(photo[:, ::-1])[:, ::-1]) / 2


@torch.no_grad()
def self_mask(net: SubjectNet, photo: Pixels) -> NDArray[np.float64]:
    """Return our own network's mask (256, 256) in 0..1, averaged over three sizes and mirroring."""
    whole = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
    masks = []
    for side in _SELF_SIDES:
        sized = functional.interpolate(whole, (side, side), mode="bilinear", antialias=True)
        plain, mirrored = torch.sigmoid(net(torch.cat([sized, sized.flip(3)]))[:, :1])
        both = torch.stack([plain, mirrored.flip(2)])
        masks.append(functional.interpolate(both, (SIDE_PIXELS, SIDE_PIXELS), mode="bilinear"))
    return np.asarray(torch.cat(masks).mean((0, 1)).numpy(), np.float64)


def tidied(mask: Solid) -> Solid:
    """Return the mask without parts under a twentieth of the largest, and with its small holes filled."""
    parts, _ = ndimage.label(mask)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept: Solid = np.isin(parts, np.flatnonzero(areas > 0.05 * areas.max()))
    holes, _ = ndimage.label(~kept)
    small = np.flatnonzero(np.bincount(holes.ravel()) < 0.02 * kept.sum())
    filled: Solid = kept | np.isin(holes, small[small > 0])
    return filled


def pulled_to_edges(mask: Solid, photo: Pixels, band_pixels: int) -> Solid:
    """Return the mask with its edge moved by up to band_pixels to where the colours change (random walker)."""
    seeds = np.zeros(mask.shape, np.int32)
    seeds[ndimage.binary_erosion(mask, iterations=band_pixels)] = 1
    seeds[~ndimage.binary_dilation(mask, iterations=band_pixels)] = 2
    if not {1, 2} <= set(np.unique(seeds).tolist()):
        return mask
    walked: Solid = (
        random_walker(rgb2lab(photo) / 100, seeds, beta=300, mode="cg_j", prob_tol=0.1, channel_axis=-1) == 1
    )
    return walked


def decided(choice: Choice, photo: Pixels, selfie: NDArray[np.float64], own: NDArray[np.float64]) -> Solid:
    """Return the mask bool (256, 256) that a choice makes of both teachers' masks."""
    teachers = {"mediapipe": selfie, "self": own, "mean": (selfie + own) / 2, "union": np.maximum(selfie, own)}
    mask: Solid = teachers.get(choice.teacher, np.zeros_like(own)) > 0.5
    if choice.inside:
        mask = mask & _covered(choice.inside)
    mask = tidied((mask | _covered(choice.add)) & ~_covered(choice.drop))
    if choice.add or choice.drop:
        mask = tidied(pulled_to_edges(mask, photo, choice.band_pixels))
    return mask


def _covered(polygons: Polygons) -> Solid:
    """Return what any of the polygons covers, bool (256, 256)."""
    layers = [drawn((polygon,), SIDE_PIXELS) > 127 for polygon in polygons]
    covered: Solid = np.any(layers, axis=0) if layers else np.zeros((SIDE_PIXELS, SIDE_PIXELS), bool)
    return covered


def polygons_of(mask: Solid) -> list[list[int]]:
    """Return the mask's outlines, simplified to 0.6 pixels; see outlines.Outlined for the numbers."""
    found = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float64), 0.5):  # type: ignore[no-untyped-call]
        corners = approximate_polygon(contour, 0.6)[:-1]  # type: ignore[no-untyped-call]
        if len(corners) > 2:
            places = np.round((corners[:, ::-1] - 0.5) / len(mask) * 1000)
            found.append(np.clip(places, 0, 1000).astype(int).ravel().tolist())
    return found


def main() -> None:
    """Write the outlines of all chosen photographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--selfie-model", type=Path, required=True, help="selfie_segmentation.tflite")
    parser.add_argument("--weights", type=Path, required=True, help="our network's weights, safetensors")
    parser.add_argument("--out", type=Path, default=_OUTLINES)
    options = parser.parse_args()
    selfie, net = selfie_masks(options.selfie_model), load(options.weights)
    known = json.loads(options.out.read_text())["pictures"] if options.out.exists() else {}
    lines = []
    for name, choice in sorted(choices().items()):
        if name not in known:
            photo = read_colour(options.data / "photos" / f"{name}.jpg", SIDE_PIXELS)
            mask = decided(choice, photo, selfie(photo), self_mask(net, photo))
            later = {"later": True} if choice.later else {}
            known[name] = {"kind": choice.kind, "source": choice.source, **later, "outlines": polygons_of(mask)}
        lines.append(f"  {json.dumps(name)}: {json.dumps(known[name], separators=(',', ':'))}")
    text = ",\n".join(lines)
    options.out.write_text(f'{{\n "_about": {json.dumps(_ABOUT)},\n "pictures": {{\n{text}\n }}\n}}\n')


if __name__ == "__main__":
    main()

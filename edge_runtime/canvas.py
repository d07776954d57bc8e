"""What happens to a whole picture at once: turning, mirroring, cropping, borders, blocks, enlarging, blending.

Every platform has these operations (Pillow here, Canvas, CoreGraphics or Bitmap elsewhere), so they are no graphs. What
each amount means is written once more in the artifact's vocabulary. All arrays are uint8 (height, width, 4): RGBA,
straight alpha; masks are float32 (height, width), 0..1. Results are new arrays, never views of the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_runtime.plan import Edit

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The numbers of an artifact's settings that say how much an amount of 1 does.

    `frame` is the border's width as a share of the short side; `block_least` and `block_most` are the side of a
    pixelated block at the amounts 0 and 1 as shares of the long side; a block counts as masked where `block_covered`
    of it is; `subject_margin` of the subject's sides are left around it at the amount 0.
    """

    frame: float
    block_least: float
    block_most: float
    block_covered: float
    subject_margin: float


def turn(pixels: Pixels, amount: float) -> Pixels:
    """Turn clockwise by `amount` half turns, -1..1, rounded to quarter turns."""
    return np.ascontiguousarray(np.rot90(pixels, -round(2 * amount)))


def mirror(pixels: Pixels, *, horizontal: bool) -> Pixels:
    """Mirror left to right, or top to bottom."""
    return np.ascontiguousarray(pixels[:, ::-1] if horizontal else pixels[::-1])


def crop_middle(pixels: Pixels, amount: float) -> Pixels:
    """Cut `amount`/2 of the width and of the height away, half of it on each side; at least one pixel is left."""
    height, width = pixels.shape[:2]
    rows, columns = (min(int(side * amount / 4), (side - 1) // 2) for side in (height, width))
    return pixels[rows : height - rows, columns : width - columns].copy()


def crop_around(pixels: Pixels, mask: Mask, amount: float, shares: Shares) -> Pixels | None:
    """Cut to the box around a mask of any size, with less margin the larger the amount. None for an empty mask."""
    height, width = pixels.shape[:2]
    bounds = []
    for axis, side in ((1, height), (0, width)):
        covered = np.flatnonzero((mask > 0.5).any(axis))
        if not covered.size:
            return None
        first, last = covered[0] / mask.shape[1 - axis], (covered[-1] + 1) / mask.shape[1 - axis]
        margin = shares.subject_margin * (1 - amount) * (last - first)
        bounds.append(slice(int(max(0, first - margin) * side), int(np.ceil(min(1, last + margin) * side))))
    return pixels[bounds[0], bounds[1]].copy()


def frame(pixels: Pixels, amount: float, color: str, shares: Shares) -> Pixels:
    """Paint a border over the edge; `color` is `#rrggbb`."""
    result = pixels.copy()
    width = max(1, round(shares.frame * amount * min(pixels.shape[:2])))
    paint = np.array([*(int(color[i : i + 2], 16) for i in (1, 3, 5)), 255], np.uint8)
    for edge in (result[:width], result[-width:], result[:, :width], result[:, -width:]):
        edge[...] = paint
    return result


def pixelate(pixels: Pixels, amount: float, shares: Shares, mask: Mask | None = None) -> Pixels:
    """Square blocks of one colour; with a mask only blocks that it covers enough of."""
    height, width = pixels.shape[:2]
    share = shares.block_least + (shares.block_most - shares.block_least) * amount
    block = max(2, round(share * max(height, width)))
    grid = (max(1, -(-width // block)), max(1, -(-height // block)))
    box = (0, 0, grid[0] * block, grid[1] * block)
    padded = np.pad(pixels, ((0, box[3] - height), (0, box[2] - width), (0, 0)), mode="edge")
    coarse = np.asarray(Image.fromarray(padded).resize(grid, Image.Resampling.BOX))
    blocks = coarse.repeat(block, 0).repeat(block, 1)[:height, :width]
    if mask is None:
        return np.ascontiguousarray(blocks)
    covered = np.asarray(Image.fromarray(mask).resize(grid, Image.Resampling.BOX)) > shares.block_covered
    chosen = covered.repeat(block, 0).repeat(block, 1)[:height, :width]
    return np.where(chosen[..., None], blocks, pixels)


def enlarge(pixels: Pixels, factor: int = 2) -> Pixels:
    """Bicubic enlargement by a whole factor."""
    height, width = pixels.shape[:2]
    # Pillow premultiplies RGBA itself, so the hidden colours of transparent pixels don't bleed
    picture = Image.fromarray(pixels).resize((factor * width, factor * height), Image.Resampling.BICUBIC)
    return np.array(picture)


def blend(below: Pixels, above: Pixels, mask: Mask) -> Pixels:
    """`above` where the mask is 1, `below` where it is 0; a mask of another size is enlarged smoothly."""
    height, width = below.shape[:2]
    if mask.shape != (height, width):
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))
    result = np.empty_like(below)
    step = max(1, (1 << 18) // width)  # in strips: float copies of a whole 24-megapixel photo would take 800 MB
    for top in range(0, height, step):
        rows = slice(top, top + step)
        share = mask[rows, :, None]
        mixed = below[rows] * (1.0 - share) + above[rows] * share
        result[rows] = np.floor(mixed + 0.5).astype(np.uint8)
    return result


def placed(pixels: Pixels, edits: Sequence[Edit], masks: Mapping[str, Mask], shares: Shares) -> Pixels:
    """Operations on the whole canvas in a fixed order; masks fit the picture until it is cropped or turned."""
    by_name: dict[str, list[Edit]] = {}
    for edit in edits:
        by_name.setdefault(edit.adjust, []).append(edit)
    for edit in by_name.get("pixelate", ()):
        pixels = pixelate(pixels, edit.amount, shares, masks.get(edit.region))
    for edit in sorted(by_name.get("crop", ()), key=lambda edit: edit.region != "subject"):
        around = edit.region == "subject"
        cropped = crop_around(pixels, masks["subject"], edit.amount, shares) if around else None
        if edit.region == "all":
            cropped = crop_middle(pixels, edit.amount)
        pixels = pixels if cropped is None else cropped
    for edit in by_name.get("rotate", ()):
        pixels = turn(pixels, edit.amount)
    for name in ("flip_horizontal", "flip_vertical"):
        if any(edit.amount > 0.5 for edit in by_name.get(name, ())):
            pixels = mirror(pixels, horizontal=name == "flip_horizontal")
    for edit in by_name.get("frame", ()):
        pixels = frame(pixels, edit.amount, edit.color or "#ffffff", shares)
    return pixels

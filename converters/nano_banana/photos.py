"""Labelled photographs for the vision network: which there are, which are held out, and their decoded pixels.

Everything is read from a data folder, which has `photos/` and `seg/`; nothing of it is copied into the project. The
names in photo_choices.json were chosen by eye, outlines are in outlines. Augmentation is in augmentation, training in
train_vision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

from converters.nano_banana.outlines import Outlined, drawn, outlined, split_outlined

Pixels = NDArray[np.uint8]
HELD_OUT: Final = {"ccp": 100, "feral_cat": 35}
SIDE_PIXELS: Final = 288
_SKIN_LABEL: Final = 41
_DUPLICATE_CORRELATION: Final = 0.8
_PLAIN_SIDE: Final = 256
_MIN_STRIP: Final = 0.3
_CHOICES: Final = Path(__file__).with_name("photo_choices.json")


@dataclass(frozen=True)
class Labelled:
    """A photograph and where its mask comes from: a file, an outline, or else a cut from its plain ground."""

    group: str
    photo: Path
    mask: Path | None = None
    labels: Path | None = None
    outline: Outlined | None = None


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures stretched to squares, five planes each: red, green, blue, subject, skin.

    pixels: uint8 (pictures, 5, SIDE_PIXELS, SIDE_PIXELS). groups: one name a picture; "background" and "street" have
    empty masks.
    """

    pixels: Pixels
    groups: tuple[str, ...]


def listed(data: Path, group: str) -> list[Labelled]:
    """Return the labelled photographs of seg/<group>, sorted by name."""
    folder = data / "seg" / group
    found = []
    for photo in sorted((folder / "images").glob("*.jpg")):
        mask, labels = (folder / kind / f"{photo.stem}.png" for kind in ("masks", "labels"))
        found.append(Labelled(group, photo, mask, labels if labels.exists() else None))
    return found


def split(items: list[Labelled], count: int) -> tuple[list[Labelled], list[Labelled]]:
    """Return training and held-out photographs: the `count` names with the lowest SHA-256 are held out.

    Photographs that look like a held-out one, mirrored or not, are in neither list.
    """
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.photo.name.encode()).hexdigest())
    held_out, rest = ranked[:count], ranked[count:]
    if not held_out:
        return rest, held_out
    known = np.stack([_thumbnail(item.photo, mirror) for item in held_out for mirror in (False, True)])
    fresh = [item for item in rest if (known @ _thumbnail(item.photo)).max() < _DUPLICATE_CORRELATION]
    return fresh, held_out


def _thumbnail(photo: Path, mirror: bool = False) -> NDArray[np.float64]:
    """Return a grey 16x16 picture as a vector of zero mean and unit length, so that products are correlations."""
    with Image.open(photo) as image:
        grey = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float64)
    centred = (grey[:, ::-1] if mirror else grey).ravel() - grey.mean()
    unit: NDArray[np.float64] = centred / (np.linalg.norm(centred) + 1e-6)
    return unit


def decode(item: Labelled, side: int) -> Pixels:
    """Return the planes uint8 (5, side, side): red, green, blue, subject, skin."""
    colour = read_colour(item.photo, side)
    if item.outline is not None:
        subject = drawn(item.outline.polygons, side)
    elif item.mask is None:
        cut = Image.fromarray(cut_from_plain_ground(item.photo))
        subject = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))
    else:
        subject = _read_grey(item.mask, side)
    skin = np.zeros_like(subject)
    if item.labels is not None:
        with Image.open(item.labels) as image:
            chosen = Image.fromarray((np.asarray(image) == _SKIN_LABEL).astype(np.uint8) * 255)
        skin = np.asarray(chosen.resize((side, side), Image.Resampling.BILINEAR))
    return np.concatenate([colour.transpose(2, 0, 1), subject[None], skin[None]])


def read_colour(path: Path, side: int) -> Pixels:
    """Return uint8 (side, side, 3) RGB, the photograph stretched to a square."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _read_grey(path: Path, side: int) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR))


def cut_from_plain_ground(path: Path) -> Pixels:
    """Return a soft mask uint8 (256, 256) of what differs from the ground around the edge of a photograph."""
    lab = ndimage.gaussian_filter(rgb2lab(read_colour(path, _PLAIN_SIDE)), (1, 1, 0))
    border = np.ones((_PLAIN_SIDE, _PLAIN_SIDE), bool)
    border[10:-10, 10:-10] = False
    distance = np.linalg.norm((lab - _smooth_ground(lab, border)) * (0.7, 1.2, 1.2), axis=2)
    threshold = max(8.0, 3 * float(np.median(distance[border])))
    thing = ndimage.binary_opening(distance > threshold, iterations=2)
    ground, _ = ndimage.label(~thing)
    outside = np.unique(ground[border])
    parts, _ = ndimage.label(~np.isin(ground, outside[outside > 0]))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = np.isin(parts, np.flatnonzero(areas > 0.08 * areas.max()))
    kept = ndimage.binary_erosion(ndimage.binary_closing(kept, iterations=2))
    return np.asarray(ndimage.gaussian_filter(kept * 255.0, 0.8), np.uint8)


def _smooth_ground(lab: NDArray[np.float64], border: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the ground's colour everywhere: a quadratic fitted to the border, leaving out what stands on it."""
    y, x = np.mgrid[-1 : 1 : border.shape[0] * 1j, -1 : 1 : border.shape[1] * 1j]
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    rows, colours = basis[border], lab[border]
    weights = np.ones(len(rows))
    solution: NDArray[np.float64] = np.zeros((6, 3))
    for _ in range(6):
        fit = np.linalg.lstsq(rows * weights[:, None], colours * weights[:, None], rcond=None)
        solution = np.asarray(fit[0], np.float64)
        residual = np.linalg.norm(colours - rows @ solution, axis=1)
        weights = (residual < max(4.0, 2 * float(np.median(residual)))).astype(np.float64)
    fitted: NDArray[np.float64] = basis @ solution
    return fitted


def beside_the_subject(planes: Pixels) -> Pixels | None:
    """Return the wider free strip left or right of the subject as planes without a mask, or None if it is narrow."""
    side = planes.shape[2]
    columns = np.flatnonzero((planes[3] > 8).any(0))
    if not len(columns):
        return None
    left, right = int(columns[0]), side - 1 - int(columns[-1])
    if max(left, right) < _MIN_STRIP * side:
        return None
    strip = planes[:3, :, :left] if left > right else planes[:3, :, side - right :]
    wide = Image.fromarray(strip.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BILINEAR)
    return np.concatenate([np.asarray(wide).transpose(2, 0, 1), np.zeros((2, side, side), np.uint8)])


def training_pictures(data: Path, side: int = SIDE_PIXELS) -> Pictures:
    """Return all training photographs with masks, and backgrounds with empty masks."""
    choices = json.loads(_CHOICES.read_text())
    items = [item for group in HELD_OUT for item in split(listed(data, group), HELD_OUT[group])[0]]
    items += listed(data, "dali_pixelwise")
    items += [Labelled("plain_ground", data / "photos" / f"{name}.jpg") for name in choices["plain_ground"]]
    items += other_kinds(data)[0]
    planes = [decode(item, side) for item in items]
    groups = [item.group for item in items]
    streets = (beside_the_subject(p) for p, g in zip(planes, groups, strict=True) if g == "ccp")
    grounds = [street for street in streets if street is not None]
    names = ["street"] * len(grounds) + ["background"] * len(choices["backgrounds"])
    for name in choices["backgrounds"]:
        colour = read_colour(data / "photos" / f"{name}.jpg", side).transpose(2, 0, 1)
        grounds.append(np.concatenate([colour, np.zeros((2, side, side), np.uint8)]))
    return Pictures(np.stack(planes + grounds), (*groups, *names))


def cached_training_pictures(data: Path, cache: Path) -> Pictures:
    """Return training_pictures(data), kept in the file `cache` after the first call."""
    if not cache.exists():
        pictures = training_pictures(data)
        partial = cache.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, pixels=pictures.pixels, groups=np.array(pictures.groups))
        partial.replace(cache)
    with np.load(cache) as stored:
        return Pictures(stored["pixels"], tuple(str(group) for group in stored["groups"]))


def other_kinds(data: Path) -> tuple[list[Labelled], list[Labelled]]:
    """Return training and held-out photographs of other kinds; their group is the kind. None without photos/."""
    if not (data / "photos").is_dir():
        return [], []
    training, held_out = (
        [Labelled(item.kind, data / "photos" / f"{item.name}.jpg", outline=item) for item in part]
        for part in split_outlined(outlined())
    )
    return training, held_out


def held_out_pictures(data: Path, group: str, side: int) -> Iterator[tuple[str, Pixels]]:
    """Yield name and planes uint8 (5, side, side) of each held-out photograph of a group or of another kind."""
    for item in held_out(data, group):
        yield item.photo.name, decode(item, side)


def held_out(data: Path, group: str) -> list[Labelled]:
    """Return the held-out photographs of a group or of another kind."""
    if group in HELD_OUT:
        return split(listed(data, group), HELD_OUT[group])[1]
    return [item for item in other_kinds(data)[1] if item.group == group]


def intersection_over_union(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return shared area over joint area, 1 for two empty masks."""
    joint = int((mask | truth).sum())
    return int((mask & truth).sum()) / joint if joint else 1.0

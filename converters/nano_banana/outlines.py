"""Outlined photographs: portraits, groups, animals, objects, vehicles, and as later ones pedestrians and garments.

photo_outlines.json holds names of photographs and polygons, no pixels. Each outline says its source. "mediapipe": the
selfie segmentation model of MediaPipe 0.10.14 (Google, Apache-2.0, from its wheel on PyPI). "self": our own network,
as it was then, averaged over sizes and mirroring. "hand": a rough polygon drawn for this project, pulled to
the edges by a random walker (Grady 2006). Two joined by "+" were united, averaged, or one corrected by the other. Every
outline was looked at, and those that looked wrong left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

HELD_OUT_OF_KIND: Final = {"portrait": 8, "person": 3, "group": 3, "animal": 12, "object": 11, "vehicle": 3}
_FILE: Final = Path(__file__).with_name("photo_outlines.json")
_FINER: Final = 3
_SELF_LABELS: Final = frozenset({"self", "mediapipe+self"})


@dataclass(frozen=True)
class Outlined:
    """A photograph's name without suffix, and the polygons around its subject.

    polygons: x, y, x, y, ... in thousandths of the photograph's width and height. later: it came after photographs had
    been held out.
    """

    name: str
    kind: str
    source: str
    polygons: tuple[tuple[int, ...], ...]
    later: bool = False


@cache
def outlined() -> tuple[Outlined, ...]:
    """Return all outlined photographs, sorted by name."""
    pictures = json.loads(_FILE.read_text())["pictures"]
    return tuple(
        Outlined(name, entry["kind"], entry["source"], tuple(map(tuple, entry["outlines"])), entry.get("later", False))
        for name, entry in sorted(pictures.items())
    )


def split_outlined(
    items: tuple[Outlined, ...], counts: Mapping[str, int] = HELD_OUT_OF_KIND
) -> tuple[list[Outlined], list[Outlined]]:
    """Return training and held-out photographs: of each kind the names with the lowest SHA-256 are held out.

    Outlines to which only a network's mask of our own led are never held out: they would measure us by ourselves. Nor
    are later ones, so that figures stay comparable.
    """
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).hexdigest())
    fair = [item for item in ranked if item.source not in _SELF_LABELS and not item.later]
    held_out = [item for kind, count in counts.items() for item in [fit for fit in fair if fit.kind == kind][:count]]
    return [item for item in items if item not in held_out], held_out


def drawn(polygons: tuple[tuple[int, ...], ...], side: int) -> NDArray[np.uint8]:
    """Return the soft mask uint8 (side, side) of the polygons, stretched to a square."""
    inside = np.zeros((side * _FINER, side * _FINER), bool)
    for polygon in polygons:
        layer = Image.new("1", (side * _FINER, side * _FINER))
        ImageDraw.Draw(layer).polygon([place / 1000 * side * _FINER for place in polygon], fill=1)
        inside ^= np.asarray(layer)
    cells = inside.reshape(side, _FINER, side, _FINER).mean((1, 3))
    return np.asarray(cells * 255, np.uint8)

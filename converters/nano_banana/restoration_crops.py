"""Photographs for the restoration network: which are held out, and seeded batches of crops of the others.

Nothing of the data folder is copied into the project. What happens to a crop is drawn in damage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from converters.nano_banana.damage import MARGIN_PIXELS, Pixels, spoil
from converters.nano_banana.photos import Labelled, split

Batch = tuple[Tensor, Tensor, Tensor]
"""Damaged, told strengths, clean, as `Crops.batch` describes them."""

HELD_OUT: Final = 24
_PLAIN_PREFIX: Final = "cloth-"
_FULL_SIZE_SHARE: Final = 0.35
_CALM_SHARE: Final = 0.12
_CALMEST_OF: Final = 4


def photographs(data: Path) -> tuple[list[Path], list[Path]]:
    """Return training and held-out photographs of photos/; look-alikes of the held-out ones are in neither.

    Photographs of one garment on plain ground are never held out, because they measure little.
    """
    found = [Labelled("photo", path) for path in sorted((data / "photos").glob("*.jpg"))]
    varied = [item for item in found if not item.photo.name.startswith(_PLAIN_PREFIX)]
    rest, held_out = split(varied, min(HELD_OUT, len(varied) // 2))
    plain = [item for item in found if item.photo.name.startswith(_PLAIN_PREFIX)]
    return [item.photo for item in rest + plain], [item.photo for item in held_out]


def decode(path: Path) -> Pixels:
    """Return uint8 (height, width, 3) RGB."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share_of(path: Path) -> float:
    """Return how often a photograph is drawn, relative to others; a garment on plain ground teaches little."""
    return 0.3 if path.name.startswith(_PLAIN_PREFIX) else 1.0


def _tensors(*arrays: NDArray[Any]) -> Batch:
    damaged, told, clean = (torch.from_numpy(array) for array in arrays)
    return damaged, told, clean


class Crops:
    """Seeded batches of damaged and clean crops of decoded photographs, each drawn by its share."""

    def __init__(self, photos: list[Pixels], shares: list[float], seed: int) -> None:
        self.photos = photos
        self.shares = np.array(shares) / sum(shares)
        self.random = np.random.default_rng(seed)

    def batch(self, count: int, side: int) -> Batch:
        """Return damaged uint8 (count, 3, side, side), strengths, clean like damaged."""
        drawn = [spoil(self._crop(side + MARGIN_PIXELS), self.random) for _ in range(count)]
        damaged, told, clean = (np.stack(parts) for parts in zip(*drawn, strict=True))
        damaged, clean = (np.ascontiguousarray(part.transpose(0, 3, 1, 2)) for part in (damaged, clean))
        return _tensors(damaged, told, clean)

    def _crop(self, side: int) -> Pixels:
        """Return a crop; of some the calmest, as photographs hold more sky and wall than crops with detail teach."""
        count = _CALMEST_OF if self.random.random() < _CALM_SHARE else 1
        crops = [self._any_crop(side) for _ in range(count)]
        return min(crops, key=lambda crop: float(crop[::4, ::4].std()))

    def _any_crop(self, side: int) -> Pixels:
        """Return a crop uint8 (side, side, 3), mostly of a shrunk photo, which has lost the traces of its own JPEG."""
        photo = self.photos[self.random.choice(len(self.photos), p=self.shares)]
        factor = 1.0 if self.random.random() < _FULL_SIZE_SHARE else self.random.uniform(0.55, 0.95)
        factor = max(factor, side / min(photo.shape[:2]))
        reach = side / factor
        left, top = (self.random.uniform(0, size - reach) for size in (photo.shape[1], photo.shape[0]))
        if factor == 1.0:
            crop = photo[int(top) : int(top) + side, int(left) : int(left) + side]
        else:
            box = (int(left), int(top), math.ceil(left + reach), math.ceil(top + reach))
            part = Image.fromarray(photo[box[1] : box[3], box[0] : box[2]])
            crop = np.asarray(part.resize((side, side), Image.Resampling.LANCZOS))
        return self._changed(crop)

    def _changed(self, crop: Pixels) -> Pixels:
        """Turn and mirror; in half of the crops another exposure, in some another order of the channels."""
        crop = np.rot90(crop, int(self.random.integers(4)))
        if self.random.random() < 0.5:
            crop = crop[:, ::-1]
        if self.random.random() < 0.2:
            crop = crop[..., self.random.permutation(3)]
        if self.random.random() < 0.35:
            exposed = crop * np.float32(self.random.uniform(0.65, 1.15))
            crop = np.clip(np.rint(exposed), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(crop)


class Batches(IterableDataset[Batch]):
    """Endless batches of Crops; `side` may change while a worker makes them."""

    def __init__(self, crops: Crops, count: int, side: int) -> None:
        self.crops = crops
        self.count = count
        self.side = torch.tensor(side)
        self.side.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.crops.batch(self.count, int(self.side))

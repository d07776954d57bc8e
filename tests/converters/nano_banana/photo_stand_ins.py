"""Small pictures with known masks, on photographs that lie in scikit-image's wheel."""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage import data

from converters.nano_banana.photos import Pictures

SIDE = 96
GROUPS = ("ccp", "ccp", "ccp", "feral_cat", "plain_ground", "dali_pixelwise", "portrait", "animal", "object")


def disc(side: int, x: float, y: float, radius: float) -> np.ndarray:
    """A filled circle, bool (side, side); all in parts of the side."""
    rows, columns = np.mgrid[:side, :side] / side
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def picture(seed: int) -> np.ndarray:
    """Planes of a photograph with a bright disc as its subject, the upper half of it skin."""
    random = np.random.default_rng(seed)
    photo = data.coffee() if seed % 2 else data.rocket()
    planes = np.zeros((5, SIDE, SIDE), np.uint8)
    planes[:3] = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE))).transpose(2, 0, 1)
    subject = disc(SIDE, *random.uniform(0.3, 0.7, 2), 0.2)
    planes[:3, subject] = random.integers(150, 255, (3, 1))
    planes[3] = subject * 255
    planes[4, : SIDE // 2] = planes[3, : SIDE // 2]
    return planes


def some_pictures() -> Pictures:
    """One picture or more of most groups, and grounds without a subject."""
    planes = [picture(seed) for seed in range(len(GROUPS))]
    planes += [np.concatenate([p[:3], np.zeros_like(p[3:])]) for p in planes[:2]]
    return Pictures(np.stack(planes), (*GROUPS, "background", "street"))

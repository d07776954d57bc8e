"""Edits of every kind: each adjustment, each region, and the words of people."""

from __future__ import annotations

from typing import Any

import numpy as np
from programs import Order
from skimage import data

from edge_runtime.plan import MASKED, Vocabulary

SIDE_PIXELS = 300
TRANSPARENT = (
    ("pixelate", 0.5, "all"), ("upscale", 1.0, "all"), ("blur", 0.5, "background"), ("remove", 1.0, "background"),
    ("denoise", 0.5, "all"), ("rotate", -0.5, "all"), ("crop", 0.5, "subject"),
)
"""Adjustment, amount and region of edits where alpha matters."""


def photo() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A woman in front of a shuttle, 300 x 300: subject, skin and background."""
    whole = data.astronaut()[:SIDE_PIXELS, 60 : 60 + SIDE_PIXELS]
    return np.dstack([whole, np.full(whole.shape[:2], 255, np.uint8)])


def mask() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """White on black, soft at the rim: an ellipse."""
    y, x = np.mgrid[:SIDE_PIXELS, :SIDE_PIXELS]
    distance = np.hypot((x - 190) / 50, (y - 120) / 70)
    gray = (np.clip(1.5 - distance, 0, 1) * 255).astype(np.uint8)
    return np.dstack([gray, gray, gray, np.full_like(gray, 255)])


def transparent() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The photo, less and less opaque to the right, with hidden colours where it can't be seen."""
    pixels = photo()
    pixels[..., 3] = np.clip(np.arange(SIDE_PIXELS) * 1.2 - 40, 0, 255).astype(np.uint8)[::-1]
    return pixels


def every_adjustment(vocabulary: Vocabulary) -> list[Order]:
    """One edit for each adjustment in each kind of region that it has."""
    orders = []
    for adjustment in vocabulary.adjustments:
        for region in adjustment.regions:
            edit: dict[str, Any] = {"adjust": adjustment.name, "amount": adjustment.default, "region": region}
            if adjustment.takes_color:
                edit["color"] = "#3366cc"
            orders.append(_planned(f"{adjustment.name} of {region}", edit))
    return orders


def combined() -> list[Order]:
    """Plans that take several passes, and sizes that take several tiles and strips."""
    def edit(adjust: str, amount: float, region: str = "all") -> dict[str, Any]:
        return {"adjust": adjust, "amount": amount, "region": region}

    large = np.repeat(np.repeat(photo(), 4, 0), 3, 1)
    return [
        _planned("three passes", edit("exposure", 0.2, "subject"), edit("warmth", 0.5, "skin"),
                 edit("contrast", 0.4, MASKED), edit("saturation", -0.3)),
        _planned("all stages", edit("denoise", 0.5), edit("auto_enhance", 1.0), edit("clarity", 0.5),
                 edit("rotate", 0.5), edit("flip_vertical", 1.0)),
        Order(name="strips", photo=large, plan={"edits": [edit("clarity", 0.7), edit("warmth", 0.3)]}),
        Order(name="strips of regions", photo=large, plan={"edits": [edit("exposure", -0.5, "background")]}),
        Order(name="tiles", photo=large[:, :703], plan={"edits": [edit("denoise", 0.8)]}),
        Order(name="words", photo=photo(), instruction=" make the background darker and the colours warmer "),
        Order(name="words for a mask", photo=photo(), instruction="remove this", mask=mask()),
        Order(
            name="sides of no multiple", photo=photo()[:201, :299],
            plan={"edits": [edit("blur", 0.6, "background"), edit("deblock", 0.6), edit("pixelate", 0.3, "subject")]},
        ),
        *(Order(name=f"transparent: {name}", photo=transparent(), plan={"edits": [edit(name, amount, region)]})
          for name, amount, region in TRANSPARENT),
        Order(name="one pixel", photo=photo()[:1, :1], plan={"edits": [edit("warmth", 0.5), edit("crop", 0.5)]}),
    ]


def _planned(name: str, *edits: dict[str, Any]) -> Order:
    needs_mask = any(edit["region"] == MASKED for edit in edits)
    return Order(name=name, photo=photo(), plan={"edits": list(edits)}, mask=mask() if needs_mask else None)

"""Inputs for nano-banana's four graphs, in the form the runtime gives them: to trace, to calibrate and to compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from PIL import Image

from converters.calibration import Photo
from converters.nano_banana.language.grammar import Grammar
from converters.nano_banana.language.lexicon import languages, load
from converters.nano_banana.render import Context
from converters.nano_banana.text import MAX_BYTES
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS
from converters.nano_banana.vocabulary import vocabulary
from converters.source import Arrays
from edge_runtime.tensors import Tensor

RENDER_PIXELS: Final = 320
"""Long side of the photographs that `render` is compared on; `context` sees half of it."""


def instructions(*, seed: int, count: int) -> Iterator[Arrays]:
    """Yield `count` instructions of every language, drawn from the grammar, as inputs of `text`."""
    for language in languages():
        grammar = Grammar(load(language), seed)
        for _ in range(count):
            encoded = grammar.draw().text.strip().encode()[:MAX_BYTES]
            yield {"tokens": np.frombuffer(encoded, np.uint8).astype(np.int32)[None]}


def squares(photos: tuple[Photo, ...]) -> Iterator[Arrays]:
    """Yield photographs as inputs of `vision`."""
    size = (PHOTO_SIDE_PIXELS, PHOTO_SIDE_PIXELS)
    for photo in photos:
        square = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        yield {"image": np.asarray(square)[None]}


def context_inputs(photo: Photo, regions: int) -> dict[str, Tensor]:
    """Return inputs of `context` for a disc in the middle (2 regions) or the whole photo (1)."""
    side = PHOTO_SIDE_PIXELS
    axis = np.linspace(-1.0, 1.0, side)
    disc = 1.0 / (1.0 + np.exp(12.0 * (np.hypot(axis[:, None], axis) - 0.6)))
    mask = disc if regions == 2 else np.ones((side, side))
    return {
        "photo": _reduced(photo, RENDER_PIXELS // 2),
        "mask": mask.astype(np.float32)[None, None],
        "amounts": _amounts(regions),
    }


def render_inputs(photo: Photo, regions: int) -> dict[str, Tensor]:
    """Return inputs of `render`: with layers from `context` for 2 regions; for 1 region the neutral layers of a single
    pixel that the runtime gives for plans without `context`.
    """
    context = context_inputs(photo, regions)
    pixels = _reduced(photo, RENDER_PIXELS)
    layers, matte = _context_layers(context) if regions == 2 else _neutral_layers()
    return {
        "image": np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1),
        "layers": layers,
        "matte": matte,
        "amounts": context["amounts"],
        "color": np.full((regions, 3), 0.25, np.float32),
        "window": np.array([0, 0, *pixels.shape[1:3]], np.float32),
    }


def _amounts(regions: int) -> Tensor:
    """A little of every adjustment at once; much of it would saturate the picture and hide errors."""
    random = np.random.default_rng(0)
    signed = np.array([adjustment.low < 0 for adjustment in vocabulary().adjustments])
    amounts = random.uniform(0.02, 0.4, (regions, len(signed)))
    return np.where(signed & (random.random(amounts.shape) < 0.5), -amounts, amounts).astype(np.float32)


def _reduced(photo: Photo, long_side: int) -> Tensor:
    image = Image.fromarray(photo)
    image.thumbnail((long_side, long_side))
    return np.asarray(image)[None]


def _context_layers(inputs: Arrays) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        layers, matte = Context()(*(torch.from_numpy(inputs[name].copy()) for name in ("photo", "mask", "amounts")))
    return layers.numpy(), matte.numpy()


def _neutral_layers() -> tuple[Tensor, Tensor]:
    layers = np.array([1, 0, 0, 0], np.float32).reshape(1, 4, 1, 1)
    return layers, np.array([0, 0, 0, 1], np.float32).reshape(1, 4, 1, 1)

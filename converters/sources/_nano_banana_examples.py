"""Inputs for nano-banana's graphs, in the form the runtime gives them: to trace, to calibrate and to compare."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageFilter

from converters.calibration import Photo
from converters.nano_banana.context import Context
from converters.nano_banana.damage import scratch
from converters.nano_banana.language.grammar import Grammar
from converters.nano_banana.language.lexicon import languages, load
from converters.nano_banana.restoration import TASKS
from converters.nano_banana.text import MAX_BYTES
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS
from converters.nano_banana.vocabulary import vocabulary
from converters.source import Arrays
from edge_runtime.tensors import Tensor

RENDER_PIXELS: Final = 320
"""Long side of the photographs that `render` is compared on; `context` sees half of it."""

RESTORED_PIXELS: Final = 256
_HARD_CONTRAST: Final = 6.0


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


def damaged(photos: tuple[Photo, ...], tasks: tuple[str, ...] = TASKS, contrast: float = 1.0) -> Iterator[Arrays]:
    """Yield crops of photographs, each spoiled as one task of `restore` expects it, as inputs of `restore`.

    contrast: what the photographs' contrast is multiplied by before they are spoiled.
    """
    random = np.random.default_rng(3)
    for index, photo in enumerate(photos):
        task = tasks[index % len(tasks)]
        strength = 1.0 if task in ("repair", "upscale") else 0.5
        yield _restored_from(_spoiled(_with_contrast(_middle(photo), contrast), task, strength, random), task, strength)


def hard(photos: tuple[Photo, ...]) -> Iterator[Arrays]:
    """Yield rarer inputs of `restore` that go further: nearly black and white, scratched, as noisy as it gets."""
    random = np.random.default_rng(4)
    yield from damaged(photos[::4], contrast=_HARD_CONTRAST)
    for photo in photos[1::8]:
        yield _restored_from(scratch(_middle(photo), 0.5, random), "repair", 0.5)
    for photo in photos[2::8]:
        yield _restored_from(_spoiled(_middle(photo), "denoise", 1.0, random), "denoise", 1.0)


def _middle(photo: Photo) -> Photo:
    height, width = (min(side, RESTORED_PIXELS) // 16 * 16 for side in photo.shape[:2])
    top, left = ((side - cut) // 2 for side, cut in zip(photo.shape[:2], (height, width), strict=True))
    return photo[top : top + height, left : left + width]


def _restored_from(spoiled: Photo, task: str, strength: float) -> Arrays:
    """Return the inputs of `restore` for one task."""
    strengths = np.zeros((1, len(TASKS)), np.float32)
    strengths[0, TASKS.index(task)] = strength
    image = np.concatenate([spoiled, np.full_like(spoiled[..., :1], 255)], axis=-1)
    return {"image": image[None], "strengths": strengths}


def holes(photos: tuple[Photo, ...]) -> Iterator[Arrays]:
    """Yield crops of photographs with something marked in them, as inputs of `fill`."""
    for inputs in damaged(photos):
        mask = np.zeros((1, 1, *inputs["image"].shape[1:3]), np.float32)
        mask[..., 40:58, 30:90] = 1.0
        mask[..., 100:104, :] = 1.0
        yield {"image": inputs["image"], "mask": mask}


def _with_contrast(crop: Photo, contrast: float) -> Photo:
    changed = np.rint(128.0 + contrast * (crop.astype(np.float32) - 128.0))
    return np.asarray(changed.clip(0, 255), np.uint8)


def _spoiled(crop: Photo, task: str, strength: float, random: np.random.Generator) -> Photo:
    picture = Image.fromarray(crop)
    if task == "denoise":
        noisy = crop + random.normal(0.0, 50.0 * strength, crop.shape)
        return np.asarray(noisy.round().clip(0, 255), np.uint8)
    if task == "deblock":
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=round(90 - 80 * strength))
        return np.asarray(Image.open(stream), np.uint8)
    if task == "deblur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(2.5 * strength)), np.uint8)
    if task == "upscale":
        return np.asarray(picture.reduce(2).resize(picture.size, Image.Resampling.BICUBIC), np.uint8)
    return crop


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


def render_inputs(photo: Photo, regions: int, full: bool = False) -> dict[str, Tensor]:
    """Return inputs of `render` or `render_full`: with layers from `context` for 2 regions; for 1 region the neutral
    layers of a single pixel that the runtime gives for plans without `context`.
    """
    context = context_inputs(photo, regions)
    height, width = context["photo"].shape[1:3]
    # whole cells of the layers, as the runtime cuts strips
    pixels = _reduced(photo, RENDER_PIXELS)[:, : 2 * height, : 2 * width]
    layers = _context_layers(context, full) if regions == 2 else _neutral_layers(full)
    return {
        "image": np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1),
        **layers,
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


def _context_layers(inputs: Arrays, full: bool) -> dict[str, Tensor]:
    with torch.inference_mode():
        found = Context(full=full)(*(torch.from_numpy(inputs[name].copy()) for name in ("photo", "mask", "amounts")))
    return {name: value.numpy() for name, value in zip(("layers", "matte", "colors"), found, strict=False)}


def _neutral_layers(full: bool) -> dict[str, Tensor]:
    neutral = {
        "layers": np.array([1, 0, 0, 0], np.float32).reshape(1, 4, 1, 1),
        "matte": np.array([0, 0, 0, 1], np.float32).reshape(1, 4, 1, 1),
    }
    return {**neutral, "colors": np.zeros((1, 6, 1, 1), np.float32)} if full else neutral

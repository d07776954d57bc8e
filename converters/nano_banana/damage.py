"""Damaged and clean crops of photographs, for training and measuring the restoration network.

Each function damages uint8 (height, width, 3) RGB and says nothing about strengths; `spoil` draws which damage a crop
gets, and what strength the network is told. The meaning of a strength is defined by the four functions at the top.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from converters.nano_banana.restoration import TASKS

Pixels = NDArray[np.uint8]
MARGIN_PIXELS: Final = 16
_SHARES: Final = {"denoise": 0.54, "deblock": 0.19, "upscale": 0.08, "deblur": 0.05, "repair": 0.06}
_CLEAN_SHARE: Final = 0.05
_EXACT_SHARE: Final = 0.7


def sigma_of(denoise: float) -> float:
    """Return the standard deviation of the noise, in 0..255, that a strength means."""
    return 50 * denoise


def quality_of(deblock: float) -> int:
    """Return the JPEG quality that a strength means: 90 at 0, 10 at 1."""
    return round(90 - 80 * deblock)


def blur_sigma_of(deblur: float) -> float:
    """Return the Gaussian sigma in pixels that a strength means."""
    return 2.5 * deblur


def motion_length_of(deblur: float) -> float:
    """Return the length in pixels of the straight camera shake that a strength means."""
    return 1 + 8 * deblur


def _bytes(photo: NDArray[Any]) -> Pixels:
    pixels: Pixels = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
    return pixels


def add_noise(photo: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Add Gaussian noise, independent in every channel, rounded and clipped to 8 bits."""
    return _bytes(photo + sigma * random.standard_normal(photo.shape, np.float32))


def compress(photo: Pixels, quality: int, full_colour: bool = False) -> Pixels:
    """Return what libjpeg leaves of a photo; colour at half size (4:2:0) unless full_colour."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, subsampling=0 if full_colour else 2)
    with Image.open(buffer) as image:
        return np.asarray(image)


def blur(photo: Pixels, sigma: float) -> Pixels:
    """Blur by a Gaussian of sigma pixels."""
    soft = ndimage.gaussian_filter(photo.astype(np.float32), (sigma, sigma, 0), mode="nearest", truncate=3.0)
    return _bytes(soft)


def shake(photo: Pixels, length: float, angle: float) -> Pixels:
    """Smear along a straight line of `length` pixels at an angle in radians."""
    radius = int(np.ceil(length / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for place in np.linspace(-length / 2, length / 2, 8 * radius + 1):
        kernel[round(radius + place * np.sin(angle)), round(radius + place * np.cos(angle))] += 1
    kernel /= kernel.sum()
    planes = [ndimage.convolve(photo[..., channel].astype(np.float32), kernel, mode="nearest") for channel in range(3)]
    return _bytes(np.stack(planes, 2))


def enlarge_again(photo: Pixels) -> Pixels:
    """Halve and double the size by Pillow's bicubic filters; sides must be even."""
    height, width = photo.shape[:2]
    small = Image.fromarray(photo).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def scratch(photo: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """Draw light and dark scratches, hairs and dust; amount 0..1 scales how many and how opaque."""
    height, width = photo.shape[:2]
    area = height * width / 96**2
    result = photo.astype(np.float32)
    finer = int(random.choice([1, 2, 2]))  # a scan that was enlarged or sharpened has edges without a slope
    for tone in (random.uniform(190, 255), random.uniform(0, 60)):
        layer = Image.new("L", (finer * width, finer * height))
        pen = ImageDraw.Draw(layer)
        for _ in range(random.poisson(area * (0.3 + 1.5 * amount))):
            thickness = int(random.integers(1, 1 + 5 * finer // 2))
            pen.line(_path(finer * width, finer * height, random), fill=255, width=thickness)
        for _ in range(random.poisson(area * 4 * amount)):
            radius = finer / 2 * random.uniform(1, 3 + 4 * amount)
            pen.ellipse(_ellipse(finer * width, finer * height, radius, random), fill=255)
        cover = np.asarray(layer.resize((width, height), Image.Resampling.BOX), np.float32)[..., None] / 255
        cover *= random.uniform(0.4, 1.0) * (0.5 + 0.5 * amount)
        result += cover * (tone + random.normal(0, 8, 3).astype(np.float32) - result)
    return _bytes(result)


def _path(width: int, height: int, random: np.random.Generator) -> list[tuple[float, float]]:
    """Return the corners of a scratch: long, mostly steep and nearly straight, or a short curly hair."""
    kind = random.random()
    long, steep = kind < 0.75, kind < 0.4
    reach = random.uniform(0.3, 1.2) * height if long else random.uniform(10, 50)
    angle = np.pi / 2 + random.normal(0, 0.15) if steep else random.uniform(0, 2 * np.pi)
    bends = angle + np.cumsum(random.normal(0, random.choice([0.0, 0.04]) if long else 0.5, 6))
    across = random.uniform(0, width) + np.cumsum(np.cos(bends)) * reach / 6
    down = random.uniform(-0.3, 0.9) * height + np.cumsum(np.sin(bends)) * reach / 6
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _ellipse(width: int, height: int, radius: float, random: np.random.Generator) -> list[float]:
    across, down = random.uniform(0, width), random.uniform(0, height)
    wide, high = radius * random.uniform(0.6, 1.4, 2)
    return [across - wide, down - high, across + wide, down + high]


def holes(height: int, width: int, random: np.random.Generator) -> Pixels:
    """Return uint8 (height, width), 255 in a few strokes and spots up to about 20 pixels wide."""
    layer = Image.new("L", (width, height))
    pen = ImageDraw.Draw(layer)
    for _ in range(int(random.integers(1, 5))):
        if random.random() < 0.5:
            pen.line(_path(width, height, random), fill=255, width=int(random.integers(2, 13)), joint="curve")
        else:
            pen.ellipse(_ellipse(width, height, random.uniform(2, 11), random), fill=255)
    return np.asarray(layer)


Damage = Callable[[Pixels, float, np.random.Generator], Pixels]


def _deblur(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    if random.random() < 0.7:
        return blur(photo, blur_sigma_of(strength))
    return shake(photo, motion_length_of(strength), random.uniform(0, np.pi))


def _deblock(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    return compress(photo, quality_of(strength), full_colour=random.random() < 0.2)


_DAMAGES: Final[dict[str, Damage]] = {  # in the order in which a photo meets them
    "deblur": _deblur,
    "upscale": lambda photo, strength, random: enlarge_again(photo),
    "denoise": lambda photo, strength, random: add_noise(photo, sigma_of(strength), random),
    "deblock": _deblock,
    "repair": scratch,
}


def draw_tasks(random: np.random.Generator) -> tuple[str, ...]:
    """Return what to do to a crop: mostly one task, now and then two, nothing for clean crops."""
    names = list(_SHARES)
    shares = np.array(list(_SHARES.values()))
    chance = random.random()
    if chance < _CLEAN_SHARE:
        return ()
    count = 1 if chance < _CLEAN_SHARE + shares.sum() else 2
    return tuple(random.choice(names, count, replace=False, p=shares / shares.sum()))


def draw_strength(task: str, random: np.random.Generator) -> float:
    """Return a damage's true strength in 0..1."""
    if task == "denoise":  # sigma 3..50, most between 10 and 35
        return float(np.clip(random.triangular(0.05, 0.45, 1.05), 0.06, 1.0))
    if task == "deblock":  # quality 10 to 80, low ones more often
        return 1 - 0.875 * math.pow(random.random(), 1.6)
    if task == "upscale":
        return 1.0
    return float(random.uniform(0.1, 1.0))


def spoil(clean: Pixels, random: np.random.Generator) -> tuple[Pixels, NDArray[np.float32], Pixels]:
    """Damage a crop as drawn.

    clean: uint8 (side + MARGIN_PIXELS, side + MARGIN_PIXELS, 3). Returns damaged uint8 (side, side, 3), the
    strengths to tell float32 (len(TASKS),), and clean cut to the same place. A strength is told exactly or, in three of
    ten crops, too high, because who edits a photo can't know it exactly.
    """
    chosen = draw_tasks(random)
    told = np.zeros(len(TASKS), np.float32)
    damaged = clean
    for task, damage in _DAMAGES.items():
        if task in chosen:
            true = draw_strength(task, random)
            damaged = damage(damaged, true, random)
            told[TASKS.index(task)] = _tell(task, true, random)
    if not chosen:
        told[int(random.choice([0, 0, 0, 1, 2, 3]))] = random.uniform(0.02, 0.3)
    down, right = _offsets("upscale" in chosen, random)
    side = clean.shape[0] - MARGIN_PIXELS
    cut = np.s_[down : down + side, right : right + side]
    return damaged[cut], told, clean[cut]


def _tell(task: str, true: float, random: np.random.Generator) -> float:
    if task == "upscale" or random.random() < _EXACT_SHARE:
        return true
    return float(min(1.0, true + random.exponential(0.15)))


def _offsets(even: bool, random: np.random.Generator) -> tuple[int, int]:
    """Return where to cut: often on the JPEG grid, else anywhere; on even pixels for enlarged photos."""
    if random.random() < 0.5:
        return MARGIN_PIXELS // 2, MARGIN_PIXELS // 2
    down, right = random.integers(0, MARGIN_PIXELS + 1, 2)
    return (int(down) // 2 * 2, int(right) // 2 * 2) if even else (int(down), int(right))

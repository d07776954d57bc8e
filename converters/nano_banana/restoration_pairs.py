"""What the restoration network is measured on: damaged photos beside clean ones by condition, and PSNR."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.nano_banana.damage import Pixels, add_noise, blur, compress, enlarge_again, scratch, shake
from converters.nano_banana.restoration import TASKS, TILE_MULTIPLE_PIXELS, RestorationNet, Restore

Apply = Callable[[Pixels, NDArray[np.float32]], Pixels]
"""uint8 (height, width, 3), strengths float32 (len(TASKS),) to restored uint8."""


@dataclass(frozen=True)
class Pair:
    """A damaged and a clean photo, uint8 (height, width, 3), and what the network is told."""

    damaged: Pixels
    clean: Pixels
    strengths: NDArray[np.float32]


def pair(damaged: Pixels, clean: Pixels, **strengths: float) -> Pair:
    """Return a Pair; strengths by task, others are 0."""
    told = np.array([strengths.get(task, 0.0) for task in TASKS], np.float32)
    return Pair(damaged, clean, told)


def _noisy(sigma: float) -> Callable[[Pixels, int], Pair]:
    return lambda photo, seed: pair(add_noise(photo, sigma, np.random.default_rng(seed)), photo, denoise=sigma / 50)


def _compressed(quality: int) -> Callable[[Pixels, int], Pair]:
    return lambda photo, seed: pair(compress(photo, quality), photo, deblock=(90 - quality) / 80)


def _scratched(photo: Pixels, seed: int) -> Pair:
    return pair(scratch(photo, 0.5, np.random.default_rng(seed)), photo, repair=0.5)


CONDITIONS: Final[dict[str, Callable[[Pixels, int], Pair]]] = {
    "noise 15": _noisy(15),
    "noise 25": _noisy(25),
    "noise 50": _noisy(50),
    "JPEG q10": _compressed(10),
    "JPEG q20": _compressed(20),
    "2x": lambda photo, seed: pair(enlarge_again(photo), photo, upscale=1.0),
    "blur 1.5": lambda photo, seed: pair(blur(photo, 1.5), photo, deblur=0.6),
    "shake 7 px": lambda photo, seed: pair(shake(photo, 7, 0.6 + seed), photo, deblur=0.75),
    "scratches": _scratched,
    "clean, light denoise": lambda photo, seed: pair(photo, photo, denoise=0.15),
}
"""From a clean photo and a seed."""


def middle(photo: Pixels, side: int) -> Pixels:
    """Return the middle of a photo, at most side x side, cut to multiples that the network takes."""
    height, width = (min(side, size) // TILE_MULTIPLE_PIXELS * TILE_MULTIPLE_PIXELS for size in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return photo[top : top + height, left : left + width]


def in_torch(net: RestorationNet) -> Apply:
    """Return the network in torch, in the form that is exported."""
    module: nn.Module = Restore(net).eval()

    def apply(pixels: Pixels, strengths: NDArray[np.float32]) -> Pixels:
        image = torch.from_numpy(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
        with torch.no_grad():
            restored = module(image[None], torch.from_numpy(strengths)[None])
        result: Pixels = restored[0, ..., :3].numpy()
        return result

    return apply


def restored(apply: Apply, pair: Pair) -> Pixels:
    """Return the damaged photo after the network."""
    return apply(pair.damaged, pair.strengths)


def psnr(pixels: Pixels, clean: Pixels, mask: Pixels | None = None, luma: bool = False) -> float:
    """Return PSNR in dB over RGB or luma (BT.601), at most 80; inside the mask where one is given and not empty."""
    error = pixels.astype(np.float64) - clean
    if luma:
        error = (error @ [0.299, 0.587, 0.114])[..., None]
    inside = error[mask > 0] if mask is not None and mask.any() else error
    return float(10 * math.log10(255**2 / max(255**2 / 1e8, float(np.mean(inside**2)))))


def mean_psnr(apply: Apply, pairs: list[Pair]) -> float:
    """Return the mean RGB PSNR in dB after the network."""
    return float(np.mean([psnr(restored(apply, each), each.clean) for each in pairs]))

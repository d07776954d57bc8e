"""Does the eye find the tiles of an autoencoder whose norms look at the whole picture?

    python -m benchmarks.edit_seams [--photos FOLDER] [--minutes 10] [--side 1536] [--work FOLDER]

FLUX's, Qwen's and Stable Diffusion's autoencoders normalise groups of channels over all pixels that they see, so a tile
is not what the same place is in one piece. Random weights say nothing about how much, and the trained ones of those
models can't be had everywhere: this trains a small one of diffusers' own class AutoencoderKL (such norms, attention in
the middle) on photographs, then encodes and decodes others whole and in tiles. Printed, in codes of 0..255:

- change: the mean difference of the two pictures;
- drift: the largest difference of their means over 32 pixels, a change of light or contrast from tile to tile;
- step: the largest change of the difference across 8 pixels, in the mean along a line of LINE_PIXELS: a seam that one
  could see is such a step of some codes, what is spread over the overlap of two tiles is none;
- PSNR of either picture to the photograph.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.table import markdown, photographs
from edge_runtime.diffusion.autoencoder import Autoencoder
from edge_runtime.generators import finished

COMPRESSION = 8
CROP_PIXELS = 96
BATCH = 4
HELD_OUT = 4
LINE_PIXELS = 512
"""About the side of a tile without what it shares with its neighbours."""

Floats = NDArray[np.float32]


class Parts:
    """A network of diffusers in the place of an artifact's parts."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @torch.no_grad()
    def run(self, name: str, **feeds: Floats) -> Mapping[str, Floats]:
        """Encode or decode, as edge_runtime.diffusion.components does."""
        if name == "vae_encoder":
            return {"latents": self._network.encode(torch.from_numpy(feeds["image"])).latent_dist.mode().numpy()}
        return {"image": self._network.decode(torch.from_numpy(feeds["latents"])).sample.numpy()}


def network() -> Any:
    """Return a small autoencoder with group norms and attention, of random weights."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(16, 32, 48, 48),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        norm_num_groups=8,
    )


def train(model: Any, photos: list[Floats], minutes: float) -> None:
    """Train on crops for so many minutes; progress goes to the terminal."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw, started, step = np.random.default_rng(0), time.monotonic(), 0
    while (used := (time.monotonic() - started) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * (1 - used)
        crops = torch.from_numpy(np.stack([_crop(photos[draw.integers(len(photos))], draw) for _ in range(BATCH)]))
        loss = (model.decode(model.encode(crops).latent_dist.mode()).sample - crops).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 100 == 0:
            print(f"step {step}, {used:.0%}, mean error {127.5 * float(loss.detach()):.1f} of 255", flush=True)
    model.eval()


def _crop(photo: Floats, draw: np.random.Generator) -> Floats:
    y, x = (draw.integers(length - CROP_PIXELS + 1) for length in photo.shape[1:])
    part = photo[:, y : y + CROP_PIXELS, x : x + CROP_PIXELS]
    return np.ascontiguousarray(part[..., ::-1] if draw.random() < 0.5 else part)


def planes(photo: Image.Image, long_side: int) -> Floats:
    """Return float32 (3, h, w) in -1..1, sides multiples of 16 and the longer one `long_side`."""
    scale = long_side / max(photo.size)
    size = [max(128, round(side * scale / 16) * 16) for side in photo.size]
    pixels = np.asarray(photo.resize((size[0], size[1]), Image.Resampling.LANCZOS), np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) / 127.5 - 1)


def both_ways(model: Any, photo: Floats) -> tuple[Floats, Floats]:
    """Return the photo encoded and decoded in one piece and in tiles, (3, h, w) in codes of 0..255."""
    found = []
    for pixels in (photo.shape[1] * photo.shape[2], 0):
        vae = Autoencoder(Parts(model), COMPRESSION, pixels)  # type: ignore[arg-type]
        picture = finished(vae.decode(vae.encode(photo[None])))[0]
        found.append(((picture.clip(-1, 1) + 1) * 127.5).astype(np.float32))
    return found[0], found[1]


def compared(name: str, photo: Floats, whole: Floats, tiled: Floats) -> tuple[str, ...]:
    """Return a line of the table."""
    difference = tiled - whole
    drift = ndimage.uniform_filter(difference, (0, 32, 32))
    codes = (photo + 1) * 127.5
    psnr = (20 * np.log10(255 / np.sqrt(np.square(picture - codes).mean())) for picture in (whole, tiled))
    return (
        name, f"{photo.shape[2]} x {photo.shape[1]}", f"{np.abs(difference).mean():.2f}", f"{np.abs(drift).max():.1f}",
        f"{max(_step(difference), _step(difference.transpose(0, 2, 1))):.2f}", *(f"{value:.2f}" for value in psnr),
    )


def _step(difference: Floats) -> float:
    half = LINE_PIXELS // 2
    along = ndimage.uniform_filter1d(difference, LINE_PIXELS, axis=1)[:, half:-half]
    return float(np.abs(along[..., 8:] - along[..., :-8]).max())


def main() -> None:
    """Train, print the table, and leave pictures in the work folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photographs [default: those of scikit-image]")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    parser.add_argument("--side", type=int, default=1536, help="long side of the compared pictures, in pixels")
    parser.add_argument("--work", type=Path, help="keeps the weights and the compared pictures")
    options = parser.parse_args()
    found = photographs(options.photos, 60)
    names = list(found)[:HELD_OUT]
    learned = [planes(photo, 512) for name, photo in found.items() if name not in names or len(found) <= HELD_OUT]
    model = network()
    weights = options.work / "autoencoder.pt" if options.work else None
    if weights and weights.exists():
        model.load_state_dict(torch.load(weights, weights_only=True))
        model.eval()
    else:
        train(model, learned, options.minutes)
    if weights:
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), weights)
    rows = []
    for name in names:
        photo = planes(found[name], options.side)
        whole, tiled = both_ways(model, photo)
        rows.append(compared(name, photo, whole, tiled))
        if options.work:
            shown = np.concatenate([whole, tiled], 2 if whole.shape[1] > whole.shape[2] else 1)
            Image.fromarray(shown.transpose(1, 2, 0).round().astype(np.uint8)).save(options.work / f"{name}.png")
    head = ("photograph", "pixels", "change", "drift", "step", "PSNR in one piece", "PSNR in tiles")
    print(markdown(head, rows))


if __name__ == "__main__":
    main()

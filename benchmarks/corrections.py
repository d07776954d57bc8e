"""Do the automatic corrections bring damaged photographs back, and leave good ones alone?

    python -m benchmarks.corrections --data FOLDER --checkpoint FILE [--photos N] [--sheet PNG]

Photographs held out from training, at 256 px, damaged in known ways. Mean CIEDE2000 (smaller is better) and PSNR to
the original: as damaged, after ours (all of it: auto_enhance; and the one group that fits the damage), and after
Pillow's autocontrast, grey world and scikit-image's histogram equalisation. --sheet writes before and after to a PNG.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data, exposure
from skimage.color import deltaE_ciede2000, hsv2rgb, rgb2hsv, rgb2lab

from benchmarks.table import BUNDLED, markdown
from converters.nano_banana import definitions
from converters.nano_banana.correction import GROUPS, PHOTO_SIDE_PIXELS, AutoCorrection, load
from converters.nano_banana.photos import Pixels, read_colour
from converters.nano_banana.tone_damage import Damage, cast_gains, no_damage
from converters.nano_banana.train_correction import HELD_OUT, photo_files
from converters.nano_banana.vocabulary import indices
from edge_runtime.artifact import Artifact
from edge_runtime.engines.onnxruntime import ENGINE

Corrections = Callable[[Pixels], NDArray[np.float32]]
"""From uint8 (256, 256, 3) to the amounts float32 (A,): the checkpoint in torch here, or a graph's session."""

Method = Callable[[Pixels], Pixels]

NO_CORRECTION = "none"
THREADS = 2


def of_checkpoint(checkpoint: Path) -> Corrections:
    """Return the float network, in torch."""
    module = AutoCorrection(load(checkpoint)).eval()

    def run(photo: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            amounts: NDArray[np.float32] = module(torch.from_numpy(photo.copy())[None])[0].numpy()
        return amounts

    return run


def of_artifact(folder: Path) -> Corrections:
    """Return the artifact's `auto` component in ONNX Runtime."""
    artifact = Artifact.open(folder)
    session = ENGINE.open(artifact.path("auto"), artifact.manifest.component("auto"), threads=THREADS)

    def run(photo: Pixels) -> NDArray[np.float32]:
        amounts: NDArray[np.float32] = session.run({"image": photo[None]})["corrections"][0]
        return amounts

    return run


def corrected(photo: Pixels, amounts: NDArray[np.float32], group: str) -> Pixels:
    """Return the photo with one automatic adjustment at strength 1, by the definitions in float64."""
    chosen = {name: float(amounts[indices()[name]]) for name in GROUPS[group]}
    return _bytes(definitions.apply(photo / 255.0, chosen))


def _bytes(rgb: NDArray[np.float64]) -> Pixels:
    return np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)


def autocontrast(photo: Pixels) -> Pixels:
    """Stretch each channel, 1 % cut off at both ends."""
    return np.asarray(ImageOps.autocontrast(Image.fromarray(photo), cutoff=1))


def grey_world(photo: Pixels) -> Pixels:
    """Scale the channels in linear light until their means agree."""
    linear = definitions.decode(photo / 255.0)
    means = linear.mean((0, 1)) + 1e-4
    return _bytes(definitions.encode(np.clip(linear * (means @ np.array(definitions.LUMA)) / means, 0.0, 1.0)))


def equalised(photo: Pixels) -> Pixels:
    """Equalise the histogram of HSV's value, hue and saturation kept."""
    hsv = rgb2hsv(photo)
    hsv[..., 2] = exposure.equalize_hist(hsv[..., 2])
    return _bytes(hsv2rgb(hsv))


BASELINES: Mapping[str, Method] = {
    "autocontrast": autocontrast, "grey world": grey_world, "equalised": equalised,
}


def planted() -> dict[str, tuple[Damage, str]]:
    """Return kinds of damage to one photograph, and the automatic adjustment that is meant for each."""
    whole, unit = no_damage(1), torch.ones(1, 1, 1, 1)

    def cast(warmth: float, tint: float) -> torch.Tensor:
        return cast_gains(warmth * unit, tint * unit)

    flat = replace(whole, slope=0.6 * unit, black=0.08 * unit, white=0.92 * unit)
    return {
        "too dark, 1.5 stops": (replace(whole, stops=-1.5 * unit), "auto_exposure"),
        "too bright, 1 stop, clipped": (replace(whole, stops=unit, hard=unit), "auto_exposure"),
        "orange cast": (replace(whole, gains=cast(0.9, 0.1)), "auto_white_balance"),
        "blue cast": (replace(whole, gains=cast(-0.9, 0.0)), "auto_white_balance"),
        "green cast": (replace(whole, gains=cast(0.1, -0.9)), "auto_white_balance"),
        "flat": (flat, "auto_contrast"),
        "hazy": (replace(whole, black=0.3 * unit), "auto_contrast"),
        "pale": (replace(whole, pale=0.4 * unit), "auto_enhance"),
        "dark, orange and flat": (replace(flat, stops=-unit, gains=cast(0.7, -0.2)), "auto_enhance"),
        "bright, blue and hazy": (
            replace(whole, black=0.15 * unit, stops=0.6 * unit, hard=unit, gains=cast(-0.6, 0.2)), "auto_enhance",
        ),
        "undamaged": (whole, "auto_enhance"),
    }


def damaged(photo: Pixels, damage: Damage) -> Pixels:
    """Return the photo, uint8 (h, w, 3), with damage for one photograph."""
    planes = torch.from_numpy(photo / 255.0).float().permute(2, 0, 1)[None]
    return _bytes(damage.apply(planes)[0].permute(1, 2, 0).numpy().astype(np.float64))


def scores(result: Pixels, original: Pixels) -> tuple[float, float]:
    """Return mean CIEDE2000 and PSNR in dB (60 at most)."""
    sample = slice(None, None, 1 + result.shape[0] // 64)  # CIEDE2000 is slow, and a grid of pixels says as much
    labs = [rgb2lab(picture[sample, sample]) for picture in (result, original)]
    difference = float(np.mean(deltaE_ciede2000(*labs)))
    error = float(np.mean((result / 255.0 - original / 255.0) ** 2))
    return difference, -10.0 * float(np.log10(max(error, 1e-6)))


def measure(corrections: Corrections, photos: Sequence[Pixels], kind: str) -> dict[str, tuple[float, float]]:
    """Return mean scores of every method on photographs with one kind of damage of `planted`."""
    damage, group = planted()[kind]
    found: dict[str, list[tuple[float, float]]] = {}
    for original in photos:
        photo = damaged(original, damage)
        amounts = corrections(photo)
        results = {NO_CORRECTION: photo, "ours, enhance": corrected(photo, amounts, "auto_enhance")}
        results["ours, fitting group"] = corrected(photo, amounts, group)
        results |= {name: method(photo) for name, method in BASELINES.items()}
        for name, result in results.items():
            found.setdefault(name, []).append(scores(result, original))
    return {name: (float(np.mean(values, 0)[0]), float(np.mean(values, 0)[1])) for name, values in found.items()}


def report(corrections: Corrections, photos: Sequence[Pixels]) -> str:
    """Return the table: CIEDE2000 / PSNR of every method on every kind of damage."""
    kinds = {kind: measure(corrections, photos, kind) for kind in planted()}
    names = list(next(iter(kinds.values())))
    rows = [
        [kind, *(f"{found[name][0]:.1f} / {found[name][1]:.1f}" for name in names)] for kind, found in kinds.items()
    ]
    return markdown(["damage", *names], rows)


def milliseconds(corrections: Corrections, photo: Pixels, times: int = 20) -> float:
    """Return the median time of looking at a photo."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        corrections(photo)
        seconds.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(seconds))


def held_out(folder: Path, most: int = HELD_OUT) -> list[Pixels]:
    """Return held-out photographs, stretched to squares."""
    return [read_colour(file, PHOTO_SIDE_PIXELS) for file in photo_files(folder)[1][:most]]


def bundled() -> list[Pixels]:
    """Return photographs of scikit-image, stretched to squares."""
    size = (PHOTO_SIDE_PIXELS, PHOTO_SIDE_PIXELS)
    images = [Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB") for name in (*BUNDLED, "camera")]
    return [np.asarray(image.resize(size, Image.Resampling.BILINEAR)) for image in images]


def sheet(corrections: Corrections, photos: Sequence[Pixels], kinds: Sequence[str]) -> Image.Image:
    """Return a picture with a row a photograph: for each kind of damage, before and after auto_enhance."""
    rows = []
    for original in photos:
        cells = []
        for kind in kinds:
            photo = damaged(original, planted()[kind][0])
            cells += [photo, corrected(photo, corrections(photo), "auto_enhance")]
        rows.append(np.hstack(cells))
    return Image.fromarray(np.vstack(rows)).reduce(2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--checkpoint", type=Path, required=True, help="runs/correction/correction.safetensors")
    parser.add_argument("--photos", type=int, default=HELD_OUT, help="how many of the held-out photographs")
    parser.add_argument("--sheet", type=Path, help="write scikit-image's and a few held-out photographs to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    corrections = of_checkpoint(options.checkpoint)
    photos = held_out(options.data, options.photos)
    print(report(corrections, photos))
    print(f"\n{len(photos)} photographs, {milliseconds(corrections, photos[0]):.1f} ms a look, {THREADS} threads.")
    if options.sheet:
        shown = ("undamaged", "too dark, 1.5 stops", "orange cast", "green cast", "bright, blue and hazy")
        sheet(corrections, [*bundled(), *photos[:8]], shown).save(options.sheet)


if __name__ == "__main__":
    main()

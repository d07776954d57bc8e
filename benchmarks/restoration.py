"""What does the restoration network gain on held-out photographs, beside classical methods on the same pixels?

    python -m benchmarks.restoration --data FOLDER [--weights FILE | --artifact DIR] [--bm3d N]

PSNR in dB over RGB, of the middle of each photo; JPEG over luma. Holes are filled by `fill`, without a network, and
measured inside. `--bm3d N` runs CBM3D (package
`bm3d`, told sigma) on N photos, which takes about a minute each at 512 px; the column compares the same photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means, inpaint_biharmonic

from benchmarks.table import markdown
from converters.compare import engine_of
from converters.nano_banana.damage import Pixels, holes
from converters.nano_banana.filling import Fill
from converters.nano_banana.restoration import load
from converters.nano_banana.restoration_crops import decode, photographs
from converters.nano_banana.restoration_pairs import CONDITIONS, Apply, Pair, in_torch, middle, psnr, restored
from edge_runtime.artifact import Artifact

COMPONENT = "restore"
THREADS = 2
Method = Callable[[Pair], Pixels]


def of_artifact(folder: Path) -> Apply:
    """Return the artifact's restore component in the engine of its format."""
    artifact = Artifact.open(folder)
    component = artifact.manifest.component(COMPONENT)
    engine = engine_of(artifact.manifest.target)
    session = engine.open(artifact.path(COMPONENT), component, threads=THREADS)
    names = [tensor.name for tensor in component.inputs]
    result = component.outputs[0].name

    def apply(pixels: Pixels, strengths: NDArray[np.float32]) -> Pixels:
        image = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        outputs = session.run(dict(zip(names, (image[None], strengths[None]), strict=True)))
        changed: Pixels = outputs[result][0, ..., :3]
        return changed

    return apply


def bytes_of(photo: NDArray[np.floating]) -> Pixels:
    """Return a photo in 0..1 as uint8."""
    pixels: Pixels = np.clip(np.rint(255 * photo), 0, 255).astype(np.uint8)
    return pixels


def non_local_means(pair: Pair) -> Pixels:
    """Return scikit-image's non-local means, told sigma."""
    sigma = float(pair.strengths[0]) * 50 / 255
    photo = pair.damaged.astype(np.float32) / 255
    return bytes_of(denoise_nl_means(photo, 5, 6, h=0.6 * sigma, sigma=sigma, fast_mode=True, channel_axis=2))


def cbm3d(pair: Pair) -> Pixels:
    """Return CBM3D (Dabov et al. 2007), told sigma."""
    import bm3d  # type: ignore[import-not-found,unused-ignore]  # by hand: pip install bm3d

    return bytes_of(bm3d.bm3d_rgb(pair.damaged / 255.0, float(pair.strengths[0]) * 50 / 255))


OTHERS: dict[str, tuple[str, Method]] = {
    "noise 15": ("non-local means", non_local_means),
    "noise 25": ("non-local means", non_local_means),
    "noise 50": ("non-local means", non_local_means),
}


def mean(method: Method, pairs: Sequence[Pair], luma: bool) -> float:
    """Return the mean PSNR in dB of a method."""
    return float(np.mean([psnr(method(pair), pair.clean, luma=luma) for pair in pairs]))


def row(name: str, photos: Sequence[Pixels], apply: Apply) -> list[str]:
    """Return condition, PSNR before, after, gain, and of the classical method."""
    luma = name.startswith("JPEG")
    pairs = [CONDITIONS[name](photo, seed) for seed, photo in enumerate(photos)]
    before, after = mean(lambda pair: pair.damaged, pairs, luma), mean(lambda pair: restored(apply, pair), pairs, luma)
    other = ""
    if name in OTHERS:
        label, method = OTHERS[name]
        other = f"{mean(method, pairs, luma):.2f} ({label})"
    return [name, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}", other]


def holes_row(photos: Sequence[Pixels]) -> list[str]:
    """Return the same for strokes and spots taken out of photos, inside them: grey, `fill`, biharmonic inpainting."""
    scores = []
    for seed, photo in enumerate(photos):
        mask = holes(photo.shape[0], photo.shape[1], np.random.default_rng(seed))
        grey = np.where(mask[..., None] > 0, np.uint8(128), photo)
        image = torch.from_numpy(np.dstack([grey, np.full_like(mask, 255)]))[None]
        filled = Fill()(image, torch.from_numpy((mask > 0).astype(np.float32))[None, None])[0, ..., :3].numpy()
        smooth = bytes_of(inpaint_biharmonic(grey / 255.0, mask > 0, channel_axis=2))
        scores.append([psnr(each, photo, mask) for each in (grey, filled, smooth)])
    before, after, other = np.mean(scores, 0).tolist()
    return ["holes", f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}", f"{other:.2f} (biharmonic)"]


def against_cbm3d(photos: Sequence[Pixels], apply: Apply) -> list[list[str]]:
    """Return one line a photo, and their mean, at noise 25: the network, CBM3D, difference."""
    pairs = [CONDITIONS["noise 25"](photo, seed) for seed, photo in enumerate(photos)]
    scores = [(psnr(restored(apply, pair), pair.clean), psnr(cbm3d(pair), pair.clean)) for pair in pairs]
    named = [*((str(place), *score) for place, score in enumerate(scores)), ("mean", *np.mean(scores, 0).tolist())]
    return [[name, f"{ours:.2f}", f"{theirs:.2f}", f"{ours - theirs:+.2f}"] for name, ours, theirs in named]


def report(apply: Apply, photos: Sequence[Pixels], bm3d: int = 0) -> str:
    """Return the table of all conditions and, for `bm3d` photographs, the one beside CBM3D."""
    parts = [markdown(("condition", "before", "after", "gain", "other method"), [
        *(row(name, photos, apply) for name in CONDITIONS), holes_row(photos)
    ])]
    if bm3d:
        lines = against_cbm3d(photos[:bm3d], apply)
        parts += ["Noise 25, sigma told:", markdown(("photo", "ours", "CBM3D", "ours - CBM3D"), lines)]
    return "\n\n".join(parts)


def held_out(data: Path, count: int, side: int = 512) -> list[Pixels]:
    """Return the middle of the first held-out photographs, at most `side` pixels."""
    return [middle(decode(path), side) for path in photographs(data)[1][:count]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Restoration on held-out photographs.")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--weights", type=Path, default=Path("converters/nano_banana/checkpoint.safetensors"))
    parser.add_argument("--artifact", type=Path, help="measure this artifact's restore component instead")
    parser.add_argument("--photos", type=int, default=24, help="at most so many photographs")
    parser.add_argument("--bm3d", type=int, default=0, help="photographs on which CBM3D runs too")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--threads", type=int, default=THREADS, help="of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    apply = of_artifact(arguments.artifact) if arguments.artifact else in_torch(load(arguments.weights))
    photos = held_out(arguments.data, arguments.photos, arguments.side)
    print(f"{len(photos)} held-out photographs, at most {arguments.side} px, PSNR in dB\n")
    print(report(apply, photos, arguments.bm3d))


if __name__ == "__main__":
    main()

"""Peers that take pixels and give pixels: scikit-image, OpenCV, Pillow and CBM3D beside nano-banana's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from skimage import color, exposure, filters
from skimage.restoration import denoise_tv_chambolle, denoise_wavelet

from benchmarks import restoration
from benchmarks.sibling import say, sibling
from benchmarks.table import jpeg, markdown, photographs
from benchmarks.timing import Job, interleaved, timed, told
from converters.nano_banana.damage import Pixels
from converters.nano_banana.restoration_pairs import CONDITIONS, Pair, middle, psnr, restored
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.families.nano_banana import NanoBanana
from edge_runtime.generators import finished
from edge_runtime.plan import Edit, Plan

OURS = "nano-banana int8"
PHOTOS, SIDE_PIXELS = 12, 256
ROUNDS, SLOW_ROUNDS = 9, 3
LONG_SIDE_PIXELS = 1024
Change = Callable[[Pixels], NDArray[Any]]
Denoiser = Callable[[Pair], Pixels]


def denoising(data: Path | None, threads: int) -> str:
    """Return PSNR and time of each method. The strengths of those that aren't told sigma are the best of several."""
    photos = restoration.held_out(data, PHOTOS, SIDE_PIXELS) if data else [
        middle(np.asarray(photo), SIDE_PIXELS) for photo in photographs(None).values()
    ]
    pairs = [CONDITIONS["noise 25"](photo, seed) for seed, photo in enumerate(photos)]
    methods = _denoisers(pairs, threads)
    scores = {}
    for name, method in methods.items():
        say(f"denoising {len(pairs)} photographs: {name}")
        scores[name] = np.array([psnr(method(pair), pair.clean) for pair in pairs])
    jobs: dict[str, Job] = {name: timed(partial(method, pairs[0]), threads) for name, method in methods.items()}
    times = interleaved({name: job for name, job in jobs.items() if name != "CBM3D"}, ROUNDS)
    slow = interleaved({name: jobs[name] for name in (OURS, "CBM3D") if name in jobs}, SLOW_ROUNDS)
    rows = [
        [name, f"{scores[name].mean():.2f}", "" if name == OURS else _gain(scores[OURS] - scores[name]),
         "1" if name == OURS else told(times[name], times[OURS]) if name in times else told(slow[name], slow[OURS])]
        for name in methods
    ]
    before = np.mean([psnr(pair.damaged, pair.clean) for pair in pairs])
    whose = "held out from training" if data else "that come with scikit-image"
    lead = f"{len(pairs)} photographs {whose}, {SIDE_PIXELS} px; {before:.2f} dB before."
    return f"{lead}\n\n" + markdown(["method", "PSNR dB", "ours is better by dB", "time, ours = 1"], rows)


def _denoisers(pairs: Sequence[Pair], threads: int) -> dict[str, Denoiser]:
    ours, floats = (restoration.of_artifact(folder) for folder in (EMBEDDED, sibling("fp32")))
    found: dict[str, Denoiser] = {
        OURS: partial(restored, ours), "nano-banana fp32": partial(restored, floats),
        "non-local means, scikit-image": restoration.non_local_means,
        "total variation, scikit-image": _best(_total_variation, (0.05, 0.08, 0.11, 0.15), pairs),
        "median of 3 x 3, Pillow": _median,
    }
    if find_spec("pywt"):
        found["wavelets (BayesShrink), scikit-image"] = _wavelets
    if find_spec("cv2"):
        import cv2  # by hand: pip install opencv-python-headless

        cv2.setNumThreads(threads)
        found["non-local means, OpenCV"] = _best(_opencv_means, (10.0, 15.0, 20.0, 25.0), pairs)
    if find_spec("bm3d"):
        found["CBM3D"] = restoration.cbm3d
    return found


def _best(method: Callable[[Pair, float], Pixels], strengths: Sequence[float], pairs: Sequence[Pair]) -> Denoiser:
    """Return the method at the strength that suits these photographs best, which is more than a user would know."""
    scores = [np.mean([psnr(method(pair, strength), pair.clean) for pair in pairs]) for strength in strengths]
    chosen = strengths[int(np.argmax(scores))]
    return lambda pair: method(pair, chosen)


def _total_variation(pair: Pair, weight: float) -> Pixels:
    return restoration.bytes_of(denoise_tv_chambolle(pair.damaged / 255.0, weight, channel_axis=2))


def _wavelets(pair: Pair) -> Pixels:
    sigma = float(pair.strengths[0]) * 50 / 255
    return restoration.bytes_of(
        denoise_wavelet(pair.damaged / 255.0, sigma, channel_axis=2, convert2ycbcr=True, rescale_sigma=True)
    )


def _median(pair: Pair) -> Pixels:
    return np.asarray(Image.fromarray(pair.damaged).filter(ImageFilter.MedianFilter(3)))


def _opencv_means(pair: Pair, strength: float) -> Pixels:
    import cv2

    return np.asarray(cv2.fastNlMeansDenoisingColored(pair.damaged, None, strength, strength, 7, 21), np.uint8)


def _gain(differences: NDArray[np.float64]) -> str:
    """Return the mean difference with its 95 % interval over photographs."""
    drawn = np.random.default_rng(0).choice(differences, (2000, len(differences))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{differences.mean():+.2f} ({low:+.2f} to {high:+.2f})"


PLANS: Mapping[str, Sequence[str]] = {
    "exposure": ("exposure",), "contrast": ("contrast",), "saturation": ("saturation",),
    "black and white": ("black_and_white",), "sharpen": ("sharpen",), "blur": ("blur",),
    "five at once": ("exposure", "contrast", "saturation", "sharpen", "vignette"),
}
_AMOUNT = 0.4


def _blurred(photo: Pixels) -> NDArray[Any]:
    return np.asarray(filters.gaussian(photo, 4, channel_axis=2))


def _saturated(photo: Pixels) -> NDArray[Any]:
    hsv = color.rgb2hsv(photo)
    hsv[..., 1] = np.minimum(1.3 * hsv[..., 1], 1)
    return np.asarray(color.hsv2rgb(hsv))


def _vignette(photo: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (np.linspace(-1, 1, size, dtype=np.float32) ** 2 for size in photo.shape[:2])
    return np.asarray(photo * (1 - 0.25 * (rows[:, None] + columns[None]))[..., None])


def _pillow() -> dict[str, Change]:
    def step(change: Callable[[Image.Image], Image.Image]) -> Change:
        return lambda photo: np.asarray(change(Image.fromarray(photo)))

    found = {
        "exposure": step(lambda photo: ImageEnhance.Brightness(photo).enhance(1.3)),
        "contrast": step(lambda photo: ImageEnhance.Contrast(photo).enhance(1.3)),
        "saturation": step(lambda photo: ImageEnhance.Color(photo).enhance(1.3)),
        "black and white": step(lambda photo: ImageOps.grayscale(photo).convert("RGB")),
        "sharpen": step(lambda photo: photo.filter(ImageFilter.UnsharpMask(2, 80, 0))),
        "blur": step(lambda photo: photo.filter(ImageFilter.GaussianBlur(4))),
    }
    return found | {"five at once": _chain(found, lambda photo: _vignette(photo).astype(np.uint8))}


def _scikit_image() -> dict[str, Change]:
    found: dict[str, Change] = {
        "exposure": lambda photo: exposure.adjust_gamma(photo, 0.75),
        "contrast": lambda photo: exposure.adjust_sigmoid(photo, 0.5, 6),
        "saturation": _saturated,
        "black and white": color.rgb2gray,
        "sharpen": lambda photo: filters.unsharp_mask(photo, 2, 0.8, channel_axis=2),
        "blur": _blurred,
    }
    return found | {"five at once": _chain(found, _vignette)}


def _opencv() -> dict[str, Change]:
    import cv2

    def saturated(photo: Pixels) -> NDArray[Any]:
        hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.minimum(1.3 * hsv[..., 1], 255)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    found: dict[str, Change] = {
        "exposure": lambda photo: cv2.convertScaleAbs(photo, alpha=1.3),
        "contrast": lambda photo: cv2.convertScaleAbs(photo, alpha=1.3, beta=-38),
        "saturation": saturated,
        "black and white": lambda photo: cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY),
        "sharpen": lambda photo: cv2.addWeighted(photo, 1.8, cv2.GaussianBlur(photo, (0, 0), 2), -0.8, 0),
        "blur": lambda photo: cv2.GaussianBlur(photo, (0, 0), 4),
    }
    return found | {"five at once": _chain(found, lambda photo: _vignette(photo).astype(np.uint8))}


def _chain(changes: Mapping[str, Change], last: Change) -> Change:
    def run(photo: Pixels) -> NDArray[Any]:
        for name in PLANS["five at once"][:-1]:
            photo = changes[name](photo)
        return last(photo)

    return run


def adjustments(rounds: int, threads: int) -> str:
    """Return the ratio of time of each adjustment by each peer."""
    peers = {"Pillow": _pillow(), "scikit-image": _scikit_image()} | ({"OpenCV": _opencv()} if find_spec("cv2") else {})
    encoded = jpeg(next(iter(photographs(None).values())), LONG_SIDE_PIXELS)
    photo = np.asarray(Image.open(BytesIO(encoded)).convert("RGB"))
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    model = NanoBanana(Artifact.open(EMBEDDED), ENGINE, threads, ENGINE.device)
    rows = []
    for name, adjusted in PLANS.items():
        plan = Plan(edits=tuple(Edit(adjust=each, amount=_AMOUNT) for each in adjusted))
        jobs = {OURS: timed(lambda plan=plan: finished(model.render(opaque, plan, None)), threads)}  # type: ignore[misc]
        jobs |= {peer: timed(partial(changes[name], photo), threads) for peer, changes in peers.items()}
        say(f"adjustments: {name}")
        times = interleaved(jobs, rounds)
        rows.append([name, "1", *(told(times[peer], times[OURS]) for peer in peers)])
    model.close()
    return markdown(["adjustment", OURS, *peers], rows)

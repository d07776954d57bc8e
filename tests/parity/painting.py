"""What the tests of painting families share: photographs of any size, and edits through the public interface."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data

from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest, Size

MOST = 1e-3
"""Largest difference of any value of the final picture, 0..1."""

SIZES = {"square": (256, 256), "wide": (320, 192), "odd": (208, 272)}
"""Width and height of results; all are multiples of 16, odd are the numbers of patches."""


def photograph(width: int, height: int, name: str = "astronaut") -> Image.Image:
    """Return a crop of one of scikit-image's photographs."""
    return Image.fromarray(getattr(data, name)()).resize((width, height), Image.Resampling.BICUBIC)


def png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def painted(artifact: Path, pictures: list[Image.Image], words: str, size: tuple[int, int], **options: Any) -> Any:
    """Return the planes (3, height, width) that the artifact paints, 0..1, before they become pixels."""
    from edge_runtime.diffusion import pictures as module

    found = []
    original = module.from_planes
    module.from_planes = lambda planes: found.append(planes) or original(planes)
    try:
        with Editor.open(artifact, threads=1) as editor:
            photo, *others = map(png, pictures)
            request = EditRequest(
                image=photo, references=tuple(others), instruction=words, size=Size(width=size[0], height=size[1]),
                output_format="png", **options,
            )
            result = editor.edit(request)
    finally:
        module.from_planes = original
    assert (result.width, result.height) == size
    pixels = np.asarray(Image.open(BytesIO(result.image)).convert("RGB"))
    planes = np.clip(found[0][0] / 2 + 0.5, 0, 1)
    assert np.abs(pixels.transpose(2, 0, 1) / 255 - planes).max() < 0.003
    return planes


def request(photo: Image.Image, words: str, **options: Any) -> EditRequest:
    """Return a request for a photo, by default with a seed and four steps."""
    return EditRequest(image=png(photo), **{
        "instruction": words, "seed": 7, "steps": 4, "output_format": "png", **options,
    })


def pixels(result: Any) -> np.ndarray:
    """Return a result's pixels, (3, height, width), 0..1."""
    return np.asarray(Image.open(BytesIO(result.image)).convert("RGB")).transpose(2, 0, 1) / 255


def close(actual: np.ndarray, expected: np.ndarray, most: float = MOST) -> bool:
    """Return whether two pictures differ by at most `most` anywhere."""
    difference = np.abs(actual - expected).max()
    print(f"largest difference {difference:.2e}")  # noqa: T201 - pytest shows it when asked to, or on failure
    return bool(difference <= most)


def generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def planes_of(output: Any) -> np.ndarray:
    """Return what a pipeline of diffusers gave with output_type="np", (3, height, width)."""
    return np.asarray(output.images[0]).transpose(2, 0, 1)

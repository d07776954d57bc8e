"""Markdown tables and the photographs that every measurement uses."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

BUNDLED = ("astronaut", "coffee", "chelsea", "rocket")
"""Colour photographs that lie in scikit-image's wheel."""


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def photographs(folder: Path | None, most: int = 20) -> dict[str, Image.Image]:
    """Return photographs by name: of a folder, or those bundled with scikit-image."""
    if folder is None:
        return {name: Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB") for name in BUNDLED}
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    chosen = files[:: max(1, len(files) // most)][:most]
    return {file.stem: Image.open(file).convert("RGB") for file in chosen}


def jpeg(photo: Image.Image, long_side: int) -> bytes:
    """Return the photo as JPEG with this many pixels on the long side (enlarged if it must be)."""
    scale = long_side / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    buffer = BytesIO()
    photo.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()

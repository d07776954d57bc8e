"""Numbers of the procedure around the graphs, as the manifest's settings carry them to every platform.

Members of a dictionary are members of one object there: `edge_runtime.restoration.Mending` and
`edge_runtime.canvas.Shares` say what each of them is.
"""

from typing import Final

STRIP_PIXELS: Final = 400_000
"""Pixels times region rows that are rendered at once. It bounds the memory of `render` and keeps its planes near the
caches: at 1024 px with two regions, strips are twice as fast as the whole photo at once."""

MAX_UPSCALED_PIXELS: Final = 64_000_000
FAINTEST: Final = {"subject": 0.004, "skin": 0.001}

RESTORATION: Final = {
    "tile_pixels": 704,
    "halo_pixels": 64,
    "multiple": 16,
    "hole_pixels": 20,
    "marked": 0.1,
    "known_alpha": 250,
    "around_pixels": 64,
}

CANVAS: Final = {
    "frame": 0.08,
    "block_least": 0.005,
    "block_most": 0.05,
    "block_covered": 0.3,  # hiding a face wants generous blocks
    "subject_margin": 0.35,
}

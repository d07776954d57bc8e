"""How much memory an edit takes at most, from what the conversion wrote down. Nothing is opened or measured here.

An open part holds its weights; a part that runs holds inputs, outputs and what lies between besides. ONNX Runtime keeps
the latter for the next run, unless the run was a large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from edge_runtime.diffusion.settings import Settings
from edge_runtime.engine import LARGE_RUN_BYTES
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Manifest

MEMORY: Final = "memory"
"""Member of a manifest's settings: component -> what it holds once opened, and in runs for results of several areas."""

TILE_PIXELS: Final = 768
"""Side of a tile of the autoencoder. A run of FLUX.2's decoder in int8 takes 3.3 GB at it, 5.5 GB at 1024."""

WHOLE_PIXELS: Final = 1_100_000
"""Up to this area a picture is not cut: a megapixel, and the sizes near it that Kontext sees photos at."""

BASE_BYTES: Final = 95_000_000
"""The command after its imports, resident: measured with limit_heap on Linux."""

SESSION_BYTES: Final = 12_000_000
"""An open graph beside its weights: measured on autoencoders of 1 MB, and on 6 and 24 equal layers."""

RUN_SHARE: Final = 1.12
"""What a run takes for a byte that the conversion counted: converted graphs add copies, convolutions reorder inputs.

Measured on DreamLite's parts at 256, 512 and 1024 pixels, and on FLUX.2's autoencoder and two of its blocks at 512, 768
and 1024: 0.87 to 1.35, the middle 1.07.
"""

MOST_POWER: Final = 3.0
"""Of the area: attention grows with its square, and the arena may double on top of that."""

PICTURE_BYTES: Final = 50
"""Pixels of the photo and the result, and their planes in float, for a pixel of the result."""

PAINTING: Final = ("vae_encoder", "denoiser", "vae_decoder")
"""Parts that run once a step or a tile, in this order, behind those that read words or look at pictures, once each."""

_TILED: Final = "vae_"


class Work(NamedTuple):
    """What a run takes for a result of so many pixels, its inputs alone and in all."""

    pixels: int
    input_bytes: int
    run_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component. `opened_bytes` are its weights as the engine holds them; `work` has a row for every area tried."""

    name: str
    opened_bytes: int
    work: tuple[Work, ...]

    @property
    def open_bytes(self) -> int:
        """Return what the part holds while it is open and has not run."""
        return SESSION_BYTES + self.opened_bytes

    def working_bytes(self, pixels: int) -> int:
        """Return what a run takes besides, for a result of so many pixels."""
        return round(RUN_SHARE * between([(row.pixels, row.run_bytes) for row in self.work], self._seen(pixels)))

    def kept_bytes(self, pixels: int) -> int:
        """Return what of it stays after the run: nothing of a large one."""
        inputs = between([(row.pixels, row.input_bytes) for row in self.work], self._seen(pixels))
        return 0 if 2 * inputs > LARGE_RUN_BYTES else self.working_bytes(pixels)

    def _seen(self, pixels: int) -> int:
        """Return how many pixels are seen at once: the autoencoder sees tiles of what is large."""
        return TILE_PIXELS**2 if self.name.startswith(_TILED) and pixels > WHOLE_PIXELS else pixels


def between(points: Sequence[tuple[int, int]], place: int) -> float:
    """Return the value at a place between points (place, value) or beyond them; the places rise, all are above 0.

    A line in logarithms: what grows with the area or its square is met exactly. What falls, or rises faster than any
    graph's need, counts as constant or as rising so.
    """
    if len(points) == 1:
        return points[0][1]
    first = next((index for index in range(len(points) - 2) if place <= points[index + 1][0]), len(points) - 2)
    (low, at_low), (high, at_high) = points[first : first + 2]
    power = min(max(math.log(at_high / at_low) / math.log(high / low), 0.0), MOST_POWER)
    return float(at_low * (place / low) ** power)


def to_json(opened_bytes: int, work: list[Work]) -> dict[str, Any]:
    """Return a component's entry in the member `memory`."""
    return {"opened": opened_bytes, "work": [list(row) for row in work]}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """Read the member `memory` of a manifest's settings: none of an artifact that was made before there was one.

    Raises ArtifactError for a member that can't be used.
    """
    if settings.get(MEMORY) is None:
        return {}
    member = Settings(settings).part(MEMORY)
    return {name: _part(name, member.part(name)) for name in settings[MEMORY]}


def peak_bytes(manifest: Manifest, width: int, height: int, *, together: bool) -> int:
    """Return the most memory that a fresh process holds in an edit whose result has this size, in pixels.

    `together`: every part stays open once it was used, else only one is open at a time. Raises ArtifactError for a
    manifest without figures.
    """
    known = parts(manifest.settings)
    if not known:
        raise ArtifactError("the manifest has no figures of memory", hint="convert the model again")
    pixels = width * height
    most = held = 0
    for part in sorted(known.values(), key=lambda part: PAINTING.index(part.name) if part.name in PAINTING else -1):
        most = max(most, held + part.open_bytes + part.working_bytes(pixels))
        if together:
            held += part.open_bytes + part.kept_bytes(pixels)
    return BASE_BYTES + PICTURE_BYTES * pixels + most


def _part(name: str, entry: Settings) -> Part:
    rows = [Work(*row) for row in entry.rows("work", 3)]
    if any(high.pixels <= low.pixels for low, high in pairwise(rows)):
        raise ArtifactError(f"the areas of settings.{MEMORY}.{name}.work in the manifest don't rise")
    return Part(name=name, opened_bytes=entry.whole("opened", least=0), work=tuple(rows))

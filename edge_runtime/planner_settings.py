"""The settings of a planner's manifest (nano-banana's), checked and converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.canvas import Shares
from edge_runtime.errors import ArtifactError
from edge_runtime.plan import Vocabulary
from edge_runtime.restoration import Mending

SMALLEST_TILE_PIXELS: Final = 512
"""What a format with fixed sizes must offer: several cells of the reduced copy of the largest photo, and margins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """The manifest's member `settings`, as far as the runtime reads it.

    `strip_pixels`: pixels times region rows that are rendered at once. `faintest`: mean of a region's mask below which
    the photo doesn't seem to have it.
    """

    vocabulary: Vocabulary
    max_bytes: int
    mask_pixels: int
    context_pixels: int
    halo_rows: int
    colors: list[str]
    restore: list[str]
    corrections: Mapping[str, list[str]]
    local: frozenset[str]
    full: frozenset[str]
    cutting: frozenset[str]
    canvas: frozenset[str]
    strip_pixels: int
    upscaled_pixels: int
    faintest: Mapping[str, float]
    mending: Mending
    shares: Shares
    tile_pixels: Mapping[str, int]

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> PlannerSettings:
        """Check and convert the manifest's member; raises ArtifactError."""
        try:
            vocabulary = Vocabulary.from_json(settings["vocabulary"])
            return cls(
                vocabulary=vocabulary,
                max_bytes=int(settings["max_instruction_bytes"]),
                mask_pixels=int(settings["mask_pixels"]),
                context_pixels=int(settings["context_pixels"]),
                halo_rows=int(settings["halo_rows"]),
                colors=[vocabulary.colors[name] for name in settings["color_axis"]],
                restore=list(settings["restore_axis"]),
                corrections=dict(settings["corrections"]),
                local=frozenset(settings["local_adjustments"]),
                full=frozenset(settings["full_adjustments"]),
                cutting=frozenset(settings["cutting_adjustments"]),
                canvas=frozenset(settings["canvas_adjustments"]),
                strip_pixels=int(settings["strip_pixels"]),
                upscaled_pixels=int(settings["max_upscaled_pixels"]),
                faintest={name: float(settings["faintest"][name]) for name in ("subject", "skin")},
                mending=Mending(**settings["restoration"]),
                shares=Shares(**settings["canvas"]),
                tile_pixels=_tile_sides(settings.get("fixed_sizes", {})),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                "the artifact's settings don't fit nano-banana", got=error,
                hint="it is of another version of nanoedge: convert the model again",
            ) from error


def _tile_sides(sizes: Mapping[str, Sequence[Mapping[str, int]]]) -> dict[str, int]:
    """Component -> side of the largest square that one of its fixed sizes holds; none for those without height."""
    squares = {
        name: [min(each["height"], each["width"]) for each in entries if "height" in each]
        for name, entries in sizes.items()
    }
    sides = {name: max(each) for name, each in squares.items() if each}
    if odd := {name: side for name, side in sides.items() if type(side) is not int or side < SMALLEST_TILE_PIXELS}:
        raise ValueError(f"tiles of {odd} pixels, {SMALLEST_TILE_PIXELS} or more are needed")
    return sides

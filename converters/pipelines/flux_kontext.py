"""FLUX.1 Kontext: an instruction, one picture, and a transformer of 11.9 B parameters distilled with its guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from converters.calibration import CalibrationData
from converters.flux_family import TEXT_ENCODERS, TRANSFORMER, flux_model
from converters.lora import fuse, require_components
from converters.source import Model

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

PREFERRED_PIXELS: Final = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688),
    (1568, 672),
)  # fmt: skip
"""Width and height of the pictures that it was trained on (Black Forest Labs, flux, `src/flux/util.py`)."""

SETTINGS: Final[dict[str, Any]] = {
    "steps": 28,
    # the first is a number that the transformer takes; the other, above 1, guides away from the negative prompt
    "guidance": {"embedded": 2.5, "text": 1.0},
    "size": {"multiple": 16, "area": 1024 * 1024, "preferred": [list(size) for size in PREFERRED_PIXELS]},
    # the shift of the schedule follows the picture's tokens; the reference's don't count
    "schedule": {"latents_per_token": 4},
    # positions: the first axis tells pictures apart; text stands at zero
    "references": {"most": 1, "first": 1, "step": 1, "diagonal": False},
}


class FluxKontext:
    """FluxKontextPipeline, with or without LoRAs."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return ("FluxKontextPipeline",)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        changed = (TRANSFORMER, *TEXT_ENCODERS)
        require_components(loras, changed)
        weights = {name: fuse(folder.weights(name), loras, component=name) for name in changed}
        return flux_model(
            folder,
            {**weights, "vae": folder.weights("vae")},
            data,
            family="flux-kontext",
            settings=SETTINGS,
            reference_pixels=lambda pixels: 1024 * 1024,  # whatever the result's, one of the preferred sizes
            loras=", ".join(lora.name for lora in loras),
        )


PIPELINE: Final = FluxKontext()

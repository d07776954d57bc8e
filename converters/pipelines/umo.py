"""UMO on UNO: FLUX.1-dev that puts given people and things into a new picture.

UNO (https://arxiv.org/abs/2504.02160) trained low-rank weights for references in the sequence; UMO
(https://github.com/bytedance/UMO) trained them further, so its file takes the place of UNO's where both have a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from converters.calibration import CalibrationData
from converters.flux_family import TEXT_ENCODERS, TRANSFORMER, flux_model
from converters.lora import fuse, require_components
from converters.source import Model
from edge_runtime.errors import ConversionError

if TYPE_CHECKING:
    from converters.folder import PipelineFolder
    from converters.lora import Lora

SETTINGS: Final[dict[str, Any]] = {
    "steps": 25,
    "guidance": {"embedded": 4.0},
    "size": {"multiple": 16, "default": [768, 768], "largest": 1024},
    # UNO counts a token per 256 latents, not per 4: its shift hardly depends on the size
    "schedule": {"latents_per_token": 256},
    # All stand on one plane: the target first, every reference further down and right, where the one before it ends
    "references": {"most": 4, "first": 0, "step": 0, "diagonal": True, "long_side": [512, 320], "multiple": 16},
}
"""`long_side` is that of a single reference, and that of each when there are several."""


class Umo:
    """FluxPipeline with the low-rank weights of UNO and UMO, or of UNO alone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""
        return ("FluxPipeline",)

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component; raises ConversionError when something doesn't fit."""
        references = [lora for lora in loras if _is_for_references(lora)]
        if not references:
            raise ConversionError(
                "FluxPipeline makes pictures from text and can't edit one",
                got=f"LoRAs for references: none of {len(loras)} given",
                hint="for UMO give two: --lora dit_lora.safetensors (UNO) --lora UMO_UNO.safetensors (UMO)",
            )
        require_components(loras, [TRANSFORMER])
        styles = [lora for lora in loras if not _is_for_references(lora)]
        tuned = fuse(folder.weights(TRANSFORMER), references, component=TRANSFORMER, override=True)
        weights = {TRANSFORMER: fuse(tuned, styles, component=TRANSFORMER)}
        return flux_model(
            folder,
            {**weights, **{name: folder.weights(name) for name in (*TEXT_ENCODERS, "vae")}},
            data,
            family="umo",
            settings=SETTINGS,
            reference_pixels=lambda pixels: SETTINGS["references"]["long_side"][0] ** 2,
            loras=", ".join(lora.name for lora in (*references, *styles)),
        )


def _is_for_references(lora: Lora) -> bool:
    """Tell whether a file has its weights in attention processors, as UNO saves them."""
    return all(".processor." in pair.down for pair in lora.pairs)


PIPELINE: Final = Umo()

"""A source in one file, as a newcomer would add one."""

from pathlib import Path

from stand_ins import TinyMask, TinyText, mask_component, text_component

from converters.calibration import CalibrationData
from converters.checkpoint import read_checkpoint
from converters.source import Model


class Tiny:
    """Two networks without a checkpoint of their own."""

    default_checkpoint = None

    def open(self, checkpoint: Path, data: CalibrationData) -> Model:
        """Read the checkpoint."""
        weights = read_checkpoint(checkpoint, ("text.", "vision."))
        return Model(
            family="tiny",
            name="tiny",
            components=(
                text_component(lambda: weights.fill(TinyText(), "text.")),
                mask_component(lambda: weights.fill(TinyMask(), "vision.")),
            ),
            settings={"side": 32},
            provenance={"checkpoint_sha256": weights.sha256},
        )


SOURCE = Tiny()

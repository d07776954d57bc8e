"""nano-banana: the four graphs of our own reference editor, and what its manifest says beside them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from converters.calibration import CalibrationData
from converters.checkpoint import Checkpoint, read_checkpoint
from converters.nano_banana.render import Context, Render
from converters.nano_banana.text import MAX_BYTES, TextPlanner
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS, SubjectMask, SubjectNet
from converters.nano_banana.vocabulary import vocabulary, vocabulary_json
from converters.parity import mask_iou
from converters.source import Agreement, Arrays, ComponentSource, Model
from converters.sources._nano_banana_examples import context_inputs, instructions, render_inputs, squares
from edge_runtime.request import MAX_SIDE_PIXELS
from edge_runtime.tensors import DType, TensorSpec

CHECKPOINT: Final = Path(__file__).parent.parent / "nano_banana" / "checkpoint.safetensors"
CONTEXT_PIXELS: Final = 384
LOCAL_ADJUSTMENTS: Final = ("clarity", "dehaze", "blur", "glow")
"""Adjustments that look at more than a pixel's neighbours and so need `context`."""

CALIBRATION_INSTRUCTIONS, COMPARED_INSTRUCTIONS = 24, 48
"""How many instructions of each language ranges are measured on, and results compared on."""

WHITE_BOX: Final = "exact arithmetic without weights: nothing to make smaller"
REGIONS, ADJUSTMENTS, COLORS = (len(vocabulary_json()[key]) for key in ("regions", "adjustments", "colors"))


class NanoBanana:
    """The source (see converters/source.py). Its checkpoint is one file with tensors `text.*` and `vision.*`."""

    default_checkpoint = CHECKPOINT

    def open(self, checkpoint: Path, data: CalibrationData) -> Model:
        """Read the checkpoint; raises ConversionError when it doesn't fit."""
        weights = read_checkpoint(checkpoint, ("text.", "vision."))
        return Model(
            family="nano-banana",
            name="nano-banana",
            components=(_text(weights), _vision(weights, data), _context(data), _render(data)),
            settings={
                "vocabulary": vocabulary_json(),
                # the manifest sorts the members of objects; the graph's axis keeps the order of training
                "color_axis": list(vocabulary().colors),
                "max_instruction_bytes": MAX_BYTES,
                "mask_pixels": PHOTO_SIDE_PIXELS,
                "context_pixels": CONTEXT_PIXELS,
                "local_adjustments": list(LOCAL_ADJUSTMENTS),
            },
            provenance={
                "source": "nanoedge, converters/nano_banana",
                "checkpoint_sha256": weights.sha256,
                "licence": "Apache-2.0",
            },
        )


SOURCE: Final = NanoBanana()


def plan_agreement(reference: Arrays, converted: Arrays) -> float:
    """1 if both outputs of `text` give the same plan: adjustments, regions, signs, `beyond` and the fill's colour."""
    fill = [adjustment.name for adjustment in vocabulary().adjustments].index("fill")

    def plan(outputs: Arrays) -> tuple[object, ...]:
        # amounts are read in steps of 0.01; a smaller one is no edit
        signs = np.sign(np.round(outputs["amounts"], 2))
        color = int(outputs["color"].argmax()) if signs[..., fill].any() else None
        return signs.tobytes(), bool(outputs["beyond"][0] > 0.5), color

    return float(plan(reference) == plan(converted))


def _text(weights: Checkpoint) -> ComponentSource:
    cells = (1, REGIONS, ADJUSTMENTS)
    return ComponentSource(
        name="text",
        module=lambda: weights.fill(TextPlanner(), "text."),
        inputs=(_spec("tokens", "int32", 1, "tokens"),),
        outputs=(
            _spec("amounts", "float32", *cells),
            _spec("scores", "float32", *cells),
            _spec("beyond", "float32", 1),
            _spec("color", "float32", 1, COLORS),
        ),
        dimensions={"tokens": (1, MAX_BYTES)},
        examples=tuple(instructions(seed=1, count=COMPARED_INSTRUCTIONS)),
        calibration=partial(instructions, seed=2, count=CALIBRATION_INSTRUCTIONS),
        agreements=(Agreement(name="plan_agreement", compare=plan_agreement),),
        thresholded=("amounts",),
    )


def _vision(weights: Checkpoint, data: CalibrationData) -> ComponentSource:
    side = PHOTO_SIDE_PIXELS
    return ComponentSource(
        name="vision",
        module=lambda: SubjectMask(weights.fill(SubjectNet(), "vision.")).eval(),
        inputs=(_spec("image", "uint8", 1, side, side, 3),),
        outputs=(_spec("subject", "float32", 1, 1, side, side),),
        examples=tuple(squares(data.comparison)),
        calibration=partial(squares, data.calibration),
        agreements=(
            Agreement(name="mask_iou", compare=lambda a, b: mask_iou(a["subject"], b["subject"])),
        ),
    )


def _context(data: CalibrationData) -> ComponentSource:
    return ComponentSource(
        name="context",
        module=lambda: Context().eval(),
        inputs=(
            _spec("photo", "uint8", 1, "context_height", "context_width", 3),
            _spec("mask", "float32", 1, 1, PHOTO_SIDE_PIXELS, PHOTO_SIDE_PIXELS),
            _spec("amounts", "float32", "regions", ADJUSTMENTS),
        ),
        outputs=_LAYERS,
        dimensions={name: _DIMENSIONS[name] for name in ("context_height", "context_width", "regions")},
        examples=tuple(context_inputs(data.comparison[0], regions) for regions in (2, 1)),
        float_note=WHITE_BOX,
    )


def _render(data: CalibrationData) -> ComponentSource:
    return ComponentSource(
        name="render",
        module=lambda: Render().eval(),
        inputs=(
            _spec("image", "uint8", 1, "height", "width", 4),
            *_LAYERS,
            _spec("amounts", "float32", "regions", ADJUSTMENTS),
            _spec("color", "float32", "regions", 3),
            _spec("window", "float32", 4),
        ),
        outputs=(_spec("edited", "uint8", 1, "height", "width", 4),),
        dimensions=_DIMENSIONS,
        examples=tuple(render_inputs(data.comparison[-1], regions) for regions in (2, 1)),
        float_note=WHITE_BOX,
    )


def _spec(name: str, dtype: DType, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


_LAYERS: Final = (
    _spec("layers", "float32", "regions", 4, "context_height", "context_width"),
    _spec("matte", "float32", 1, 4, "context_height", "context_width"),
)
_DIMENSIONS: Final = {
    "height": (1, MAX_SIDE_PIXELS),
    "width": (1, MAX_SIDE_PIXELS),
    "context_height": (1, CONTEXT_PIXELS),
    "context_width": (1, CONTEXT_PIXELS),
    "regions": (1, 2),
}

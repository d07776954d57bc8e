"""nano-banana: the graphs of our own reference editor, and what its manifest says beside them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from converters.calibration import CalibrationData
from converters.checkpoint import Checkpoint, read_checkpoint
from converters.nano_banana import procedure
from converters.nano_banana.context import LOCAL_ADJUSTMENTS, Context
from converters.nano_banana.correction import GROUPS, AutoCorrection, CorrectionNet
from converters.nano_banana.filling import Fill
from converters.nano_banana.fixed import FixedContext, FixedRender
from converters.nano_banana.render import CUTTING_ADJUSTMENTS, FULL_ADJUSTMENTS, HALO_ROWS, Render
from converters.nano_banana.restoration import TASKS, RestorationNet, Restore
from converters.nano_banana.text import MAX_BYTES, TextPlanner
from converters.nano_banana.vision import PHOTO_SIDE_PIXELS, Masks, SubjectNet
from converters.nano_banana.vocabulary import vocabulary, vocabulary_json
from converters.parity import mask_iou
from converters.source import Agreement, Arrays, ComponentSource, FixedForm, Model
from converters.sources._nano_banana_examples import (
    context_inputs,
    damaged,
    hard,
    holes,
    instructions,
    render_inputs,
    squares,
)
from edge_runtime.editor import BEYOND_THRESHOLD
from edge_runtime.images import LEAST_MARKED, MASK_TOLERANCE
from edge_runtime.plan import MAX_EDITS
from edge_runtime.request import MAX_INSTRUCTION_CHARACTERS, MAX_SIDE_PIXELS
from edge_runtime.tensors import DType, TensorSpec

CHECKPOINT: Final = Path(__file__).parent.parent / "nano_banana" / "checkpoint.safetensors"
CONTEXT_PIXELS: Final = 256
PREVIEW_PIXELS, FINAL_PIXELS = 512, 1024
"""Sides of the pictures that formats with fixed shapes have graphs for; larger ones are rendered in tiles."""

TILE_PIXELS: Final = int(procedure.RESTORATION["tile_pixels"])
SHORT_BYTES: Final = 64
"""Of an instruction, in such formats: most are shorter, and the graph for the longest takes eight times as long."""

PREFIXES: Final = ("text.", "vision.", "restore.", "correction.")
"""What the tensors of each network are named with in the checkpoint."""

CANVAS_ADJUSTMENTS: Final = ("pixelate", "frame", "rotate", "flip_horizontal", "flip_vertical", "crop")
"""What is no graph: every platform can turn, cut and scale pictures (edge_runtime/canvas.py)."""

CALIBRATION_INSTRUCTIONS, COMPARED_INSTRUCTIONS = 24, 48
"""How many instructions of each language ranges are measured on, and results compared on."""

CALIBRATION_CONTRAST: Final = 0.8
"""Ranges of `restore` are measured on photographs this flat: steps get finer for all, and only the hardest edges are
cut, as in training. The search that follows also sees some that are nearly black and white."""

WHITE_BOX: Final = "exact arithmetic without weights: nothing to make smaller"
REGIONS, ADJUSTMENTS, COLORS = (len(vocabulary_json()[key]) for key in ("regions", "adjustments", "colors"))


class NanoBanana:
    """The source (see converters/source.py). Its checkpoint is one file with the tensors of all networks."""

    default_checkpoint = CHECKPOINT

    def open(self, checkpoint: Path, data: CalibrationData) -> Model:
        """Read the checkpoint; raises ConversionError when it doesn't fit."""
        weights = read_checkpoint(checkpoint, PREFIXES)
        return Model(
            family="nano-banana",
            name="nano-banana",
            components=(
                _text(weights), _vision(weights, data), _auto(weights, data), _fill(data), _restore(weights, data),
                *(part(data, full) for full in (False, True) for part in (_context, _render)),
            ),
            settings={
                "vocabulary": vocabulary_json(),
                # the manifest sorts the members of objects; the graph's axis keeps the order of training
                "color_axis": list(vocabulary().colors),
                "max_instruction_bytes": MAX_BYTES,
                "mask_pixels": PHOTO_SIDE_PIXELS,
                "context_pixels": CONTEXT_PIXELS,
                "halo_rows": HALO_ROWS,
                "restore_axis": list(TASKS),
                "corrections": {name: list(members) for name, members in GROUPS.items()},
                "local_adjustments": list(LOCAL_ADJUSTMENTS),
                "full_adjustments": list(FULL_ADJUSTMENTS),
                "cutting_adjustments": list(CUTTING_ADJUSTMENTS),
                "canvas_adjustments": list(CANVAS_ADJUSTMENTS),
                "strip_pixels": procedure.STRIP_PIXELS,
                "max_upscaled_pixels": procedure.MAX_UPSCALED_PIXELS,
                "faintest": procedure.FAINTEST,
                "restoration": procedure.RESTORATION,
                "canvas": procedure.CANVAS,
                # what holds for every model here, for readers that don't have this code
                "max_instruction_characters": MAX_INSTRUCTION_CHARACTERS,
                "max_edits": MAX_EDITS,
                "beyond_threshold": BEYOND_THRESHOLD,
                "mask": {"proportions_tolerance": MASK_TOLERANCE, "least_marked": LEAST_MARKED},
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
        # few weights and short sequences: 8-bit activations made them slower, and all others are weights alone
        exclude=("*shorten*", "*neighbours*"),
        # 28 small products: a tenth of a millisecond in all
        faster_in_float=("*attention*", "*perceptron*", "cell_head*", "evidence*"),
        fixed=FixedForm(sizes=tuple({"tokens": count} for count in (SHORT_BYTES, MAX_BYTES))),
    )


def _vision(weights: Checkpoint, data: CalibrationData) -> ComponentSource:
    side = PHOTO_SIDE_PIXELS
    return ComponentSource(
        name="vision",
        module=lambda: Masks(weights.fill(SubjectNet(), "vision.")).eval(),
        inputs=(_spec("image", "uint8", 1, side, side, 3),),
        outputs=tuple(_spec(name, "float32", 1, 1, side, side) for name in ("subject", "skin")),
        examples=tuple(squares(data.comparison)),
        calibration=partial(squares, data.calibration),
        agreements=(
            Agreement(name="mask_iou", compare=lambda a, b: mask_iou(a["subject"], b["subject"])),
        ),
        # most of a photo is no skin: a few dozen pixels decide its decibels
        thresholded=("skin",),
    )


def _auto(weights: Checkpoint, data: CalibrationData) -> ComponentSource:
    side = PHOTO_SIDE_PIXELS
    return ComponentSource(
        name="auto",
        module=lambda: AutoCorrection(weights.fill(CorrectionNet(), "correction.")).eval(),
        inputs=(_spec("image", "uint8", 1, side, side, 3),),
        outputs=(_spec("corrections", "float32", 1, ADJUSTMENTS),),
        examples=tuple(squares(data.comparison)),
        float_note="its statistics need float, and its weights are few",
    )


def _fill(data: CalibrationData) -> ComponentSource:
    return ComponentSource(
        name="fill",
        module=lambda: Fill().eval(),
        inputs=(_spec("image", "uint8", 1, "height", "width", 4), _spec("mask", "float32", 1, 1, "height", "width")),
        outputs=(_spec("filled", "uint8", 1, "height", "width", 4),),
        dimensions={"height": (16, MAX_SIDE_PIXELS), "width": (16, MAX_SIDE_PIXELS)},
        examples=tuple(holes(data.comparison)),
        float_note=WHITE_BOX,
        fixed=FixedForm(sizes=_squares(PREVIEW_PIXELS, TILE_PIXELS)),
    )


def _restore(weights: Checkpoint, data: CalibrationData) -> ComponentSource:
    return ComponentSource(
        name="restore",
        module=lambda: Restore(weights.fill(RestorationNet(), "restore.")).eval(),
        inputs=(
            _spec("image", "uint8", 1, "height", "width", 4),
            _spec("strengths", "float32", 1, len(TASKS)),
        ),
        outputs=(_spec("restored", "uint8", 1, "height", "width", 4),),
        dimensions={"height": (16, MAX_SIDE_PIXELS), "width": (16, MAX_SIDE_PIXELS)},
        examples=tuple(damaged(data.comparison)),
        # not on scratches, which move values five times as far: ranges that hold them leave too few steps for the rest,
        # 0.2 dB of noise 25, and training has seen them cut (converters/nano_banana/eight_bits.py)
        calibration=partial(
            damaged, data.calibration, tuple(task for task in TASKS if task != "repair"), CALIBRATION_CONTRAST
        ),
        hard=partial(hard, data.calibration),
        # what reads pixels and what writes them; a layer more at half size is 5 % of the time, for 0.04 dB at most
        exclude=("*stem*", "*head*", "*calm*"),
        # the last block: rounded over each run's own range, a clean photo loses 0.51 dB of 52, and 0.11 without that
        float_inputs=("*decoder.0.1*",),
        fixed=FixedForm(sizes=_squares(PREVIEW_PIXELS, TILE_PIXELS)),
    )


def _context(data: CalibrationData, full: bool) -> ComponentSource:
    return ComponentSource(
        name="context_full" if full else "context",
        module=lambda: Context(full=full).eval(),
        inputs=(
            _spec("photo", "uint8", 1, "context_height", "context_width", 3),
            _spec("mask", "float32", 1, 1, PHOTO_SIDE_PIXELS, PHOTO_SIDE_PIXELS),
            _spec("amounts", "float32", "regions", ADJUSTMENTS),
        ),
        outputs=(*_LAYERS, *_COLORS) if full else _LAYERS,
        dimensions={name: _DIMENSIONS[name] for name in ("context_height", "context_width", "regions")},
        examples=tuple(context_inputs(data.comparison[0], regions) for regions in (2, 1)),
        float_note=WHITE_BOX,
        fixed=FixedForm(
            sizes=tuple({**_CONTEXT_SIZES, "regions": regions} for regions in (1, 2)),
            module=lambda: FixedContext(full=full).eval(),
            told=tuple(_CONTEXT_SIZES),
        ),
    )


def _render(data: CalibrationData, full: bool) -> ComponentSource:
    return ComponentSource(
        name="render_full" if full else "render",
        module=lambda: Render(full=full).eval(),
        inputs=(
            _spec("image", "uint8", 1, "height", "width", 4),
            *((*_LAYERS, *_COLORS) if full else _LAYERS),
            _spec("amounts", "float32", "regions", ADJUSTMENTS),
            _spec("color", "float32", "regions", 3),
            _spec("window", "float32", 4),
        ),
        outputs=(_spec("edited", "uint8", 1, "height", "width", 4),),
        dimensions=_DIMENSIONS,
        examples=tuple(render_inputs(data.comparison[-1], regions, full) for regions in (2, 1)),
        float_note=WHITE_BOX,
        fixed=FixedForm(
            sizes=tuple(
                {**size, **_CONTEXT_SIZES, "regions": regions}
                for size in _squares(PREVIEW_PIXELS, FINAL_PIXELS) for regions in (1, 2)
            ),
            module=lambda: FixedRender(full=full, context_pixels=CONTEXT_PIXELS).eval(),
        ),
    )


def _squares(*sides: int) -> tuple[dict[str, int], ...]:
    return tuple({"height": side, "width": side} for side in sides)


def _spec(name: str, dtype: DType, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


_LAYERS: Final = (
    _spec("layers", "float32", "regions", 4, "context_height", "context_width"),
    _spec("matte", "float32", 1, 4, "context_height", "context_width"),
)
_COLORS: Final = (_spec("colors", "float32", 1, 6, "context_height", "context_width"),)
_CONTEXT_SIZES: Final = {"context_height": CONTEXT_PIXELS, "context_width": CONTEXT_PIXELS}
_DIMENSIONS: Final = {
    "height": (1, MAX_SIDE_PIXELS),
    "width": (1, MAX_SIDE_PIXELS),
    "context_height": (1, CONTEXT_PIXELS),
    "context_width": (1, CONTEXT_PIXELS),
    "regions": (1, 2),
}

"""The forms of weights whose products are of 8-bit integers: what goes in is rounded row by row, as it comes.

As in converters/layer_forms.py, each returns signal to noise in decibels, or None before it changes anything.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converters.graph_editor import GraphEditor, Tape
from converters.layer_forms import SMALLEST_STEP, Weight, rounded_plainly
from converters.recipe import WeightScheme
from converters.source import Rows
from converters.two_level import TwoLevel, round_two_level


def integer_product(
    editor: GraphEditor, weight: Weight, scheme: WeightScheme, least_db: float, *, even: bool = False
) -> float | None:
    """Rows rounded to 8 bits as they come, times codes with a scale an output; None if the codes lose too much.

    Each row is divided by its largest magnitude, so that one step fits them all. Rows that are `even` already are not:
    ONNX Runtime then takes a bias that follows into the product, and five passes over the rows are saved. Of the
    standard operators it makes one product, faster than `DequantizeLinear` before one: benchmarks/edit_scale.py.
    """
    rounded = rounded_plainly(weight, scheme)
    if rounded.snr_db < least_db:
        return None
    codes = editor.initialiser(f"{weight.name}.codes", rounded.codes.view(np.int8), ir.DataType.INT8, rounded.shape)
    _multiply_integers(editor, weight, codes, rounded.scales, even=even)
    return rounded.snr_db


def two_level_product(
    editor: GraphEditor, weight: Weight, scheme: WeightScheme, least_db: float, *, even: bool = False
) -> float | None:
    """As `integer_product`, of 8-bit codes that every run makes of 4-bit ones; None if the codes lose too much.

    Operators on bytes do it for one matrix after another, fast (benchmarks/edit_scale.py) and small in memory;
    `DequantizeLinear` from 4 bits takes 5 times as long (by hand).
    """
    inputs, outputs = weight.multiplied
    rows = weight.rows if weight.transposed else _rows_of(np.ascontiguousarray(weight.matrix().T))
    rounded = round_two_level(rows, (outputs, inputs), scheme)
    if rounded.snr_db < least_db:
        return None
    tape = Tape()
    codes = _unpacked(editor, tape, weight.name, rounded)
    editor.insert(editor.first_user(weight.value), tape, weight.name, before=True)
    _multiply_integers(editor, weight, codes, rounded.steps, even=even)
    return rounded.snr_db


def _rows_of(array: NDArray[np.float32]) -> Rows:
    return lambda start, stop: array[start:stop]


def _unpacked(editor: GraphEditor, tape: Tape, name: str, rounded: TwoLevel) -> ir.Value:
    """Return the 8-bit codes (inputs, outputs), as `converters.two_level.unpacked` does."""

    def halves(part: str, array: NDArray[np.uint8]) -> tuple[ir.Value, ir.Value]:
        held = editor.initialiser(f"{name}.{part}", array, ir.DataType.UINT8, array.shape)
        high = _high_half(editor, tape, held)
        sixteen = editor.constant("half.sixteen", np.array(16, np.uint8), ir.DataType.UINT8)
        return tape.op("Sub", [held, tape.op("Mul", [high, sixteen])]), high

    def signed(value: ir.Value) -> ir.Value:
        return tape.op("Cast", [value], {"to": ir.DataType.INT8})

    def shaped(value: ir.Value, *shape: int) -> ir.Value:
        name = "shape." + ".".join(map(str, shape))
        return tape.op("Reshape", [value, editor.constant(name, np.array(shape, np.int64), ir.DataType.INT64)])

    blocks, _, outputs = rounded.blocks.shape
    codes = signed(tape.op("Concat", list(halves("codes", rounded.codes)), {"axis": 0}))
    zero, multiple = map(signed, halves("blocks", rounded.blocks))
    shifted = tape.op("Sub", [shaped(codes, blocks, -1, outputs), zero])
    return shaped(tape.op("Mul", [shifted, multiple]), -1, outputs)


def _high_half(editor: GraphEditor, tape: Tape, held: ir.Value) -> ir.Value:
    """Return the upper 4 bits of bytes: a sixteenth, less 15/32, to the nearest whole number.

    ONNX Runtime makes one operator of bytes of the four (QLinearAdd), which takes a ninth of the time of its BitShift
    and BitwiseAnd (1.32). Nor does it compute them at opening, for all weights at once: it leaves DequantizeLinear be.
    """

    def byte(name: str, value: int) -> ir.Value:
        return editor.constant(f"half.{name}", np.array(value, np.uint8), ir.DataType.UINT8)

    def step(name: str, value: float) -> ir.Value:
        return editor.constant(f"half.{name}", np.array(value, np.float32), ir.DataType.FLOAT)

    sixteenths = tape.op("DequantizeLinear", [held, step("step", 1 / 16), byte("none", 0)])
    less = tape.op("DequantizeLinear", [byte("none", 0), step("middle", 15 / 32), byte("one", 1)])
    return tape.op("QuantizeLinear", [tape.op("Add", [sixteenths, less]), step("whole", 1.0), byte("none", 0)])


def _multiply_integers(
    editor: GraphEditor, weight: Weight, codes: ir.Value, steps: NDArray[np.float32], *, even: bool
) -> None:
    """Let all that multiply by a weight round their rows and multiply by its codes."""
    scales = editor.initialiser(f"{weight.name}.scales", steps, ir.DataType.FLOAT, steps.shape)
    for node, _ in list(weight.value.uses()):
        tape = Tape()
        given = node.inputs[0]
        largest = None if even else _largest_of_rows(editor, tape, given)
        taken = given if largest is None else tape.op("Div", [given, largest])
        row, step, zero = tape.op_multi_out("DynamicQuantizeLinear", [taken], num_outputs=3)
        product = tape.op("Cast", [tape.op("MatMulInteger", [row, codes, zero])], {"to": ir.DataType.FLOAT})
        result = tape.op("Mul", [product, tape.op("Mul", [step, scales])])
        editor.replace_node(node, tape, result if largest is None else tape.op("Mul", [result, largest]))
    editor.drop(weight.value)


def _largest_of_rows(editor: GraphEditor, tape: Tape, given: ir.Value | None) -> ir.Value:
    """Return each row's largest magnitude, never 0."""
    last = editor.constant("rows.axis", np.array([-1], np.int64), ir.DataType.INT64)
    least = editor.constant("rows.least", np.array(SMALLEST_STEP), ir.DataType.FLOAT)
    return tape.op("Max", [tape.op("ReduceMax", [tape.op("Abs", [given]), last], {"keepdims": 1}), least])

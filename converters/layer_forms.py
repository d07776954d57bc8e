"""The forms that a rounded weight takes in a graph, one function each; every one returns signal to noise in decibels.

A form that loses too much returns before it changes anything (converters/streaming.py then takes another).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converters.graph_editor import GraphEditor, Tape
from converters.low_rank import split_weight
from converters.nf4 import restore_nf4, round_nf4
from converters.recipe import Granularity, WeightScheme
from converters.slabs import Rounded, decibels, packed, round_matrix, round_multiplied, round_table
from converters.source import Range, Rows

CONTRIB: Final = "com.microsoft"
_NF4_TYPE: Final = 1
SMALLEST_STEP: Final = np.float32(1e-30)
_LARGEST_CODE: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """An initialiser and where its values come from: rows of float32 `shape`, torch's layout.

    `transposed` tells that the graph multiplies by the transpose, as linear layers do.
    """

    value: ir.Value
    rows: Rows
    shape: tuple[int, ...]
    transposed: bool

    @property
    def name(self) -> str:
        """The initialiser's name."""
        return str(self.value.name)

    @property
    def multiplied(self) -> tuple[int, int]:
        """The matrix's inputs and outputs."""
        first, second = self.shape[0], self.shape[1]
        return (second, first) if self.transposed else (first, second)

    def matrix(self) -> NDArray[np.float32]:
        """Return all values, float32 (inputs, outputs) as the graph multiplies."""
        whole = self.rows(0, self.shape[0])
        return np.ascontiguousarray(whole.T) if self.transposed else whole


def integers(editor: GraphEditor, weight: Weight, scheme: WeightScheme, least_db: float) -> float | None:
    """Codes and a `DequantizeLinear` in front of the product; None if they lose too much."""
    rounded = rounded_plainly(weight, scheme)
    if rounded.snr_db < least_db:
        return None
    dtype = ir.DataType.from_numpy(np.dtype(rounded.dtype))
    inputs = [
        editor.initialiser(f"{weight.name}.codes", rounded.codes, dtype, rounded.shape),
        editor.initialiser(f"{weight.name}.scales", rounded.scales, ir.DataType.FLOAT, rounded.scales.shape),
    ]
    if rounded.zero_points is not None:
        inputs.append(editor.initialiser(f"{weight.name}.zeros", rounded.zero_points, dtype, rounded.scales.shape))
    tape = Tape()
    attributes = {"axis": 0, "block_size": scheme.group_size} if scheme.group_size else {"axis": 1}
    editor.replace_initialiser(weight.value, tape, tape.op("DequantizeLinear", inputs, attributes))
    return rounded.snr_db


def low_rank(editor: GraphEditor, weight: Weight, scheme: WeightScheme) -> float:
    """`x @ W` as `x @ Q + (x @ left) @ right`."""
    matrix = weight.matrix()
    split = split_weight(matrix, scheme)
    scale = np.repeat(split.scales, scheme.group_size or 1, axis=0)[: len(matrix)]
    lost = matrix - split.codes.astype(np.float32) * scale - split.left @ split.right
    codes = packed(split.codes.astype(np.int8), scheme.bits)
    dtype = ir.DataType.INT4 if scheme.bits == 4 else ir.DataType.INT8
    inputs = [
        editor.initialiser(f"{weight.name}.codes", codes, dtype, split.codes.shape),
        editor.initialiser(f"{weight.name}.scales", split.scales, ir.DataType.FLOAT, split.scales.shape),
    ]
    left = editor.initialiser(f"{weight.name}.left", split.left, ir.DataType.FLOAT, split.left.shape)
    right = editor.initialiser(f"{weight.name}.right", split.right, ir.DataType.FLOAT, split.right.shape)
    for node, _ in list(weight.value.uses()):
        tape = Tape()
        attributes = {"axis": 0, "block_size": scheme.group_size}
        product = tape.op("MatMul", [node.inputs[0], tape.op("DequantizeLinear", inputs, attributes)])
        beside = tape.op("MatMul", [tape.op("MatMul", [node.inputs[0], left]), right])
        editor.replace_node(node, tape, tape.op("Add", [product, beside]))
    editor.drop(weight.value)
    return _snr_db(matrix, lost)


def nf4(editor: GraphEditor, weight: Weight, scheme: WeightScheme) -> float:
    """16 levels of a normal distribution, which only ONNX Runtime's own `MatMulBnb4` multiplies."""
    assert scheme.group_size is not None  # WeightScheme checks it
    matrix = weight.matrix()
    inputs, outputs = matrix.shape
    codes, largest = round_nf4(matrix, scheme.group_size)
    lost = restore_nf4(codes, largest, (inputs, outputs), scheme.group_size) - matrix
    stored = [
        editor.initialiser(f"{weight.name}.codes", codes, ir.DataType.UINT8, codes.shape),
        editor.initialiser(f"{weight.name}.scales", largest, ir.DataType.FLOAT, largest.shape),
    ]
    attributes = {"K": inputs, "N": outputs, "block_size": scheme.group_size, "quant_type": _NF4_TYPE}
    for node, _ in list(weight.value.uses()):
        tape = Tape()
        editor.replace_node(node, tape, tape.op("MatMulBnb4", [node.inputs[0], *stored], attributes, domain=CONTRIB))
    editor.drop(weight.value)
    return _snr_db(matrix, lost)


def bfloat16(editor: GraphEditor, weight: Weight, *, gathered: bool = False) -> float:
    """Half the bytes on disk; arithmetic stays in 32 bits, as no CPU kernel multiplies in 16."""
    array = weight.matrix()
    stored = array.astype(ml_dtypes.bfloat16)
    lost = stored.astype(np.float32) - array
    table = editor.initialiser(f"{weight.name}.bf16", stored, ir.DataType.BFLOAT16, stored.shape)
    if gathered:
        for node, _ in list(weight.value.uses()):
            tape = Tape()
            rows = tape.op("Gather", [table, node.inputs[1]])
            editor.replace_node(node, tape, tape.op("Cast", [rows], {"to": ir.DataType.FLOAT}))
        editor.drop(weight.value)
    else:
        tape = Tape()
        editor.replace_initialiser(weight.value, tape, tape.op("Cast", [table], {"to": ir.DataType.FLOAT}))
    return _snr_db(array, lost)


def table(editor: GraphEditor, weight: Weight, least_db: float) -> float | None:
    """Embeddings in 8 bits with a scale a row: rows are gathered as codes, then multiplied."""
    codes, scales, snr_db = round_table(weight.rows, (weight.shape[0], weight.shape[1]))
    if snr_db < least_db:
        return None
    rows = editor.initialiser(f"{weight.name}.codes", codes, ir.DataType.INT8, codes.shape)
    column = editor.initialiser(f"{weight.name}.scales", scales, ir.DataType.FLOAT, (len(scales), 1))
    for node, _ in list(weight.value.uses()):
        tape = Tape()
        gathered = tape.op("Cast", [tape.op("Gather", [rows, node.inputs[1]])], {"to": ir.DataType.FLOAT})
        editor.replace_node(node, tape, tape.op("Mul", [gathered, tape.op("Gather", [column, node.inputs[1]])]))
    editor.drop(weight.value)
    return snr_db


def convolution(
    editor: GraphEditor, weight: Weight, least_db: float, span: Range | None, bias: NDArray[np.float32] | None
) -> float | None:
    """Codes with a scale an output channel; with a range of values the arithmetic is in 8 bits too.

    Without VNNI, x86 adds two 8x8-bit products in 16 bits: with 8-bit values, codes leave one bit unused.
    """
    array = weight.rows(0, weight.shape[0])
    scheme = WeightScheme(bits=8, granularity=Granularity.CHANNEL, reduced_range=span is not None)
    rounded = round_matrix(np.ascontiguousarray(array.reshape(len(array), -1)), scheme)
    if rounded.snr_db < least_db:
        return None
    codes = np.ascontiguousarray(rounded.codes.T).view(np.int8).reshape(array.shape)
    inputs = [
        editor.initialiser(f"{weight.name}.codes", codes, ir.DataType.INT8, codes.shape),
        editor.initialiser(f"{weight.name}.scales", rounded.scales, ir.DataType.FLOAT, rounded.scales.shape),
        # all 0, but without them ONNX Runtime does not fuse
        editor.initialiser(f"{weight.name}.zeros", np.zeros(len(codes), np.int8), ir.DataType.INT8, (len(codes),)),
    ]
    users = [node for node, _ in weight.value.uses()]
    tape = Tape()
    editor.replace_initialiser(weight.value, tape, tape.op("DequantizeLinear", inputs, {"axis": 0}))
    for node in users if span is not None else ():
        assert span is not None
        _in_8_bits(editor, node, span, rounded.scales, bias)
    return rounded.snr_db


def signed_convolution(editor: GraphEditor, weight: Weight, least_db: float, span: Range) -> float | None:
    """As `convolution` in 8 bits, with codes around zero for what it reads; its result and its bias stay in float.

    TensorRT wants it so, and fuses what follows with the convolution before it rounds.
    """
    users = [node for node, _ in weight.value.uses()]
    snr_db = convolution(editor, weight, least_db, None, None)
    for node in users if snr_db is not None else ():
        taken = node.inputs[0]
        assert taken is not None
        name = f"{node.name}.in"
        scale = np.array(max(-span.input_low, span.input_high, 1e-6) / _LARGEST_CODE, np.float32)
        pair = [
            editor.initialiser(f"{name}.scale", scale, ir.DataType.FLOAT, ()),
            editor.initialiser(f"{name}.zero", np.array(0, np.int8), ir.DataType.INT8, ()),
        ]
        tape = Tape()
        result = tape.op("DequantizeLinear", [tape.op("QuantizeLinear", [taken, *pair]), *pair])
        editor.insert(node, tape, name, before=True)
        node.replace_input_with(0, result)
    return snr_db


def _in_8_bits(
    editor: GraphEditor, node: ir.Node, span: Range, scales: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> None:
    """Put quantisation around a convolution, which ONNX Runtime then does as one QLinearConv."""
    taken = node.inputs[0]
    assert taken is not None
    tape = Tape()
    result = _there_and_back(editor, tape, taken, f"{node.name}.in", span.input_low, span.input_high)
    editor.insert(node, tape, f"{node.name}.in", before=True)
    node.replace_input_with(0, result)
    if bias is not None:
        scale_in, _ = scale_and_zero(span.input_low, span.input_high)
        _quantise_bias(editor, node, bias, scales * np.float32(scale_in))
    tape = Tape()
    result = _there_and_back(editor, tape, node.outputs[0], f"{node.name}.out", span.output_low, span.output_high)
    editor.follow(node, tape, result, f"{node.name}.out")


def _there_and_back(editor: GraphEditor, tape: Tape, value: ir.Value, name: str, low: float, high: float) -> ir.Value:
    scale, zero = scale_and_zero(low, high)
    pair = [
        editor.initialiser(f"{name}.scale", np.array(scale, np.float32), ir.DataType.FLOAT, ()),
        editor.initialiser(f"{name}.zero", np.array(zero, np.uint8), ir.DataType.UINT8, ()),
    ]
    return tape.op("DequantizeLinear", [tape.op("QuantizeLinear", [value, *pair]), *pair])


def _quantise_bias(
    editor: GraphEditor, node: ir.Node, bias: NDArray[np.float32], scales: NDArray[np.float32]
) -> None:
    scales = np.maximum(scales, SMALLEST_STEP)
    limits = np.iinfo(np.int32)
    codes = np.rint(bias.astype(np.float64) / scales).clip(limits.min, limits.max).astype(np.int32)
    inputs = [
        editor.initialiser(f"{node.name}.bias.codes", codes, ir.DataType.INT32, codes.shape),
        editor.initialiser(f"{node.name}.bias.scales", scales, ir.DataType.FLOAT, scales.shape),
        editor.initialiser(f"{node.name}.bias.zeros", np.zeros_like(codes), ir.DataType.INT32, codes.shape),
    ]
    tape = Tape()
    result = tape.op("DequantizeLinear", inputs, {"axis": 0})
    editor.insert(node, tape, f"{node.name}.bias", before=True)
    node.replace_input_with(2, result)


def rounded_plainly(weight: Weight, scheme: WeightScheme) -> Rounded:
    """Return a weight's codes (inputs, outputs), whichever way round it is stored."""
    rounding = round_matrix if weight.transposed else round_multiplied
    return rounding(weight.rows, scheme, (weight.shape[0], weight.shape[1]))


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Return the step and the code of 0 of unsigned 8 bits over a range that holds 0."""
    scale = float(np.float32(max(high - low, 1e-6) / 255))
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))


def _snr_db(array: NDArray[np.float32], lost: NDArray[np.float32]) -> float:
    return decibels(
        float(np.square(array).sum(dtype=np.float64)), float(np.square(lost).sum(dtype=np.float64))
    )

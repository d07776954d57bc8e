"""Rounds the 8-bit weights of an ONNX graph's convolutions so that their sums, not the weights, stay near to float.

What one rounded weight adds to a sum of products, the weights beside it can take away. So codes are chosen one input
after the other, and the error that each leaves is made good in those still to come, by how the inputs vary together
(GPTQ, Frantar et al. 2022, arXiv:2210.17323). The graph keeps its form, and so its speed.

Measured on `restore` of nano-banana: noise of deviation 25 loses 0.04 dB to float instead of 0.07. Correcting the
errors of the layers before as well (by the float graph's own inputs) cost clean photographs 1 dB more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from converters.source import Arrays
from edge_runtime.tensors import Tensor

DAMPING: Final = 0.01
"""Of the inputs' mean square, added to each: so that nothing is trusted to directions that samples hardly show."""

POSITIONS: Final = 700
"""Of each sample, at most, spread by chance: neighbours in a picture say nearly the same."""

Matrix = NDArray[np.float64]
Bytes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A convolution of codes in the quantised graph: its node, its weight's height and width, and the names of the
    weight's codes and scales.
    """

    node: onnx.NodeProto
    kernel: tuple[int, int]
    codes: str
    scales: str


def round_weights(quantised: onnx.ModelProto, original: onnx.ModelProto, samples: Iterable[Arrays]) -> None:
    """Choose the weights' codes of `quantised` anew, in place, by the weights of `original`.

    Scales stay, and so do convolutions in groups. `samples` are inputs of both graphs.
    """
    layers = list(_layers(quantised))
    if not layers:
        return
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    floats = {tensor.name: tensor for tensor in original.graph.initializer}
    named = {node.name: node for node in original.graph.node}
    for layer, moments in zip(layers, _moments(quantised, layers, samples), strict=True):
        weight = onnx.numpy_helper.to_array(floats[named[layer.node.name].input[1]])
        before = onnx.numpy_helper.to_array(tensors[layer.codes])
        scales = onnx.numpy_helper.to_array(tensors[layer.scales])
        # what quantize_static used is as far as its codes go: 7 bits where the recipe wants them
        codes = compensated(weight.reshape(len(weight), -1), scales, moments, int(np.abs(before).max()))
        tensors[layer.codes].CopyFrom(onnx.numpy_helper.from_array(codes.reshape(before.shape), layer.codes))


def compensated(weight: NDArray[np.float32], scales: NDArray[np.float32], moments: Matrix, limit: int) -> Bytes:
    """Return int8 codes (outputs, inputs) in -limit..limit for float32 weight (outputs, inputs) and scales (outputs,).

    moments: float64 (inputs, inputs), the mean products of inputs. The expected squared error of `weight @ input` is at
    most that of rounding each weight by itself, but for what the greedy order costs.
    """
    damping = DAMPING * float(np.trace(moments)) / len(moments) or 1.0
    damped = moments + damping * np.eye(len(moments))
    order = np.argsort(-np.diag(damped), kind="stable")  # what weighs most comes first, while others can make it good
    # row i: by how much the inputs after i make good an error at i, when those before i are settled
    spread = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest = (weight / scales[:, None]).astype(np.float64)[:, order]
    codes = np.empty(rest.shape, np.int8)
    for place in range(len(order)):
        codes[:, order[place]] = np.clip(np.rint(rest[:, place]), -limit, limit)
        error = (rest[:, place] - codes[:, order[place]]) / spread[place, place]
        rest[:, place + 1 :] -= np.outer(error, spread[place, place + 1 :])
    return codes


def _layers(quantised: onnx.ModelProto) -> Iterator[_Layer]:
    makers = {output: node for node in quantised.graph.node for output in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in quantised.graph.initializer}
    for node in quantised.graph.node:
        weight = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is not None and weight.op_type == "DequantizeLinear" and _plain(node):
            rows, columns = shapes[weight.input[0]][2:]
            yield _Layer(node=node, kernel=(rows, columns), codes=weight.input[0], scales=weight.input[1])


def _plain(node: onnx.NodeProto) -> bool:
    """Return whether `_patches` knows what a convolution reads: one group of channels, no holes, padding in numbers."""
    whole = _attribute(node, "group", 1) == 1 and set(_attribute(node, "dilations", [1])) == {1}
    return whole and _attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"


def _moments(quantised: onnx.ModelProto, layers: Sequence[_Layer], samples: Iterable[Arrays]) -> list[Matrix]:
    """Return the mean products of what each layer reads, one run a sample."""
    read = list(dict.fromkeys(layer.node.input[0] for layer in layers))
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in read)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums: list[Matrix | float] = [0.0] * len(layers)
    counts = [0] * len(layers)
    for sample in samples:
        given = dict(zip(read, session.run(read, dict(sample)), strict=True))
        for place, layer in enumerate(layers):
            patches = _patches(given[layer.node.input[0]], layer)
            sums[place] = sums[place] + (patches.T @ patches).astype(np.float64)
            counts[place] += len(patches)
    return [np.asarray(total) / count for total, count in zip(sums, counts, strict=True)]


def _patches(features: Tensor, layer: _Layer) -> NDArray[np.float32]:
    """Return what the convolution multiplies at some positions of (1, channels, height, width): float32 (positions,
    channels * kernel height * kernel width).
    """
    down, right = _attribute(layer.node, "strides", (1, 1))
    before_y, before_x, after_y, after_x = _attribute(layer.node, "pads", (0, 0, 0, 0))
    padded = np.pad(features[0], ((0, 0), (before_y, after_y), (before_x, after_x)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, (1, 2))[:, ::down, ::right]
    height, width = seen.shape[1:3]
    chosen = np.random.default_rng(height * width).permutation(height * width)[:POSITIONS]
    picked = seen[:, chosen // width, chosen % width].swapaxes(0, 1)
    return np.asarray(picked.reshape(len(chosen), -1), np.float32)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = (onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name)
    return next(found, default)

"""Puts rounded weights into an ONNX graph in place of float ones; activations stay in float.

Integers stand beside a DequantizeLinear or, in embeddings, a product, with a low-rank path of two plain products where
the scheme has one: standard operators. NF4 has none, so it becomes onnxruntime's own `MatMulBnb4`. The arithmetic is in
`rounding.py`, `low_rank.py` and `nf4.py`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from converters.low_rank import pays_off, split_weight
from converters.nf4 import round_nf4
from converters.recipe import Format, WeightScheme
from converters.rounding import round_weight
from converters.slabs import round_matrix

CONTRIB: Final = "com.microsoft"
"""The domain of onnxruntime's own operators (its docs/ContribOperators.md)."""

NF4_BLOCKS: Final = (16, 32, 64, 128, 256)
"""What block sizes `MatMulBnb4` has kernels for."""

_NF4_TYPE: Final = 1


def quantise_weight(model: onnx.ModelProto, node_name: str, scheme: WeightScheme) -> None:
    """Replace the weight of one Gather or MatMul by what the scheme makes of it."""
    graph = model.graph
    place, node = next((i, node) for i, node in enumerate(graph.node) if node.name == node_name)
    weight_name = node.input[0 if node.op_type == "Gather" else 1]
    weight = next(tensor for tensor in graph.initializer if tensor.name == weight_name)
    if scheme.format is Format.NF4:
        _import_contrib(model)
        nodes = _nf4(graph, node, weight, scheme)
    elif node.op_type == "MatMul" and pays_off(tuple(weight.dims), scheme.rank):
        nodes = _low_rank(graph, node, weight, scheme)
    else:
        nodes = _integers(graph, node, weight, scheme)
    del graph.node[place]
    for offset, new in enumerate(nodes):
        graph.node.insert(place + offset, new)
    if not any(weight.name in other.input for other in graph.node):
        graph.initializer.remove(weight)


def _integers(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, scheme: WeightScheme
) -> list[onnx.NodeProto]:
    codes, scales = f"{weight.name}.codes", f"{weight.name}.scales"
    if scheme.zero_points and node.op_type != "Gather":
        return _with_zero_points(graph, node, weight, scheme)
    if not _has(graph, codes):
        arrays = round_weight(onnx.numpy_helper.to_array(weight), scheme)
        _store(graph, dict(zip((codes, scales), arrays, strict=True)))
    if node.op_type == "Gather":
        # rows first, then their values: the other way round the whole table would be unpacked
        result, node.output[0], node.input[0] = node.output[0], f"{node.name}_codes", codes
        # DequantizeLinear along the last axis goes value by value in onnxruntime 1.32, and these two don't: with it the
        # text network was 4 % slower than in float
        return [
            _copy(node),
            onnx.helper.make_node(
                "Cast", [f"{node.name}_codes"], [f"{node.name}_values"], f"{node.name}_cast", to=onnx.TensorProto.FLOAT
            ),
            onnx.helper.make_node("Mul", [f"{node.name}_values", scales], [result], f"{node.name}_scale"),
        ]
    return _product(node, codes, scales, scheme)


def _with_zero_points(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, scheme: WeightScheme
) -> list[onnx.NodeProto]:
    codes, scales, zeros = (f"{weight.name}.{part}" for part in ("codes", "scales", "zeros"))
    if not _has(graph, codes):
        rounded = round_matrix(np.ascontiguousarray(onnx.numpy_helper.to_array(weight).T), scheme)
        assert rounded.zero_points is not None
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(rounded.dtype))
        for name, packed, shape in (
            (codes, rounded.codes, rounded.shape),
            (zeros, rounded.zero_points, rounded.scales.shape),
        ):
            graph.initializer.append(onnx.helper.make_tensor(name, kind, shape, packed.tobytes(), raw=True))
        _store(graph, {scales: rounded.scales})
    return _product(node, codes, scales, scheme, zeros)


def _low_rank(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, scheme: WeightScheme
) -> list[onnx.NodeProto]:
    """x @ (codes * scales) + (x @ left) @ right."""
    codes, scales, left, right = (f"{weight.name}.{part}" for part in ("codes", "scales", "left", "right"))
    if not _has(graph, codes):
        split = split_weight(onnx.numpy_helper.to_array(weight), scheme)
        _store(graph, {codes: split.codes, scales: split.scales, left: split.left, right: split.right})
    name, source, result = node.name, node.input[0], node.output[0]
    node.output[0] = f"{name}_integers"
    # in this order onnxruntime 1.32 merges the sum with the thin product; the other way round it takes the integers'
    # where inputs have two dimensions, and those then miss its 4-bit kernel
    return [
        *_product(node, codes, scales, scheme),
        onnx.helper.make_node("MatMul", [source, left], [f"{name}_thin"], f"{name}_left"),
        onnx.helper.make_node("MatMul", [f"{name}_thin", right], [f"{name}_low_rank"], f"{name}_right"),
        onnx.helper.make_node("Add", [f"{name}_integers", f"{name}_low_rank"], [result], f"{name}_sum"),
    ]


def _nf4(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, scheme: WeightScheme
) -> list[onnx.NodeProto]:
    assert scheme.group_size is not None  # WeightScheme checks it
    packed, largest = f"{weight.name}.nf4", f"{weight.name}.largest"
    if not _has(graph, packed):
        arrays = round_nf4(onnx.numpy_helper.to_array(weight), scheme.group_size)
        _store(graph, dict(zip((packed, largest), arrays, strict=True)))
    inputs, outputs = weight.dims
    return [
        onnx.helper.make_node(
            "MatMulBnb4",
            [node.input[0], packed, largest],
            [node.output[0]],
            node.name,
            domain=CONTRIB,
            K=inputs,
            N=outputs,
            block_size=scheme.group_size,
            quant_type=_NF4_TYPE,
        )
    ]


def _product(
    node: onnx.NodeProto, codes: str, scales: str, scheme: WeightScheme, zeros: str = ""
) -> list[onnx.NodeProto]:
    """Return the node with its weight dequantised before it."""
    node.input[1] = f"{node.name}_weight"
    axis, block_size = (0, scheme.group_size) if scheme.group_size else (1, 0)
    inputs = [codes, scales, zeros] if zeros else [codes, scales]
    return [_dequantise(node.name, inputs, node.input[1], axis, block_size), _copy(node)]


def _dequantise(name: str, inputs: list[str], output: str, axis: int, block_size: int = 0) -> onnx.NodeProto:
    return onnx.helper.make_node(
        "DequantizeLinear", inputs, [output], f"{name}_dequantise", axis=axis, block_size=block_size
    )


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a copy that outlives the node's place in its graph."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _has(graph: onnx.GraphProto, name: str) -> bool:
    """Return whether another layer with the same weight has stored this already."""
    return any(tensor.name == name for tensor in graph.initializer)


def _store(graph: onnx.GraphProto, arrays: dict[str, NDArray[Any]]) -> None:
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()
    )


def _import_contrib(model: onnx.ModelProto) -> None:
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))

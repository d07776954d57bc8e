"""Small passes over an ONNX graph after export and after quantisation. Each works in place and changes no result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx

from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

PRODUCER: Final = "nanoedge"

TRANSPOSED: Final = ".transposed"
"""What the name of a matrix ends with whose parameter is stored the other way round."""


def gemm_to_matmul(model: onnx.ModelProto) -> None:
    """Spell `Gemm` with constant weights as `MatMul` and `Add`, so that one rule quantises every linear layer."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in constants and _is_plain(node):
            nodes += _linear(model.graph, node, constants[node.input[1]])
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model.graph)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own; quantisers address nodes by name and fail on an empty one."""
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        name = node.name or node.op_type.lower()
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def strip(model: onnx.ModelProto) -> None:
    """Drop stack traces, paths and intermediate shapes: they name the machine and triple a small graph's size."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
    graph.ClearField("quantization_annotation")
    used = {node.domain for node in graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(sorted(kept, key=lambda opset: opset.domain))
    model.producer_name, model.producer_version = PRODUCER, ""
    graph.name = PRODUCER


def describe_sides(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Write the specs' symbols into the graph's inputs and outputs; raises ConversionError when they don't fit."""
    for values, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        if [value.name for value in values] != [spec.name for spec in specs]:
            raise ConversionError(
                "the graph has other inputs or outputs than described",
                got=", ".join(value.name for value in values),
                allowed=", ".join(spec.name for spec in specs),
            )
        for value, spec in zip(values, specs, strict=True):
            _describe(value, spec)


def _describe(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
    fits = len(sizes) == len(spec.shape) and all(
        isinstance(got, str) or got == wanted for got, wanted in zip(sizes, spec.shape, strict=True)
    )
    if dtype != spec.dtype or not fits:
        raise ConversionError(
            f"the graph's {spec.name} is not as described", got=f"{dtype} {tuple(sizes)}", allowed=spec
        )
    for dim, wanted in zip(kind.shape.dim, spec.shape, strict=True):
        if isinstance(wanted, str):
            dim.dim_param = wanted
        else:
            dim.dim_value = wanted


def _is_plain(node: onnx.NodeProto) -> bool:
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return bool(values.get("alpha", 1.0) == 1.0 and values.get("beta", 1.0) == 1.0 and not values.get("transA", 0))


def _linear(graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto) -> list[onnx.NodeProto]:
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    name = weight.name
    if transposed:
        name = f"{weight.name}{TRANSPOSED}"
        if all(tensor.name != name for tensor in graph.initializer):
            array = np.ascontiguousarray(onnx.numpy_helper.to_array(weight).T)
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    has_bias = len(node.input) > 2 and node.input[2]
    output = f"{node.output[0]}_product" if has_bias else node.output[0]
    product = onnx.helper.make_node("MatMul", [node.input[0], name], [output], node.name)
    if not has_bias:
        return [product]
    return [product, onnx.helper.make_node("Add", [output, node.input[2]], [node.output[0]], f"{node.name}_bias")]


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)

"""Builds tiny TFLite files with the flatbuffer schema alone: y = photo * height, one signature for each size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edge_runtime.manifest import Component
from edge_runtime.tensors import TensorSpec

PHOTO = TensorSpec(name="photo", dtype="float32", shape=(1, "height", "width", 2))
SCALED = TensorSpec(name="scaled", dtype="float32", shape=(1, "height", "width", 2))
COMPONENT = Component(name="scale", file="scale.tflite", precision="fp32", inputs=(PHOTO,), outputs=(SCALED,))


def _tensor(name: str, shape: tuple[int, ...]) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), np.array(shape, np.int32), 0, 0
    return tensor


def _map(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def _graph(height: int, width: int) -> schema.SubGraphT:
    shape = (1, height, width, 2)
    graph, operator = schema.SubGraphT(), schema.OperatorT()
    graph.tensors = [_tensor("photo", shape), _tensor("height", (1,)), _tensor("scaled", shape)]
    graph.inputs, graph.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, np.array([0, 1], np.int32), np.array([2], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    graph.operators = [operator]
    return graph


def write_scale(path: Path, sizes: tuple[tuple[int, int], ...] = ((4, 4), (8, 6)), told: str = "height") -> Path:
    """Write the file; `told` is what the second input is called."""
    model, code = schema.ModelT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
    model.version, model.operatorCodes, model.buffers = 3, [code], [schema.BufferT()]
    model.subgraphs = [_graph(*size) for size in sizes]
    model.signatureDefs = []
    for index, (height, width) in enumerate(sizes):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = f"height_{height}_width_{width}".encode(), index
        signature.inputs, signature.outputs = [_map("photo", 0), _map(told, 1)], [_map("scaled", 2)]
        model.signatureDefs.append(signature)
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path

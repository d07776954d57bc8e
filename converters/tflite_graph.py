"""A TFLite file as an object: names, weights and what every runtime can run. Nothing here converts or quantises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edge_runtime.errors import ConversionError
from edge_runtime.tensors import Tensor

WEIGHT_INPUTS: Final = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "CONV_3D": 1, "FULLY_CONNECTED": 1, "EMBEDDING_LOOKUP": 1,
}  # fmt: skip
"""Operator of a layer -> which of its inputs is the weight."""

SEPARATOR: Final = ":"
"""Between a parameter's name and the number of the graph that reads it."""

PARALLEL: Final = 0.9999
"""Cosine above which two rows of weights are the same but for a factor; random ones are below 0.5."""

DESCRIPTION: Final = b"nanoedge"
_FLOAT32: Final = schema.TensorType.FLOAT32
_BEYOND: Final = ("STABLEHLO_", "CUSTOM")
"""What begins like this has no kernel in the interpreters of phones."""


@dataclass(frozen=True, slots=True)
class Use:
    """An operator that reads a weight: its kind, and the name of what it gives."""

    operator: str
    output: str
    weight: str
    shape: tuple[int, ...]


def read(file: Path) -> Any:
    """Return the file's ModelT."""
    return flatbuffer_utils.read_model(str(file))


def write(model: Any, file: Path) -> None:
    """Write a ModelT."""
    file.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def check_operators(model: Any, component: str) -> None:
    """Raise ConversionError for an operator that only the converter knows."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            if (name := _operator(model, operator)).startswith(_BEYOND):
                layer = graph.tensors[operator.outputs[0]].name.decode(errors="replace")
                raise ConversionError(
                    f"{component}: TFLite has no kernel for an operation", got=f"{name}, in {layer}",
                    hint="write the layer's forward with other operations",
                )


def name_tensors(model: Any, parameters: Mapping[str, Tensor]) -> None:
    """Call weights as their torch parameters, which are found by their values, and all other tensors by numbers.

    The converter's names are paths through classes: hundreds of kilobytes, and not unique. Signatures keep their names.
    """
    known = {_digest(layout): name for name, array in parameters.items() for layout in _layouts(array)}
    for number, graph in enumerate(model.subgraphs):
        found: dict[int, str] = {}
        for operator in graph.operators:
            position = WEIGHT_INPUTS.get(_operator(model, operator))
            place = -1 if position is None else int(operator.inputs[position])
            array = None if position is None else _constant(model, graph.tensors[place])
            name = None if array is None else known.get(_digest(array)) or _scaled(array, parameters)
            if name is not None:
                found[place] = name
        for index, tensor in enumerate(graph.tensors):
            # the quantiser wants names to be unique in the file
            name = f"{found[index]}{SEPARATOR}{number}" if index in found else f"{number}.{index}"
            tensor.name = name.encode()
    model.description, model.metadata, model.metadataBuffer = DESCRIPTION, None, None


def share_buffers(model: Any) -> None:
    """Store equal constants once: signatures that differ in size alone have the same weights."""
    first: dict[tuple[int, bytes], int] = {}
    kept: list[Any] = []
    places = []
    for number, buffer in enumerate(model.buffers):
        data = b"" if buffer.data is None else bytes(buffer.data)
        # buffer 0 is the empty one; variables and results have an empty one each
        key = (0, hashlib.sha256(data).digest()) if data else (number, b"")
        if key not in first:
            first[key] = len(kept)
            kept.append(buffer)
        places.append(first[key])
    model.buffers = kept
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = places[tensor.buffer]


def uses(model: Any) -> Iterator[Use]:
    """Yield the operators that read a named weight."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = _operator(model, operator)
            if kind in WEIGHT_INPUTS:
                tensor = graph.tensors[operator.inputs[WEIGHT_INPUTS[kind]]]
                output = graph.tensors[operator.outputs[0]].name.decode()
                weight = tensor.name.decode().rpartition(SEPARATOR)[0]
                yield Use(kind, output, weight, tuple(int(size) for size in tensor.shape))


def weight_bytes(model: Any) -> dict[str, int]:
    """Return weight -> bytes of its codes and scales."""
    sizes = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            name, _, number = tensor.name.decode().rpartition(SEPARATOR)
            if name and number.isdigit() and model.buffers[tensor.buffer].data is not None:
                sizes[name] = len(model.buffers[tensor.buffer].data) + _scale_bytes(model, graph, tensor)
    return sizes


def _scale_bytes(model: Any, graph: Any, tensor: Any) -> int:
    if tensor.quantization is None:
        return 0
    details = tensor.quantization.details
    if isinstance(details, schema.BlockwiseQuantizationT):
        return len(model.buffers[graph.tensors[details.scales].buffer].data)
    scale = tensor.quantization.scale
    return 0 if scale is None else 4 * len(scale)


def _scaled(array: Tensor, parameters: Mapping[str, Tensor]) -> str | None:
    """Return the parameter that a weight is but for a factor of each input or output.

    The converter multiplies a norm's factors into the matrix behind it.
    """
    for name, parameter in parameters.items():
        for layout in _layouts(parameter):
            if layout.ndim > 1 and layout.shape == array.shape and any(
                _proportional(array.reshape(shape).swapaxes(0, axis), layout.reshape(shape).swapaxes(0, axis))
                for shape, axis in (((array.shape[0], -1), 0), ((-1, array.shape[-1]), 1))
            ):
                return name
    return None


def _proportional(rows: Tensor, others: Tensor) -> bool:
    """Return whether each row of a matrix is a multiple of the same row of the other."""
    if rows.shape[1] < 2:  # then everything is a multiple
        return False
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return bool((np.abs((rows * others).sum(1)) >= PARALLEL * lengths).all() and lengths.any())


def _operator(model: Any, operator: Any) -> str:
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def _constant(model: Any, tensor: Any) -> Tensor | None:
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != _FLOAT32:
        return None
    return np.frombuffer(bytes(data), np.float32).reshape([int(size) for size in tensor.shape])


def _layouts(array: Tensor) -> Iterator[Tensor]:
    """Yield a torch weight in the orders that TFLite keeps it in: outputs first and channels last."""
    yield array
    if array.ndim == 3:
        array = array[:, :, None]
    if array.ndim == 4:
        yield array.transpose(0, 2, 3, 1)
        yield array.transpose(1, 2, 3, 0)  # depthwise
    if array.ndim == 5:
        yield array.transpose(2, 3, 4, 1, 0)


def _digest(array: Tensor) -> bytes:
    shape = repr(tuple(int(size) for size in array.shape)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(array, np.float32).tobytes()).digest()

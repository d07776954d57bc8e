"""Writes a typed graph as a folder: a table of contents, one ONNX file for each block, one file with the tensors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from converters import data_file
from converters.source import ComponentSource
from converters.tensorrt.build_script import SCRIPT, build_script
from converters.tensorrt.cuts import SMALL_BYTES, cut, free_nodes
from converters.tensorrt.profiles import Span, profiles, shapes_between
from edge_runtime.blocks import CONTENTS, MOST_BLOCKS, Block, Profile, contents
from edge_runtime.errors import ConversionError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec

SUFFIX: Final = ".tensorrt"
WEIGHTS: Final = "weights.data"
WHOLE: Final = 1 << 62
"""Of a component that is never cut: small ones are built in one go."""

_PRODUCER: Final = "nanoedge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How a graph is divided: spans of its symbols, and the bytes of weights that a block may have."""

    spans: Mapping[str, Span]
    block_bytes: int


def write_package(model: ir.Model, component: ComponentSource, division: Division, destination: Path) -> None:
    """Write the folder; the graph's values must have their types. Raises ConversionError."""
    parts = cut(model.graph, division.block_bytes, MOST_BLOCKS)
    blocks = _blocks(model, component, parts, division)
    destination.mkdir()
    with data_file.DataFile(destination / WEIGHTS) as data:
        stored: dict[ir.Value, ir.TensorProtocol] = {}
        for nodes, block in zip(parts, blocks, strict=True):
            ir.save(_part(model, nodes, block, stored, data), destination / block.file)
    for block in blocks:
        _check(destination / block.file, component.name)
    if not (destination / WEIGHTS).stat().st_size:
        (destination / WEIGHTS).unlink()
    (destination / CONTENTS).write_bytes(contents(blocks))
    (destination / SCRIPT).write_bytes(build_script(component.name, blocks))


def described(component: ComponentSource, folder: Path, precision: str = "any", note: str = "") -> Component:
    """Return the manifest's entry of a written folder, with the digests of its files."""
    files = [folder / CONTENTS, *sorted(path for path in folder.iterdir() if path.name != CONTENTS)]
    parts = [
        DataFile(file=f"{folder.name}/{path.name}", sha256=digest(path), bytes=path.stat().st_size) for path in files
    ]
    return Component(
        name=component.name, file=parts[0].file, precision=precision, inputs=component.inputs,
        outputs=component.outputs, note=note, sha256=parts[0].sha256, bytes=parts[0].bytes, data=tuple(parts[1:]),
    )  # fmt: skip


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, name: str) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{name}: the typed graph is not valid ONNX", got=error) from error


def _blocks(
    model: ir.Model, component: ComponentSource, parts: Sequence[Sequence[ir.Node]], division: Division
) -> list[Block]:
    """Describe the blocks; what passes between them gets a symbol of its own for every size that is not fixed."""
    sides = {spec.name: spec for spec in (*component.inputs, *component.outputs)}
    free = free_nodes(model.graph)
    reads, gives = _passing(model, parts, free)
    between = sorted({str(value.name) for side in gives for value in side if str(value.name) not in sides})
    shapes = shapes_between(model, between, component.inputs, division.spans) if between else {}
    passed = _specs([value for side in (*reads, *gives) for value in side], shapes, sides)
    known = profiles(component.inputs, division.spans)
    blocks = []
    for number, (read, given) in enumerate(zip(reads, gives, strict=True), 1):
        inputs = tuple(passed[value] for value in read)
        open_inputs = [spec.name for spec in inputs if any(isinstance(size, str) for size in spec.shape)]
        found = {name: known[name] if name in known else shapes[name] for name in open_inputs}
        outputs = tuple(passed[value] for value in given)
        blocks.append(Block(file=f"{number}.onnx", inputs=inputs, outputs=outputs, profiles=found))
    return blocks


def _passing(
    model: ir.Model, parts: Sequence[Sequence[ir.Node]], free: set[ir.Node]
) -> tuple[list[list[ir.Value]], list[list[ir.Value]]]:
    """Return what each block reads of the inputs and of blocks before it, and what it gives to others or at last."""
    block_of = {node: number for number, nodes in enumerate(parts) for node in nodes if node not in free}
    reads: list[list[ir.Value]] = []
    for nodes in parts:
        own = {value for node in nodes for value in node.outputs}
        wanted = dict.fromkeys(value for node in _with_free(nodes, free) for value in node.inputs if value is not None)
        reads.append([
            value for value in wanted if not value.is_initializer() and value not in own
            and (value.producer() is None or value.producer() in block_of)
        ])  # fmt: skip
    later = {value for side in reads for value in side} | set(model.graph.outputs)
    gives = [
        [value for node in nodes if node not in free for value in node.outputs if value in later] for nodes in parts
    ]
    return reads, gives


def _with_free(nodes: Sequence[ir.Node], free: set[ir.Node]) -> list[ir.Node]:
    """Return a block's nodes behind those that compute its shapes, wherever they stood, and no others of these."""
    kept = [node for node in nodes if node not in free]
    needed: dict[ir.Node, None] = {}
    pending = [value.producer() for node in kept for value in node.inputs if value is not None]
    while pending:
        node = pending.pop()
        if node is not None and node in free and node not in needed:
            needed[node] = None
            pending += [value.producer() for value in node.inputs if value is not None]
    graph = kept[0].graph if kept else None
    order = {node: place for place, node in enumerate(graph or ())}
    return sorted(needed, key=order.__getitem__) + kept


def _specs(
    values: Sequence[ir.Value], shapes: Mapping[str, Profile], sides: Mapping[str, TensorSpec]
) -> dict[ir.Value, TensorSpec]:
    """Describe tensors; a size that varies between blocks gets a symbol of its own."""
    specs: dict[ir.Value, TensorSpec] = {}
    symbols = (f"size_{number}" for number in itertools.count(1))
    for value in values:
        name = str(value.name)
        if name not in sides and value not in specs:
            assert value.dtype is not None
            sizes = zip(shapes[name].smallest, shapes[name].largest, strict=True)
            shape = tuple(low if low == high else next(symbols) for low, high in sizes)
            specs[value] = TensorSpec.from_json({"name": name, "dtype": value.dtype.numpy().name, "shape": list(shape)})
        elif name in sides:
            specs[value] = sides[name]
    return specs


def _part(
    model: ir.Model,
    nodes: Sequence[ir.Node],
    block: Block,
    stored: dict[ir.Value, ir.TensorProtocol],
    data: data_file.DataFile,
) -> ir.Model:
    """Return a model of copies of some nodes; tensors go into the data file, each once however many blocks read it."""
    free = free_nodes(model.graph)
    copies: dict[ir.Value, ir.Value] = {}
    initialisers: list[ir.Value] = []
    given = {spec.name: spec for spec in block.inputs}

    def copy(value: ir.Value | None) -> ir.Value | None:
        if value is None or value in copies:
            return None if value is None else copies[value]
        shape = ir.Shape(given[str(value.name)].shape) if str(value.name) in given else value.shape
        made = ir.Value(name=value.name, shape=shape, type=value.type)
        if value.is_initializer():
            made.const_value = stored[value] if value in stored else stored.setdefault(value, _store(value, data))
            initialisers.append(made)
        copies[value] = made
        return made

    made_nodes = []
    for node in _with_free(nodes, free):
        inputs = [copy(value) for value in node.inputs]
        outputs = [ir.Value(name=value.name, type=value.type) for value in node.outputs]
        copies |= dict(zip(node.outputs, outputs, strict=True))
        made_nodes.append(
            ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=outputs, name=node.name)
        )
    by_name = {str(value.name): value for value in copies.values()}
    for spec in block.outputs:
        by_name[spec.name].shape = ir.Shape(spec.shape)
    graph = ir.Graph(
        [by_name[spec.name] for spec in block.inputs], [by_name[spec.name] for spec in block.outputs],
        nodes=made_nodes, initializers=initialisers, opset_imports={"": model.opset_imports[""]}, name=_PRODUCER,
    )  # fmt: skip
    return ir.Model(graph, ir_version=model.ir_version, producer_name=_PRODUCER)


def _store(value: ir.Value, data: data_file.DataFile) -> ir.TensorProtocol:
    tensor = value.const_value
    assert tensor is not None
    if tensor.nbytes <= SMALL_BYTES:
        return ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
    raw = np.frombuffer(tensor.tobytes(), np.uint8)  # 4-bit codes come packed
    return data.add(str(value.name), raw, tensor.dtype, tuple(tensor.shape.numpy()))

"""Writes a typed graph as a folder: a table of contents, one ONNX file for each block, one file with the tensors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import onnx_ir as ir

from converters import data_file
from converters.source import ComponentSource
from converters.tensorrt.build_script import SCRIPT, build_script
from converters.tensorrt.cuts import cut, free_nodes
from converters.tensorrt.parts import Store, part, with_free
from converters.tensorrt.profiles import Span, profiles, shapes_between
from edge_runtime.blocks import CONTENTS, MOST_BLOCKS, Block, Profile, contents
from edge_runtime.errors import ConversionError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec

SUFFIX: Final = ".tensorrt"
WEIGHTS: Final = "weights.data"
WHOLE: Final = 1 << 62
"""Of a component that is never cut: small ones are built in one go."""

_CHUNK_BYTES: Final = 1 << 20


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
        store = Store(data)
        for nodes, block in zip(parts, blocks, strict=True):
            ir.save(part(model, nodes, block, store), destination / block.file)
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
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


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
        wanted = dict.fromkeys(value for node in with_free(nodes, free) for value in node.inputs if value is not None)
        reads.append([
            value for value in wanted if not value.is_initializer() and value not in own
            and (value.producer() is None or value.producer() in block_of)
        ])  # fmt: skip
    later = {value for side in reads for value in side} | set(model.graph.outputs)
    gives = [
        [value for node in nodes if node not in free for value in node.outputs if value in later] for nodes in parts
    ]
    return reads, gives


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

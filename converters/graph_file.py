"""Rounds a float graph that any exporter wrote, in memory that does not grow with it, and without torch."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converters.captured import OPSET, Captured, absorb_transposes, spell_gemm, uses_of
from converters.recipe import Recipe
from converters.source import Rows
from converters.streaming import Progress, Streamed, write_component
from edge_runtime.errors import ConversionError, OptionError

SMALLEST: Final = 64
"""Values of an initialiser below which it stays in the graph, where runtimes look at it while they fuse."""

_IR_VERSION: Final = 10
"""The first with 4-bit integers."""

_FLOATS: Final = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def round_graph(path: Path, output: Path, recipe: Recipe, progress: Progress = lambda done, total: None) -> Streamed:
    """Write `output` (NAME.onnx) and NAME.data beside it: the float graph `path`, its weights as the recipe wants them.

    Weights alone are rounded: there are no inputs to take ranges from, nor to see what more would lose. Both files
    appear when all is done. Raises OptionError for an output that can't be, ConversionError for a graph that can't be
    rounded.
    """
    _check_output(output)
    recipe = recipe.without_rows()
    captured, weights = open_graph(path)
    work = output.with_name(f".{output.stem}.rounding")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        written = write_component(captured, _Whole(name=output.stem, weights=weights), recipe, work, progress=progress)
        data = output.with_suffix(".data")
        os.replace(written.data, data)
        os.replace(written.graph, output)  # last: a graph is never there without its data
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Streamed(graph=output, data=data, data_sha256=written.data_sha256, layers=written.layers)


def open_graph(path: Path) -> tuple[Captured, InitialiserWeights]:
    """Return a graph without its values, and their reader; raises ConversionError."""
    try:
        model = ir.load(path)
    except Exception as error:  # noqa: BLE001  (protobuf's and onnx-ir's own errors have no common base)
        raise ConversionError(f"{path} can't be read as an ONNX graph", got=error) from error
    _check_opset(model, path)
    tensors = dict(_tensors(model.graph, path))
    graph = model.graph
    _keep_small(model, tensors, path)
    _name_nodes(graph)
    spell_gemm(graph)
    values = {name: graph.initializers[name] for name in tensors}
    for value in values.values():
        value.const_value = None
        del graph.initializers[str(value.name)]
    uses = uses_of(graph, absorb_transposes(graph, values))
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return Captured(model=model, uses=uses), InitialiserWeights(tensors)


class InitialiserWeights:
    """The values of a graph's initialisers, mapped from its files and read by rows."""

    def __init__(self, tensors: Mapping[str, ir.TensorProtocol]) -> None:
        self._tensors = tensors

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the initialisers."""
        return tuple(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(int(size) for size in self._tensors[name].shape.numpy())

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor in float32; raises ConversionError when it holds NaN or infinity."""
        return self.rows(name)(0, self.shape(name)[0])

    def rows(self, name: str) -> Rows:
        """Return a reader of a tensor's rows, which raises as `read` does."""
        whole = self._tensors[name].numpy()  # maps a file's bytes, copies nothing

        def read(start: int, stop: int) -> NDArray[np.float32]:
            part = np.array(whole[start:stop], np.float32)
            if not np.isfinite(part).all():
                raise ConversionError(f"tensor {name} of the graph holds NaN or infinity", hint="train or export again")
            return part

        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A graph file as one component; nothing of it is kept in float."""

    name: str
    weights: InitialiserWeights
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    even_rows: tuple[str, ...] = ()


def _name_nodes(graph: ir.Graph) -> None:
    """Give names to nodes without one: what is put in their place is called after them."""
    taken = {node.name for node in graph}
    for place, node in enumerate(graph):
        if not node.name:
            node.name = next(
                name for more in itertools.count() if (name := f"{node.op_type.lower()}_{place + more}") not in taken
            )
            taken.add(node.name)


def _check_output(output: Path) -> None:
    if output.suffix != ".onnx":
        raise OptionError("the output of a rounded graph is a file", got=output, allowed="NAME.onnx")
    for path in (output, output.with_suffix(".data")):
        if os.path.lexists(path):
            raise OptionError("the output exists already", got=path, hint="choose another, or delete it first")


def _check_opset(model: ir.Model, path: Path) -> None:
    opset = model.opset_imports.get("", 0)
    if opset < OPSET:
        raise ConversionError(
            f"{path.name} is of an operator set without weights in blocks",
            got=opset,
            allowed=f"{OPSET} or newer",
            hint=f"export it again with opset_version={OPSET}",
        )


def _tensors(graph: ir.Graph, path: Path) -> list[tuple[str, ir.TensorProtocol]]:
    """Return the float initialisers that are large enough to be written beside the graph."""
    found = []
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            raise ConversionError(f"initialiser {name} of {path.name} has no values")
        _check_location(tensor, path)
        large = tensor.size >= SMALLEST and len(tensor.shape) > 0 and tensor.dtype.numpy() in _FLOATS
        inside = all(node.graph is graph for node, _ in value.uses())  # and in no branch of If, no body of Loop
        if large and inside and value not in graph.outputs and value not in graph.inputs:
            found.append((name, tensor))
    return found


def _keep_small(model: ir.Model, taken: Mapping[str, Any], path: Path) -> None:
    """Load everything else into the graph: its own data file stays behind."""
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and not (graph is model.graph and name in taken):
                _check_location(tensor, path)
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=name)


def _check_location(tensor: ir.TensorProtocol, path: Path) -> None:
    if not isinstance(tensor, ir.ExternalTensor):
        return
    folder = path.resolve().parent
    file = (folder / tensor.location).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise ConversionError(
            f"{path.name} takes weights from a file that is not beside it",
            got=ascii(str(tensor.location)),
            allowed="a file in the graph's folder",
        )
    end = (tensor.offset or 0) + (tensor.length or 0)
    if end > file.stat().st_size:
        raise ConversionError(
            f"the data file {file.name} of {path.name} is truncated",
            got=f"{file.stat().st_size:,} bytes",
            allowed=f"at least {end:,}",
            hint="download or export it again",
        )

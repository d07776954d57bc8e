"""Gives a captured graph its values, one tensor at a time: read, round, write, forget.

The result is a graph and a data file of standard operators: `DequantizeLinear` in front of `MatMul` and `Conv`, which
ONNX Runtime, TensorRT and OpenVINO fuse each in their own way. The forms themselves are in converters/layer_forms.py,
and those whose products are of 8 bits in converters/product_forms.py.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converters import layer_forms as forms
from converters import product_forms
from converters.captured import Captured, Use
from converters.data_file import DataFile
from converters.graph_editor import GraphEditor
from converters.low_rank import pays_off
from converters.recipe import Format, Granularity, Layer, Recipe, WeightScheme
from converters.slabs import ENOUGH_DB
from converters.source import Range, Rows, Streamable
from converters.two_level import fits
from edge_runtime.errors import ConversionError

LEAST_SNR_DB: Final[Mapping[str, float]] = {"int4": 14.0, "nf4": 14.0, "int8": 30.0}
"""Signal to noise that a weight must keep; below it a 4-bit weight gets 8 bits, and an 8-bit weight stays float."""

SMALLEST: Final = 1 << 12
"""Weights of fewer values stay float: their bytes don't count."""

NO_RANGES: Final[Mapping[str, Range]] = {}
Progress = Callable[[int, int], None]
"""Called with the number of parameters done and of all."""

_EIGHT_BITS: Final = WeightScheme(bits=8, granularity=Granularity.BLOCK, group_size=32)
_EIGHT_BITS_BY_ROWS: Final = WeightScheme(bits=8, granularity=Granularity.CHANNEL, reduced_range=True)
_POSITIVE_EIGHT_BITS: Final = WeightScheme(bits=8, granularity=Granularity.CHANNEL, positive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """What became of a tensor; `promoted` when the recipe's precision lost too much."""

    tensor: str
    precision: str
    values: int
    snr_db: float
    promoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A component's files, both in one folder, and what became of its layers."""

    graph: Path
    data: Path
    data_sha256: str
    layers: tuple[LayerRecord, ...]


def write_component(
    captured: Captured,
    component: Streamable,
    recipe: Recipe,
    folder: Path,
    raised: frozenset[str] = frozenset(),
    ranges: Mapping[str, Range] = NO_RANGES,
    progress: Progress = lambda done, total: None,
) -> Streamed:
    """Write COMPONENT.onnx and COMPONENT.data as the recipe wants them; raises ConversionError and OSError.

    The tensors named in `raised` get 8 bits where the recipe has 4; convolutions with a range of values, by their
    weight's name, compute in 8 bits, others have 8-bit weights alone. `captured` is used up: its initialisers refer to
    the data file afterwards.
    """
    graph_path, data_path = folder / f"{component.name}.onnx", folder / f"{component.name}.data"
    sizes = {name: _values_of(captured.model.graph, name) for name in captured.uses}
    done = 0
    records = []
    with DataFile(data_path) as data:
        writer = _Writer(captured, component, recipe, GraphEditor(captured.model.graph, data), ranges)
        for name, use in captured.uses.items():
            if name in captured.model.graph.initializers:  # else a convolution took its bias along
                records.append(writer.write(name, use, raised=use.tensor in raised))
            done += sizes[name]
            progress(done, sum(sizes.values()))
        sha256 = data.sha256
    _finish(captured.model)
    ir.save(captured.model, graph_path)
    return Streamed(graph=graph_path, data=data_path, data_sha256=sha256, layers=tuple(records))


def read(component: Streamable, tensor: str) -> NDArray[Any]:
    """Return the values of a tensor as the checkpoint has them."""
    if tensor in component.constants:
        return component.constants[tensor]
    assert component.weights is not None
    return component.weights.read(tensor)


def scheme_for(recipe: Recipe, component: Streamable, use: Use, values: int) -> WeightScheme | None:
    """Return how a tensor of so many values is to be rounded, None for float."""
    if use.layer is None or use.layer not in recipe.layers or values < SMALLEST:
        return None
    if any(fnmatch.fnmatch(use.tensor, pattern) for pattern in (*component.exclude, *recipe.exclude)):
        return None
    return recipe.layers[use.layer].weights


class _Writer:
    """Writes one initialiser after another."""

    def __init__(
        self,
        captured: Captured,
        component: Streamable,
        recipe: Recipe,
        editor: GraphEditor,
        ranges: Mapping[str, Range],
    ) -> None:
        self._graph, self._uses = captured.model.graph, captured.uses
        self._component, self._recipe, self._editor, self._ranges = component, recipe, editor, ranges
        convolutions = recipe.layers.get(Layer.CONVOLUTION)
        activations = None if convolutions is None else convolutions.activations
        self._signed = activations is not None and activations.signed

    def write(self, name: str, use: Use, *, raised: bool) -> LayerRecord:
        """Write the values; take more bits where the recipe's lose too much."""
        value = self._graph.initializers[name]
        values = _values_of(self._graph, name)
        shape = self._check_shape(use, value)
        scheme = scheme_for(self._recipe, self._component, use, values)

        def record(precision: str, snr_db: float, promoted: bool = False) -> LayerRecord:
            return LayerRecord(
                tensor=use.tensor, precision=precision, values=values, snr_db=round(snr_db, 1), promoted=promoted
            )

        if scheme is not None:
            weight = forms.Weight(value=value, rows=self._rows(use), shape=shape, transposed=use.transposed)
            for tried in self._attempts(use, weight, scheme, raised):
                snr_db = self._try(use, weight, tried)
                if snr_db is not None:
                    return record(_precision(use, tried), snr_db, promoted=tried.bits > scheme.bits)
        array = read(self._component, use.tensor)
        self._editor.fill(value, np.ascontiguousarray(array.T if use.transposed else array))
        return record("fp32", ENOUGH_DB, promoted=scheme is not None)

    def _try(self, use: Use, weight: forms.Weight, scheme: WeightScheme) -> float | None:
        """Write a weight in one form and return its signal to noise, None if that loses too much."""
        if scheme.format is Format.BFLOAT16:
            return forms.bfloat16(self._editor, weight, gathered=use.layer is Layer.EMBEDDING)
        if use.layer is Layer.EMBEDDING:
            return forms.table(self._editor, weight, LEAST_SNR_DB["int8"])
        if use.layer is Layer.CONVOLUTION:
            return self._convolution(use, weight)
        if scheme.format is Format.NF4:
            return forms.nf4(self._editor, weight, scheme)
        if scheme.rank and pays_off((weight.shape[0], weight.shape[1]), scheme.rank):
            return forms.low_rank(self._editor, weight, scheme)
        least_db = LEAST_SNR_DB[scheme.precision]
        if not self._recipe.layers[Layer.MATMUL].by_rows or not scheme.reduced_range:
            return forms.integers(self._editor, weight, scheme, least_db)
        even = any(fnmatch.fnmatch(use.tensor, pattern) for pattern in self._component.even_rows)
        product = product_forms.two_level_product if scheme.two_level else product_forms.integer_product
        return product(self._editor, weight, scheme, least_db, even=even)

    def _attempts(self, use: Use, weight: forms.Weight, scheme: WeightScheme, raised: bool) -> Iterator[WeightScheme]:
        """Yield what to try, more bits after fewer; 4-bit codes with scales of two levels need whole blocks."""
        by_rows = use.layer is Layer.MATMUL and self._recipe.layers[Layer.MATMUL].by_rows
        if scheme.two_level and not fits(weight.multiplied, scheme):
            scheme, by_rows = self._recipe.without_rows().layers[Layer.MATMUL].weights, False
        if not (raised and scheme.bits == 4):
            yield scheme
        if scheme.bits == 4:
            yield _EIGHT_BITS_BY_ROWS if by_rows else _POSITIVE_EIGHT_BITS if scheme.positive else _EIGHT_BITS

    def _convolution(self, use: Use, weight: forms.Weight) -> float | None:
        """Write a convolution's weight, and its bias with it where the arithmetic is in 8 bits."""
        span = self._ranges.get(use.tensor)
        if span is not None and self._signed:
            return forms.signed_convolution(self._editor, weight, LEAST_SNR_DB["int8"], span)
        biases = {node.inputs[2] for node, _ in weight.value.uses() if len(node.inputs) > 2}
        bias = next(iter(biases), None)
        values = None if span is None or bias is None else self._values(bias)
        snr_db = forms.convolution(self._editor, weight, LEAST_SNR_DB["int8"], span, values)
        if bias is not None and bias.is_initializer() and not bias.uses():
            self._editor.drop(bias)
        return snr_db

    def _values(self, value: ir.Value) -> NDArray[Any] | None:
        """Return what an initialiser will hold, or holds if it is the exporter's own; None for a node's output."""
        if value.name in self._uses:
            return read(self._component, self._uses[str(value.name)].tensor)
        return None if value.const_value is None else value.const_value.numpy()

    def _rows(self, use: Use) -> Rows:
        if use.tensor in self._component.constants:
            whole = self._component.constants[use.tensor]
            return lambda start, stop: whole[start:stop].copy()
        assert self._component.weights is not None
        return self._component.weights.rows(use.tensor)

    def _check_shape(self, use: Use, value: ir.Value) -> tuple[int, ...]:
        """Return the tensor's shape in the checkpoint, which must be that of the graph."""
        assert value.shape is not None and self._component.weights is not None
        wanted = tuple(int(size) for size in value.shape.numpy())[:: -1 if use.transposed else 1]
        if use.tensor in self._component.constants:
            return wanted
        got = tuple(self._component.weights.shape(use.tensor))
        if got != wanted:
            raise ConversionError(
                f"tensor {use.tensor} has the wrong shape",
                got=got,
                allowed=wanted,
                hint="the checkpoint's configuration and its weights don't belong together",
            )
        return wanted


def _precision(use: Use, scheme: WeightScheme) -> str:
    """Return what a layer was written as: only matrix products have fewer than 8 bits."""
    if scheme.format is Format.BFLOAT16 or use.layer is Layer.MATMUL:
        return scheme.precision
    return "int8"


def _values_of(graph: ir.Graph, name: str) -> int:
    shape = graph.initializers[name].shape
    assert shape is not None
    return int(np.prod(shape.numpy(), dtype=np.int64))


def _finish(model: ir.Model) -> None:
    """Drop the shapes between nodes, which rounding did not keep up, and say which operators are used."""
    outputs = set(model.graph.outputs)
    for node in model.graph:
        for value in node.outputs:
            if value not in outputs:
                value.shape = value.type = None
    domains = {node.domain for node in model.graph}
    opsets = {domain: version for domain, version in model.opset_imports.items() if domain in domains | {""}}
    if forms.CONTRIB in domains:
        opsets[forms.CONTRIB] = 1
    model.opset_imports.clear()
    model.opset_imports.update(dict(sorted(opsets.items())))

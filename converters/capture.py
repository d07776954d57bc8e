"""Captures the graph of a module whose weights are nowhere in memory: what runs in what order, and which tensor where.

The module is built and traced under fake tensors, which have shapes and no values; the graph's initialisers keep their
state-dict names and get their values while they are streamed (converters/streaming.py). Nothing here reads a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer
from torch._subclasses import FakeTensorMode

from converters.captured import PRODUCER, Captured, Use, absorb_transposes, spell_gemm, uses_of
from converters.exporting import exported
from converters.quiet import quiet
from converters.source import ComponentSource
from converters.spelling import spell
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

_DTYPES: Final = {
    "float32": torch.float32, "float16": torch.float16, "int64": torch.int64, "int32": torch.int32,
    "uint8": torch.uint8, "int8": torch.int8, "bool": torch.bool,
}  # fmt: skip


def capture(component: ComponentSource, *, spelled: bool = True) -> Captured:
    """Trace a component that has `weights`; raises ConversionError when it can't be exported or a tensor has no source.

    The graph's symbols are those of the component's specs. It is `spelled` for ONNX Runtime (converters/spelling.py),
    unless it goes to a runtime that has a kernel for everything.
    """
    model = _export(component)
    _take_weights_out(model.graph)
    with quiet():
        _tidy(model)
    spell_gemm(model.graph)
    uses = _put_weights_back(model.graph, component)
    if spelled:
        spell(model.graph)
    _name(model, component)
    return Captured(model=model, uses=uses)


def _export(component: ComponentSource) -> ir.Model:
    example = component.examples[0]
    dimensions = dict.fromkeys(component.dimensions, torch.export.Dim.DYNAMIC)
    with FakeTensorMode():
        arguments = tuple(
            torch.zeros(example[spec.name].shape, dtype=_DTYPES[spec.dtype]) for spec in component.inputs
        )
        program = exported(component, arguments, dimensions, optimise=False)
    return program.model


def _tidy(model: ir.Model) -> None:
    """Fold what has values, drop what nobody reads, and compute once what is computed twice.

    What onnxscript's `optimize` does without its rewriting rules, whose time grows with the square of the graph:
    minutes for a transformer of 57 blocks.
    """
    common.InlinePass()(model)
    optimizer.fold_constants_ir(model)
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def _take_weights_out(graph: ir.Graph) -> None:
    """Make inputs of the initialisers, so that nobody tries to fold what has no value."""
    for name, value in list(graph.initializers.items()):
        value.const_value = None
        del graph.initializers[name]
        graph.inputs.append(value)


def _put_weights_back(graph: ir.Graph, component: ComponentSource) -> dict[str, Use]:
    """Turn the inputs that are weights into initialisers without values, transposed where the graph wants it so."""
    wanted = {spec.name for spec in component.inputs}
    values = {str(value.name): value for value in list(graph.inputs) if value.name not in wanted}
    for value in values.values():
        graph.inputs.remove(value)
    uses = uses_of(graph, absorb_transposes(graph, values))
    _check_sources(uses, component)
    return uses


def _check_sources(uses: Mapping[str, Use], component: ComponentSource) -> None:
    assert component.weights is not None
    known = {*component.weights.names, *component.constants}
    if missing := sorted({use.tensor for use in uses.values()} - known):
        raise ConversionError(
            f"{component.name}: the checkpoint lacks tensors that the graph reads",
            got=", ".join(missing),
            hint="the checkpoint is incomplete, or of another version of this model",
        )


def _name(model: ir.Model, component: ComponentSource) -> None:
    """Order and describe inputs and outputs as the component's specs do; name nodes; drop what names this machine."""
    graph = model.graph
    by_name = {value.name: value for value in graph.inputs}
    graph.inputs[:] = [_described(by_name[spec.name], spec) for spec in component.inputs if spec.name in by_name]
    if len(graph.inputs) != len(component.inputs):
        missing = [spec.name for spec in component.inputs if spec.name not in by_name]
        raise ConversionError(f"{component.name}: the graph lost inputs", got=", ".join(missing))
    for value, spec in zip(graph.outputs, component.outputs, strict=True):
        _described(value, spec)
    for place, node in enumerate(graph):
        node.name = f"{node.op_type.lower()}_{place}"
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    model.metadata_props.clear()
    graph.metadata_props.clear()
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, None, None
    graph.name, graph.doc_string = PRODUCER, None


def _described(value: ir.Value, spec: TensorSpec) -> ir.Value:
    value.shape = ir.Shape(list(spec.shape))
    return value

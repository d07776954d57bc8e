"""From a component to a program in coremltools' intermediate language (MIL), by torch.export, with dynamic sizes.

Core ML's arrays hold float32, float16 or int32. Pictures, uint8 elsewhere, are float32 with whole numbers 0..255 here:
phones convert either way, and an int32 input would only be made float inside. See docs/artifact-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental import _config as tracing

from converters.coreml.library import coremltools, silent
from converters.coreml.torch_operations import REPLACEMENTS, register
from converters.fused import with_fused_norms
from converters.layer_path import layer_of
from converters.quiet import quiet
from converters.source import ComponentSource
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec, check_inputs

CARRIED: Final = {"uint8": np.float32, "float32": np.float32, "int32": np.int32, "int64": np.int32}
"""What a file holds of the manifest's dtypes: the same values."""


_INSIDE: Final = "module."
_STAGES: Final = ("from_exir_node", "convert_single_node")
"""The functions of coremltools that read and translate one operation; their argument `node` is the graph's."""


class Carried(nn.Module):
    """A component's module as a file can hold it: float32 instead of uint8 on either side, and a tuple of outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the module does; whole numbers in float32 take part in its arithmetic as uint8 would."""
        outputs = self.module(*inputs)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        return tuple(output.to(torch.float32) for output in outputs)


@dataclass(frozen=True, slots=True)
class Traced:
    """A program in MIL. `parameters`: name of a constant in it -> the module's parameter that it holds."""

    program: Any
    parameters: Mapping[str, str]


def exported_program(component: ComponentSource) -> torch.export.ExportedProgram:
    """Trace the component's module, in evaluation mode and folded; raises ConversionError."""
    example = component.examples[0]
    sizes = check_inputs(component.inputs, example)
    if set(sizes) != set(component.dimensions) or 1 in sizes.values():
        raise ConversionError(
            f"{component.name}: the traced example must give every symbol a size above 1",
            got=sizes,
            allowed=component.dimensions,
        )
    inputs = tuple(torch.from_numpy(_carried(spec, example[spec.name])) for spec in component.inputs)
    dynamic = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in component.inputs
    )
    # sizes of 1 are no special case, and what holds for the traced size alone is checked in the run, not demanded now
    with quiet(), tracing.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        try:
            program = torch.export.export(
                Carried(with_fused_norms(component.module())),
                inputs,
                dynamic_shapes=(dynamic,),
            )
            program = program.run_decompositions(REPLACEMENTS)
        except (RuntimeError, ValueError, torch._dynamo.exc.TorchDynamoException) as error:
            raise ConversionError(f"{component.name} can't be traced by torch.export", got=error) from error
    return _without_checks(program)


def traced(component: ComponentSource, minimum: Any, precision: Any) -> Traced:
    """Return the component as a program for an operating system, with coremltools' own optimisations.

    `minimum` is IOS17 or IOS18, `precision` what coremltools calls a compute precision. Raises ConversionError that
    names the layer and the operation that Core ML has not.
    """
    register()
    exported = exported_program(component)
    with silent():
        try:
            program = coremltools.convert(
                exported,
                inputs=_input_types(component),
                outputs=[coremltools.TensorType(name=spec.name, dtype=np.float32) for spec in component.outputs],
                minimum_deployment_target=minimum,
                compute_precision=precision,
                convert_to="milinternal",
                skip_model_load=True,
            )
        except (NotImplementedError, ValueError, RuntimeError, TypeError, AssertionError, KeyError) as error:
            raise ConversionError(
                f"{component.name}: Core ML can't express an operation of {_failed_layer(exported, error)}",
                got=error,
                hint="write this layer in other operations, or add a translation to converters/coreml/"
                "torch_operations.py",
            ) from error
    held = exported.graph_signature.inputs_to_parameters
    return Traced(program, {constant: name.removeprefix(_INSIDE) for constant, name in held.items()})


def _failed_layer(exported: torch.export.ExportedProgram, error: Exception) -> str:
    """Return the layer of the operation at which coremltools stopped, by the node that its translation was given."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name in _STAGES]
    name = frames[0].f_locals["node"].name if frames else ""
    node = next((node for node in exported.graph.nodes if node.name == name), None)
    return "a layer that it doesn't name" if node is None else layer_of(node)


def _carried(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    return np.array(array, CARRIED[spec.dtype])


def _without_checks(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drop the assertions about sizes, which no file format holds, and what only they read."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and "assert" in str(node.target):
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def _input_types(component: ComponentSource) -> list[Any]:
    """Describe the inputs; a symbol is one range wherever it stands, from 1 as Core ML has no empty arrays."""
    example = check_inputs(component.inputs, component.examples[0])
    ranges = {
        symbol: coremltools.RangeDim(lower_bound=max(1, low), upper_bound=high, default=example[symbol])
        for symbol, (low, high) in component.dimensions.items()
    }
    return [
        coremltools.TensorType(
            name=spec.name,
            shape=[ranges[size] if isinstance(size, str) else size for size in spec.shape],
            dtype=CARRIED[spec.dtype],
        )
        for spec in component.inputs
    ]

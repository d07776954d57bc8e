"""The one call of torch's ONNX exporter, for graphs with weights and for those without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from converters.captured import OPSET
from converters.quiet import quiet
from converters.source import ComponentSource
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import check_inputs


def exported(
    component: ComponentSource,
    arguments: tuple[torch.Tensor, ...],
    dimensions: Mapping[str, Any],
    *,
    optimise: bool,
) -> torch.onnx.ONNXProgram:
    """Trace a component's module with these arguments, without warnings; both may be fake, if the caller has the mode.

    `dimensions` has what torch.export takes for each symbol of the component's specs. Without `optimise` nothing is
    folded, for which values are needed. Raises ConversionError.
    """
    sizes = check_inputs(component.inputs, component.examples[0])
    if set(sizes) != set(dimensions) or 1 in sizes.values():
        raise ConversionError(
            f"{component.name}: the traced example must give every symbol a size above 1",
            got=sizes,
            allowed=", ".join(sorted(dimensions)),
        )
    with quiet():
        try:
            program = torch.onnx.export(
                component.module().eval(),
                arguments,
                input_names=[spec.name for spec in component.inputs],
                output_names=[spec.name for spec in component.outputs],
                opset_version=OPSET,
                dynamo=True,
                optimize=optimise,
                dynamic_shapes=tuple(
                    {axis: dimensions[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
                    for spec in component.inputs
                ),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConversionError(f"{component.name} can't be exported to ONNX", got=error) from error
    assert program is not None  # with dynamo=True the exporter always returns a program
    return program
